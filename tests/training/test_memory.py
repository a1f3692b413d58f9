from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from torch.profiler import profile

from entityclip.training.memory import attention

FAULTS = """
import resource, sys, torch
from entityclip.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for turn in range(32):
    if turn == 12:  # by then the heap is as large as it needs to be
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)  # 80 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, the C library whose settings these are")
def test_a_block_that_was_freed_is_there_for_the_next_step() -> None:
    assert page_faults("keep") * 10 < page_faults("give back")


def fused(device: str, precision: str) -> bool:
    """Whether attention runs as one kernel."""
    q = torch.ones(2, 2, 8, 8)
    with profile() as seen, attention(torch.device(device), precision):
        F.scaled_dot_product_attention(q, q, q)
    return any("flash" in event.name for event in seen.events())


def test_attention_in_bf16_is_by_plain_products_on_a_cpu_alone() -> None:
    assert not fused("cpu", "bf16")
    assert fused("cpu", "float32")
    assert fused("cuda", "bf16")  # the choice is left to PyTorch
