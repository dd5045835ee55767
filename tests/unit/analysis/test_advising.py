"""What would lower a recorded peak: small steps whose every byte is known."""

from dataclasses import replace

import pytest

from timeline.analysis.advice.advising import advised, why_not
from timeline.analysis.advice.moments import ACTIVATION, GRADIENT, INPUT, PARAMETER, STATE, Moments
from timeline.analysis.advice.passage import Passage
from timeline.recording.anatomy import NO_MOMENT, Anatomy, LayerCall, Trained, WeighedLayer
from timeline.recording.course import Course, Life, Node, Span

# Ticks 0 to 3 are in forward, 4 to 7 in backward, 8 and 9 in the optimizer's step.
SPANS = (
    Span("step/forward", 0, 3, 0),
    Span("step/backward", 4, 7, 0),
    Span("step/optimizer", 8, 9, 1),
)
LIVES = (
    Life(PARAMETER, 0, 1000, 0, 10, True),
    Life(PARAMETER, 1, 3000, 0, 10, True),
    Life(STATE, -1, 8000, 0, 10, True),
    Life(INPUT, -1, 600, 0, 10, True),
    Life(ACTIVATION, 0, 20_000, 2, 7, True),
    Life(ACTIVATION, 1, 10_000, 3, 5, True),
    Life(GRADIENT, 1, 3000, 5, 10, True),
    Life(GRADIENT, 0, 1000, 7, 10, True),
)
HELD = (0, 0, 20_000, 30_000, 0, -7000, -7000, -26_000, 0, 0)
MOST = (0, 0, 24_000, 30_000, 0, 5000, 0, 2000, 0, 3000)
NODES = (
    Node("ABackward0", 0, (6, 10), 4, (-1,), (4,)),
    Node("BBackward0", 1, (6, 10), 4, (0, -1), (5,)),
)
COURSE = Course(HELD, MOST, (-1, 0, 0, 1, 1, 1, 1, 1, 1, 1), SPANS, LIVES, NODES, 6)


def layer(name, parameters=0, kind="Linear"):
    bytes_ = 4 * parameters
    return WeighedLayer(name, kind, parameters, bytes_, 0, bytes_, 0, None, None, 0, 1)


LAYERS = (layer("0", 250), layer("1", 750))
TRAINED = Trained("Adam", {}, ((250, 4), (750, 4)))


def weighed(course=COURSE, layers=LAYERS, trained=TRAINED, **others):
    step = Anatomy(
        2, 0, 1, 0, NO_MOMENT, 0, (), {}, layers, 1000, trained.sizes, (trained,), ("cpu",), ()
    )
    return replace(step, course=course, **others)


def told(step, kind):
    return [each for each in advised(step).advice if each.kind == kind]


def test_the_peak_is_where_storages_and_what_the_allocator_gave_beside_are_highest():
    moments = Moments(COURSE)
    # 4 000 of parameters, 8 000 of state and the input always; as backward begins 5 000 more.
    assert moments.standing.tolist() == [12_600, 12_600, 32_600, 42_600, 42_600, 35_600, 35_600,
                                         16_600, 16_600, 16_600]  # fmt: skip
    assert moments.rise.tolist() == [0, 24_000, 10_000, 0, 5000, 7000, 9000 + 0, 0, 3000, 0]
    assert moments.peak() == 4
    found = advised(weighed())
    assert (found.path, found.peak) == ("step/backward", 47_600)


def test_half_the_batch_halves_what_goes_with_it_and_no_gradient_or_state():
    (batch,) = told(weighed(), "batch")
    # Of 47 600 as backward begins go half of 30 000, 600 and of the 2 000 that are no gradient.
    assert batch.saves == (30_000 + 600 + 2000) // 2
    assert batch.peak == 47_600 - batch.saves
    assert batch.what.startswith("a batch of 3 instead of 6;")
    (batch,) = told(weighed(step=0), "batch")
    assert batch.what == "a batch of 3 instead of 6"
    (batch,) = told(weighed(replace(COURSE, batch=7)), "batch")
    assert batch.what == "a batch of 3 instead of 7"  # two of which are not the same


