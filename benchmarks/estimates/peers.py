"""What others say of the same rows: torch's MemTracker, torchinfo, and accelerate's rule."""

from __future__ import annotations

import copy


def mem_tracker(model, optimizer_of, step):
    """Peak of tensors by torch.distributed._tools' MemTracker, on fake tensors of the CPU.

    Args:
        model: stays as it is.
        optimizer_of: makes its optimizer.
        step: runs one step of the row.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from timeline.theory.likeness import likeness
    from timeline.theory.optimizers import any_value

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model, _ = likeness(model, None, mode)
    with mode:
        model.train()
        optimizer = optimizer_of(model.parameters())
        tracker = MemTracker()
        tracker.track_external(model, optimizer)
        with tracker, any_value():
            for _ in range(2):
                tracker.reset_mod_stats()
                step(model, optimizer)
        peaks = tracker.get_tracker_snapshot("peak")
        return sum(each.get("Total", 0) for each in peaks.values())


def torchinfo_total(model, inputs):
    """torchinfo's estimated total size: inputs, outputs of layers twice, parameters."""
    import torchinfo

    model = copy.deepcopy(model).to("meta")
    found = torchinfo.summary(model, input_data=inputs, verbose=0, device="meta")
    return found.total_input + found.total_output_bytes + found.total_param_bytes


def accelerate_rule(parameters: int) -> int:
    """accelerate estimate-memory: training with Adam takes four times the weights."""
    return 4 * 4 * parameters
