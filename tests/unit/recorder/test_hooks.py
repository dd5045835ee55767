"""A probe in a function's own code, and who is inside what, with no torch at hand."""

from __future__ import annotations

import importlib
import linecache
import sys
import threading
import traceback
from types import SimpleNamespace

import pytest

from timeline.recorder import session as sessions
from timeline.recorder.hooks.nesting import IN_CALL, IN_STEP, NOTHING, OUTSIDE, Here
from timeline.recorder.hooks.planting import CannotPlantError, with_probe
from timeline.recorder.session import Session

MODULE = '''
from __future__ import annotations
import functools
import torch

class Thing:
    """Indented, with a base, a private name and a decorator."""

    def __init__(self):
        super().__init__()
        self.__hidden = 1

    def method(self, *args, fail=False, **kwargs):
        """Says what it got."""
        if fail:
            raise ValueError(
                fail)
        return self.__hidden, args, [k for k in kwargs]

def maker(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that knows a torch, in a file."""
    torch = SimpleNamespace(compiler=SimpleNamespace(is_dynamo_compiling=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "planted_here.py").write_text(MODULE)
    yield importlib.import_module("planted_here")
    del sys.modules["planted_here"]
    linecache.clearcache()


class Listener:
    def __init__(self):
        self.quiet = SimpleNamespace(call=False)
        self.heard = []

    def begin(self, thing):
        self.heard.append(thing)

    def end(self):
        self.heard.append("end")


def plant(function, probe, **more):
    options = {"kind": "call", "begin": "begin(self)", "ends": True, **more}
    function.__code__ = with_probe(function, probe, **options)


def test_a_probe_hears_the_begin_and_the_end_and_changes_nothing_else(module):
    probe, thing = Listener(), module.Thing()
    function, before = module.Thing.method, module.Thing.method.__code__
    plant(function, probe)
    assert thing.method(1, x=2) == (1, (1,), ["x"])
    assert probe.heard == [thing, "end"]
    assert function is module.Thing.method
    assert function.__doc__ == "Says what it got."
    after = function.__code__
    for name in ("co_filename", "co_name", "co_qualname", "co_firstlineno", "co_varnames"):
        assert getattr(after, name) == getattr(before, name)


def test_a_quiet_probe_hears_nothing(module):
    probe = Listener()
    probe.quiet.call = True
    plant(module.Thing.method, probe)
    assert module.Thing().method() == (1, (), [])
    assert probe.heard == []


def test_an_exception_is_heard_as_an_end_and_its_traceback_is_the_same(module):
    def shown():
        try:
            module.Thing().method(fail="why")
        except ValueError:
            return traceback.format_exc()

    before, probe = shown(), Listener()
    plant(module.Thing.method, probe)
    assert shown() == before
    probe.quiet.call = True
    assert shown() == before
    assert probe.heard[1:] == ["end"]


def test_a_compiler_that_traces_the_function_never_sees_the_probe(module):
    probe = Listener()
    plant(module.Thing.method, probe)
    module.torch.compiler.is_dynamo_compiling = lambda: True
    module.Thing().method()
    assert probe.heard == []


def test_a_constructor_with_super_can_be_told_at_its_begin_alone(module):
    probe = Listener()
    plant(module.Thing.__init__, probe, ends=False)
    thing = module.Thing()
    assert probe.heard == [thing]


def test_a_function_inside_a_function_can_be_meant(module):
    probe = Listener()
    plant(module.maker, probe, begin="begin(args)", nested="inner")
    assert module.maker(lambda *args: sum(args))(1, 2) == 3
    assert probe.heard == [(1, 2), "end"]


def test_a_source_that_is_not_what_runs_is_left_alone(module, tmp_path):
    path = tmp_path / "planted_here.py"
    path.write_text(MODULE.replace("import functools", "import functools, os"))
    plant(module.maker, Listener(), begin="begin(args)", nested="inner")
    path.write_text(MODULE.replace("self.__hidden, args", "self.__hidden, None"))
    with pytest.raises(CannotPlantError, match="not what runs"):
        plant(module.Thing.method, Listener())
    for torn in ("", MODULE[:200], "# shorter\n"):
        path.write_text(torn)
        with pytest.raises(CannotPlantError):
            plant(module.Thing.method, Listener())
    path.unlink()
    with pytest.raises(CannotPlantError, match="not here"):
        plant(module.Thing.method, Listener())


@pytest.fixture
def here(tmp_path):
    """A fresh state of all threads, inside an active session."""
    session = Session(str(tmp_path), exact=False)
    sessions.activate(session)
    yield Here()
    sessions.deactivate()
    session.close()


def test_what_opens_inside_what_is_told_by_quiet(here):
    assert here.quiet is OUTSIDE
    here.open(IN_STEP, "step/optimizer")
    assert not here.quiet.call
    assert here.quiet.load
    here.open(IN_CALL, "step/forward")
    assert here.quiet.call
    assert not here.quiet.backward
    here.pass_by()
    assert here.quiet is NOTHING
    for around in (IN_CALL, IN_STEP, OUTSIDE, OUTSIDE):
        here.end()
        assert here.quiet is around


def test_each_thread_is_in_a_place_of_its_own(here):
    seen = []
    here.open(IN_CALL, "step/forward")
    thread = threading.Thread(target=lambda: seen.append(here.quiet))
    thread.start()
    thread.join()
    assert seen == [OUTSIDE]
    here.end()


def test_a_construction_ends_when_its_frame_does_and_not_later(here, tmp_path):
    def lines():
        (path,) = tmp_path.glob("events.*.jsonl")
        return [line[5:8] for line in path.read_text().splitlines()[1:]]

    def construct():
        here.build(sys._getframe(), "Net")
        assert here.quiet.load
        here.open(IN_CALL, "step/forward")
        assert here.quiet is NOTHING
        here.end()
        assert lines() == ['"b"']

    construct()
    assert here.quiet is OUTSIDE
    assert lines() == ['"b"', '"e"']


def test_where_nothing_records_nothing_is_written_and_nothing_breaks():
    here = Here()
    here.open(IN_CALL, "step/forward")
    here.end()
    here.build(sys._getframe(), "Net")
    here.end()
    assert here.quiet is OUTSIDE
