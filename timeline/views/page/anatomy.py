"""What the peaks are made of, on the page: a bar beside the curve, a table, and the layers."""

from __future__ import annotations

from timeline.analysis.anatomy import Anatomized
from timeline.analysis.composition import Composition
from timeline.analysis.types import Analysis
from timeline.recording.anatomy import WeighedLayer
from timeline.theory.types import Advice
from timeline.units import format_bytes
from timeline.views.advice_text import NOT_FOR_TRAINING
from timeline.views.page.words import escaped
from timeline.views.parts import (
    LABELS,
    at_the_peak,
    colors,
    has_row,
    how_to_lower_it,
    share_unexplained,
    stack,
    to_be_lowered,
    which,
    why_not_advised,
)
from timeline.views.tensors import tensor

_WHY = {
    "before_model": "The interpreter, libraries, and what was there before the first model",
    "parameter": "The storages of all models' parameters; tied weights count once",
    "buffer": "The storages of all models' buffers",
    "gradient": "What is in .grad",
    "optimizer_state": "What the optimizers keep between steps",
    "activation": "What is saved for backward and is none of the others",
    "input": "Tensors that models and losses were called with",
    "temporary": "What torch's allocator gave beyond these",
    "inside_kernels": "Buffers that kernels took for themselves, and gave back",
    "imported": "What importing modules took since, beside the pages of their libraries",
    "mapped_files": "Pages of libraries and other files that came in since",
    "kept_by_malloc": "Given back by the program, and kept from the system by the C library",
    "untouched": "What the others have of memory that nothing was written to: it is not resident",
    "unexplained": "What is left of the measured peak; spread over none of the others",
}

_HEADINGS = (
    ("Layer", "The qualified name; in the order of the model"),
    ("Kind", "Its class"),
    ("Output", "Dtype and shape of what its last call returned; sorted by its bytes"),
    ("Parameters", "How many numbers its own parameters have"),
    ("Weights", "Bytes of its own parameters and buffers"),
    ("Gradients", "Bytes of its own parameters' gradients"),
    ("Saved", "Bytes that it was the first to save for backward"),
    ("Calls", "How often it was called in the step"),
)


def beside(analysis: Analysis) -> str:
    """The bars that stand beside the curve, one for each weighed phase; nothing without any."""
    anatomy = analysis.anatomy
    if anatomy is None or not anatomy.phases:
        return ""
    first = at_the_peak(analysis, anatomy)
    blocks = "".join(_bar(each, analysis, each is first) for each in anatomy.phases)
    return f'<aside id="parts" aria-label="What the peak is made of">{blocks}</aside>'


def sections(analysis: Analysis) -> str:
    """The table of parts and that of the layers; nothing where no step was weighed."""
    anatomy = analysis.anatomy
    if anatomy is None or not anatomy.phases:
        return ""
    return _parts(analysis, anatomy) + _advice(analysis, anatomy) + _layers(anatomy)


def _number(analysis: Analysis, path: str) -> int:
    paths = analysis.instances.paths
    return paths.index(path) if path in paths else -1


def _attributes(each: Composition, analysis: Analysis, shown: bool) -> str:
    hidden = "" if shown else " hidden"
    first = " data-first" if shown else ""
    return f'data-path="{_number(analysis, each.path)}"{first}{hidden}'


def _color(category: str) -> str:
    return f"light-dark({colors('light')[category]},{colors('dark')[category]})"


def _bar(each: Composition, analysis: Analysis, shown: bool) -> str:
    pieces = "".join(
        f'<i data-low="{low}" data-high="{high}" style="background:{_color(name)}" '
        f'title="{LABELS[name]}: {format_bytes(high - low)}"></i>'
        for name, low, high in stack(each)
    )
    lines = "".join(
        f'<li><i style="background:{_color(part.category)}"></i>{LABELS[part.category]}'
        f"<b>{format_bytes(part.measured)}</b></li>"
        for part in reversed(each.parts)
        if part.measured
    )
    return (
        f'<div class="parts" {_attributes(each, analysis, shown)}>'
        f'<div class="stack">{pieces}</div><div class="told">'
        f"<p>Peak of <bdi>{escaped(each.path)}</bdi></p><ul>{lines}</ul></div></div>"
    )


def _parts(analysis: Analysis, anatomy: Anatomized) -> str:
    first = at_the_peak(analysis, anatomy)
    blocks = "".join(_table(each, analysis, each is first) for each in anatomy.phases)
    weighed = anatomy.weighed
    notes = [*anatomy.notes, *(f"not weighed: {each}" for each in weighed.not_counted)]
    if anatomy.advised is None or not anatomy.advised.advice:
        notes += filter(None, [why_not_advised(anatomy), how_to_lower_it(anatomy)])
    told = "".join(f'<p class="note">{escaped(each)}</p>' for each in notes)
    told = f'<div class="notes">{told}</div>' if told else ""
    return (
        '<section class="card" id="anatomy" aria-label="What the peaks are made of">'
        "<h2>What the peaks are made of</h2>"
        f'<p class="hint">As weighed in {which(anatomy)}. Click a phase, in its lane or in the '
        "table of phases, to see its own.</p>"
        f'<div class="apart"><div>{blocks}</div>{told}</div></section>'
    )


