"""Which model is which where there are several of one class."""

from timeline.analysis.models import of_one_class
from timeline.recording.anatomy import NO_MOMENT, Anatomy, LayerCall, WeighedLayer


def layer(name, kind, parameters=0):
    return WeighedLayer(name, kind, parameters, 0, 0, 0, 0, None, None, 0, 1)


def told(*layers, calls=()):
    return list(
        of_one_class(
            Anatomy(2, 0, 1, 0, NO_MOMENT, 0, (), {}, layers, 0, (), (), ("cpu",), (), calls)
        )
    )


def test_two_models_of_a_class_are_told_apart_by_parameters_and_by_what_they_begin_with():
    layers = (
        layer("Net", "Net"), layer("Net.0", "Linear", 2500), layer("Net.1", "ReLU"),
        layer("Net#2", "Net", 7), layer("Net#2.0", "Conv2d", 100), layer("(loss)", "loss"),
    )  # fmt: skip
    calls = (
        LayerCall(1, 0, (64, 50), 4, -2, 0, -1, True),
        LayerCall(2, 0, (64, 9), 4, 0, 0, 0, True),
        LayerCall(4, 0, (64, 3, 16, 16), 4, -2, 0, -1, True),
    )
    assert told(*layers, calls=calls) == [
        "of 2 models of class Net: Net has 2,500 parameters and begins with Linear of 64x50; "
        "Net#2 has 107 parameters and begins with Conv2d of 64x3x16x16"
    ]
    # A recording of many calls has none of them.
    assert told(*layers)[0].endswith("Net has 2,500 parameters; Net#2 has 107 parameters")


def test_of_many_models_the_first_are_named():
    layers = [layer("Net", "Net"), *(layer(f"Net#{i}", "Net", 1) for i in range(2, 9))]
    (note,) = told(*layers)
    assert note.startswith("of 8 models of class Net: Net has 0 parameters; Net#2 has")
    assert note.endswith("; and 4 more")


def test_a_model_of_its_own_class_and_layers_that_are_named_like_that_are_none():
    assert not told(layer("", "Net"), layer("conv", "Conv2d"), layer("conv#2", "Conv2d"))
    assert not told(layer("A", "A"), layer("A.0", "Linear"), layer("B", "B"))


def test_models_that_have_nothing_and_were_not_called_are_not_spoken_of():
    layers = layer("GELU", "GELU"), layer("GELU#2", "GELU")
    assert not told(*layers)
    call = LayerCall(1, 0, (64, 50), 4, -2, 0, -1, True)
    assert told(*layers, calls=(call,))
