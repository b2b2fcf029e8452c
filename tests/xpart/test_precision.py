"""X-Part's weights in fewer bits: which, and how far off the PartFormer then is."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.plan import PRECISIONS
from partwise.vram.precision import PrecisionPolicy
from partwise.xpart.blocks import Way
from partwise.xpart.config import TINY
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions
from partwise.xpart.precision import MEASURED, is_quantizable, keeps_fp32, quality_words
from partwise.xpart.products import product_dtype
from scripts.make_checkpoint import write_checkpoint
from tests.xpart.dit_support import normal, velocity
from tests.xpart.support import DATA, relative_rms

POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)
LOWERED = [name for name in PRECISIONS if name != "fp32"]


def shapes() -> dict[str, dict[str, list[int]]]:
    """Of each component's keys."""
    found: dict[str, dict[str, list[int]]] = json.loads(
        (DATA / "state_dict_shapes.json").read_text()
    )
    return found


def share(component: str, keys: set[str]) -> float:
    """Of a component's weights."""
    counts = {key: math.prod(shape) for key, shape in shapes()[component].items()}
    return sum(counts[key] for key in keys) / sum(counts.values())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.device("meta"):
        tiny = {key: tuple(value.shape) for key, value in PartFormer(TINY.dit).state_dict().items()}
    write_checkpoint(path, tiny)
    return path


def answer(weights: Path, precision: str) -> Tensor:
    with torch.device("meta"):
        model = PartFormer(TINY.dit).requires_grad_(False).eval()
    load_weights(model, open_checkpoint(weights), precision=precision, policy=POLICY)
    conditions = Conditions(normal(2, 1, 20, 32), normal(3, 5, 24, 32))
    way = Way(product_dtype(model, "fp32"))
    return velocity(model, normal(1, 5, 16, 8), conditions, way)


def test_fewer_than_16_bits_are_for_nearly_all_of_the_partformer_and_nothing_else() -> None:
    lowered = {
        name: {key for key in keys if is_quantizable(key)} for name, keys in shapes().items()
    }
    assert share("model", lowered["model"]) > 0.985
    assert lowered["conditioner"] == lowered["shapevae"] == set()
    assert all(len(shapes()["model"][key]) == 2 for key in lowered["model"])


@pytest.mark.parametrize("component", ["model", "conditioner", "shapevae"])
def test_what_stays_float32_is_not_quantised_and_small_but_for_the_point_encoder(
    component: str,
) -> None:
    keys = shapes()[component]
    kept = {key for key in keys if keeps_fp32(key)}
    assert not any(is_quantizable(key) for key in kept)
    assert share(component, {key for key in kept if "seg_feat" not in key}) < 0.012


@pytest.mark.parametrize("component", ["model", "conditioner", "shapevae"])
def test_norms_the_gate_and_the_point_encoder_stay_float32(component: str) -> None:
    keys = shapes()[component]
    gains = {key for key, shape in keys.items() if len(shape) == 1 and key.endswith("weight")}
    exact = {key for key in keys if key.startswith("seg_feat_encoder.") or ".gate." in key}
    assert all(keeps_fp32(key) for key in gains | exact)


@pytest.mark.parametrize("precision", LOWERED)
def test_a_precisions_difference_is_about_what_was_measured(weights: Path, precision: str) -> None:
    found = relative_rms(answer(weights, precision), answer(weights, "fp32").numpy())
    assert MEASURED[precision] / 20 < found < 3 * MEASURED[precision]


def test_fewer_bits_are_further_off() -> None:
    order = [MEASURED[precision] for precision in ("fp16", "bf16", "int8", "int4")]
    assert order == sorted(order)


def test_a_plan_can_say_what_each_precision_costs() -> None:
    assert quality_words("fp32") == ""
    assert all("%" in quality_words(precision) for precision in LOWERED)