@pytest.mark.parametrize(
    ("kind", "node", "training", "excepted"),
    [
        ("Linear", "BBackward0", True, False),
        ("BatchNorm2d", "NativeBatchNormBackward0", True, True),
        ("BatchNorm2d", "NativeBatchNormBackward0", False, False),
        ("BatchNorm2d", "", True, True),
        ("Mine", "NativeBatchNormBackward0", True, True),
        ("InstanceNorm2d", "NativeBatchNormBackward0", True, False),
    ],
)
def test_batch_normalisation_is_excepted_where_there_is_one(kind, node, training, excepted):
    nodes = (NODES[0], replace(NODES[1], kind=node)) if node else ()
    layers = (LAYERS[0], replace(LAYERS[1], kind=kind))
    step = weighed(replace(COURSE, nodes=nodes), layers, settings={1: {"training": training}})
    (batch,) = told(step, "batch")
    assert batch.what.endswith("give the same gradients") is not excepted
    assert ("batch normalisation" in batch.what) is excepted


def spans(*ends):
    edges = [*range(len(ends)), 10]
    return tuple(Span(f"step/{end}", edges[i], edges[i + 1] - 1, 0) for i, end in enumerate(ends))


ONCE = ("forward", "backward")


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        ((*ONCE, *ONCE, "optimizer"), "micro-batches of 3 instead of 6; 4 instead of 2 of them"),
        ((*ONCE, "optimizer", *ONCE, "optimizer"), "a batch of 3 instead of 6; two of them"),
        (("forward", "backward", "backward", "optimizer"), "a batch of 3 instead of 6; two"),
        ((*ONCE, *ONCE, "optimizer", *ONCE, "optimizer"), "a batch of 3 instead of 6; two"),
    ],
)
def test_where_gradients_of_several_batches_are_added_up_they_are_to_be_twice_as_many(ends, what):
    lives = (Life(ACTIVATION, 0, 20_000, 0, 10, True),)
    course = Course((0,) * 10, (0,) * 10, (-1,) * 10, spans(*ends), lives, (), 6)
    (batch,) = told(weighed(course), "batch")
    assert batch.what.startswith(what)


def test_what_a_breakdown_would_try_and_the_recording_does_not_tell_is_named():
    assert advised(weighed()).untried == ("the optimizer adafactor",)
    plain = replace(TRAINED, optimizer="SGD", options={"momentum": True})
    assert advised(weighed(trained=plain)).untried == ()
    nodes = (NODES[0], replace(NODES[1], kind="MkldnnRnnLayerBackward0"))
    product = Node("AddmmBackward0", 0, (6, 10), 4, (-1,), ())
    lstm = replace(COURSE, nodes=(*nodes, product))
    assert advised(weighed(lstm, trained=plain)).untried == ("autocast to bfloat16",)
    (graph,) = advised(weighed(replace(COURSE, nodes=()), trained=plain)).untried
    assert "graph" in graph


def test_what_autocast_makes_of_weights_does_not_go_with_the_batch():
    nodes = (
        NODES[0],
        Node("ToCopyBackward0", 1, (2500,), 4, (-1,), ()),
        Node("TBackward0", 1, (2500,), 4, (1,), ()),
        Node("AddmmBackward0", 1, (6, 10), 4, (0, 2), (5,)),
    )
    (batch,) = told(weighed(replace(COURSE, nodes=nodes)), "batch")
    assert batch.saves == (20_000 + 600 + 2000) // 2
    # In an inference they stay as well: 10 000 of them, beside two results of 240.
    (without,) = told(weighed(replace(COURSE, nodes=nodes)), "inference_mode")
    assert without.peak == 4000 + 600 + 10_000 + 2 * 240


def test_a_saving_is_never_more_than_the_distance_to_the_next_peak():
    stepping = replace(COURSE, most=(*MOST[:9], 30_000))  # 46 600 in the optimizer's step
    (batch,) = told(weighed(stepping), "batch")
    assert batch.saves == 47_600 - (46_600 - 300)


