"""What a process writes: phases and marks, from threads, tasks and generators, and odd names."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from contextlib import ExitStack
from itertools import count, pairwise

import pytest

from timeline.recorder import session as sessions
from timeline.recorder.session import Session, mark, phase
from timeline.recording.reader import load_directory
from timeline.recording.types import Kind


@pytest.fixture
def directory(tmp_path):
    """An active session in this process; the directory that it writes to."""
    session = Session(str(tmp_path), exact=True)
    sessions.activate(session)
    yield tmp_path
    sessions.deactivate()
    session.close()


def phases(directory):
    """By path, the paths of the phases that each was begun in (None: outside all)."""
    marks = load_directory(directory).marks
    begins = [i for i in range(len(marks)) if marks.kind[i] == Kind.BEGIN]
    path = {int(marks.phase[i]): marks[i].name for i in begins}
    inside: dict[str, list[str | None]] = {}
    for i in begins:
        inside.setdefault(marks[i].name, []).append(path.get(int(marks.parent[i])))
    return inside


def left_open(directory):
    """The paths of the phases that never ended."""
    marks = load_directory(directory).marks
    ended = {m.phase for m in marks if m.kind is Kind.END}
    return [m.name for m in marks if m.kind is Kind.BEGIN and m.phase not in ended]


def test_nothing_happens_where_nothing_records():
    with phase("a"):
        mark("b")


def test_a_nested_phase_knows_the_one_around_it(directory):
    with phase("epoch"):
        with phase("batch"), phase("step"):
            pass
        with phase("eval"):
            pass
    inside = {"epoch": [None], "batch": ["epoch"], "step": ["batch"], "eval": ["epoch"]}
    assert phases(directory) == inside
    assert left_open(directory) == []


def test_an_exception_ends_its_phases_and_passes_through(directory):
    with pytest.raises(KeyError, match="mine"), phase("outer"), phase("inner"):
        raise KeyError("mine")
    with phase("after"):
        pass
    assert left_open(directory) == []
    assert phases(directory)["after"] == [None]


def test_an_exception_comes_from_the_phase_that_it_left_not_from_a_later_clean_up(directory):
    def fails():
        try:
            with phase("inner"):
                raise KeyError("mine")
        except KeyError:
            with phase("clean-up"):
                pass
            with phase("inner"):
                pass
            raise

    with pytest.raises(KeyError) as raised:
        fails()
    sessions.current.error(raised.value)
    (file,) = directory.glob("events.*")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    (error,) = (line for line in lines if line["k"] == "error")
    inner = [line["i"] for line in lines if line.get("p") == "inner"]
    assert error["i"] == inner[0]


def test_a_thread_has_phases_of_its_own(directory):
    def work():
        with phase("loading"), phase("decoding"):
            pass

    with phase("training"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert phases(directory) == {"training": [None], "loading": [None], "decoding": ["loading"]}
    marks = load_directory(directory).marks
    assert len(set(marks.thread[marks.kind == Kind.BEGIN].tolist())) == 2


def test_tasks_nest_in_the_phase_that_they_were_made_in(directory):
    async def fetch(name):
        with phase(name):
            await asyncio.sleep(0.001)
            with phase(f"{name}/parse"):
                await asyncio.sleep(0.001)

    async def main():
        with phase("all"):
            await asyncio.gather(*(fetch(f"task {n}") for n in range(3)))

    asyncio.run(main())
    expected = {"all": [None]}
    for n in range(3):
        expected |= {f"task {n}": ["all"], f"task {n}/parse": [f"task {n}"]}
    assert phases(directory) == expected
    assert left_open(directory) == []


def test_a_task_that_outlives_its_phase_goes_on_in_the_one_around_it(directory):
    async def slow(done):
        await done.wait()
        with phase("late"):
            pass

    async def main():
        done = asyncio.Event()
        with phase("whole"):
            with phase("start"):
                task = asyncio.create_task(slow(done))
                await asyncio.sleep(0)
            done.set()
            await task

    asyncio.run(main())
    assert phases(directory)["late"] == ["whole"]


def test_a_generator_that_leaves_its_phase_later_confuses_nobody(directory):
    def batches():
        with phase("batches"):
            yield 1
            yield 2

    with phase("epoch"):
        generator = batches()
        next(generator)
        with phase("step"):
            generator.close()
            with phase("inside the step"):
                pass
        with phase("after"):
            pass
    inside = phases(directory)
    assert inside["step"] == ["batches"]
    assert inside["inside the step"] == ["step"]
    assert inside["after"] == ["epoch"]
    assert left_open(directory) == []


def test_a_generator_may_end_in_another_thread(directory):
    def batches():
        with phase("batches"):
            yield 1

    generator = batches()
    next(generator)
    thread = threading.Thread(target=lambda: list(generator))
    thread.start()
    thread.join()
    with phase("after"):
        pass
    assert phases(directory) == {"batches": [None], "after": [None]}
    assert left_open(directory) == []


def test_one_phase_object_can_be_open_several_times(directory):
    again = phase("again")

    def work():
        with again:
            pass

    with again:
        with again, phase("inside"):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        with phase("beside"):
            pass
    inside = phases(directory)
    assert inside["again"] == [None, "again", None]
    assert inside["inside"] == inside["beside"] == ["again"]
    assert left_open(directory) == []


def test_a_thousand_nested_phases(directory):
    with ExitStack() as stack:
        for n in range(1000):
            stack.enter_context(phase(f"level {n}"))
    inside = phases(directory)
    assert inside["level 999"] == ["level 998"]
    assert len(inside) == 1000
    assert left_open(directory) == []


ODD = [
    "with 'single' and \"double\" quotes",
    "back\\slash",
    "two\nlines\r\n\tand a tab",
    "</script><b>markup</b> & more",
    "日本語 and 😀",
    "nul \0 inside",
    "\x1b[31mred\x1b[0m",
    "\u2028line separator, \x7f delete",
    "x" * 10_240,
    "",
    " ",
]


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_any_name_comes_back_as_it_was(directory, name):
    with phase(name):
        mark(name)
    marks = load_directory(directory).marks
    assert [m.name for m in marks if m.kind != Kind.READING] == [name] * 3


def test_half_a_character_comes_back_as_a_sign_that_can_be_written(directory):
    with phase("half \ud83d of one"):
        pass
    (name,) = phases(directory)
    assert name == "half \ufffd of one"


def test_every_line_is_plain_json_in_ascii(directory):
    for name in ODD:
        mark(name)
    (path,) = directory.glob("events.*.jsonl")
    lines = path.read_bytes().decode("ascii").splitlines()
    assert [json.loads(line)["p"] for line in lines if '"k":"m"' in line] == ODD


def test_a_name_that_is_no_text_is_shown_as_one(directory):
    class Broken:
        def __str__(self):
            raise RuntimeError("no name")

    with phase(7), phase(Broken()):  # type: ignore[arg-type]
        mark(None)  # type: ignore[arg-type]
    assert list(phases(directory)) == ["7", "<Broken>"]


def test_marks_are_exact_readings(directory):
    with phase("spike"):
        spike = bytearray(80 << 20)
        del spike
    with phase("calm"):
        pass
    by_name = {m.name: m for m in load_directory(directory).marks if m.kind is Kind.BEGIN}
    ends = {m.phase: m for m in load_directory(directory).marks if m.kind is Kind.END}
    spike, calm = (ends[by_name[name].phase] for name in ("spike", "calm"))
    before = by_name["spike"].rss
    assert 79 << 20 <= spike.high - before <= 84 << 20
    assert calm.high - before < 8 << 20


def test_marks_that_come_too_densely_carry_time_alone(directory):
    for _ in range(5000):
        mark("dense")
    marks = [m for m in load_directory(directory).marks if m.kind is Kind.TEXT]
    assert len(marks) == 5000
    assert any(m.rss < 0 for m in marks)
    assert all(m.t_ns > 0 for m in marks)


def test_a_phase_left_open_by_the_end_of_the_recording_harms_no_later_one(tmp_path):
    for n in range(2):
        directory = tmp_path / str(n)
        directory.mkdir()
        session = Session(str(directory), exact=True)
        sessions.activate(session)
        phase("never left").__enter__()
        sessions.deactivate()
        session.close()
    assert phases(tmp_path / "1") == {"never left": [None]}
    assert left_open(tmp_path / "1") == ["never left"]
    with phase("nothing records"):
        pass


def test_a_program_that_closes_every_descriptor_loses_no_line(directory, capfd):
    session = sessions.current
    os.close(session._fd)
    with phase("a"), phase("b"):
        mark("c")
    assert not session.lost
    assert phases(directory) == {"a": [None], "b": ["a"]}
    assert capfd.readouterr().err == ""


def test_a_file_of_marks_that_cannot_be_opened_again_ends_the_marks_alone(directory, capfd):
    session = sessions.current
    os.close(session._fd)
    os.unlink(session._path)
    with phase("a"), phase("b"):
        mark("c")
    assert "marks end here" in session.lost
    assert capfd.readouterr().err.count("timeline:") == 1


def test_low_descriptors_are_left_to_the_program(directory):
    session = sessions.current
    assert min(session._fd, session.own._statm, session.own._clear_refs) >= 500


def test_a_forked_child_writes_nothing_and_its_parent_goes_on(directory):
    with phase("parent"):
        pid = os.fork()
        if pid == 0:
            try:
                with phase("child"):
                    mark("child")
                os._exit(0 if sessions.current is None else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        with phase("parent still"):
            pass
    assert phases(directory) == {"parent": [None], "parent still": ["parent"]}
    assert left_open(directory) == []


def test_without_exact_readings_marks_carry_time_alone(tmp_path):
    session = Session(str(tmp_path), exact=False)
    sessions.activate(session)
    with phase("a"):
        pass
    sessions.deactivate()
    session.close()
    assert all(m.rss == m.high == -1 for m in load_directory(tmp_path).marks)


def test_dense_marks_of_brief_phases_are_held_back_and_keep_their_order(tmp_path):
    session = sessions.Session(str(tmp_path), exact=True)
    session._now = count(session._now(), 10_000).__next__
    file = tmp_path / f"events.{session.pid}.jsonl"
    session._dry_until_ns = 1 << 62
    sessions.activate(session)
    outer = sessions.enter("outer")
    for _ in range(3):
        sessions.leave(sessions.enter("inner"))
    written = file.read_text().count("\n")
    sessions.leave(sessions.enter("inner"))
    assert file.read_text().count("\n") == written  # a known brief phase: held
    session.text("now")
    sessions.leave(outer)
    sessions.deactivate()
    session.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    times = [line["t"] for line in lines]
    assert times == sorted(times)
    assert sum(line["k"] == "b" for line in lines) == sum(line["k"] == "e" for line in lines) == 5
    assert all(line["up"] == outer.number for line in lines if line.get("p") == "inner")


def test_a_phase_that_took_long_before_is_written_as_it_begins_however_dense_marks_are(tmp_path):
    session = sessions.Session(str(tmp_path), exact=True)
    file = tmp_path / f"events.{session.pid}.jsonl"
    session._dry_until_ns = 1 << 62
    sessions.activate(session)
    sessions.leave(sessions.enter("step"))
    slow = sessions.enter("step")
    time.sleep(0.002)
    sessions.leave(slow)
    last = sessions.enter("step")
    assert file.read_text().splitlines()[-1].startswith('{"k":"b"')
    sessions.leave(last)
    sessions.deactivate()
    session.close()


def test_readings_stay_away_longer_where_marks_stay_dense_and_come_back_where_they_do_not(tmp_path):
    session = sessions.Session(str(tmp_path), exact=True)
    sessions.activate(session)
    clock = count(session._now(), 10_000)
    session._now = lambda: next(clock)

    def dry_for():
        while session._dry_until_ns <= session._now():
            sessions.leave(sessions.enter("step"))
        return session._dry_until_ns - session._now()

    def pass_time(ns):
        nonlocal clock
        clock = count(session._now() + ns, 10_000)

    seen = []
    for _ in range(6):
        seen.append(dry_for())
        pass_time(seen[-1])
    assert all(b > 1.9 * a for a, b in pairwise(seen[:4]))
    assert max(seen) <= sessions.DRY_AT_MOST_NS
    dry_for()
    slow = sessions.enter("validation")
    pass_time(sessions.DRY_NS)
    sessions.leave(slow)
    with phase("after"):
        pass
    sessions.deactivate()
    session.close()
    marks = {m.name: m for m in load_directory(tmp_path).marks if m.kind is Kind.BEGIN}
    assert marks["validation"].high < 0 < marks["after"].high


def test_a_slow_phase_among_brief_ones_keeps_the_pauses_of_readings_short(tmp_path):
    session = sessions.Session(str(tmp_path), exact=True)
    sessions.activate(session)
    now = session._now()
    session._now = lambda: now
    pauses = []
    for _ in range(120):
        slow = sessions.enter("slow")
        now += 2 * sessions.CALM_NS
        sessions.leave(slow)
        for _ in range(200):
            brief = sessions.enter("brief")
            now += 50_000
            sessions.leave(brief)
        pauses.append(session._dry_until_ns - session._refilled_ns)
    sessions.deactivate()
    session.close()
    assert 0 < max(pauses) <= sessions.DRY_NS
    marks = load_directory(tmp_path).marks
    read = {m.name for m in marks if m.kind is Kind.BEGIN and m.high > 0}
    assert read == {"slow", "brief"}
    slow_read = sum(m.high > 0 for m in marks if m.kind is Kind.BEGIN and m.name == "slow")
    assert slow_read > 4  # two of them before marks were dense


def test_what_is_held_back_is_not_written_twice_by_a_forked_child(tmp_path):
    session = sessions.Session(str(tmp_path), exact=True)
    session._now = count(session._now(), 10_000).__next__
    sessions.activate(session)
    session._dry_until_ns = 1 << 62
    for _ in range(3):
        sessions.leave(sessions.enter("step"))
    if (pid := os.fork()) == 0:
        os._exit(len(session._held))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    sessions.deactivate()
    session.close()
    text = (tmp_path / f"events.{session.pid}.jsonl").read_text()
    assert text.count('"k":"b"') == text.count('"k":"e"') == 3
