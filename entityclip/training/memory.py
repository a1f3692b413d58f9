"""Settings of the machine for training: freed memory is kept, and how attention is computed."""

from __future__ import annotations

import contextlib
import ctypes

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's settings, as in its malloc.h."""


def keep_freed_memory() -> None:
    """Have the C library keep what one step frees for the next one.

    glibc returns large blocks to the system and allocates them again, page by page, in every step: on a CPU this took
    up to a third of a step's time. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def attention(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """How the towers attend in training: on a CPU in bf16 by plain products, two to four times faster there than
    PyTorch's fused kernel on the lengths of texts and of a ViT's tokens; else as PyTorch chooses.
    """
    plain = device.type == "cpu" and precision == "bf16"
    return sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext()