@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_of_one_or_of_unknown_size_is_not_halved(batch):
    assert not told(weighed(replace(COURSE, batch=batch)), "batch")


def test_nothing_is_advised_where_the_allocator_was_not_heard_or_tensors_are_elsewhere():
    nothing = replace(COURSE, lives=(), held=(0,) * 10, most=(0,) * 10, nodes=())
    for step, why in (
        (weighed(replace(COURSE, held=(None, *HELD[1:]))), "allocator was not heard"),
        (weighed(devices=("cpu", "cuda:0")), "tensors were on cuda:0, and only"),
        (weighed(None), "more than 5,000 moments or 20,000 storages"),
        (weighed(nothing), "held no tensors"),
    ):
        assert advised(step) is None
        assert why in why_not(step)
    assert why_not(weighed()) == ""


def test_advice_stands_with_the_largest_saving_first_and_none_without_one():
    sizes = [each.saves for each in advised(weighed()).advice]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0


def test_without_state_that_goes_and_with_momentum_a_copy_of_the_parameters_stays():
    none, momentum = sorted(told(weighed(), "optimizer"), key=lambda each: -each.saves)
    assert none.what == "the optimizer sgd,momentum=0"
    assert none.saves == 8000
    assert momentum.saves == 8000 - 4000
    # SGD with momentum has the one copy that it would have.
    plain = replace(TRAINED, optimizer="SGD", options={"momentum": True})
    (only,) = told(weighed(trained=plain), "optimizer")
    assert only.what == "the optimizer sgd,momentum=0"
    assert not told(weighed(trained=replace(plain, options={"momentum": False})), "optimizer")


def test_ways_of_an_optimizer_are_advised_where_its_step_is_the_peak_and_its_rule_agrees():
    adam = replace(TRAINED, sizes=((250, 4), (7500, 4)))
    # The root and the quotient of the largest, while the root of the one before still stands.
    loop = replace(COURSE, most=(*MOST[:9], 1000 + 2 * 30_000))
    (fused,) = told(weighed(loop, trained=adam), "optimizer_kernel")
    assert fused.what == "Adam with fused=True"
    assert fused.peak == 47_600  # as backward begins
    assert fused.saves == 16_600 + 61_000 - 47_600
    many = replace(adam, options={"foreach": True}, sizes=((2250, 4),) * 10)
    course = replace(COURSE, most=(*MOST[:9], 90_000))
    fused, looped = told(weighed(course, trained=many), "optimizer_kernel")
    assert (fused.what, fused.peak) == ("Adam with fused=True", 47_600)
    assert looped.what == "Adam with foreach=False"
    # What was measured is nothing like the rule: another optimizer of that name.
    assert not told(weighed(course, trained=adam), "optimizer_kernel")


def test_gradients_that_stand_through_forward_would_go_until_backward_makes_them():
    standing = (
        *LIVES[:6],
        Life(GRADIENT, 1, 3000, 0, 10, True),
        Life(GRADIENT, 0, 1000, 0, 10, True),
    )
    held = (0, 0, 20_000, 30_000, 0, -10_000, -10_000, -30_000, 0, 0)
    most = (0, 0, 24_000, 30_000, 0, 5000, -7000, -9000, 0, 3000)
    course = replace(COURSE, lives=standing, held=held, most=most)
    (gone,) = told(weighed(course), "set_to_none")
    assert gone.what.startswith("zero_grad(set_to_none=True)")
    # As backward begins the first layer's is not made. The second one's is, in that moment, and
    # what came after it was below it.
    assert gone.saves == 1000
    before = tuple(
        replace(each, last=4) if each.category == GRADIENT else each for each in standing
    )
    forward = replace(
        course, lives=before, most=(0, 0, 24_000, 40_000, 0, 5000, -7000, -9000, 0, 0)
    )
    (gone,) = told(weighed(forward), "set_to_none")
    assert gone.what == "zero_grad() before the step's first forward, not later"
    assert not told(weighed(), "set_to_none")


