"""What the card can do: matrix products, copies from page-locked memory, places of a field."""

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.common import Payload
from benchmarks.gpu_setting import MIB, Setting
from partwise.core.progress import CancelToken, ProgressCallback
from partwise.xpart.decode import PartField
from partwise.xpart.vae import ShapeDecoder

_SIDE = 8192
_ROUNDS = 10
_WARM_UP = 3
_QUERIES = 32768  # at once


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


def ask_field(
    model: ShapeDecoder,
    count: int,
    *,
    progress: ProgressCallback,
    cancel: CancelToken | None = None,
) -> float:
    """Seconds for so many random places of one part's field, in bf16; called under a lease."""
    generator = np.random.default_rng(0)
    config = model.config
    latents = generator.standard_normal((config.num_latents, config.embed_dim), dtype=np.float32)
    places = generator.uniform(-1, 1, (count, 3)).astype(np.float32)
    check = (cancel or CancelToken()).raise_if_cancelled
    field = PartField(model, latents, dtype=torch.bfloat16, query_chunk=_QUERIES, check=check)
    field(places[:_QUERIES])
    started = time.perf_counter()
    field(places)  # what it gives lies on the host, so that it is over then
    return time.perf_counter() - started


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
