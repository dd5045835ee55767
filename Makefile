# make demo    record a real training, here, in an environment of its own
# make test    everything that CI runs; the last line is pytest's
# make bench   timeline beside its peers, with the figures it has to reach (QUICK=1: only that it runs)
# make bench-estimate   predicted memory beside what was measured on real GPUs (PEERS=1: and other tools)
# make clean   remove what these made
#
# PYTHON=python3.12 chooses another Python; TESTS="tests/unit -k mark" chooses tests.

PYTHON ?= python3
VENV ?= .venv
TESTS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
# What is installed depends on these alone: an editable install follows the sources by itself.
METADATA := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint bench bench-estimate clean help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# //p' Makefile

demo: $(VENV)/.demo
	@echo "Recording examples/train_resnet18.py: half a minute on two cores that are free."
	$(BIN)/python -m timeline -o demo.timeline --force examples/train_resnet18.py
	@echo
	@echo "The recording is the directory demo.timeline:"
	@echo "  table  the lines above; again with: $(BIN)/timeline report demo.timeline"
	@echo "  PNG    $(CURDIR)/demo.timeline/report.png"
	@echo "  HTML   $(CURDIR)/demo.timeline/report.html (opens from disk, needs no network)"

# pytest comes last, so that its summary is the last line. Most tests wait for processes of their
# own, so two at a time take little more than half as long.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick)

# The rows were measured with this version of transformers: it stands beside the one of the tests.
OLD := $(VENV)/transformers-4.51.3

bench-estimate: $(VENV)/.test $(OLD)
	PYTHONPATH=$(OLD) $(BIN)/python benchmarks/estimate.py $(if $(PEERS),--peers)

$(OLD): benchmarks/requirements-estimate.txt $(VENV)/.made
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --upgrade --target $(OLD) -r $<
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: timeline needs Python 3.11 or later and $(PYTHON) is not: name one with make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make a virtual environment: install it with apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made $(METADATA) examples/requirements.txt
	@echo "Installing timeline and torch into $(VENV): some minutes, several GB."
	$(PIP) -r examples/requirements.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.demo tests/requirements.txt
	$(PIP) -r tests/requirements.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.demo benchmarks/requirements.txt
	$(PIP) -r benchmarks/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist demo.timeline benchmarks/results *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
