from __future__ import annotations

import json

import pytest
from invariants import check_invariants

from timeline.recording.format import LIMIT
from timeline.recording.reader import load_directory
from timeline.recording.types import UNKNOWN, Kind

BEGIN = '{"k":"b","i":0,"p":"load","th":7,"t":100,"d":3,"rss":50,"hwm":60}'
END = '{"k":"e","i":0,"t":200,"d":4,"rss":70,"hwm":90}'


def kinds(recording):
    return [(mark.kind, mark.t_ns, mark.name) for mark in recording.marks]


def test_a_phase_has_one_number_one_name_and_its_readings(load_lines):
    recording = load_lines(BEGIN, END)
    marks = recording.marks
    assert kinds(recording) == [(Kind.BEGIN, 100, "load"), (Kind.END, 200, "load")]
    assert marks.phase.tolist() == [0, 0]
    assert marks.begun_ns.tolist() == [97, 196]
    assert marks.rss.tolist() == [50, 70]
    assert marks.high.tolist() == [60, 90]
    assert marks.thread.tolist() == [7, 7]
    assert marks.unseen.tolist() == [0, 0]
    assert recording.damage == ()


def test_every_kind_of_line_is_read(golden):
    recording = load_directory(golden)
    assert recording.damage == ()
    assert recording.run.facts["torch"] == "2.14.1"
    assert recording.missing[-1] == "marks were too dense for readings of their own"
    assert recording.marks.details == {0: "ResNet"}
    names = [mark.name for mark in recording.marks if mark.kind == Kind.TEXT]
    assert names == ["learning rate ↓"]
    assert (recording.marks.kind == Kind.READING).sum() == 1


@pytest.mark.parametrize(
    ("written", "read"), [("1", LIMIT), ("2097152", 2 << 20), ("-5", 0), ('"1"', 0), ("true", 0)]
)
def test_what_grew_unseen_in_a_reading_is_visible(written, read, load_lines):
    recording = load_lines(BEGIN, END.replace('"hwm"', f'"x":{written},"hwm"'))
    assert recording.marks.unseen.tolist() == [0, read]
    assert recording.marks.high.tolist() == [60, 90]


def test_a_mark_with_time_alone_has_no_reading(load_lines):
    marks = load_lines('{"k":"b","i":0,"p":"x","t":100}', '{"k":"e","i":0,"t":101}').marks
    assert marks.rss.tolist() == marks.high.tolist() == [UNKNOWN, UNKNOWN]
    assert marks.begun_ns.tolist() == marks.t_ns.tolist() == [100, 101]


def test_lines_of_several_threads_come_in_the_order_of_time(load_lines):
    other = '{"k":"m","p":"between","th":8,"t":150}'
    late = '{"k":"m","p":"before","th":9,"t":90}'
    assert [m.t_ns for m in load_lines(BEGIN, END, other, late).marks] == [90, 100, 150, 200]


def test_the_phase_around_a_phase_is_known_by_its_number(load_lines):
    inner = '{"k":"b","i":5,"p":"inner","up":0,"th":7,"t":120}'
    lost = '{"k":"b","i":6,"p":"lost","up":77,"th":7,"t":130}'
    assert load_lines(BEGIN, inner, lost).marks.parent.tolist() == [UNKNOWN, 0, UNKNOWN]


def test_numbers_that_come_again_are_other_phases(load_lines):
    # A second session of the same process appends to the same file and may count from 0 again.
    again = [line.replace('"t":', '"t":9') for line in (BEGIN, END)]
    recording = load_lines(BEGIN, END, *again)
    assert recording.marks.phase.tolist() == [0, 0, 1, 1]
    check_invariants(recording)


def test_phases_of_two_processes_have_different_numbers(golden):
    marks = load_directory(golden).marks
    loads = [m for m in marks if m.name == "load"]
    assert [m.phase for m in loads] == [0, 0, 12, 12]


