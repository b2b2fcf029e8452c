"""X-Part's three components for the models' manager: their files, widths, weights."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazy_partformer import CONDITIONER, DIT, VAE
from partwise.core.errors import WeightsError
from partwise.vram.checkpoint import Checkpoint, open_checkpoint
from partwise.vram.component import ComponentSpec, LoadOrder, no_units
from partwise.vram.footprint import padded_bytes, streamed_bytes, tensor_bytes
from partwise.vram.precision import QUANTIZED, PrecisionPolicy
from partwise.xpart.config import (
    XPartConfig,
    conditioner_with_params,
    dit_with_params,
    refuse_unequal,
    vae_with_params,
)
from partwise.xpart.precision import is_quantizable, keeps_fp32
from partwise.xpart.unread import is_unread
from studio.catalog import NeuralModel, find_file, stamp_of

if TYPE_CHECKING:
    from torch import nn

POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)
BLOCKS, EXPERTS = "blocks", "experts"  # what is streamed: whole blocks, or their experts singly
_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 2**20
_FILES = {  # component → its file, the name by which its keys are known
    CONDITIONER: ("conditioner/conditioner.safetensors", "conditioner", "X-Part conditioner"),
    DIT: ("model/model.safetensors", "model", "X-Part PartFormer"),
    VAE: ("shapevae/shapevae.safetensors", "shapevae", "X-Part ShapeVAE"),
}


def xpart_components(model: NeuralModel, weights_dir: Path) -> list[ComponentSpec]:
    """What the manager knows of X-Part: three components, one model."""
    return [_component(name, model, weights_dir) for name in _FILES]


def weight_bytes(weights_dir: Path, component: str, precision: str) -> int | None:
    """What a device is asked for to hold a component's weights; None without its file."""
    path = find_file(_FILES[component][0], weights_dir)
    if path is None:
        return None
    return _bytes_by_header(path, component, held_precision(component, precision), stamp_of(path))


def streamed_weight_bytes(
    weights_dir: Path, precision: str, kind: str, *, is_on_gpu: bool
) -> int | None:
    """What the PartFormer's weights take at one moment when they are streamed; None without file.

    On a CPU they are used where the file is mapped.
    """
    path = find_file(_FILES[DIT][0], weights_dir)
    if path is None:
        return None
    return _streamed_by_header(path, precision, kind, is_on_gpu, stamp_of(path))


def held_precision(component: str, precision: str) -> str:
    """How a component is held in a plan of that precision: 8 and 4 bits are for the PartFormer."""
    return "bf16" if precision in QUANTIZED and component != DIT else precision


def read_config(weights_dir: Path) -> XPartConfig:
    """The widths that the files' own `config.json` give, else the published ones.

    Raises `WeightsError` for a file that cannot be what was published.
    """
    paths = tuple(_config_path(file, weights_dir) for file, _, _ in _FILES.values())
    return _read_configs(paths, tuple(stamp_of(path) for path in paths))


@functools.lru_cache(maxsize=4)
def _read_configs(paths: tuple[Path | None, ...], stamps: tuple[str, ...]) -> XPartConfig:
    conditioner, dit, vae = (_params(path) for path in paths)
    config = XPartConfig(
        conditioner_with_params(conditioner), dit_with_params(dit), vae_with_params(vae)
    )
    refuse_unequal(config)
    return config


def _config_path(file: str, weights_dir: Path) -> Path | None:
    path = weights_dir.expanduser() / Path(file).parent / _CONFIG
    return path if path.is_file() else None


def _params(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as err:
        raise WeightsError(
            f"{path} cannot be read as JSON. Fetch it again, or remove it: the published "
            "configuration then holds."
        ) from err
    params = content.get("params") if isinstance(content, dict) else None
    return params if isinstance(params, dict) else {}


def _component(name: str, model: NeuralModel, weights_dir: Path) -> ComponentSpec:
    file, key_name, title = _FILES[name]

    def build(order: LoadOrder) -> "nn.Module":
        path = find_file(file, weights_dir)
        if path is None:
            reason = model.why_unavailable(weights_dir)
            raise WeightsError(reason or f"{title}: its weights were moved just now. Try again.")
        return _build(name, key_name, path, read_config(weights_dir), order)

    return ComponentSpec(
        name=name,
        title=title,
        build=build,
        why_unavailable=lambda: model.why_unavailable(weights_dir),
        count_bytes=lambda precision: weight_bytes(weights_dir, name, precision),
        model=model.name,
        stream_units=_units_of(name),
    )


def _units_of(component: str) -> "Callable[[nn.Module, str], Sequence[str]]":
    """What of a component is streamed: nothing but the PartFormer."""

    def units(module: "nn.Module", kind: str) -> tuple[str, ...]:
        return _units([name for name, _ in module.named_modules()], kind)

    return units if component == DIT else no_units


def _units(names: Iterable[str], kind: str) -> tuple[str, ...]:
    """The blocks, and for “experts” each of their experts after them: as they compute."""
    found = {name: place for name in names if (place := _place_of(name, kind))}
    return tuple(sorted(found, key=lambda name: found[name]))


def _place_of(name: str, kind: str) -> tuple[int, ...]:
    """A unit's place in the order of computing; nothing for what is no unit of that kind."""
    words = name.split(".")
    if kind in (BLOCKS, EXPERTS) and len(words) == 2 and words[0] == "blocks":
        return (int(words[1]),)
    if kind == EXPERTS and len(words) == 5 and words[2:4] == ["moe", "experts"]:
        return int(words[1]), int(words[4])
    return ()


def _build(
    name: str, key_name: str, path: Path, config: XPartConfig, order: LoadOrder
) -> "nn.Module":
    import torch

    from partwise.vram.checkpoint import load_weights

    checkpoint = open_checkpoint(path)
    with torch.device("meta"):
        module = _module_of(name, config)
    load_weights(
        module,
        checkpoint,
        precision=held_precision(name, order.precision),
        policy=POLICY,
        ignored_keys=_unread(key_name, checkpoint),
        empty=order.empty,
        is_mapped=order.is_mapped,
        cancel=order.cancel,
        progress=order.progress,
    )
    return module


def _module_of(name: str, config: XPartConfig) -> "nn.Module":
    if name == DIT:
        from partwise.xpart.dit import PartFormer

        return PartFormer(config.dit)
    if name == VAE:
        from partwise.xpart.vae import ShapeDecoder

        return ShapeDecoder(config.vae)
    from partwise.xpart.conditioner import Conditioner

    return Conditioner(config.conditioner)


def _unread(key_name: str, checkpoint: Checkpoint) -> frozenset[str]:
    """The keys whose tensors inference never reads; they stay in the file."""
    return frozenset(key for key in checkpoint if is_unread(key_name, key))


@functools.lru_cache(maxsize=64)
def _bytes_by_header(path: Path, component: str, precision: str, stamp: str) -> int:
    """Read once for each state of the file, since each plan asks for every precision."""
    checkpoint = open_checkpoint(path)
    unread = _unread(_FILES[component][1], checkpoint)
    return padded_bytes(checkpoint, precision, POLICY, ignored_keys=unread)


@functools.lru_cache(maxsize=32)
def _streamed_by_header(path: Path, precision: str, kind: str, is_on_gpu: bool, stamp: str) -> int:
    sizes = tensor_bytes(open_checkpoint(path), precision, POLICY, is_mapped_on_host=not is_on_gpu)
    places = {".".join(key.split(".")[:n]) for key in sizes for n in (2, 5)}
    return streamed_bytes(sizes, _units(places, kind))
