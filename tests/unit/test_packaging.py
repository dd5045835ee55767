"""What is built is what works elsewhere: the wheel of an sdist, in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from running import ROOT, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel made from it, of a copy of the sources as git sees them."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    out = folder / "dist"
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    ended = run(command, cwd=folder)
    assert ended.code == 0, ended.stdout + ended.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory):
    """An environment with the wheel, and with this one's other packages but not this checkout."""
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    made = run([sys.executable, "-m", "venv", "--without-pip", str(folder)], cwd=folder.parent)
    assert made.code == 0, made.stderr
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    installed = run([*pip, "--no-deps", "--no-index", str(built[0])], cwd=folder, env=no_path())
    assert installed.code == 0, installed.stderr
    (library,) = (folder / "lib").glob("python*/site-packages")
    # A directory named in a .pth file is searched, but the .pth files in it are not read, so an
    # editable install of this checkout stays out.
    (library / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_holds_every_module_and_what_they_read(built):
    with zipfile.ZipFile(built[0]) as wheel:
        held = {name for name in wheel.namelist() if name.startswith("timeline/")}
    package = ROOT / "timeline"
    assets = [path for path in (package / "views" / "assets").glob("*") if path.is_file()]
    wanted = [*package.rglob("*.py"), package / "py.typed", *assets]
    assert held == {str(path.relative_to(ROOT)) for path in wanted}


def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(name))
        assert any(name.endswith("LICENSE") for name in wheel.namelist())
    assert metadata["Name"] == "memory-timeline"
    assert (metadata["License-Expression"] or metadata["License"]) == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload().strip(), "the README is its description"
    required = {
        line.split(">")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line
    }
    assert required == {"numpy", "psutil", "matplotlib", "bokeh", "memory-profiler", "nvidia-ml-py"}


def test_the_sdist_holds_what_its_tests_need(built):
    with tarfile.open(built[1]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    assert {
        "Makefile",
        "constraints.txt",
        "tests/conftest.py",
        "tests/requirements.txt",
        "examples/train_resnet18.py",
        "benchmarks/run.py",
        "docs/format.md",
    } <= held


def test_the_installed_command_tells_its_version(elsewhere, tmp_path):
    ended = run([str(elsewhere / "bin" / "timeline"), "--version"], cwd=tmp_path, env=no_path())
    assert ended.code == 0, ended.stderr
    version = (ROOT / "timeline" / "_version.py").read_text().split('"')[-2]
    assert version in ended.stdout


def test_a_script_is_recorded_by_what_was_installed(elsewhere, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import timeline\n"
        "print(timeline.__file__)\n"
        "with timeline.phase('grow'):\n"
        "    held = bytearray(64 << 20)\n"
    )
    out = tmp_path / "run.timeline"
    command = [str(elsewhere / "bin" / "timeline"), "-o", str(out), str(script)]
    ended = run(command, cwd=tmp_path, env=no_path())
    assert ended.code == 0, ended.stderr
    assert Path(ended.stdout.splitlines()[0]).is_relative_to(elsewhere)
    assert (out / "report.png").stat().st_size > 1000, ended.stderr
    assert (out / "report.html").stat().st_size > 1000, ended.stderr

    report = [str(elsewhere / "bin" / "timeline"), "report", str(out)]
    shown = run(report, cwd=tmp_path, env=no_path())
    assert shown.code == 0, shown.stderr
    assert "grow" in shown.stdout


def no_path() -> dict[str, str]:
    """Without the checkout on the path: pip, too, would find the metadata that lies in it."""
    return {"PYTHONPATH": ""}