def test_readings_of_another_process_are_not_of_this_curve(golden, edit_json):
    loads = [m for m in load_directory(golden).marks if m.name == "load"]
    assert [m.rss >= 0 for m in loads] == [True, True, False, False]
    edit_json(golden / "meta.json", pid=1)  # no file is that process's: then all may be
    loads = [m for m in load_directory(golden).marks if m.name == "load"]
    assert all(m.rss >= 0 for m in loads)


def test_a_torn_last_line_is_dropped(load_lines):
    recording = load_lines(BEGIN, END[:-9], end=b"")
    assert kinds(recording) == [(Kind.BEGIN, 100, "load")]
    assert recording.damage == ("events.4711.jsonl: a torn last line was dropped",)


def test_a_whole_last_line_without_its_end_of_line_is_read(load_lines):
    recording = load_lines(BEGIN, END, end=b"")
    assert len(recording.marks) == 2
    assert recording.damage == ("events.4711.jsonl is cut: its last line has no end",)
    assert not recording.series["host.rss"].channel.exact
    assert recording.run.marks_until_ns == recording.marks.t_ns[-1] > 0


def test_where_marks_could_not_be_written_any_more_they_end(load_lines):
    assert load_lines(BEGIN, END).run.marks_until_ns == 0
    said = b'{"k":"missing","t":1234,"p":"marks end here: the disk is full"}'
    assert load_lines(BEGIN, said).run.marks_until_ns == 1234
    other = b'{"k":"missing","t":1234,"p":"marks carry time alone from here: gone"}'
    assert load_lines(BEGIN, other).run.marks_until_ns == 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00" * 50,
        b'{"k":"m","p":"\xff","t":150}',
        b'{"k":"m","p":"x","t":150',
        b'{"k":"m","p":"x","t":"150"}',
        b'{"k":"m","p":"x","t":1e400}',
        b'{"k":"m","p":"x","t":NaN}',
        b'{"k":"m","p":"x","t":true}',
        b'{"k":"m","p":"x","t":-5}',
        b'{"k":"m","p":"x","t":' + b"9" * 5000 + b"}",
        b'{"k":"m","p":"x","t":99999999999999999999}',
        b'{"k":"m","p":["x"],"t":150}',
        b'{"k":"m","t":150}',
        b'{"k":["m"],"p":"x","t":150}',
        b'{"k":"b","i":"0","p":"x","t":150}',
        b'{"k":"b","i":[],"p":"x","t":150}',
        b'{"k":"e","i":{},"t":150}',
        b'{"k":"fact","name":1,"value":"x","t":150}',
        b'{"k":"missing","p":null,"t":150}',
        b'{"p":"x","t":150}',
        b"[]",
        b"1,2",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"x"',
    ],
)
def test_a_line_that_cannot_be_costs_itself_alone(load_lines, line):
    recording = load_lines(BEGIN, line, END)
    assert kinds(recording) == [(Kind.BEGIN, 100, "load"), (Kind.END, 200, "load")]
    assert recording.damage == ("events.4711.jsonl: 1 line cannot be read: left out",)
    check_invariants(recording)


def test_a_line_of_a_later_kind_is_told(load_lines):
    recording = load_lines(BEGIN, '{"k":"tensor","t":150}', END)
    assert len(recording.marks) == 2
    assert "1 line is of a kind that this version does not know" in recording.damage[0]


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([END], []),
        ([BEGIN, END, END], [Kind.BEGIN, Kind.END]),
        ([BEGIN, END.replace("200", "99")], [Kind.BEGIN]),
        ([END, BEGIN], [Kind.BEGIN]),
    ],
)
def test_an_end_without_a_begin_before_it_is_left_out(load_lines, lines, left):
    recording = load_lines(*lines)
    assert [mark.kind for mark in recording.marks] == left
    assert "1 end of a phase has no beginning" in recording.damage[0]
    check_invariants(recording)


