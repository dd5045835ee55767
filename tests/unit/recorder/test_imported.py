"""What imports took: each outermost one is read around, whatever happens in it."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading

import pytest

from timeline.recorder.hooks.imported import Imports
from timeline.recorder.hooks.importing import ModuleWatcher


class Memory:
    """What is read: the heap grows by 10 and the rest by 1 each time a module of ours runs."""

    def __init__(self) -> None:
        self.heap = self.beside = 100
        self.fails = False

    def read(self) -> tuple[int, int]:
        if self.fails:
            raise OSError("closed")
        return self.heap, self.beside


GROWS = "import memory_of_the_test as m\nm.heap += 10\nm.beside += 1\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def memory(monkeypatch):
    found = Memory()
    monkeypatch.setitem(sys.modules, "memory_of_the_test", found)
    return found


@pytest.fixture
def imports(memory):
    found = Imports(memory.read)
    found.watch()
    yield found
    found.stop()
    assert found not in sys.meta_path


def grown(imports):
    return [(heap, beside) for _, heap, beside in imports.taken]


def test_an_import_and_all_that_it_imports_are_one(write, imports):
    write("inner_one", GROWS)
    write("outer_one", f"import inner_one\n{GROWS}")
    module = importlib.import_module("outer_one")
    importlib.import_module("inner_one")
    assert grown(imports) == [(20, 2)]
    assert type(module.__spec__).__name__ == "ModuleSpec"
    write("outer_two", GROWS)
    importlib.import_module("outer_two")
    assert grown(imports) == [(20, 2), (10, 1)]


def test_an_import_that_fails_took_what_it_took_and_the_error_is_its_own(write, imports):
    write("fails", f"{GROWS}raise KeyError('mine')\n")
    with pytest.raises(KeyError, match="mine") as caught:
        importlib.import_module("fails")
    assert not [each for each in caught.traceback if str(each.path).endswith("hooks/imported.py")]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("is_not_there")
    assert grown(imports) == [(10, 1)]


def test_a_module_that_is_only_looked_up_is_no_import(write, imports):
    write("looked_up", GROWS)
    write("taken", GROWS)
    assert importlib.util.find_spec("looked_up") is not None
    importlib.import_module("taken")
    importlib.import_module("looked_up")
    assert grown(imports) == [(10, 1)] * 2


def test_an_import_that_trains_is_no_mere_import_and_what_it_imports_then_counts(write, imports):
    sys.modules["imports_of_the_test"] = imports
    write("after_it", GROWS)
    write("trains", f"{GROWS}import imports_of_the_test as i\ni.give_up()\nimport after_it\n")
    module = importlib.import_module("trains")
    assert grown(imports) == [(10, 1)]
    assert type(module.__spec__).__name__ == "ModuleSpec"


def test_a_module_that_comes_to_be_there_later_is_found(write, imports):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("comes_later")
    write("comes_later", GROWS)
    importlib.import_module("comes_later")


def test_threads_import_at_once_and_all_modules_are_theirs(write, imports):
    for number in range(8):
        write(f"of_thread_{number}", GROWS)
    threads = [
        threading.Thread(target=importlib.import_module, args=(f"of_thread_{number}",))
        for number in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(f"of_thread_{number}" in sys.modules for number in range(8))
    kinds = {type(sys.modules[f"of_thread_{n}"].__spec__).__name__ for n in range(8)}
    imports.stop()
    assert kinds == {"ModuleSpec"}


def test_what_cannot_be_read_stops_no_import(write, imports, memory):
    memory.fails = True
    write("unread", GROWS)
    importlib.import_module("unread")
    assert grown(imports) == []


def test_more_imports_than_are_told_one_by_one_add_up(write, imports):
    for number in range(70):
        write(f"many_{number}", GROWS)
        importlib.import_module(f"many_{number}")
    assert len(imports.taken) == 64
    assert sum(heap for heap, _ in grown(imports)) == 700


@pytest.mark.parametrize("waits_first", [True, False])
@pytest.mark.parametrize("name", ["grows_of_two", "is_not_there_of_two"])
def test_two_that_look_on_do_not_ask_each_other_for_ever(memory, write, waits_first, name):
    write("grows_of_two", GROWS)
    imports, told = Imports(memory.read), []
    waiting = ModuleWatcher(name, lambda: told.append(name))
    both = [waiting, imports] if waits_first else [imports, waiting]
    for each in both:
        each.watch()
    try:
        assert (importlib.util.find_spec(name) is None) == (name != "grows_of_two")
        if name == "grows_of_two":
            importlib.import_module(name)
            assert told == [name]
            assert [one[1:] for one in imports.taken] == [(10, 1)]
            assert type(sys.modules[name].__spec__) is importlib.machinery.ModuleSpec
        else:
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
    finally:
        for each in both:
            each.stop()
    assert not any(each in sys.meta_path for each in both)


def test_what_fails_at_the_end_of_an_import_is_none_of_the_programs_business(write):
    write("fine_of_the_test", "x = 1")

    def fails():
        raise LookupError

    waiting = ModuleWatcher("fine_of_the_test", fails)
    waiting.watch()
    assert importlib.import_module("fine_of_the_test").x == 1
    assert waiting not in sys.meta_path
