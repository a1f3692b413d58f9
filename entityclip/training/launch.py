"""Several processes on this machine that train together: this process starts them, and Accelerate joins them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import patch_environment
from torch.multiprocessing.spawn import ProcessException, start_processes

from entityclip import errors
from entityclip.data import resources
from entityclip.errors import ConfigError, EntityClipError, TrainingError
from entityclip.storage import atomic_write


def require_devices(device: str, processes: int) -> None:
    """Refuse more processes than there are GPUs; on a CPU any number shares the cores.

    Raises:
        ConfigError: ``device`` is ``cuda``, and PyTorch sees fewer GPUs than ``processes``.
    """
    known = torch.cuda.device_count()
    if device == "cuda" and 0 < known < processes:  # without any GPU, ``join`` refuses
        raise ConfigError(
            f"processes {processes}: each needs a GPU of its own, and PyTorch sees {known}; expected at most {known}, "
            "or device cpu"
        )


def launch(function: Callable[..., None], *arguments: Any, processes: int) -> None:
    """Call ``function(*arguments)`` in each of several new processes, and wait for all of them.

    Each one has the environment variables that ``torchrun`` would set, and ends when this process does.

    Args:
        function: Can be pickled, as the arguments can.
        arguments: The same for every process.
        processes: How many, at least 2.

    Raises:
        EntityClipError: One of them raised it; the others are stopped.
        TrainingError: One of them was killed; the others are stopped.
        ProcessException: One of them raised any other error; the message has its traceback.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, resources.cores() // processes)
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "OMP_NUM_THREADS": threads}
    with tempfile.TemporaryDirectory() as folder:
        raised = Path(folder)
        with patch_environment(**places, WORLD_SIZE=processes, LOCAL_WORLD_SIZE=processes):
            together = start_processes(_work, (function, arguments, raised), nprocs=processes, join=False)
        try:
            while not together.join():
                pass
        except ProcessException:
            if reason := _reason(raised, [one.exitcode for one in together.processes]):
                raise reason from None
            raise
        finally:
            for one in together.processes:
                one.kill()
                one.join()


def _reason(raised: Path, exits: list[int]) -> EntityClipError | None:
    """The error that a process has left in the folder ``raised``, or that one was killed; None for anything else."""
    for found in raised.iterdir():
        if hasattr(errors, found.name):  # not one that is half written
            error: EntityClipError = getattr(errors, found.name)(found.read_text(encoding="utf-8"))
            return error
    if -signal.SIGKILL not in exits:
        return None
    return TrainingError(
        f"process {exits.index(-signal.SIGKILL)} of {len(exits)} was killed, as the system does when memory is short; "
        "the others were stopped. The same command resumes from the last saved state"
    )


def _work(rank: int, function: Callable[..., None], arguments: tuple[Any, ...], raised: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    try:
        function(*arguments)
    except EntityClipError as error:
        atomic_write(raised / type(error).__name__, str(error))
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_parent() -> None:
    """Kill this process when the one that started it is gone; a rerun must not find it at work."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this process was spawned
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
