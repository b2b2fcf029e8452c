"""P3-SAM's weights in fewer bits: finite answers, no further off than was measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.precision import POLICY, Difference, measure
from partwise.p3sam.model import P3SAM, TINY, checkpoint_shapes
from partwise.p3sam.pipeline import encode_points
from partwise.p3sam.precision import MEASURED, is_quantizable, keeps_fp32
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.plan import PRECISIONS
from partwise.vram.weights import HostMasters
from scripts.make_checkpoint import p3sam_shapes, write_checkpoint
from tests.studio.meshes import boxes
from tests.tiers import slow_but

SETTINGS = replace(P3SamSettings(), point_num=2000, prompt_num=6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_checkpoint(path, p3sam_shapes(is_tiny=True))
    return path


@pytest.fixture(scope="module")
def prepared() -> PreparedMesh:
    return prepare_mesh(*boxes(3), settings=SETTINGS)


@pytest.fixture(scope="module")
def differences(weights: Path, prepared: PreparedMesh) -> dict[str, Difference]:
    return measure(weights, prepared, SETTINGS, is_tiny=True)


def test_nearly_all_weights_may_be_held_in_fewer_bits_and_no_head_stem_or_norm() -> None:
    shapes = checkpoint_shapes()
    lowered = {key for key in shapes if is_quantizable(key)}
    assert sum(shapes[key].numel() for key in lowered) > 0.95 * sum(
        shape.numel() for shape in shapes.values()
    )
    assert all(len(shapes[key]) >= 2 and key.startswith("sonata.enc.") for key in lowered)
    assert not any("norm" in key or key.endswith("bias") for key in lowered)
    assert all(keeps_fp32(key) != is_quantizable(key) for key in shapes)


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "fp32"])
def test_a_precisions_difference_is_about_what_was_measured(
    differences: dict[str, Difference], precision: str
) -> None:
    found = differences[precision].features_relative
    assert MEASURED[precision] / 3 < found < 3 * MEASURED[precision]


def test_fewer_bits_are_further_off(differences: dict[str, Difference]) -> None:
    order = ["fp16", "bf16", "int8", "int4"]
    found = [differences[precision].features_relative for precision in order]
    assert found == sorted(found)
    assert found[0] > 0


@pytest.mark.parametrize("precision", slow_but(["fp32", "int8"], PRECISIONS))
def test_weights_that_went_to_a_device_and_back_give_the_same_bits(
    weights: Path, prepared: PreparedMesh, precision: str
) -> None:
    def build(order: LoadOrder) -> nn.Module:
        with torch.device("meta"):
            model = P3SAM(TINY)
        checkpoint = open_checkpoint(weights)
        load_weights(model, checkpoint, precision=order.precision, policy=POLICY, empty=order.empty)
        return model

    wanted = encode_points(build(LoadOrder(precision)), prepared)
    host = HostMasters(lambda: 2**34, limit_bytes=None, can_pin=False)
    master = host.obtain(ComponentSpec("p3sam", "P3-SAM", build), precision)
    for _ in range(2):
        found = encode_points(master.place(torch.Tensor.clone), prepared)
        master.withdraw()
        assert np.array_equal(found, wanted)
