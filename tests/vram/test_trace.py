"""A trace takes the memory that the same code takes, and computes no floating number."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from partwise.geometry.voxels import build_voxels
from partwise.p3sam.model import P3SAM, TINY
from partwise.p3sam.pipeline import encode_points, predict_masks
from partwise.p3sam.prepare import PreparedMesh
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.meter import AllocationMeter, PeakSink
from partwise.vram.trace import Trace, trace_peak
from tests.p3sam_support import filled, tiny_model


def cloud(count: int) -> PreparedMesh:
    """A prepared mesh as far as the network needs it: points on a ball."""
    directions = np.random.default_rng(1).normal(size=(count, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    voxels = build_voxels(points, points)
    prepared = SimpleNamespace(points=points, voxels=voxels, prompts=np.arange(5))
    return cast("PreparedMesh", prepared)


def run_all(model: P3SAM, prepared: PreparedMesh, settings: P3SamSettings, sink: PeakSink) -> None:
    sink.mark("encode")
    features = encode_points(model, prepared, precision=settings.encoder_precision)
    sink.mark("masks")
    predict_masks(model, features, prepared, settings)


def assert_a_run_takes_what_its_trace_says(model: P3SAM, count: int, precision: str) -> None:
    settings = P3SamSettings(
        point_num=count,
        prompt_num=5,
        prompt_batch=3,
        precision=precision,
        encoder_precision=precision,
    )
    prepared, real, traced = cloud(count), PeakSink(), PeakSink()
    with AllocationMeter(real):
        run_all(model, prepared, settings, real)
    with torch.device("meta"):
        fake = P3SAM(model.config)
    trace = Trace(is_gpu=False)
    trace.stand_in(fake)
    with trace.counting(traced):
        run_all(fake, prepared, settings, traced)
    assert traced.peaks == real.peaks
    assert traced.largest == real.largest
    assert traced.current_bytes == real.current_bytes == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_of_the_tiny_model_takes_what_its_trace_says(precision: str) -> None:
    assert_a_run_takes_what_its_trace_says(tiny_model(), 2500, precision)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_of_the_full_model_takes_what_its_trace_says(precision: str) -> None:
    assert_a_run_takes_what_its_trace_says(filled(), 4000, precision)


def traced(work: Any, *, is_gpu: bool = False) -> PeakSink:
    return trace_peak(Trace(is_gpu=is_gpu), work, rounding=1)


def test_shapes_that_depend_on_whole_numbers_are_right() -> None:
    grid = np.array([[0, 0], [0, 1], [0, 0], [3, 1]])

    def work(mark: object) -> None:
        keys, places = torch.from_numpy(grid[:, 0] * 4 + grid[:, 1]).unique(return_inverse=True)
        features = torch.zeros(len(keys), 8)
        assert features[places].shape == (4, 8)
        assert features[keys > 0].shape == (2, 8)
        assert features[:, None].expand(-1, 2, -1).shape == (3, 2, 8)
        assert keys.tolist() == [0, 1, 13]

    traced(work)


def test_floats_have_no_numbers_and_whole_numbers_do() -> None:
    def work(mark: object) -> None:
        assert int(torch.arange(4).sum()) == 6
        with pytest.raises(RuntimeError, match="meta"):
            float(torch.ones(3).sum())

    traced(work)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_holds_no_scores(dtype: torch.dtype) -> None:
    def work(mark: object) -> None:
        query = torch.zeros(2, 4, 1000, 16, dtype=dtype)
        functional.scaled_dot_product_attention(query, query, query)

    one = 2 * 4 * 1000 * 16 * dtype.itemsize
    assert traced(work).peak_bytes == 2 * one + 2 * 4 * 1000 * 4


@pytest.mark.parametrize(("is_gpu", "uploads"), [(True, 1), (False, 0)])
def test_what_comes_from_numpy_is_copied_to_a_gpu_alone(is_gpu: bool, uploads: int) -> None:
    floats, places = np.zeros(1000, dtype=np.float32), np.arange(1000)

    def work(mark: object) -> None:
        kept = [torch.from_numpy(array).to("cpu") for array in (floats, places)]
        assert [tensor.dtype for tensor in kept] == [torch.float32, torch.int64]

    assert traced(work, is_gpu=is_gpu).peak_bytes == uploads * 12_000


def test_what_is_done_on_the_host_costs_a_gpu_nothing() -> None:
    def work(mark: object) -> None:
        made = torch.zeros(100).cpu()
        wide = made[torch.from_numpy(np.zeros(5000, dtype=np.int64))].double()
        assert wide.numpy().shape == (5000,)

    assert traced(work, is_gpu=True).peak_bytes == 400
    assert traced(work).peak_bytes == 400 + 20_000 + 40_000


def test_autocast_and_in_place_operators_are_followed() -> None:
    layer = nn.Linear(64, 128, device="meta").requires_grad_(False)
    trace = Trace(is_gpu=False)
    trace.stand_in(layer)

    def work(mark: object) -> Tensor:
        given = torch.zeros(1000, 64)
        given += 1
        with torch.autocast("cpu", torch.bfloat16):
            made = layer(given)
        assert made.dtype == torch.bfloat16
        return made

    given, made = 1000 * 64 * 4, 1000 * 128 * 2
    casts = 1000 * 64 * 2 + 128 * 64 * 2 + 128 * 2
    assert trace_peak(trace, work, rounding=1).peak_bytes == given + casts + made


def test_a_fake_tensor_is_of_no_use_outside_of_its_trace() -> None:
    kept: list[Tensor] = []
    traced(lambda mark: kept.append(torch.zeros(3)))
    with pytest.raises(RuntimeError, match="outside of the trace"):
        kept[0] + 1


def test_the_tiny_model_s_weights_are_not_charged() -> None:
    with torch.device("meta"):
        model = P3SAM(TINY)
    trace = Trace(is_gpu=True)
    trace.stand_in(model)
    assert trace_peak(trace, lambda mark: model.mlp.layers[0].weight.T).peak_bytes == 0
