"""Estimates held against what was measured on real GPUs.

  make bench-estimate
  python benchmarks/estimate.py [--truth ../shared/groundtruth] [--kind CNN] [--peers] [--jobs 2]

Every row is followed anew; nothing is kept from an earlier run. Without the ground truth there is
nothing to compare with, and that is said; so is another transformers than the rows ran with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from estimates.figures import merit, without_repeats
from estimates.versions import other_library

HERE = Path(__file__).resolve().parent

MiB = 1 << 20

KERNELS = 18 * MiB
"""What is loaded after NVML's first sample, by groundtruth/xmem_workload.md: 14 to 26 MiB."""

UNKNOWN_MODE = {"CNN": 1, "Transformer": 2}
"""Where zero_grad stands in the rows of generation A, which do not say it. In xMem's code of that
time (exp/run.py writes no mode; exp/trainer at 5aad72f) the trainer's default is 1 and nobody
changes it, and the transformers' loop ends with it whatever the mode."""

FIRST_SAMPLE = ((0.5, "half"), (1, "all"))
"""How much of a CNN may have been on the card already at NVML's first sample, which is taken off
the others. In xMem's code a thread begins to sample, and the CNNs' loop moves the model at once
(the transformers' waits two seconds): where in that move the first sample falls is not known. The
figures of merit take the rows as published, and none for granted; lines of their own have these."""

LOOKED_AT = {
    26: "no rule follows it", 38: "no rule follows it", 33: "workspaces", 37: "workspaces",
    60: "workspaces", 62: "workspaces",
    **dict.fromkeys((9, 14, 17, 127, 130, 138, 142, 214, 215, 225, 226, 227, 228),
                    "the first sample"),
    66: "the card's end", 67: "the card's end", 71: "the card's end", 156: "the size of a context",
    184: "the configuration", 187: "the configuration", 188: "the configuration",
    189: "the configuration", 194: "foreach of Adafactor", 195: "foreach of Adafactor",
    202: "the length of its texts", 207: "the length of its texts",
}  # fmt: skip
"""Rows that were looked into while the rules were written, and for what."""


def estimate_row(row, peers, ask_cudnn):
    from estimates import xmem

    from timeline.theory.cuda.cards import context
    from timeline.theory.predicting import predict

    started = time.perf_counter()
    mode = UNKNOWN_MODE[row.kind] if row.mode is None else row.mode
    tape = xmem.follow(row, mode, ask_cudnn=ask_cudnn)
    made = predict(tape, title=row.model, card=row.gpu, steps=xmem.STEPS)
    room = row.capacity - context(row.gpu).low
    if made.peak_reserved > room:
        made = predict(tape, title=row.model, card=row.gpu, steps=xmem.STEPS, capacity=room)
    took = time.perf_counter() - started
    model = sum(s.amount.expected for s in tape.storages if s.category in ("parameter", "buffer"))
    found = {
        "number": row.number,
        "model": model,
        "estimated": made.peak_reserved + KERNELS,
        "low": made.reserved.low,
        "high": made.reserved.high + 2 * KERNELS,
        "fits": made.fits,
        "seconds": took,
    }
    if peers:
        found |= xmem.peers(row)
    return found


def read(path, kind, every):
    from estimates import xmem

    rows = [row for row in xmem.rows(path) if kind in (None, row.kind)][::every]
    different = {}
    for row in rows:
        different.setdefault(row.key, row)
    return rows, list(different.values())


