"""The components of the neural models, as the models' manager knows them in whichever process."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from partwise.core.errors import WeightsError
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.p3sam.precision import is_quantizable, keeps_fp32
from partwise.vram.checkpoint import SAFETENSORS, open_checkpoint
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.footprint import padded_bytes
from partwise.vram.precision import PrecisionPolicy
from studio.catalog import P3SAM, XPART, NeuralModel, find_file, find_model, stamp_of
from studio.xpart_models import xpart_components

if TYPE_CHECKING:
    from torch import nn

P3SAM_POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)
_SHARE_OF_FP32 = {"fp32": 1.0, "bf16": 0.52, "fp16": 0.52, "int8": 0.28, "int4": 0.17}


def neural_components(weights_dir: Path) -> list[ComponentSpec]:
    """All components of all published models."""
    return [
        _p3sam_component(find_model(P3SAM), weights_dir),
        *xpart_components(find_model(XPART), weights_dir),
    ]


def _p3sam_component(model: NeuralModel, weights_dir: Path) -> ComponentSpec:
    def path() -> Path:
        found = find_file(model.files[0], weights_dir)
        if found is None:
            reason = model.why_unavailable(weights_dir)
            raise WeightsError(
                reason or f"{model.title}: its weights were moved just now. Try again."
            )
        return found

    return ComponentSpec(
        name=model.name,
        title=model.title,
        build=lambda order: build_p3sam(path(), order),
        why_unavailable=lambda: model.why_unavailable(weights_dir),
        count_bytes=lambda precision: p3sam_weight_bytes(path(), precision),
    )


def build_p3sam(path: Path, order: LoadOrder | None = None) -> "nn.Module":
    """P3-SAM with the weights of a checkpoint, on the CPU; raises `WeightsError`."""
    import torch

    from partwise.p3sam.model import P3SAM as P3SAMModel
    from partwise.vram.checkpoint import load_weights

    order = order or LoadOrder()
    checkpoint = open_checkpoint(path)
    with torch.device("meta"):
        module = P3SAMModel()
    load_weights(
        module,
        checkpoint,
        precision=order.precision,
        policy=P3SAM_POLICY,
        empty=order.empty,
        cancel=order.cancel,
        progress=order.progress,
    )
    return module


def p3sam_weight_bytes(path: Path, precision: str) -> int:
    """What a device is asked for to hold P3-SAM's weights in a precision; reads the header alone.

    A .ckpt is counted as published: finding out its tensors would need torch.
    """
    if path.suffix != SAFETENSORS:
        return round(WEIGHT_BYTES * _SHARE_OF_FP32[precision])
    return _bytes_by_header(path, precision, stamp_of(path))


@functools.lru_cache(maxsize=32)
def _bytes_by_header(path: Path, precision: str, stamp: str) -> int:
    """Read once for each state of the file, since each plan asks for every precision."""
    return padded_bytes(open_checkpoint(path), precision, P3SAM_POLICY)
