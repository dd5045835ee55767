"""A model of PyTorch's CUDA caching allocator: what is reserved when these tensors come and go.

It follows the logic of ``c10/cuda/CUDACachingAllocator.cpp`` (torch 2.6) with the constants of
``c10/core/AllocatorConfig.h`` (torch 2.13), for one device. Given the same requests it reserves
the same bytes as the real one; where the addresses of real segments are given it hands out the
same addresses. It does not know graph capture and private pools, and it allocates nothing.

All sizes are bytes. The names of the parts are those of the original, so that the two can be read
side by side: `blocks` are what is handed out and the pools of what is free, `device` is what there
is to reserve, `expandable` are segments that grow, `releasing` is what gives memory back, and
`caching` is the allocator.
"""

from timeline.theory.allocator.blocks import Adopted
from timeline.theory.allocator.caching import CachingAllocator, OutOfDeviceMemory

__all__ = ["Adopted", "CachingAllocator", "OutOfDeviceMemory"]