def test_a_gradient_is_there_as_backward_ends_also_of_a_layer_that_saves_an_input_alone():
    standing = (
        *LIVES[:6],
        Life(GRADIENT, 1, 3000, 0, 10, True),
        Life(GRADIENT, 0, 1000, 0, 10, True),
    )
    held = (0, 0, 20_000, 30_000, 0, -10_000, -10_000, -30_000, 0, 0)
    most = (0, 0, 24_000, 30_000, 0, 5000, -7000, -9000, 0, 3000)
    # The first layer saves the input, as an embedding its indices.
    nodes = (replace(NODES[0], saves=(3,)), replace(NODES[1], saves=(4, 5)))
    course = replace(COURSE, lives=standing, held=held, most=most, nodes=nodes)
    (gone,) = told(weighed(course), "set_to_none")
    assert gone.saves == 1000  # as backward begins: the first layer's
    # In the optimizer's step all gradients are there, whatever was zeroed.
    stepping = replace(course, most=(*most[:9], 40_000))
    assert advised(weighed(stepping)).path == "step/optimizer"
    assert not told(weighed(stepping), "set_to_none")


def test_of_several_backwards_the_first_that_goes_through_a_layer_makes_its_gradient():
    lives = (
        Life(PARAMETER, 0, 1000, 0, 10, True),
        Life(PARAMETER, 1, 1000, 0, 10, True),
        Life(GRADIENT, 0, 1000, 0, 10, True),
        Life(ACTIVATION, 1, 500, 1, 4, True),
    )
    # The first backward goes through the second layer, and another forward and backward follow.
    spans = (
        Span("step/forward", 0, 1, 0), Span("step/backward", 2, 4, 0),
        Span("step/forward", 5, 6, 1), Span("step/backward", 7, 9, 1),
    )  # fmt: skip
    nodes = (
        Node("ABackward0", 0, (5,), 4, (-1,), ()), Node("BBackward0", 1, (5,), 4, (-1,), (3,))
    )  # fmt: skip
    most = (0, 500, 0, 0, 0, 0, 0, 0, 3000, 0)
    course = Course((0,) * 10, most, (-1,) * 10, spans, lives, nodes, 0)
    calls = tuple(
        LayerCall(which, 0, (5,), 4, -2, 20, -1, True, (turn,)) for which, turn in ((0, 1), (1, 0))
    )
    (gone,) = told(weighed(course, calls=calls), "set_to_none")
    assert gone.saves == 1000
    both = (replace(calls[0], walked=(0, 1)), calls[1])
    assert not told(weighed(course, calls=both), "set_to_none")


def test_of_an_inference_there_are_parameters_inputs_and_what_forward_passes_on():
    (without,) = told(weighed(), "inference_mode")
    # Both results, of 6 times 10 numbers, while the second one is made.
    assert without.peak == 4000 + 600 + 2 * 240
    hidden = Node("CompiledFunctionBackward", 1, (60,), 4, (1,), ())
    assert not told(weighed(replace(COURSE, nodes=(*NODES, hidden))), "inference_mode")
    # A view has no bytes of its own; the third result comes while the second module still has what
    # it was called with, or, where it was called several times, when that may be gone.
    nodes = (
        *NODES,
        Node("ViewBackward0", 1, (60,), 4, (1,), ()),
        Node("CBackward0", 1, (60,), 4, (2,), ()),
        Node("TBackward0", 1, (1000, 1000), 4, (-1,), ()),
    )
    for calls, results in ((1, 3), (2, 2)):
        layers = (LAYERS[0], replace(LAYERS[1], calls=calls))
        (without,) = told(weighed(replace(COURSE, nodes=nodes), layers), "inference_mode")
        assert without.peak == 4000 + 600 + results * 240


def test_what_a_convolution_takes_and_gives_back_in_forward_it_takes_in_an_inference_too():
    step = convolution({0: CONV})
    plain = told(step, "inference_mode")[0].peak
    # While the convolution is called, 50,000 bytes beside its result.
    most = (0, 8192 + 50_000, *step.course.most[2:])
    held = (0, 8192, *step.course.held[2:])
    called = (-1, 0, 0, 1, *step.course.call[4:])
    course = replace(step.course, held=held, most=most, call=called)
    more = told(replace(step, course=course), "inference_mode")[0].peak
    assert more - plain == 50_000 - 8192  # the layer after it holds both results


