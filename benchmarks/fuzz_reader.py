"""Changes random bytes of recordings and snapshots and reads them again: what breaks, how often.

    python benchmarks/fuzz_reader.py 100000 [SEED]

Each round cuts, flips, inserts, deletes, repeats or zeroes bytes in one to three files of a run
directory (with children, GPUs, limits, a weighed step; or of three ranks), or removes one; every
third round takes a CUDA memory snapshot instead, and may put instructions into it that would run
something. Reader, analysis, table and document, and now and then the picture and the page, must
give what keeps the promises of tests/invariants.py or a TimelineError. Anything else is printed
with its seed, as are a round of more than 20 s, an attempt to run or import something, and a memory
that grows past 1 GiB; then the exit code is 1.
"""

from __future__ import annotations

import pickle  # noqa: TID251 - to write what is to be read
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fuzz_goldens import (  # noqa: E402
    of_ranks,
    snapshots,
    with_children,
    with_devices,
    with_surroundings,
)
from invariants import check_invariants  # noqa: E402

from timeline.analysis.analyze import analyze  # noqa: E402
from timeline.analysis.ranks import analyze_ranks  # noqa: E402
from timeline.errors import TimelineError  # noqa: E402
from timeline.interchange import cuda_snapshot  # noqa: E402
from timeline.recording.group import find_group  # noqa: E402
from timeline.recording.reader import load_directory  # noqa: E402
from timeline.recording.types import Recording  # noqa: E402
from timeline.views import (  # noqa: E402
    html,
    png,
    ranks_html,
    ranks_json,
    ranks_text,
)
from timeline.views import json as json_view  # noqa: E402
from timeline.views import text as text_view  # noqa: E402

LONGEST_S = 20
PICTURES = 1 / 200
"""How many rounds go on to the picture and the page, which take a second."""
MOST_MEMORY = 1 << 30
RUNS = ("exec", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen",
        "pickle.find_class", "import", "compile", "socket.connect", "ctypes.dlopen")  # fmt: skip
"""Audit events of what a file that is only read must not bring about."""
HOSTILE = (
    b"cos\nsystem\n(S'true'\ntR.", b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    b"(i__main__\nX\n.", b"cbuiltins\nexec\n(S'1'\ntR", b"\x82\x01", b"P1\n.",
    b"\x95" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f", b"\x8a\xff" + b"\x7f" * 255,
    b"r\xff\xff\xff\x7f", b"(" * 5000, b"]" * 5000, b"}" * 5000 + b"s" * 4000,
    b"\x96" + b"\xff" * 7 + b"\x7f", b"\x94" * 3000, b"h\x00" * 2000 + b"t",
)  # fmt: skip
ODD = (0, -1, 1, 1 << 20, 1 << 40, (1 << 63) - 1, 1 << 63, 1 << 300, 1.5, float("nan"), True, None,
       "", "alloc", "free_completed", "segment_free", "oom", "x" * 5000, b"", ())  # fmt: skip
watched = False

SPECIAL = [b"\x00", b"\xff", b"\n", b'"', b"{", b"}", b"[" * 3000, b"9" * 5000, b"-", b"NaN", b"e9"]


def change(content: bytes, dice: random.Random) -> bytes:
    """The bytes with one change."""
    at = dice.randrange(len(content) + 1)
    much = min(dice.choice((1, 1, 2, 8, 32, 300)), len(content) - at)
    end = at + much
    kind = dice.randrange(7)
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytes(byte ^ (1 << dice.randrange(8)) for byte in content[at:end])
        return content[:at] + flipped + content[end:]
    if kind == 2:
        return content[:at] + dice.randbytes(much) + content[at:]
    if kind == 3:
        return content[:at] + content[end:]
    if kind == 4:
        return content[:at] + content[at:end] * 2 + content[end:]
    if kind == 5:
        return content[:at] + bytes(much) + content[end:]
    return content[:at] + dice.choice(SPECIAL) + content[at:]


def one_round(golden: Path, directory: Path, seed: int) -> str:
    """Damage a copy and read it. Returns what came of it; raises what should not have come."""
    dice = random.Random(seed)
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(golden, directory)
    for _ in range(dice.randint(1, 3)):
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        path = dice.choice(files)
        if dice.random() < 0.05 and len(files) > 1:
            path.unlink()
            continue
        content = path.read_bytes()
        for _ in range(dice.choice((1, 1, 1, 3, 20))):
            content = change(content, dice)
        path.write_bytes(content)
    group = find_group(directory)
    return look_at_ranks(directory, dice) if group else look(load_directory, directory, dice)


