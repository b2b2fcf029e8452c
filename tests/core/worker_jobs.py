"""Jobs that the tests of `core/worker.py` run in child processes."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import MeshError
from partwise.core.progress import Progress, ProgressCallback


def double(values: NDArray[np.float64], *, progress: ProgressCallback) -> NDArray[np.float64]:
    progress(Progress("doubling", 0.5))
    print("prints must not disturb the answers")
    return values * 2


def refuse(*, progress: ProgressCallback) -> None:
    raise MeshError("chair.obj has no faces.")


def fail(*, progress: ProgressCallback) -> None:
    raise KeyError("secret detail")


def sleep(seconds: float, *, progress: ProgressCallback) -> None:
    progress(Progress("sleeping", 0.0))
    time.sleep(seconds)


def allocate(byte_count: int, *, progress: ProgressCallback) -> int:
    return int(np.ones(byte_count, dtype=np.uint8).sum())


def address_space(*, progress: ProgressCallback) -> tuple[int, int]:
    import resource  # not on Windows

    return resource.getrlimit(resource.RLIMIT_AS)


def crash(*, progress: ProgressCallback) -> None:
    os._exit(7)


def return_foreign_object(*, progress: ProgressCallback) -> Any:
    return Path("/")