def blocks(kind="ModuleList"):
    """Two blocks of two layers each, whose second layers save most."""
    layers = (
        layer("", kind="Net"), layer("body", kind=kind), layer("body.0", kind="Block"),
        layer("body.0.a", 100), layer("body.0.b"), layer("body.1", kind="Block"),
        layer("body.1.a", 100), layer("body.1.b"),
    )  # fmt: skip
    lives = (
        Life(PARAMETER, 3, 400, 0, 10, True),
        Life(PARAMETER, 6, 400, 0, 10, True),
        Life(ACTIVATION, 3, 100, 1, 8, True),
        Life(ACTIVATION, 4, 9000, 1, 7, True),
        Life(ACTIVATION, 6, 100, 3, 6, True),
        Life(ACTIVATION, 7, 5000, 3, 5, True),
    )
    spans = (Span("step/forward", 0, 3, 0), Span("step/backward", 4, 8, 0), Span("x", 9, 9, 1))
    held = (0, 9100, 9100, 14_200, 0, -5000, -5100, -14_100, -14_200, 0)
    nodes = tuple(
        Node("ABackward0", which, (25,), 4, (at - 1,), (at + 2,))
        for at, which in enumerate((3, 4, 6, 7))
    )
    calls = (
        LayerCall(3, 0, (25,), 4, 0, 100, -1, True),
        LayerCall(6, 0, (25,), 4, 1, 100, 0, True),
    )
    course = Course(held, held, (-1, 0, 1, 1, 1, 1, 1, 1, 1, 1), spans, lives, nodes, 0)
    return weighed(course, layers, calls=calls)


def test_a_block_that_is_computed_again_keeps_what_it_was_given():
    (again,) = told(blocks(), "checkpointing")
    assert again.layers == ("body.0", "body.1")
    # 800 and 14 200 as all stands. Then the first block alone, whose own input is a part of it.
    assert advised(blocks()).peak == 15_000
    assert again.peak == 800 + 9100
    assert not told(blocks("Net"), "checkpointing")


def convolution(settings, activation="ReLU", size=4 * 64 * 64 * 9):
    layers = (layer("conv", 64 * 64 * 9, "Conv2d"), layer("act", 0, activation))
    layers = (replace(layers[0], output_shape=(2, 64, 4, 4)), layers[1])
    lives = (
        Life(PARAMETER, 0, size, 0, 10, True),
        Life(STATE, -1, size, 0, 10, True),
        Life(ACTIVATION, 1, 8192, 2, 6, True),
        Life(ACTIVATION, 1, 8192, 3, 5, True),
        Life(GRADIENT, 0, size, 6, 10, True),
    )
    shape = (2, 64, 4, 4)
    nodes = (
        Node("ConvolutionBackward0", 0, shape, 4, (-1,), (0,)),
        Node("LeakyReluBackward0", 1, shape, 4, (0,), (2,)),
        Node("SumBackward0", -1, (), 4, (1,), (3,)),
    )
    held = (0, 0, 8192, 16_384, 0, -8192, size - 16_384, size - 16_384, 0, 0)
    course = Course(held, held, (-1, 0, 1, 1, 1, 1, 1, 1, 1, 1), SPANS, lives, nodes, 0)
    calls = (
        LayerCall(0, 0, shape, 4, -2, 8192, -1, True), LayerCall(1, 0, shape, 4, 0, 8192, 0, True)
    )  # fmt: skip
    return weighed(course, layers, calls=calls, settings=settings)


CONV = {
    "in_channels": 64, "out_channels": 64, "kernel_size": [3, 3], "padding": [1, 1], "groups": 1
}  # fmt: skip


