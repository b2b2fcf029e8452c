from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from partwise.core.errors import Cancelled
from partwise.core.progress import CancelToken, Progress
from partwise.xpart import decode
from partwise.xpart.config import TINY_VAE
from partwise.xpart.decode import PartField, decode_part
from partwise.xpart.parts import RawSurface
from partwise.xpart.settings import XPartSettings
from partwise.xpart.vae import ShapeDecoder
from tests.xpart.support import filled, golden, largest_difference, relative_rms

AABB = np.array([[-0.2, -0.2, -0.2], [0.1, 0.2, 0.3]], np.float32)
SETTINGS = XPartSettings(octree_resolution=128)
NOTHING = RawSurface(np.empty((0, 3)), np.empty((0, 3), np.int64), 0)


@pytest.fixture(scope="module")
def model() -> ShapeDecoder:
    return filled(ShapeDecoder(replace(TINY_VAE, num_latents=16, num_freqs=8, pc_size=512)))


@pytest.mark.parametrize("item", [0, 1])
@pytest.mark.parametrize("query_chunk", [1, 7, 199, 20_000])
def test_a_part_s_field_is_the_golden_one_in_any_chunks(
    model: ShapeDecoder, item: int, query_chunk: int
) -> None:
    arrays = golden("vae_tiny")
    field = PartField(model, arrays["latents"][item], query_chunk=query_chunk)
    logits = field(arrays["queries"][item])
    assert logits.dtype == np.float32
    assert largest_difference(logits, arrays["logits"][item]) < 1e-5


def test_no_place_has_no_logit(model: ShapeDecoder) -> None:
    field = PartField(model, golden("vae_tiny")["latents"][0])
    assert field(np.empty((0, 3), np.float32)).shape == (0,)


def test_the_field_is_handed_on_with_the_box_and_the_settings(
    model: ShapeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, seen = golden("vae_tiny"), {}

    def extract(field: PartField, aabb: Any, settings: Any, **rest: Any) -> RawSurface:
        seen.update(rest, aabb=aabb, settings=settings, logits=field(arrays["queries"][0]))
        return NOTHING

    def progress(step: Progress) -> None:
        pass

    monkeypatch.setattr(decode, "extract_surface", extract)
    found = decode_part(
        model,
        arrays["latents"][0],
        AABB,
        SETTINGS,
        query_chunk=64,
        precision="bf16",
        progress=progress,
    )
    assert found is NOTHING
    assert seen["aabb"] is AABB
    assert seen["settings"] is SETTINGS
    assert seen["progress"] is progress
    assert 0 < relative_rms(torch.from_numpy(seen["logits"]), arrays["logits"][0]) < 1.5e-2


def test_a_cancelled_part_stops_between_chunks(
    model: ShapeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, cancel, chunks = golden("vae_tiny"), CancelToken(), []

    def count(module: Any, inputs: Any, output: Any) -> None:
        chunks.append(len(output))
        if len(chunks) == 3:
            cancel.cancel()

    def extract(field: PartField, *_: Any, **__: Any) -> RawSurface:
        field(arrays["queries"][0])
        return NOTHING

    monkeypatch.setattr(decode, "extract_surface", extract)
    hook = model.geo_decoder.register_forward_hook(count)
    try:
        with pytest.raises(Cancelled):
            decode_part(model, arrays["latents"][0], AABB, SETTINGS, query_chunk=16, cancel=cancel)
    finally:
        hook.remove()
    assert chunks == [16, 16, 16]


def test_a_call_that_is_cancelled_before_it_begins_decodes_nothing(model: ShapeDecoder) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        decode_part(model, golden("vae_tiny")["latents"][0], AABB, SETTINGS, cancel=cancel)
