"""Changes random bytes of the golden recordings and reads them again: what breaks, and how often.

    python benchmarks/fuzz_reader.py 5000 [SEED]

Each round cuts, flips, inserts, deletes, repeats or zeroes bytes in one to three files, or removes
one. The reader must give a Recording that keeps its promises (tests/invariants.py) or a
TimelineError; anything else is printed with its seed, and the exit code is 1.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from invariants import check_invariants  # noqa: E402

from timeline.errors import TimelineError  # noqa: E402
from timeline.recording.reader import load_directory  # noqa: E402

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
        path = dice.choice(sorted(directory.iterdir()))
        if dice.random() < 0.05 and len(list(directory.iterdir())) > 1:
            path.unlink()
            continue
        content = path.read_bytes()
        for _ in range(dice.choice((1, 1, 1, 3, 20))):
            content = change(content, dice)
        path.write_bytes(content)
    try:
        recording = load_directory(directory)
    except TimelineError as error:
        if "\n" in str(error):
            raise ValueError("the error is more than a sentence") from error
        return type(error).__name__
    check_invariants(recording)
    return "read, with damage told" if recording.damage else "read, nothing to tell"


def main(rounds: int, first_seed: int) -> int:
    warnings.simplefilter("error")
    outcomes: Counter[str] = Counter()
    slowest, broken = 0.0, 0
    goldens = sorted((ROOT / "tests" / "data").glob("format-*.timeline"))
    with tempfile.TemporaryDirectory() as place:
        for seed in range(first_seed, first_seed + rounds):
            began = time.perf_counter()
            try:
                outcomes[one_round(goldens[seed % len(goldens)], Path(place, "x"), seed)] += 1
            except Exception:
                broken += 1
                print(f"seed {seed}:")
                traceback.print_exc(limit=-4, file=sys.stdout)
            slowest = max(slowest, time.perf_counter() - began)
    for outcome, count in outcomes.most_common():
        print(f"{count:8d}  {outcome}")
    print(f"{broken:8d}  broken; slowest round {slowest:.3f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    sys.exit(main(numbers[0] if numbers else 1000, numbers[1] if len(numbers) > 1 else 0))