def test_a_separable_convolution_has_fewer_weights_gradients_and_states_and_one_more_result():
    (instead,) = told(convolution({0: CONV}), "separable")
    fewer = 4 * (64 * 64 * 9 - 64 * 9 - 64 * 64)
    assert instead.layers == ("conv",)
    assert instead.saves == 3 * fewer - 8192  # what is between the two stands to the end
    assert not told(convolution({0: {**CONV, "groups": 64}}), "separable")
    for wrong in ({"kernel_size": ["3", 3]}, {"padding": "same"}, {"in_channels": None}):
        assert not told(convolution({0: {**CONV, **wrong}}), "separable")


def test_an_activation_in_place_saves_what_it_alone_needs_kept():
    step = convolution({1: {"inplace": False}}, "LeakyReLU", size=8)
    (over,) = told(step, "in_place")
    assert over.layers == ("act",)
    assert over.saves == 8192
    # Where another needs what it would overwrite, or that is saved, it is not advised.
    other = Node("AddBackward0", -1, (2, 64, 4, 4), 4, (0,), ())
    course = replace(step.course, nodes=(*step.course.nodes, other))
    assert not told(replace(step, course=course), "in_place")


@pytest.mark.parametrize(
    "kind",
    ["Select", "Slice", "Transpose", "Permute", "Squeeze", "Expand", "Split", "Unbind",
     "ReshapeAlias", "View", "UnsafeView", "Rsqrt", "Reciprocal", "Tan", "Tanh", "Exp2",
     "ScaledDotProductFlashAttentionForCpu"],
)  # fmt: skip
def test_an_activation_never_overwrites_a_part_of_something_or_what_its_maker_saved(kind):
    step = convolution({1: {"inplace": False}}, "LeakyReLU", size=8)
    nodes = (replace(step.course.nodes[0], kind=f"{kind}Backward0"), *step.course.nodes[1:])
    assert not told(replace(step, course=replace(step.course, nodes=nodes)), "in_place")


def shared():
    """An activation that is called twice, each time with what nothing else needs."""
    step = convolution({1: {"inplace": False}}, "LeakyReLU", size=8)
    first, act, _ = step.course.nodes
    between = Node("AddBackward0", -1, act.shape, 4, (1, -1), ())
    nodes = (first, act, between, replace(act, before=(2,), saves=(3,)))
    layers = (step.layers[0], replace(step.layers[1], calls=2))
    calls = (*step.calls, replace(step.calls[1], maker=1))
    return replace(step, course=replace(step.course, nodes=nodes), layers=layers, calls=calls)


def test_a_shared_activation_in_place_saves_what_all_its_calls_keep():
    (over,) = told(shared(), "in_place")
    assert over.layers == ("act",)
    # As forward ends both calls' stand. Then the weight, its state and its gradient are the most.
    assert (over.peak, over.saves) == (24, 16 + 2 * 8192 - 24)


def test_a_shared_activation_is_not_advised_in_place_where_one_call_may_not_be():
    step = shared()
    skip = Node("AddBackward0", -1, (2, 64, 4, 4), 4, (2, 3), ())
    course = replace(step.course, nodes=(*step.course.nodes, skip))
    assert not told(replace(step, course=course), "in_place")
    calls = (*step.calls[:2], replace(step.calls[2], plain=False))
    assert not told(replace(step, calls=calls), "in_place")
    # Of a third call, with the step's input, there is no node.
    layers = (step.layers[0], replace(step.layers[1], calls=3))
    assert not told(replace(step, layers=layers), "in_place")


AUTOCAST = (
    Node("EmbeddingBackward0", 0, (10, 1000), 4, (-1,), ()),
    Node("NativeLayerNormBackward0", 1, (10, 1000), 4, (0, -1, -1), (2,)),
    Node("TBackward0", 1, (1000, 100), 4, (-1,), ()),
    Node("AddmmBackward0", 1, (10, 1000), 4, (1, 2, -1), (3, 0)),
    Node("ReluBackward0", 1, (10, 1000), 4, (3,), (4,)),
)


