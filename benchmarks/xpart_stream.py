"""One step of the PartFormer on the CPU with its experts streamed from the mapped file.

Linux: what the process takes beyond the page cache is its anonymous memory. Runs in a process of
its own, see `xpart.py`.
"""

import re
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Payload
from lazy_partformer import DIT
from model_manager import ModelManager, Placement
from partwise.vram.device import Device
from partwise.vram.settings import VramSettings
from partwise.xpart.config import XPartConfig
from partwise.xpart.cost import sample_options
from partwise.xpart.parts import Conditions
from partwise.xpart.sampler import initial_latents
from partwise.xpart.settings import XPartSettings
from studio.catalog import XPART, find_model
from studio.xpart_models import EXPERTS, read_config, xpart_components

_PRECISION = "bf16"
_POLL_S = 0.02
_ONE_CALL = XPartSettings(steps=2)


@dataclass(frozen=True)
class StreamRow:
    """Bytes of the process's anonymous memory: with everything imported, and at the peak.

    counted_bytes: of tensors beside the weights. file_bytes: of the weights.
    """

    part_count: int
    file_bytes: int
    counted_bytes: int
    before_bytes: int
    peak_bytes: int
    load_s: float
    step_s: float


class _AnonymousPeak:
    """The largest anonymous memory of this process while the block runs."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_AnonymousPeak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, anonymous_bytes())

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes())


def anonymous_bytes() -> int:
    """Resident memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def measure(*, weights: str, part_count: int) -> Payload:
    """Load, and one step. weights: a folder that holds the PartFormer's file, the rest or not."""
    folder = Path(weights)
    config, model = read_config(folder), find_model(XPART)
    spec = next(spec for spec in xpart_components(model, folder) if spec.name == DIT)
    manager = ModelManager(Device(), VramSettings())
    manager.register(replace(spec, why_unavailable=lambda: None))
    aabbs = np.random.default_rng(0).random((part_count, 2, 3)).astype(np.float32)
    conditions = _conditions(config, part_count)
    tokens, channels = config.vae.num_latents, config.dit.in_channels
    latents = initial_latents(aabbs, _ONE_CALL.seed, tokens, channels)
    knobs = sample_options(config, part_count, _ONE_CALL.steps, _PRECISION, is_gpu=False)[-1]
    before, started = anonymous_bytes(), time.perf_counter()
    with _AnonymousPeak() as peak:
        with manager.use(DIT, Placement(_PRECISION, streaming=EXPERTS)) as lease:
            loaded = time.perf_counter()
            lease.call(
                "partwise.xpart.sample:sample_latents",
                conditions,
                latents,
                aabbs,
                _ONE_CALL,
                precision=_PRECISION,
                **knobs.knobs,
            )
            done = time.perf_counter()
        manager.shutdown()
    if not np.isfinite(latents.latents).all():
        raise RuntimeError("the step gave something that is no number")
    return asdict(
        StreamRow(
            part_count,
            (folder / "model" / "model.safetensors").stat().st_size,
            knobs.size.peak_bytes,
            before,
            peak.peak_bytes,
            round(loaded - started, 2),
            round(done - loaded, 2),
        )
    )


def _conditions(config: XPartConfig, part_count: int) -> Conditions:
    tokens = config.conditioner.geo.num_latents
    generator = torch.Generator().manual_seed(0)
    whole, parts = (
        torch.randn(n, tokens, config.dit.encoder_hidden_dim, generator=generator).bfloat16()
        for n in (1, part_count)
    )
    return Conditions(whole, parts)
