"""Follows an unmodified training script in a process of its own, on tensors without memory."""
