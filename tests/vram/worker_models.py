"""Tiny components and jobs that the tests of `vram/worker_runner.py` run in a child process."""

import errno
import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from partwise.core.errors import MeshError, WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.readings import GpuProcess

LINEAR, BAD, SLOW = "linear", "bad", "slow"
PEAK_BYTES = 64 * 2**20


def specs(width: int) -> list[ComponentSpec]:
    def build_linear(order: LoadOrder) -> nn.Module:
        weight = torch.arange(width * width, dtype=torch.float32).reshape(width, width)
        module = nn.Linear(width, width, bias=False)
        module.load_state_dict({"weight": weight / weight.numel()})
        return module

    return [
        ComponentSpec(LINEAR, "Linear", build_linear),
        ComponentSpec(BAD, "Bad", _refuse_to_build),
        ComponentSpec(SLOW, "Slow", _build_for_ever),
    ]


def _refuse_to_build(order: LoadOrder) -> nn.Module:
    raise WeightsError("bad.safetensors is cut off.")


def _build_for_ever(order: LoadOrder) -> nn.Module:
    while True:
        order.progress(Progress("reading", 0.1))
        order.cancel.wait(0.02)
        order.cancel.raise_if_cancelled()


def multiply(
    module: nn.Module,
    points: NDArray[np.float32],
    *,
    factor: float = 1.0,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> NDArray[np.float32]:
    progress(Progress("multiplying", 0.5))
    sys.stdout.write("what is printed must not disturb the answers")
    with torch.no_grad():
        product: NDArray[np.float32] = (module(torch.from_numpy(points)) * factor).numpy()
    return product


def take_names(
    module: nn.Module,
    *,
    number: int,
    verb: str,
    timeout_s: float,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> tuple[int, str, float]:
    return number, verb, timeout_s


def process(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> GpuProcess:
    return GpuProcess(os.getpid(), "worker", None, is_ours=True)


def refuse(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    raise MeshError("chair.obj has no faces.")


def fail(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    raise KeyError("secret detail")


def return_foreign_object(
    module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken
) -> Path:
    return Path("/")


def allocate(
    module: nn.Module, byte_count: int, *, progress: ProgressCallback, cancel: CancelToken
) -> int:
    return torch.empty(byte_count, dtype=torch.uint8).numel()


def run_out_of_host_memory(
    module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken
) -> None:
    raise MemoryError


def fill_the_disk(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as err:
        raise RuntimeError("the result could not be written") from err


def wait_for_cancel(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    progress(Progress("waiting", 0.0))
    cancel.wait(60)
    cancel.raise_if_cancelled()


def ignore_cancel(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    progress(Progress("waiting", 0.0))
    time.sleep(60)


def exit_now(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    os._exit(7)


def be_killed(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def warn(module: nn.Module, *, progress: ProgressCallback, cancel: CancelToken) -> None:
    logging.getLogger(__name__).warning("the model is %s", "lukewarm")
