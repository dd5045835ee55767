"""Whether the models come from the library that the rows were measured with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-estimate.txt"


def measured_with(name: str = "transformers") -> str:
    """The version that the rows ran with, of which the requirements are."""
    for line in REQUIREMENTS.read_text().splitlines():
        found, _, wanted = line.partition("==")
        if found.strip() == name:
            return wanted.strip()
    raise LookupError(f"{REQUIREMENTS} does not name {name}")


def installed(name: str = "transformers") -> str:
    """The version that would be imported; empty if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def other_library() -> str:
    """What there is to say where the models would come from another version; empty if not.

    Their code makes what is measured: those of transformers 5 keep other tensors.
    """
    here, there = installed(), measured_with()
    if here == there:
        return ""
    found = f"transformers {here} is installed here" if here else "transformers is not installed"
    return (
        f"NOTE: {found}, and the rows ran with {there}: figures of transformers do not compare. "
        "Run make bench-estimate, or first pip install --no-deps --target DIR "
        "-r benchmarks/requirements-estimate.txt and then with PYTHONPATH=DIR"
    )
