"""`record` on every kind of function: what it is after, what it does, and which phases it makes."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os

import pytest

import timeline
from timeline.errors import UsageError
from timeline.recorder import session as sessions
from timeline.recorder.session import Session, phase
from timeline.recording.reader import load_directory
from timeline.recording.types import Kind


@pytest.fixture
def recorded(tmp_path):
    """An active session: calls become phases of it. Called, it tells the phases begun so far."""
    session = Session(str(tmp_path), exact=True)
    sessions.activate(session)
    yield lambda: [m.name for m in load_directory(tmp_path).marks if m.kind is Kind.BEGIN]
    assert not left_open(tmp_path)
    sessions.deactivate()
    session.close()


def left_open(directory):
    marks = list(load_directory(directory).marks)
    ended = {m.phase for m in marks if m.kind is Kind.END}
    return [m.name for m in marks if m.kind is Kind.BEGIN and m.phase not in ended]


@timeline.record
def train(epochs: int = 3, *, rate: float = 0.1) -> str:
    """Train a model."""
    return f"{epochs} at {rate}"


@timeline.record(charts=False)
async def fetch(what):
    await asyncio.sleep(0)
    return what


@timeline.record
def batches(n):
    got = []
    try:
        for i in range(n):
            got.append((yield i))
    except KeyError:
        got.append((yield "caught"))
    return got


@timeline.record
async def lines(n):
    got = []
    try:
        for i in range(n):
            got.append((yield i))
    except KeyError:
        yield "caught"
    finally:
        lines_ended.append(got)


lines_ended: list[list] = []


class Model:
    @timeline.record
    def fit(self, x):
        return self, x

    @timeline.record
    @staticmethod
    def outer_static(x):
        return x

    @staticmethod
    @timeline.record
    def inner_static(x):
        return x

    @timeline.record(name="made")
    @classmethod
    def outer_class(cls):
        return cls

    @classmethod
    @timeline.record
    def inner_class(cls):
        return cls

    @property
    @timeline.record
    def size(self):
        return 5


def test_the_decorated_function_still_says_what_it_is():
    assert train.__name__ == "train"
    assert train.__doc__ == "Train a model."
    assert str(inspect.signature(train)) == "(epochs: 'int' = 3, *, rate: 'float' = 0.1) -> 'str'"
    assert train.__module__ == __name__


def test_each_kind_of_function_stays_of_its_kind():
    assert inspect.iscoroutinefunction(fetch)
    assert inspect.isgeneratorfunction(batches)
    assert inspect.isasyncgenfunction(lines)
    assert not inspect.isgeneratorfunction(train)
    assert not inspect.iscoroutinefunction(train)


def test_a_call_is_a_phase_and_gives_what_the_function_gives(recorded):
    assert train(5, rate=0.2) == "5 at 0.2"
    assert recorded() == ["train"]


def test_recursion_and_nested_calls_are_phases_inside(recorded):
    @timeline.record
    def down(n):
        return n if n == 0 else down(n - 1)

    assert down(3) == 0
    assert recorded() == ["test_recursion_and_nested_calls_are_phases_inside.down"] * 4


def test_an_exception_passes_and_ends_the_phase(recorded):
    @timeline.record(name="fails")
    def fails():
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fails()
    assert recorded() == ["fails"]


def test_methods_of_every_kind(recorded):
    model = Model()
    assert model.fit(1) == (model, 1)
    assert (model.outer_static(1), Model.outer_static(2)) == (1, 2)
    assert (model.inner_static(1), Model.inner_static(2)) == (1, 2)
    assert (model.outer_class(), Model.inner_class()) == (Model, Model)
    assert model.size == 5
    assert recorded() == [
        "Model.fit",
        *["Model.outer_static"] * 2,
        *["Model.inner_static"] * 2,
        "made",
        "Model.inner_class",
        "Model.size",
    ]


def test_async_functions_run_at_once_and_each_is_a_phase(recorded):
    async def main():
        return await asyncio.gather(*(fetch(n) for n in range(3)))

    assert asyncio.run(main()) == [0, 1, 2]
    assert recorded() == ["fetch"] * 3


def test_a_generator_begins_its_phase_with_its_first_value(recorded):
    generator = batches(2)
    assert recorded() == []
    assert next(generator) == 0
    assert recorded() == ["batches"]
    assert generator.send("sent") == 1
    with pytest.raises(StopIteration) as ended:
        generator.send("again")
    assert ended.value.value == ["sent", "again"]


def test_a_generator_can_be_thrown_into_and_closed(recorded):
    generator = batches(5)
    next(generator)
    assert generator.throw(KeyError("k")) == "caught"
    generator.close()
    started = batches(5)
    next(started)
    with pytest.raises(ZeroDivisionError):
        started.throw(ZeroDivisionError())
    assert recorded() == ["batches", "batches"]


def test_an_async_generator_can_be_sent_to_thrown_into_and_closed(recorded):
    async def main():
        assert [value async for value in lines(3)] == [0, 1, 2]
        sent = lines(3)
        assert await sent.__anext__() == 0
        assert await sent.asend("sent") == 1
        await sent.aclose()
        thrown = lines(3)
        await thrown.__anext__()
        assert await thrown.athrow(KeyError("k")) == "caught"
        with pytest.raises(StopAsyncIteration):
            await thrown.__anext__()
        failing = lines(3)
        await failing.__anext__()
        with pytest.raises(ZeroDivisionError):
            await failing.athrow(ZeroDivisionError())

    lines_ended.clear()
    asyncio.run(main())
    assert lines_ended == [[None, None, None], ["sent"], [], []]
    assert recorded() == ["lines"] * 4


def test_an_async_generator_left_early_ends_its_phase(recorded):
    async def main():
        async for _ in lines(3):
            break

    asyncio.run(main())
    assert recorded() == ["lines"]


def test_partials_callables_and_builtins(recorded):
    class Adder:
        def __call__(self, x):
            return x + 1

    class Fetcher:
        async def __call__(self, x):
            return x

    assert timeline.record(functools.partial(train, 7))() == "7 at 0.1"
    assert timeline.record(Adder())(1) == 2
    assert timeline.record(len)([1, 2]) == 2
    assert timeline.record(functools.lru_cache(abs))(-3) == 3
    fetcher = timeline.record(Fetcher())
    assert inspect.iscoroutinefunction(fetcher)
    assert asyncio.run(fetcher(4)) == 4
    names = recorded()
    assert names[:2] == ["train", "train"]
    assert names[-1].endswith("Fetcher")


def test_a_phase_inside_knows_the_call_around_it(recorded, tmp_path):
    @timeline.record(name="call")
    def call():
        with phase("inside"):
            pass

    call()
    marks = load_directory(tmp_path).marks
    begins = marks.kind == Kind.BEGIN
    assert marks.parent[begins].tolist() == [-1, marks.phase[begins][0]]


@pytest.mark.parametrize(
    "wrong",
    [3, "name", None.__class__, Model, property(len)],
    ids=["number", "text", "NoneType", "class", "property"],
)
def test_what_is_no_function_is_refused_where_it_is_decorated(wrong):
    with pytest.raises(UsageError, match="record takes a function"):
        timeline.record(wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interval_s": 0}, "interval_s is 0"),
        ({"interval": 1}, "'interval'"),
        ({"sampler": "cloud"}, "'cloud'"),
        ({"backend": "guess"}, "'guess'"),
        ({"name": ""}, "name is ''"),
    ],
)
def test_wrong_options_are_told_where_they_are_written(options, says):
    with pytest.raises(UsageError, match=says):
        timeline.record(**options)


def test_switched_off_calls_pass_straight_through(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMELINE_OFF", "1")
    assert train() == "3 at 0.1"
    with timeline.Recorder() as recorder:
        assert sessions.current is None
    assert recorder.directory == ""
    assert os.listdir() == []


def test_force_overwrites_what_was_there_and_not_the_call_before(tmp_path):
    @timeline.record(directory=tmp_path / "run", charts=False, sampler="thread", force=True)
    def call(text):
        timeline.mark(text)

    call("one")
    call("two")
    for name, text in (("run", "one"), ("run-2", "two")):
        marks = load_directory(tmp_path / name).marks
        assert [each.name for each in marks if each.kind is Kind.TEXT] == [text]
