"""Cores and memory are counted as a container's quota allows them, in both versions of control groups."""

import os
from pathlib import Path

import pytest

from entityclip.data import resources

ALL = len(os.sched_getaffinity(0))
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name.replace("__", ".")).write_text(content)


def counted(root: Path, membership: str) -> tuple[int, int]:
    (root / "membership").write_text(membership)
    return resources.cores(root, root / "membership"), resources.memory(root, root / "membership")


def test_without_a_quota_the_machine_is_counted(tmp_path):
    group(tmp_path, cgroup__controllers="cpu memory", cpu__max="max 100000", memory__max="max\n")
    assert counted(tmp_path, "0::/\n") == (ALL, MACHINE)
    assert (resources.cores(tmp_path / "none"), resources.memory(tmp_path / "none")) == (ALL, MACHINE)


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("150000 100000", 1), ("5000 100000", 1)])
def test_version_2_limits_cores_and_memory(tmp_path, quota, cores):
    group(tmp_path, cgroup__controllers="cpu memory", cpu__max=f"{quota}\n", memory__max="536870912\n")
    assert counted(tmp_path, "0::/\n") == (cores, 2**29)


def test_group_around_the_own_one_limits_too(tmp_path):
    group(tmp_path, cgroup__controllers="cpu memory")
    group(tmp_path / "pod", cpu__max="100000 100000", memory__max=str(2**30))
    group(tmp_path / "pod" / "写真", cpu__max="max 100000", memory__max=str(2**31))
    assert counted(tmp_path, "0::/pod/写真\n") == (1, 2**30)


def test_version_1_limits_cores_and_memory(tmp_path):
    group(tmp_path / "cpu" / "docker" / "a", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    group(tmp_path / "memory" / "docker" / "a", memory__limit_in_bytes=str(2**28))
    assert counted(tmp_path, "5:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n") == (1, 2**28)


def test_version_1_without_a_quota_and_a_path_of_the_host(tmp_path):
    group(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    group(tmp_path / "memory", memory__limit_in_bytes=str(2**28))
    assert counted(tmp_path, "5:memory:/host/path\n3:cpu,cpuacct:/host/path\n0::/\n") == (ALL, 2**28)
    group(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712")
    assert counted(tmp_path, "5:memory:/\n") == (ALL, MACHINE)


@pytest.mark.parametrize("rubbish", ["", "x", "0", "-5", "100000 0", "nan nan", "1 2 3 4", "最大"])
def test_rubbish_is_no_quota(tmp_path, rubbish):
    group(tmp_path, cgroup__controllers="", cpu__max=rubbish, memory__max=rubbish)
    cores, memory = counted(tmp_path, "rubbish\n::\n0::/\n")
    assert 1 <= cores <= ALL
    assert memory == MACHINE or rubbish == "1 2 3 4"


def test_available_memory_is_what_the_tightest_group_leaves(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "membership").write_text("0::/pod\n")

    def available() -> int:
        return resources.available_memory(tmp_path, tmp_path / "membership", tmp_path / "meminfo")

    assert available() == 8000 * 1024
    group(tmp_path, cgroup__controllers="cpu memory")
    group(tmp_path / "pod", memory__max="5000", memory__current="4000", memory__stat="anon 1\ninactive_file 700\n")
    assert available() == 1700
    group(tmp_path / "pod", memory__max="max")
    assert available() == 8000 * 1024
    group(tmp_path / "pod", memory__max="5000", memory__current="6000", memory__stat="")
    assert available() == 0
    assert resources.available_memory() > 0


def test_processor_has_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: AMD EPYC 9754\nflags : x\n")
    assert resources.processor(tmp_path / "cpuinfo") == "AMD EPYC 9754"
    assert resources.processor(tmp_path / "none")
