"""What would lower a recorded peak, in the table, on the page and in the document."""

import json
from dataclasses import replace
from html import escape

import pytest
from synthetic import recording

from timeline.analysis.advice.advising import Advised
from timeline.analysis.analyze import analyze
from timeline.analysis.anatomy import Anatomized
from timeline.analysis.composition import PARTS, Composition, Part
from timeline.analysis.later import Later
from timeline.recording.anatomy import NO_MOMENT, Anatomy, Trained
from timeline.theory.types import Advice
from timeline.views import json as json_view
from timeline.views import text
from timeline.views.page.anatomy import sections
from timeline.views.parts import LABELS, how_to_lower_it, to_be_lowered

MIB = 1 << 20
TRAINED = (Trained("SGD", {}, ()),)
STEP = Anatomy(2, 0, 1, 0, NO_MOMENT, 0, (), {}, (), 0, (), TRAINED, ("cpu",), ())
SAVING = tuple(
    Advice(
        "checkpointing", f"around <b>{size}</b> \x1b[31m", "time", size * MIB, (100 - size) * MIB
    )
    for size in (60, 50, 40, 30, 20, 10)
)


def analyzed(advice=SAVING, path="step/backward"):
    analysis = analyze(recording())
    parts = tuple(Part(name, None, MIB, None) for name in PARTS)
    size = len(PARTS) * MIB
    of = Composition(path, "Net", size, size, 0, Later(), size, None, None, parts, ())
    told = Advised(path, 100 * MIB, advice)
    return replace(analysis, anatomy=Anatomized(STEP, (of,), (), told))


def test_the_table_has_the_largest_and_says_where_the_others_are():
    lines = text.render(analyzed(), width=100).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("What would lower"))
    assert "the peak of tensors in step 2, 100.0 MiB in step/backward" in lines[start]
    told = [line.split()[:4] for line in lines[start:] if " MiB  " in line and "<b>" in line]
    assert told == [[f"{size}.0", "MiB", str(size), "%"] for size in (60, 50, 40, 30, 20)]
    assert any("and 1 more: on the page, and in --json" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert not any("timeline breakdown" in line for line in lines)


def test_what_was_not_tried_is_named_with_what_tries_it():
    analysis = analyzed()
    told = replace(analysis.anatomy.advised, untried=("the optimizer adafactor",))
    analysis = replace(analysis, anatomy=replace(analysis.anatomy, advised=told))
    line = "not tried: the optimizer adafactor; `timeline breakdown ... --advice` does, given"
    assert line in text.render(analysis, width=120)
    assert line in sections(analysis)


def test_what_no_training_can_take_keeps_its_place_and_is_faint():
    predicting = replace(SAVING[0], kind="inference_mode", what="for predictions")
    analysis = analyzed((predicting, *SAVING[1:]))
    page = sections(analysis)
    assert page.index('<tr class="aside"><td>60.0 MiB') < page.index("<tr><td>50.0 MiB")
    lines = text.render(analysis, width=100, color=True).splitlines()
    (line,) = [line for line in lines if "for predictions" in line]
    assert line.startswith("\x1b[2m  60.0 MiB")
    (line,) = [line for line in lines if "<b>50" in line]
    assert line.startswith("  50.0 MiB")


def test_parts_of_nothing_have_no_row_on_the_page_but_two_and_what_is_not_known():
    analysis = analyzed()
    (of,) = analysis.anatomy.phases
    sizes = {"parameter": MIB, "inside_kernels": None}
    parts = tuple(Part(name, None, sizes.get(name, 0), None) for name in PARTS)
    gradient = replace(parts[PARTS.index("gradient")], estimated=MIB)
    parts = tuple(gradient if each.category == "gradient" else each for each in parts)
    anatomy = replace(analysis.anatomy, phases=(replace(of, parts=parts),))
    table = sections(replace(analysis, anatomy=anatomy)).partition("</tbody>")[0]
    named = [name for name in LABELS.values() if f"</i>{name}</span>" in table]
    assert named == ["parameters", "gradients", "activations", "inside kernels", "unexplained"]


def test_the_page_has_all_of_them_and_executes_none():
    page = sections(analyzed())
    assert page.count("around &lt;b&gt;") == len(SAVING)
    assert "around &lt;b&gt;60&lt;/b&gt;" in page
    assert "<b>60" not in page
    assert "What would lower the peak" in page


def test_the_document_has_the_list_of_a_breakdowns_document():
    document = json_view.document(analyzed())
    assert [each["saves"] for each in document["advice"]] == [each.saves for each in SAVING]
    assert set(document["advice"][0]) == {"kind", "what", "costs", "saves", "peak", "layers"}
    assert document["breakdown"]["tensors_peak"] == {"phase": "step/backward", "bytes": 100 * MIB}
    json.dumps(document)
    without = replace(analyzed(), anatomy=replace(analyzed().anatomy, advised=None))
    assert json_view.document(without)["advice"] == []
    assert json_view.document(without)["breakdown"]["tensors_peak"] is None
    assert json_view.document(analyze(recording()))["advice"] == []


@pytest.mark.parametrize("advice", [(), None])
def test_without_advice_there_is_the_command_alone(advice):
    analysis = analyzed(advice or ())
    if advice is None:
        analysis = replace(analysis, anatomy=replace(analysis.anatomy, advised=None))
    told = text.render(analysis, width=100)
    assert "What would lower" not in told
    assert "what would lower a step's peak" in told.replace("\n    ", " ")
    assert 'id="advice"' not in sections(analysis)
    assert escape(how_to_lower_it(analysis.anatomy)) in sections(analysis)


def test_where_there_is_no_advice_it_is_said_why():
    analysis = analyzed()
    assert "is not told" not in text.render(analysis, width=200)
    anatomy = replace(analysis.anatomy, advised=None, unadvised="tensors were on <b>\x1b[31m")
    analysis = replace(analysis, anatomy=anatomy)
    told = text.render(analysis, width=200)
    assert "what would lower the peak is not told: tensors were on <b>" in told
    assert "\x1b" not in told
    assert "is not told: tensors were on &lt;b&gt;" in sections(analysis)
    assert json_view.document(analysis)["breakdown"]["no_advice"] == anatomy.unadvised
    assert json_view.document(analyzed())["breakdown"]["no_advice"] is None


def test_where_the_run_peaks_elsewhere_it_is_said():
    analysis = analyzed(path="step/unknown")
    assert "(the run's own peak is" in to_be_lowered(analysis, analysis.anatomy)
