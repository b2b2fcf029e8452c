from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from partwise.core.errors import Cancelled
from partwise.core.progress import CancelToken, Progress
from partwise.points.projection import project_stages
from partwise.points.sonata import StageFeatures
from partwise.xpart.condition import Work, condition_parts, describe_voxels, encode_surface
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import TINY, ConditionerConfig, VaeConfig
from partwise.xpart.parts import PreparedParts
from tests.xpart.support import (
    filled,
    golden,
    largest_difference,
    prepared_balls,
    relative_rms,
    to_half,
)

POINTS = TINY.conditioner.surface_points


@pytest.fixture(scope="module")
def model() -> Conditioner:
    return filled(Conditioner(TINY.conditioner))


@pytest.fixture(scope="module")
def balls() -> PreparedParts:
    return prepared_balls(3, POINTS)


def in_order(prepared: PreparedParts, order: list[int]) -> PreparedParts:
    return replace(
        prepared,
        kept=prepared.kept[order],
        aabbs=prepared.aabbs[order],
        part_surfaces=prepared.part_surfaces[order],
    )


@pytest.fixture(scope="module")
def wide_model() -> Conditioner:
    """The golden file's: full width, one layer, Sonata not used."""
    config = VaeConfig(num_latents=32, num_encoder_layers=1, pc_size=800)
    return filled(Conditioner(replace(TINY.conditioner, geo=config, obj=config)))


def rows(name: str) -> NDArray[np.int64]:
    return golden("conditioner_tiny")[name].astype(np.int64)


def golden_condition(model: Conditioner, kind: str, work: Work) -> torch.Tensor:
    """(3, 32, 1024) with the golden file's points to look from, and its features."""
    arrays = golden("conditioner_tiny")
    features = np.random.default_rng(31).standard_normal((800, 512)).astype(np.float32)
    whole, subset, queries = arrays["object_surface"][0], *map(rows, _names(kind))
    if kind == "obj":
        seen = features[subset[queries]]
        return encode_surface(
            model.object_encoder, model.obj_out_proj, whole[subset], queries, seen, work=work
        )
    tree, out = cKDTree(whole[:, :3].astype(np.float64)), []
    for surface, own in zip(arrays["part_surface"][:, subset], queries, strict=True):
        _, nearest = tree.query(surface[own, :3].astype(np.float64))
        given = (model.part_encoder, model.geo_out_proj, surface, own[None])
        out.append(encode_surface(*given, features[nearest][None], work=work))
    return torch.cat(out)


def _names(kind: str) -> tuple[str, str]:
    return f"{kind}_subset_idx", f"{kind}_query_idx"


@pytest.mark.parametrize("kind", ["geo", "obj"])
@pytest.mark.parametrize("point_chunk", [77, 800])
def test_conditions_are_the_golden_ones_in_any_chunks(
    wide_model: Conditioner, kind: str, point_chunk: int
) -> None:
    arrays = golden("conditioner_tiny")
    found = golden_condition(wide_model, kind, Work(point_chunk=point_chunk))
    assert largest_difference(found[..., ::16], arrays[f"{kind}_cond_every16"]) < 1e-5
    assert largest_difference(found.mean(dim=-1), arrays[f"{kind}_cond_mean"]) < 1e-5
    assert largest_difference(found.std(dim=-1), arrays[f"{kind}_cond_std"]) < 1e-5


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.bfloat16, 2.5e-2), (torch.float16, 3e-3)], ids=str
)
def test_conditions_in_16_bits_are_near_the_golden_ones(
    wide_model: Conditioner, dtype: torch.dtype, most: float
) -> None:
    found = golden_condition(wide_model, "obj", Work(dtype))
    assert found.dtype == dtype
    wanted = golden("conditioner_tiny")["obj_cond_every16"]
    assert 0 < relative_rms(found[..., ::16], wanted) < most


def test_the_projection_of_points_is_the_golden_one() -> None:
    arrays = golden("seg_mlp")
    published = Conditioner(replace(ConditionerConfig(), geo=TINY.vae, obj=TINY.vae))
    mlp = filled(published.seg_feat_encoder.mlp, "seg_feat_encoder.mlp.")
    x = np.random.default_rng(int(arrays["x_seed"])).standard_normal((6, 1232)).astype(np.float32)
    with torch.inference_mode():
        found = project_stages([StageFeatures(torch.from_numpy(x), None)], mlp)
    assert largest_difference(found, arrays["out"]) < 1e-5


def test_each_part_and_the_object_have_a_condition(
    model: Conditioner, balls: PreparedParts
) -> None:
    found = condition_parts(model, balls, 42)
    assert found.object.shape == (1, 64, 32)
    assert found.parts.shape == (3, 64, 32)
    assert found.object.dtype == found.parts.dtype == torch.float32
    assert found.object.isfinite().all()
    assert found.parts.isfinite().all()