def autocast(nodes=AUTOCAST):
    lives = (
        Life(PARAMETER, 1, 400_000, 0, 10, True),
        Life(PARAMETER, 0, 400_000, 0, 10, True),
        Life(ACTIVATION, 1, 40_000, 2, 8, True),
        Life(ACTIVATION, 1, 40_000, 3, 8, True),
        *(Life(ACTIVATION, 1, size, 3, 8, True) for size in (4_000_000, 3_600_000)),
    )
    nodes = tuple(
        replace(each, shape=(1000, 1000)) if each.saves == (4,) else each for each in nodes
    )
    told = [sum(each.size for each in lives if each.first <= i < each.last and each.category == 4)
            for i in range(10)]  # fmt: skip
    held = (*told[:4], *(each - told[4] for each in told[4:8]), 0, 0)
    return weighed(Course(held, held, (-1,) * 10, SPANS, lives, nodes, 0))


def test_under_autocast_products_save_halves_and_a_norm_what_it_is_given():
    (cast,) = told(autocast(), "bf16")
    # What relu returns is halved, and of what the norm returns there is a cast copy alone. What the
    # norm was given stays, and a copy of the product's weights is new.
    assert cast.saves == 2_000_000 + 20_000 - 200_000


@pytest.mark.parametrize("kind", ["MkldnnRnnLayerBackward0", "MineBackward", "CppNode<Mine>"])
def test_under_autocast_nothing_is_said_of_nodes_that_nobody_knows(kind):
    assert not told(autocast((*AUTOCAST, Node(kind, 1, (1,), 4, (4,), ()))), "bf16")


def test_what_is_of_bfloat16_already_is_not_advised_to_be():
    nodes = tuple(replace(each, element=2) for each in AUTOCAST)
    assert not told(autocast(nodes), "bf16")


@pytest.mark.parametrize("products", [("AddmmBackward0",), ("AddmmBackward0", "MmBackward0")])
def test_what_is_of_float64_stays_so_under_autocast_and_is_not_advised_to_be_less(products):
    double = {"AddmmBackward0": 8, "MmBackward0": 4}
    more = [Node(kind, 1, (10, 10), double[kind], (4,), ()) for kind in products[1:]]
    nodes = tuple(
        replace(each, element=double.get(each.kind, each.element)) for each in (*AUTOCAST, *more)
    )
    assert not told(autocast(nodes), "bf16")


def test_of_two_forwards_the_first_ones_backward_goes_through_its_own_nodes_alone():
    lives = (
        Life(ACTIVATION, 0, 10, 1, 4, True),
        Life(ACTIVATION, 1, 10, 2, 3, True),
        Life(ACTIVATION, 0, 10, 6, 9, True),
        Life(ACTIVATION, 1, 10, 7, 8, True),
    )
    spans = (
        Span("step/forward", 0, 1, 0), Span("step/backward", 2, 4, 0),
        Span("step/forward", 5, 6, 1), Span("step/backward", 7, 9, 1),
    )  # fmt: skip
    nodes = tuple(Node("ABackward0", n % 2, (), 4, (-1,), (n,)) for n in range(4))
    course = Course((0,) * 10, (0,) * 10, (-1,) * 10, spans, lives, nodes, 0)
    passage = Passage(Moments(course))
    assert [passage.at(i) for i in (2, 3, 7, 8)] == [
        range(1, 2),
        range(1),
        range(3, 4),
        range(2, 3),
    ]
    assert passage.at(4) == range(0)


def test_between_two_convolutions_in_the_place_of_one_stands_a_result_of_each_call():
    once = convolution({0: CONV})
    shape = (2, 64, 4, 4)
    nodes = (
        *once.course.nodes[:2],
        Node("ConvolutionBackward0", 0, shape, 4, (1,), (0,)),
        Node("SumBackward0", -1, (), 4, (2,), (3,)),
    )
    calls = (*once.calls, LayerCall(0, 0, shape, 4, 0, 8192, 1, True))
    course = replace(once.course, nodes=nodes, call=(-1, 0, 1, *[2] * 7))
    twice = replace(once, course=course, calls=calls)
    (first,), (second,) = told(once, "separable"), told(twice, "separable")
    assert first.saves - second.saves == 8192