@pytest.mark.parametrize(
    ("found", "instead", "expected"),
    [
        ('"rss":50', '"rss":-50', (97, UNKNOWN, 60)),
        ('"rss":50', '"rss":70', (97, 70, UNKNOWN)),
        ('"rss":50', '"rss":null', (97, UNKNOWN, 60)),
        ('"hwm":60', '"hwm":9e9', (97, 50, UNKNOWN)),
        ('"hwm":60', '"hwm":99999999999999999999', (97, 50, UNKNOWN)),
        ('"d":3', '"d":-3', (100, 50, 60)),
        ('"d":3', '"d":3000', (100, 50, 60)),
        ('"d":3', '"d":[3]', (100, 50, 60)),
    ],
)
def test_a_reading_that_cannot_be_is_unknown(load_lines, found, instead, expected):
    recording = load_lines(BEGIN.replace(found, instead), END)
    marks = recording.marks
    assert (marks.begun_ns[0], marks.rss[0], marks.high[0]) == expected
    assert "1 reading cannot be right" in recording.damage[0]
    check_invariants(recording)


def test_texts_that_no_encoding_can_write_are_replaced(load_lines):
    lone = r'{"k":"b","i":0,"p":"\udc80","w":"\ud83d!","th":1,"t":100}'
    same = r'{"k":"m","p":"\udc81","th":1,"t":101}'
    pair = r'{"k":"m","p":"\ud83d\ude00","th":1,"t":102}'
    recording = load_lines(lone, same, pair)
    assert recording.marks.names == ("\ufffd", "😀")
    assert recording.marks.details == {0: "\ufffd!"}
    check_invariants(recording)


def test_many_lines_are_read_in_pieces(load_lines, monkeypatch):
    from timeline.recording import events

    monkeypatch.setattr(events, "_CHUNK_BYTES", 1000)
    lines = [json.dumps({"k": "m", "p": f"text {i}", "th": 1, "t": 100 + i}) for i in range(500)]
    lines[123] = lines[123][:-5]
    recording = load_lines(*lines)
    assert [m.name for m in recording.marks] == [f"text {i}" for i in range(500) if i != 123]
    assert recording.damage == ("events.4711.jsonl: 1 line cannot be read: left out",)


def columns(recording):
    """All that the marks say, as plain values."""
    marks = recording.marks
    names = [marks.names[i] if i >= 0 else None for i in marks.name.tolist()]
    plain = ("kind", "begun_ns", "t_ns", "phase", "parent", "thread", "rss", "high", "unseen")
    told = [getattr(marks, name).tolist() for name in plain]
    series = {
        name: (each.t_ns.tolist(), each.value.tolist(), each.high.tolist())
        for name, each in recording.series.items()
        if name.startswith("torch")
    }
    devices = {name: [c.tolist() for c in each] for name, each in marks.devices.items()}
    return told, names, marks.details, devices, series, recording.run, recording.damage


def both_ways(load_lines, lines):
    """The recording of these lines, read at once as the recorder writes them and one by one."""
    plain = [line if isinstance(line, str) else line.decode() for line in lines]
    at_once = load_lines(*plain)
    # A blank is no part of what the recorder writes, so that no shape is known of such lines.
    alone = load_lines(*(line.replace("{", "{ ", 1) for line in plain))
    assert columns(at_once) == columns(alone)
    return at_once


def spelled(**keys):
    return json.dumps(keys, separators=(",", ":"))