def report(rows, by_key, peers):
    heads = f"{'row':>4} {'workload':<46} {'card':<9} {'measured':>9} {'estimated':>9} {'error':>8}"
    print(f"{heads}  {'low':>7} {'high':>7}  marks")
    for row in rows:
        made = by_key[row.key]
        name = f"{row.model.split('/')[-1]} {row.optimizer} x{row.batch}"
        mode = "-" if row.mode is None else row.mode
        name += f" {row.generation}{mode}"
        marks = []
        if row.out_of_memory:
            verdict = "wrong" if made["fits"] else "right"
            marks.append(f"out of memory: said {'yes' if not made['fits'] else 'no'}, {verdict}")
        elif not made["fits"]:
            marks.append("said not to fit, and did: wrong")
        if row.number in LOOKED_AT:
            marks.append(f"looked at for {LOOKED_AT[row.number]}")
        error = made["estimated"] / row.measured - 1
        shown = f"{error:+8.2%}" if not row.out_of_memory else f"{'':8}"
        print(
            f"{row.number:>4} {name:<46} {row.gpu.name:<9} {row.measured / MiB:9.0f} "
            f"{made['estimated'] / MiB:9.0f} {shown}  {made['low'] / MiB:7.0f} "
            f"{made['high'] / MiB:7.0f}  {'; '.join(marks)}"
        )
    print()
    every, (rows, repeats) = rows, without_repeats(rows)
    left_out = ", ".join(str(each.number) for each in repeats)
    if repeats:
        print(f"{len(repeats)} rows repeat another to the byte and count once: {left_out}")
    print("p95 by numpy.percentile, between two rows; rank is p95 by nearest rank, a row's own")
    groups = {
        "CNN, generation B": [r for r in rows if r.kind == "CNN" and r.generation == "B"],
        "CNN, both generations": [r for r in rows if r.kind == "CNN"],
        "Transformer, generation B": [r for r in rows if r.kind != "CNN" and r.generation == "B"],
        "Transformer, both": [r for r in rows if r.kind != "CNN"],
        "all": rows,
        "rows not looked into": [r for r in rows if r.number not in LOOKED_AT],
        **{
            f"on {card}": [r for r in rows if r.gpu.name == card]
            for card in sorted({r.gpu.name for r in rows})
        },
        "rows of even number": [r for r in rows if r.number % 2 == 0],
        "rows of odd number": [r for r in rows if r.number % 2],
    }
    print(f"{'':28}{'rows':>5}{'median':>8}{'p95':>8}{'rank':>8}  {'the three worst':<23}"
          f"{'under':>7}{'>= low':>8}{'<= high':>8}{'width':>7}")  # fmt: skip
    for name, chosen in groups.items():
        ended = [r for r in chosen if not r.out_of_memory]
        if ended:
            _line(name, [(by_key[r.key], r.measured) for r in ended])
    chosen = [r for r in rows if r.kind == "CNN" and not r.out_of_memory]
    for share, name in FIRST_SAMPLE if chosen else ():
        pairs = []
        for row in chosen:
            made = by_key[row.key]
            pairs.append(({"estimated": made["estimated"] - share * made["model"]}, row.measured))
        _line(f"CNN, {name} at first sample", pairs)
    for peer in ("xmem", *(("mem_tracker", "torchinfo", "accelerate") if peers else ())):
        for kind in ("CNN", "Transformer"):
            pairs = []
            for row in rows:
                said = row.xmem if peer == "xmem" else by_key[row.key].get(peer)
                if said and row.kind == kind and not row.out_of_memory:
                    pairs.append(({"estimated": said}, row.measured))
            if pairs:
                _line(f"{peer}, {kind}", pairs)
    asked = [r for r in every if r.out_of_memory]
    right = sum(not by_key[r.key]["fits"] for r in asked)
    fit = [r for r in every if not r.out_of_memory]
    kept = sum(by_key[r.key]["fits"] for r in fit)
    print(f"\nfits or not: {right} of {len(asked)} that ran out, {kept} of {len(fit)} that did not")
    seconds = [made["seconds"] for made in by_key.values()]
    print(f"seconds a row: median {statistics.median(seconds):.1f}, longest {max(seconds):.1f}")


def _line(name, pairs):
    found = merit([made["estimated"] / measured - 1 for made, measured in pairs])
    worst = " ".join(f"{each:7.2%}" for each in found.worst)
    text = (
        f"{name:<28}{found.rows:>5}{found.median:>8.2%}{found.p95:>8.2%}{found.rank:>8.2%}"
        f"  {worst:<23}{found.under:>7.0%}"
    )
    if "low" in pairs[0][0]:
        low = sum(measured >= made["low"] for made, measured in pairs) / len(pairs)
        high = sum(measured <= made["high"] for made, measured in pairs) / len(pairs)
        width = statistics.median((m["high"] - m["low"]) / measured for m, measured in pairs)
        text += f"{low:>8.0%}{high:>8.0%}{width:>7.0%}"
    print(text)


TRANSFORMERS = {
    (128, "fp32"): (7_021_691_392, 7_235_174_400),
    (512, "bf16"): (12_435_476_996, 12_660_506_624),
}
"""groundtruth/README.md: peaks of allocated and of reserved bytes."""


def two_transformers():
    from estimates.transformer import follow

    from timeline.theory.estimating import platform_of
    from timeline.theory.predicting import predict

    platform = platform_of("a100-40gb")
    for (context, precision), (allocated, reserved) in TRANSFORMERS.items():
        started = time.perf_counter()
        tape = follow(context, precision, platform)
        made = predict(tape, title="transformer", card=platform.card, steps=2)
        a, r = made.peak_allocated, made.peak_reserved
        print(
            f"transformer of 424M, {context} tokens, {precision}: "
            f"allocated {a:,} for {allocated:,} ({a / allocated - 1:+.2%}), "
            f"reserved {r:,} for {reserved:,} ({r / reserved - 1:+.2%}); "
            f"{time.perf_counter() - started:.1f} s",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, default=HERE.parent.parent / "shared/groundtruth")
    parser.add_argument("--kind", choices=("CNN", "Transformer"))
    parser.add_argument("--peers", action="store_true", help="also what others say; slower")
    parser.add_argument("--ask-cudnn", action="store_true", help="for the workspaces; see docs")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth row alone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="keep what was found")
    options = parser.parse_args()
    other = other_library() if options.kind != "CNN" else ""
    if other:
        print(other, flush=True)
    table = options.truth / "xmem_dev.csv"
    if options.kind is None:
        two_transformers()
    if not table.exists():
        sys.exit(f"there is no ground truth at {options.truth}: give --truth")
    rows, different = read(table, options.kind, options.every)
    started = time.perf_counter()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        asked = [options.peers] * len(different), [options.ask_cudnn] * len(different)
        made = []
        for found in pool.map(estimate_row, different, *asked):
            made.append(found)
            done = f"{len(made)} of {len(different)} rows, {time.perf_counter() - started:.0f} s"
            print(done, end="\r", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(made))
    by_key = {row.key: found for row, found in zip(different, made, strict=True)}
    print()
    report(rows, by_key, options.peers)
    if other:
        print(other)
    print(f"{time.perf_counter() - started:.0f} s in {options.jobs} processes")


if __name__ == "__main__":
    main()