def _table(each: Composition, analysis: Analysis, shown: bool) -> str:
    rows = ""
    for part in each.parts:
        if not has_row(part) and part.measured is not None:
            continue
        rows += (
            f'<tr title="{_WHY[part.category]}"><td class="name"><span>'
            f'<i style="background:{_color(part.category)}"></i>{LABELS[part.category]}</span></td>'
            f"<td>{_size(part.estimated)}</td><td>{_size(part.measured, 'not known')}</td>"
            f"<td>{_size(part.residual, signed=True)}</td></tr>"
        )
    share = share_unexplained(each)
    left = (
        f"Unexplained is {100 * share:.1f} % of what it grew by since before the model."
        if share is not None
        else ""
    )
    if each.unweighed > 0:
        left += (
            f" {format_bytes(each.unweighed)} of it: another step went so much higher than the one "
            "that was weighed."
        )
    return (
        f'<div class="parts" {_attributes(each, analysis, shown)}>'
        f"<h3><bdi>{escaped(each.path)}</bdi> {escaped(each.what)}</h3>"
        '<table class="composition"><thead><tr><th scope="col">Part</th>'
        '<th scope="col">Estimated</th><th scope="col">Measured</th><th scope="col">Residual</th>'
        f"</tr></thead><tbody>{rows}</tbody><tfoot><tr><td>Peak</td><td></td>"
        f"<td>{format_bytes(each.peak)}</td><td></td></tr></tfoot></table>"
        f'<p class="hint">{left}</p></div>'
    )


def _size(size: int | None, unknown: str = "", *, signed: bool = False) -> str:
    return unknown if size is None else format_bytes(size, signed=signed)


def _advice(analysis: Analysis, anatomy: Anatomized) -> str:
    told = anatomy.advised
    if told is None or not told.advice:
        return ""
    rows = "".join(
        f"<tr{_faint(each)}><td>{format_bytes(each.saves)}</td>"
        f"<td>{100 * each.saves / told.peak:.0f} %</td>"
        f"<td>{escaped(each.what)}</td><td>{escaped(each.costs)}</td></tr>"
        for each in told.advice
    )
    peak = to_be_lowered(analysis, anatomy)
    more = how_to_lower_it(anatomy)
    more = f'<p class="hint">{escaped(more)}</p>' if more else ""
    return (
        '<section class="card" id="advice" aria-label="What would lower the peak">'
        "<h2>What would lower the peak</h2>"
        f'<p class="hint">By how much each change, made alone, would lower {escaped(peak)}. '
        "Figured from what was recorded of that step at each moment.</p>"
        '<div class="scroll" tabindex="0" role="group" aria-label="Table of advice">'
        '<table class="advice"><thead><tr><th scope="col">Saves</th><th scope="col">Of it</th>'
        '<th scope="col">Change</th><th scope="col">Costs</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{more}</section>"
    )


def _faint(each: Advice) -> str:
    return ' class="aside"' if each.kind in NOT_FOR_TRAINING else ""


def _layers(anatomy: Anatomized) -> str:
    layers = [each for each in anatomy.weighed.layers if _tells(each)]
    if not layers:
        return ""
    kinds = {kind: i for i, kind in enumerate(sorted({each.kind for each in layers}))}
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" title="{why}">{name}</button></th>'
        for name, why in _HEADINGS
    )
    rows = "".join(_layer(each, -kinds[each.kind]) for each in layers)
    count = "one layer" if len(layers) == 1 else f"{len(layers):,} layers"
    return (
        '<section class="card" aria-label="Layers"><h2>Layers</h2>'
        f'<p class="hint">{count}, {anatomy.weighed.parameters:,} parameters; click a heading to '
        "sort.</p>"
        '<div class="scroll" tabindex="0" role="group" aria-label="Table of layers">'
        f'<table id="layers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></section>"
    )


def _tells(layer: WeighedLayer) -> bool:
    return bool(layer.parameters or layer.buffer or layer.activation or layer.output_bytes)


def _layer(each: WeighedLayer, kind: int) -> str:
    name = escaped(each.name or "(model)")
    output = escaped(tensor(each.output_shape, each.output_dtype, ", "))
    weights = each.parameter + each.buffer
    cells = (
        _cell(each.output_bytes, output),
        _cell(each.parameters, f"{each.parameters:,}" if each.parameters else ""),
        _cell(weights, format_bytes(weights) if weights else ""),
        _cell(each.gradient, format_bytes(each.gradient) if each.gradient else ""),
        _cell(each.activation, format_bytes(each.activation) if each.activation else ""),
        _cell(each.calls, f"{each.calls:,}" if each.calls else ""),
    )
    return (
        f'<tr><td class="name" data-value="{name}" title="{name}"><bdi>{name}</bdi></td>'
        f'<td data-value="{kind}"><bdi>{escaped(each.kind)}</bdi></td>{"".join(cells)}</tr>'
    )


def _cell(value: int, text: str) -> str:
    return f'<td data-value="{value}">{text}</td>'