def test_many_lines_of_one_shape_are_read_as_each_alone(load_lines):
    lines = []
    for i in range(300):
        path = ("step/forward", "layer1.0.conv2", "größe 7", "2")[i % 4]
        t, size = 10**15 + i * 1000, (1 << 32) + i
        lines += [
            spelled(k="b", i=i, p=path, w=f"Conv{i % 3}d", up=max(i - 1, 0), th=2**46 + i, t=t,
                    d=i, rss=size, hwm=size + i % 2),
            spelled(k="m", p=f"loss 0.{i}", th=1, t=t + 1),
            spelled(k="d", t=t + 2, cuda={"0": [i, i] * 4 + [0, 0], "1": [1, 2] * 4 + [i, 0]}),
            spelled(k="r", t=t + 3, d=1, rss=5, hwm=6, x=i, cuda={"0": [9, i + 9] * 4 + [0, 0]}),
            spelled(k="e", i=i // 2, t=t + 4, d=2, rss=size, hwm=size),
        ]  # fmt: skip
    recording = both_ways(load_lines, lines)
    assert recording.marks.phases == 300
    assert recording.marks.details[4] == "Conv1d"
    assert (recording.marks.kind == Kind.END).sum() == 150
    check_invariants(recording)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (r"a\"7", 'a"7'), (r"a\\", "a\\"), (r"\u00e97", "é7"), (r"{7,", "{7,"), ("\\u0030", "0"),
        (r"7\\\"8\",\"t\":9", '7\\"8","t":9'), ("", ""), ("0", "0"), ("00", "00"),
    ],
)  # fmt: skip
def test_a_name_is_never_taken_for_a_number_nor_a_number_for_a_name(load_lines, name, said):
    lines = [f'{{"k":"m","p":"{name}","th":{i},"t":{100 + i}}}' for i in range(20)]
    recording = both_ways(load_lines, lines)
    assert {mark.name for mark in recording.marks} == {said}
    assert recording.marks.thread.tolist() == list(range(20))
    assert recording.damage == ()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0", 0), ("7", 7), ("12345678", 12345678), ("123456789", 123456789),
        ("9" * 12, 10**12 - 1), ("70368744177664", 1 << 46), ("00", None), ("007", None),
        ("-0", 0), ("-1", -1), ("1.0", -1), ("1e3", -1), ("9" * 18, -1), ("9" * 19, -1),
        ("9" * 25, -1), ("true", -1), ("null", -1), ('"7"', -1), ("+7", None), ("7 ", 7),
    ],
)  # fmt: skip
def test_a_number_is_what_json_says_it_is(load_lines, written, read):
    lines = [f'{{"k":"r","t":{100 + i},"d":1,"rss":{written},"hwm":-1}}' for i in range(20)]
    lines.append('{"k":"r","t":99}')
    marks = both_ways(load_lines, lines).marks
    assert marks.rss.tolist() == [-1, *([] if read is None else [read] * 20)]


def test_a_line_with_a_quote_too_many_does_not_touch_the_next(load_lines):
    lines = [spelled(k="m", p=f"at {i}", th=i, t=100 + i) for i in range(20)]
    lines[10] = lines[10].replace("at", '"')
    recording = load_lines(*lines)
    assert [m.name for m in recording.marks] == [f"at {i}" for i in range(20) if i != 10]
    assert recording.damage == ("events.4711.jsonl: 1 line cannot be read: left out",)


def test_the_last_look_at_a_gpu_counts_though_another_process_has_marks_too(golden):
    figures = [7, 9] * 4 + [0, 0]
    mine, others = golden / "events.4711.jsonl", golden / "events.4720.jsonl"
    last = int(json.loads(mine.read_bytes().splitlines()[-1])["t"])
    with mine.open("a") as file:
        file.write(spelled(k="r", t=last + 5, d=1, rss=5, hwm=6, cuda={"0": figures}) + "\n")
        file.write(spelled(k="d", t=last + 9, cuda={"0": [30, 40] * 4 + [0, 0]}) + "\n")
    assert others.exists()
    recording = load_directory(golden)
    value, high = recording.marks.devices["torch.cuda0.allocated"]
    assert (value.max(), high.max()) == (30, 40)
    check_invariants(recording)


def test_only_the_named_files_are_marks(golden):
    (golden / "events.x.jsonl").write_text("{}")
    (golden / "events.-1.jsonl").write_text("{}")
    (golden / "events.².jsonl").write_text("{}")
    assert load_directory(golden).damage == ()
