"""VGG16 and DenseNet201 of Keras at 1024x1024x3: what weights and feature maps take.

    pip install keras
    python examples/articles/vgg16_and_densenet201.py

The figures are those of the articles. Nothing is allocated: the weights of VGG16 alone would take
8 GiB. A feature map is the output of a layer, for one image, in float32.
"""

from __future__ import annotations

import timeline
from timeline.theory.keras_models import application, needs_keras
from timeline.units import MiB

SIZES = (1024, 1024, 3)


def without_top() -> object:
    """VGG16 up to its last pooling; a function of one's own is made without memory, too."""
    models = needs_keras().applications
    return models.VGG16(weights=None, include_top=False, input_shape=SIZES)


def main() -> None:
    for name in ("VGG16", "DenseNet201"):
        told = timeline.breakdown(application(name, SIZES), inputs=SIZES, train=False)
        whole, maps = told.categories["parameter"], told.outputs_bytes
        print(f"{name} at 1024x1024x3")
        if name == "VGG16":
            print(f"  {'layer':14}{'parameters':>15}{'weights':>26}  {'output':26}{'its size':>24}")
            for each in told.layers:
                shape = (None, *each.output_shape[1:])
                weights, output = each.parameter / MiB, each.output_bytes / MiB
                print(
                    f"  {each.name:14}{each.parameters:>15,}{weights:>22} MiB"
                    f"  {shape!s:26}{output:>20} MiB"
                )
        print(f"  parameters    {told.parameters:>15,}")
        if name == "VGG16":
            print(f"  without top   {timeline.breakdown(without_top).parameters:>15,}")
        print(f"  weights       {whole / MiB} MiB")
        print(f"  feature maps  {maps / MiB} MiB")
        print(f"  together      {(whole + maps) / MiB} MiB")
        if name == "DenseNet201":
            final = next(each for each in told.layers if each.name == "relu")
            size = final.output_bytes / MiB
            print(
                "  In 2018 Keras had no activation after the last normalisation. Without its output"
            )
            print(f"  of {size} MiB: {(maps - final.output_bytes) / MiB} MiB of feature maps")
        print()


if __name__ == "__main__":
    main()