def look_at_ranks(path: Path, dice: random.Random) -> str:
    """Read all ranks. Returns what came of it."""
    group = find_group(path)
    assert group is not None
    try:
        analysis = analyze_ranks(group)
    except TimelineError as error:
        if "\n" in str(error):
            raise ValueError("the error is more than a sentence") from error
        return f"ranks: {type(error).__name__}"
    ranks_text.render(analysis, width=dice.choice((40, 80, 200)))
    ranks_json.render(analysis)
    if dice.random() < PICTURES:
        ranks_html.render(analysis)
        png.write(analysis, path.with_suffix(".png"))
    return "ranks: read, with damage told" if analysis.notes else "ranks: read, nothing to tell"


def look(load: Callable[[Path], Recording], path: Path, dice: random.Random) -> str:
    """Read and analyse what is there. Returns what came of it."""
    global watched
    watched = True
    try:
        recording = load(path)
    except TimelineError as error:
        if "\n" in str(error):
            raise ValueError("the error is more than a sentence") from error
        return f"{path.suffix[1:]}: {type(error).__name__}"
    finally:
        watched = False
    check_invariants(recording)
    analysis = analyze(recording)
    text_view.render(analysis, width=dice.choice((40, 80, 200)))
    json_view.render(analysis)
    if dice.random() < PICTURES:
        html.render(analysis)
        png.write(analysis, path.with_suffix(".png"))
    told = "with damage told" if recording.damage else "nothing to tell"
    return f"{path.suffix[1:]}: read, {told}"


def one_snapshot(golden: bytes, path: Path, seed: int) -> str:
    """Damage a snapshot and read it."""
    dice = random.Random(seed)
    content = golden
    if dice.random() < 0.5:
        found = pickle.loads(golden)
        for _ in range(dice.choice((0, 1, 1, 2, 10))):
            twist(found, dice)
        content = pickle.dumps(found, dice.choice((2, 3, 4, 5)))
    else:
        for _ in range(dice.choice((1, 1, 2, 10))):
            content = change(content, dice)
    if dice.random() < 0.3:
        at = dice.randrange(2, len(content) + 1) if len(content) > 2 else 0
        content = content[:at] + dice.choice(HOSTILE) + content[at:]
    path.write_bytes(content)
    return look(cuda_snapshot.read, path, dice)


def twist(value: Any, dice: random.Random) -> None:
    """Put something else in the place of one value, however deep."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = dice.choice(keys)
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and dice.random() < 0.85:
            value = inner
        elif dice.random() < 0.2:
            del value[key]
            return
        else:
            value[key] = dice.choice(ODD)
            return


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """Stop what a file that is read must not do."""
    if watched and event in RUNS and not _is_ours(event, arguments):
        raise RuntimeError(f"reading brought about {event}")


def _is_ours(event: str, arguments: tuple[object, ...]) -> bool:
    # Of the library alone, which imports and compiles some of itself at its first use.
    if event == "import":
        return True
    return event in ("exec", "compile") and "timeline-fuzz" not in repr(arguments)


def too_long(number: int, frame: object) -> None:
    """A round does not end."""
    raise TimeoutError(f"more than {LONGEST_S} s")


def high_water() -> int:
    """Bytes; not ``ru_maxrss``, which begins with the size of whoever started this program."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split(None, 1)[0]) << 10


def main(rounds: int, first_seed: int) -> int:
    warnings.simplefilter("error")
    outcomes: Counter[str] = Counter()
    slowest, broken = 0.0, 0
    goldens = sorted((ROOT / "tests" / "data").glob("format-*.timeline"))
    pickles = snapshots()
    real = ROOT.parent / "shared/groundtruth/snapshots/silmont_cs336_mem_snapshot.pickle"
    pickles += [real.read_bytes()] if real.is_file() else []
    sys.addaudithook(audit)
    signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory(prefix="timeline-fuzz-") as place:
        newest = goldens[-1]
        goldens += [
            make(newest, Path(place, f"{make.__name__}.timeline"))
            for make in (with_surroundings, with_devices, with_children)
        ]
        goldens.append(of_ranks(Path(place, "of_ranks.timeline")))
        for seed in range(first_seed, first_seed + rounds):
            began = time.perf_counter()
            signal.alarm(LONGEST_S)
            try:
                if seed % 3 == 2:
                    taken = pickles[seed // 3 % len(pickles)]
                    outcome = one_snapshot(taken, Path(place, "x.pickle"), seed)
                else:
                    taken = goldens[seed % len(goldens)]
                    outcome = one_round(taken, Path(place, "x.timeline"), seed)
                outcomes[outcome] += 1
            except Exception:
                broken += 1
                print(f"seed {seed}:")
                traceback.print_exc(limit=-4, file=sys.stdout)
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - began)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:8d}  {outcome}")
    most = high_water()
    print(f"{broken:8d}  broken of {rounds}; slowest round {slowest:.3f} s; peak {most >> 20} MiB")
    return 1 if broken or most > MOST_MEMORY else 0


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    sys.exit(main(numbers[0] if numbers else 1000, numbers[1] if len(numbers) > 1 else 0))
