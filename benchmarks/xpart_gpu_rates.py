"""What the card can do: matrix products in bf16 and fp32, and copies from page-locked memory."""

import time
from collections.abc import Callable

import torch

from benchmarks.common import Payload
from benchmarks.gpu_setting import MIB, Setting

_SIDE = 8192
_ROUNDS = 10
_WARM_UP = 3


def matrix_rates(setting: Setting) -> Payload:
    """TFLOP/s of square products of random numbers by type, fp32 without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    side = setting.pick(_SIDE, 512)
    types = {"bf16": torch.bfloat16, "fp32": torch.float32}
    place = _place(setting)
    rates = {name: _matrix_rate(side, dtype, place) for name, dtype in types.items()}
    return {"side": side, **rates}


def _matrix_rate(side: int, dtype: torch.dtype, place: str) -> float:
    one, other = (torch.randn(side, side, device=place).to(dtype) for _ in range(2))
    out = torch.empty_like(one)
    seconds = _seconds(lambda: torch.mm(one, other, out=out), place)
    return round(2 * side**3 / seconds / 1e12, 3)


def send_rate(setting: Setting) -> Payload:
    """GB/s from the host's page-locked memory to the device, in pieces as large as a block."""
    place = _place(setting)
    size = setting.pick(256 * MIB, MIB)
    host = torch.empty(size, dtype=torch.uint8, pin_memory=not setting.is_simulated)
    there = torch.empty(size, dtype=torch.uint8, device=place)
    seconds = _seconds(lambda: there.copy_(host, non_blocking=True), place)
    return {"piece_mib": size / MIB, "value": round(size / seconds / 1e9, 2)}


def _seconds(work: Callable[[], object], place: str) -> float:
    for _ in range(_WARM_UP):
        work()
    _settle(place)
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        work()
    _settle(place)
    return (time.perf_counter() - started) / _ROUNDS


def _settle(place: str) -> None:
    if place == "cuda":
        torch.cuda.synchronize()


def _place(setting: Setting) -> str:
    return "cpu" if setting.is_simulated else "cuda"
