"""The parts of a peak: what each is called, and its colour, the same in every view."""

from __future__ import annotations

from timeline.analysis.anatomy import Anatomized
from timeline.analysis.composition import Composition, Part
from timeline.analysis.types import Analysis
from timeline.units import format_bytes
from timeline.views.palette import Theme
from timeline.views.table import host_of, where_outside

LABELS = {
    "before_model": "before the model",
    "parameter": "parameters",
    "buffer": "buffers",
    "gradient": "gradients",
    "optimizer_state": "optimizer state",
    "activation": "activations",
    "input": "inputs",
    "temporary": "temporaries",
    "inside_kernels": "inside kernels",
    "imported": "imported modules",
    "mapped_files": "library code and files",
    "kept_by_malloc": "kept by malloc",
    "untouched": "less what was never written",
    "unexplained": "unexplained",
}
"""By category; ``before_model`` is the interpreter and the libraries."""

# Of tensors those of torch's own memory timeline (torch.profiler._memory_profiler), which has none
# for buffers and whose black is not seen on dark paper.
_COLORS = {
    "before_model": ("#b3b8c2", "#565d6b"),
    "parameter": ("#006400", "#2e8b2e"),
    "buffer": ("#6b9e6b", "#8fbf8f"),
    "gradient": ("#0000cd", "#5a6cff"),
    "optimizer_state": ("#daa520", "#daa520"),
    "activation": ("#e31a1c", "#ff4d4d"),
    "input": ("#1f2430", "#e6e8ee"),
    "temporary": ("#9370db", "#a98be8"),
    "inside_kernels": ("#c3aef0", "#d6c8f7"),
    "imported": ("#8fa3b8", "#6f8296"),
    "mapped_files": ("#7a7f8c", "#868ea0"),
    "kept_by_malloc": ("#c8b08a", "#a08c68"),
    "untouched": ("#d9dce2", "#3f4552"),
    "unexplained": ("#ff5fb7", "#ff7fc6"),
}


def colors(theme: Theme) -> dict[str, str]:
    """The colour of each part, ``#rrggbb``."""
    return {name: pair[theme == "dark"] for name, pair in _COLORS.items()}


def at_the_peak(analysis: Analysis, anatomy: Anatomized) -> Composition | None:
    """The composition to show first: of the phase that the run peaked in, else the highest."""
    host = host_of(analysis)
    found = anatomy.of(host.peak_phase) if host is not None else None
    return found or max(anatomy.phases, key=lambda each: each.peak, default=None)


def stack(composition: Composition) -> list[tuple[str, int, int]]:
    """(category, from, to) in bytes, one upon the other; what is negative or unknown has none."""
    out, low = [], 0
    for part in composition.parts:
        size = part.measured or 0
        if size > 0:
            out.append((part.category, low, low + size))
            low += size
    return out


def share_unexplained(composition: Composition) -> float | None:
    """What of the growth over the time before the model is unexplained, to a thousandth.

    Under 0 where the parts add up to more than the peak.
    """
    left = composition["unexplained"].measured
    if left is None or composition.grown <= 0:
        return None
    return round(left / composition.grown, 3) + 0.0  # and no -0.0


def to_be_lowered(analysis: Analysis, anatomy: Anatomized) -> str:
    """The peak that advice is about, as the end of a sentence; empty without any advice."""
    told = anatomy.advised
    if told is None:
        return ""
    named = f"the peak of tensors in {which(anatomy)}, {format_bytes(told.peak)} in {told.path}"
    host = host_of(analysis)
    if host is None or anatomy.of(host.peak_phase) is not None:
        return named
    # Nothing of the weighed step was there when memory was highest, or not as far as is known.
    where = f"in {host.peak_phase}" if host.peak_phase else where_outside(analysis, host)
    return f"{named} (the run's own peak is {where})"


def how_to_lower_it(anatomy: Anatomized) -> str:
    """What tells of changes that a recording does not; empty where it tells of all.

    A recording has no model to change and weigh anew: that takes a function that makes it.
    """
    told = anatomy.advised
    if not anatomy.weighed.step or not anatomy.weighed.trained:
        return ""
    if told is not None and told.advice:
        if not told.untried:
            return ""
        return (
            f"not tried: {', '.join(told.untried)}; `timeline breakdown ... --advice` does, given "
            "a function that makes the model"
        )
    return (
        "what would lower a step's peak, each change with its figure, is told by `timeline "
        "breakdown MODULE:FUNCTION --input SIZES --batch N --optimizer NAME --advice`, where "
        "FUNCTION makes this model"
    )


def why_not_advised(anatomy: Anatomized) -> str:
    """Why the recording has no advice, as a sentence; empty where it has, or none is to be had."""
    if anatomy.advised is not None or not anatomy.unadvised:
        return ""
    return f"what would lower the peak is not told: {anatomy.unadvised}"


def has_row(part: Part) -> bool:
    """Whether a part has anything to tell; two are shown even where they are nothing."""
    return bool(part.measured or part.estimated) or part.category in ("unexplained", "activation")


def which(anatomy: Anatomized) -> str:
    """What was weighed, such as ``step 2``."""
    return f"step {anatomy.weighed.step}" if anatomy.weighed.step else "the first call"
