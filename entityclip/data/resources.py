"""Cores and memory that this process may use: those of the machine, or fewer where a container's quota says so."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
CPUINFO = Path("/proc/cpuinfo")
ALMOST_NONE = 1e6
"""A quota of more cores than any machine has is none."""


def cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Processor cores, at least 1: those that the process may run on, and no more than its quota of time fills.

    Args:
        cgroups: Where Linux shows control groups, version 1 or 2.
        membership: The file that says in which ones this process is.
    """
    quotas = [
        *(_share(folder / "cpu.max") for folder in _folders(cgroups, membership, controller="")),
        *(
            _share(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
            for folder in _folders(cgroups, membership, controller="cpu")
        ),
    ]
    return max(1, min([len(os.sched_getaffinity(0)), *(int(quota) for quota in quotas if quota is not None)]))


def memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Bytes of memory: the machine's, or what the process's control groups allow where that is less."""
    limits = [
        *(_number(folder / "memory.max") for folder in _folders(cgroups, membership, controller="")),
        *(_number(folder / "memory.limit_in_bytes") for folder in _folders(cgroups, membership, controller="memory")),
    ]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in limits if limit is not None)])


def available_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, meminfo: Path = MEMINFO) -> int:
    """Bytes that can be used in addition: the machine's, or those of the process's control groups where that is less.

    Cached files that can be dropped count as available.
    """
    rooms = [
        limit - used + (_field(folder / "memory.stat", cached) or 0)
        for controller, most, now, cached in (
            ("", "memory.max", "memory.current", "inactive_file"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        )
        for folder in _folders(cgroups, membership, controller=controller)
        if (limit := _number(folder / most)) is not None and (used := _number(folder / now)) is not None
    ]
    machine = 1024 * (_field(meminfo, "MemAvailable:") or 0)
    return max(0, min([machine, *rooms]))


def processor(cpuinfo: Path = CPUINFO) -> str:
    """Name of the processor."""
    with suppress(OSError):
        names = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].strip()
    return platform.processor() or platform.machine()


def _field(path: Path, name: str) -> int | None:
    """The number after ``name`` in a file with a name and a number per line."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return None


def _folders(cgroups: Path, membership: Path, *, controller: str) -> Iterator[Path]:
    """The process's control group and those around it, which limit it too; '' for version 2.

    In a container the path may be the host's: then only the top, which is the container's own, is there.
    """
    mounted = cgroups / controller
    if controller == "" and not (cgroups / "cgroup.controllers").exists():
        mounted = cgroups / "unified"  # both versions side by side
    path = _path(membership, controller)
    for folder in (path, *path.parents):
        yield mounted / folder


def _path(membership: Path, controller: str) -> Path:
    """The process's group as a relative path; the top where nothing says so."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, names, path = (*line.split(":", 2), "", "")[:3]
            if controller in names.split(","):
                return Path(path.lstrip("/"))
    return Path()


def _share(quota: Path, period: Path | None = None) -> float | None:
    """Cores that a quota of microseconds a period is worth; None without a quota."""
    try:
        words = quota.read_text().split() + (period.read_text().split() if period else [])
        share = float(words[0]) / float(words[1])
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return None  # no such file, or "max"
    return share if 0 < share < ALMOST_NONE else None  # version 1 writes -1 for none


def _number(path: Path) -> int | None:
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        return None
    return number if number > 0 else None
