"""Installs the locked packages into the environment of the Python that runs it: .venv/bin/python deploy/install.py

Every file is compared with its hash in the lock. On Linux without a GPU, the CPU build of torch is taken where the
configured index offers it, which leaves out 3 GB of CUDA libraries. Needs nothing beside Python and its pip.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""One of these is there where an NVIDIA driver runs; the last one under Windows' Linux."""


def main() -> None:
    """Install, and say which build of torch it is and why."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", choices=("auto", "cpu", "cuda"), default="auto", help="which build of torch")
    parser.add_argument(
        "--locks", type=Path, default=ROOT, help="folder of requirements.lock and requirements-cpu.lock"
    )
    given = parser.parse_args()
    if given.torch == "cuda" or (given.torch == "auto" and (sys.platform != "linux" or sees_gpu())):
        install(given.locks / "requirements.lock")
    elif reason := install_cpu(given.locks):
        refused = f"the configured package index offers no CPU build of torch: {reason}"
        if given.torch == "cpu":
            sys.exit(f"{refused}\nConfigure an index that does (PIP_EXTRA_INDEX_URL), or use --torch cuda.")
        say(f"No GPU is seen, but {refused}")
        say("Installing the build with CUDA instead, about 3 GB; it runs on the CPU as well.")
        install(given.locks / "requirements.lock")


def sees_gpu() -> bool:
    """Whether an NVIDIA driver is here."""
    return any(Path(path).exists() for path in DRIVER) or shutil.which("nvidia-smi") is not None


def install(lock: Path) -> None:
    """Install what the lock holds, and prove that nothing is missing."""
    install_locked(lock)
    pip("check")


def install_locked(lock: Path) -> None:
    """Install what the lock holds and nothing else; a file with another hash ends it before anything is installed.

    setuptools comes first: it builds what comes as source, and pip would otherwise fetch one that nothing checks.
    """
    hashed = ("--no-deps", "--no-build-isolation", "--require-hashes", "--requirement")
    builder = re.search(r"^setuptools==.*(?:\n .*)*", lock.read_text(encoding="utf-8"), re.M)
    if builder:
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as alone:
            alone.write(builder[0] + "\n")
            alone.flush()
            pip("install", *hashed, alone.name)
    pip("install", *hashed, str(lock))


def install_cpu(locks: Path) -> str:
    """Install the lock without torch, then the CPU builds of torch and torchvision; the reason why not, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        if reason := download_cpu_build(locks / "requirements.lock", Path(folder)):
            return reason
        install_locked(locks / "requirements-cpu.lock")
        wheels = sorted(Path(folder).glob("*.whl"))
        say("The CPU build of torch is installed. The lock has no hash of it; compare, if you know it:")
        for wheel in wheels:
            say(f"  {hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}")
        pip("install", "--no-deps", "--no-index", *map(str, wheels))
    pip("check")
    return ""


def download_cpu_build(lock: Path, folder: Path) -> str:
    """Download the CPU builds of the locked torch and torchvision; the reason why not, or nothing."""
    versions = dict(re.findall(r"^(torch|torchvision)==([^ +]+)", lock.read_text(encoding="utf-8"), re.M))
    wanted = [f"{name}=={version}+cpu" for name, version in versions.items()]
    where = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *where, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or ["pip gives no reason"])[-1]


def pip(*arguments: str) -> None:
    """Run pip of this environment; its own message says why it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *(["--quiet"] if arguments[0] == "install" else [])]
    )
    if done.returncode:
        sys.exit(f"pip {arguments[0]} failed; its message is above")


def say(line: str) -> None:
    """One line for the person who waits, before pip is at work."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
