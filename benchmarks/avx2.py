"""Runs a command as on a processor that has AVX2 and nothing newer: no AVX-512, VNNI, AMX or bf16.

    python benchmarks/avx2.py python benchmarks/compression.py --checkpoint DIR --data DIR --json

The switches of the libraries cover some kernels only: ``ATEN_CPU_CAPABILITY`` those of PyTorch, ``DNNL_MAX_CPU_ISA``
those of oneDNN, and none those of ONNX Runtime. All of them read the CPUID instruction. Linux can make it fault
(``arch_prctl``), and the small library below answers in its place without the newer bits; everything else runs at full
speed. Needs x86-64, a processor that lists ``cpuid_fault`` in /proc/cpuinfo, and ``cc``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define SET_CPUID 0x1012 /* ARCH_SET_CPUID: 0 makes the instruction fault in this thread and its children */

typedef int handler_setter(int, const struct sigaction *, struct sigaction *);

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) _exit(128 + signal_number);
    uint32_t leaf = registers[REG_RAX], subleaf = registers[REG_RCX], a = leaf, b = 0, c = subleaf, d = 0;
    syscall(SYS_arch_prctl, SET_CPUID, 1);
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    syscall(SYS_arch_prctl, SET_CPUID, 0);
    if (leaf == 7 && subleaf == 0) {
        b &= ~(3u << 16 | 1u << 21 | 3u << 26 | 1u << 28 | 3u << 30); /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
        c &= ~(1u << 1 | 1u << 6 | 3u << 11 | 1u << 14);              /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
        d &= ~(3u << 2 | 1u << 8 | 3u << 22 | 3u << 24);              /* AVX512 rest, FP16; AMX */
    } else if (leaf == 7 && subleaf == 1) {
        a = b = c = d = 0; /* AVX-VNNI, AVX512-BF16, AMX-FP16 */
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

/* The one handler stays, whatever a program would put in its place (Python's faulthandler and gcc do). */
int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    if (number != SIGSEGV) return ((handler_setter *)dlsym(RTLD_NEXT, "sigaction"))(number, action, before);
    if (before) memset(before, 0, sizeof *before);
    return 0;
}

typedef void simple_handler(int);
simple_handler *signal(int number, simple_handler *handler) {
    if (number == SIGSEGV) return SIG_DFL;
    return ((simple_handler * (*)(int, simple_handler *)) dlsym(RTLD_NEXT, "signal"))(number, handler);
}

__attribute__((constructor)) static void start(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    ((handler_setter *)dlsym(RTLD_NEXT, "sigaction"))(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, SET_CPUID, 0)) {
        perror("CPUID cannot be intercepted on this machine");
        _exit(1);
    }
}
"""


def main(command: list[str]) -> int:
    """The exit status of ``command``, run without the newer instructions; so are its children."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "avx2.so"
        compiler = ["cc", "-O1", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
        subprocess.run(compiler, input=LIBRARY, text=True, check=True)
        return subprocess.run(command, env=os.environ | {"LD_PRELOAD": str(library)}).returncode


if __name__ == "__main__":
    if sys.argv[1:2] in ([], ["--help"]):
        print("usage: python benchmarks/avx2.py COMMAND [ARGUMENT ...]\n\n" + (__doc__ or ""))
        sys.exit(0 if sys.argv[1:] else 2)
    sys.exit(main(sys.argv[1:]))