def test_where_all_points_are_asked_the_object_s_condition_is_theirs() -> None:
    config = replace(TINY.conditioner.obj, num_latents=300)
    every = filled(Conditioner(replace(TINY.conditioner, obj=config)))
    prepared = prepared_balls(2, 300)
    features = describe_voxels(every, prepared.voxels)[prepared.voxels.inverse][None]
    wanted = encode_surface(
        every.object_encoder,
        every.obj_out_proj,
        prepared.object_surface,
        np.arange(300)[None],
        features,
        work=Work(),
    )
    found = condition_parts(every, prepared, 7).object
    assert largest_difference(_sorted(found[0]), _sorted(wanted[0])) < 1e-5


def _sorted(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[tokens[:, 0].argsort()]


@pytest.mark.parametrize("point_chunk", [100, 4096])
def test_chunks_of_points_do_not_matter(
    model: Conditioner, balls: PreparedParts, point_chunk: int
) -> None:
    found = condition_parts(model, balls, 42, point_chunk=point_chunk)
    wanted = condition_parts(model, balls, 42)
    assert largest_difference(found.object, wanted.object) < 1e-5
    assert largest_difference(found.parts, wanted.parts) < 1e-5


@pytest.mark.parametrize("order", [[2, 0, 1], [1], [0, 0, 2]])
def test_a_part_s_condition_does_not_depend_on_the_other_parts(
    model: Conditioner, balls: PreparedParts, order: list[int]
) -> None:
    wanted = condition_parts(model, balls, 42)
    found = condition_parts(model, in_order(balls, order), 42)
    assert largest_difference(found.object, wanted.object) < 1e-5
    assert largest_difference(found.parts, wanted.parts[order]) < 1e-5


def test_the_seed_decides_where_tokens_look_from(model: Conditioner, balls: PreparedParts) -> None:
    first, again, other = (condition_parts(model, balls, seed) for seed in (1, 1, 2))
    assert torch.equal(first.parts, again.parts)
    assert torch.equal(first.object, again.object)
    assert not torch.allclose(first.parts, other.parts, atol=1e-3)
    assert not torch.allclose(first.object, other.object, atol=1e-3)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_conditions_come_in_the_type_of_products(
    model: Conditioner, balls: PreparedParts, precision: str, dtype: torch.dtype
) -> None:
    found, wanted = (condition_parts(model, balls, 3, precision=p) for p in (precision, "fp32"))
    assert found.object.dtype == found.parts.dtype == dtype
    assert relative_rms(found.parts, wanted.parts.numpy()) < 2.5e-2
    assert relative_rms(found.object, wanted.object.numpy()) < 2.5e-2


def test_weights_of_16_bits_make_products_of_16_bits(balls: PreparedParts) -> None:
    held = filled(Conditioner(TINY.conditioner))
    wanted = condition_parts(held, balls, 3)
    for module in (held.geo_encoder, held.obj_encoder, held.geo_out_proj, held.obj_out_proj):
        to_half(module, torch.bfloat16)
    found = condition_parts(held, balls, 3)
    assert found.parts.dtype == torch.bfloat16
    assert relative_rms(found.parts, wanted.parts.numpy()) < 2.5e-2


def test_progress_names_each_part_and_never_falls(model: Conditioner, balls: PreparedParts) -> None:
    heard: list[Progress] = []
    condition_parts(model, balls, 42, progress=heard.append)
    stages = list(dict.fromkeys(step.stage for step in heard))
    assert stages == [
        "Looking at the points",
        "Looking at the object",
        *(f"Looking at part {i} of 3" for i in (1, 2, 3)),
    ]
    fractions = [step.fraction for step in heard]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] < 1


@pytest.mark.parametrize("stage", ["Looking at the points", "Looking at part 2 of 3"])
def test_a_cancelled_call_stops_where_it_is(
    model: Conditioner, balls: PreparedParts, stage: str
) -> None:
    cancel, heard = CancelToken(), []

    def progress(step: Progress) -> None:
        heard.append(step.stage)
        if step.stage == stage:
            cancel.cancel()

    with pytest.raises(Cancelled):
        condition_parts(model, balls, 42, progress=progress, cancel=cancel)
    assert heard.count(stage) == 1
    assert heard[-1] == stage


def test_a_surface_of_too_few_points_is_refused(model: Conditioner) -> None:
    with pytest.raises(ValueError, match="a surface has 40 points; 64 are to be chosen"):
        condition_parts(model, prepared_balls(1, 40), 42)
