import numpy as np
import pytest
import torch

from partwise.points.projection import project_stages
from partwise.points.serialization import CURVES, curve_codes, curve_depth, curve_order
from partwise.points.sonata import IN_ORDER, pool_grid
from tests.p3sam_support import (
    golden,
    golden_voxels,
    largest_difference,
    side_by_side,
    tensors,
    tiny_model,
)

STAGES = range(5)


def test_grids_orders_and_clusters_of_all_stages_are_the_golden_ones() -> None:
    arrays = golden("tiny_encoder")
    grid, _ = tensors(golden_voxels(arrays))
    for i in STAGES:
        if i:
            grid, cluster = pool_grid(grid, 2)
            assert np.array_equal(cluster.numpy(), arrays[f"s{i}_pool_inverse"])
        assert np.array_equal(grid.numpy(), arrays[f"s{i}_grid"])
        depth = curve_depth(grid)
        assert depth == arrays[f"s{i}_depth"]
        orders = np.stack([curve_order(grid, depth, curve).numpy() for curve in CURVES])
        assert np.array_equal(orders, arrays[f"s{i}_order"])
        if not i:
            codes = [curve_codes(grid, depth, curve).numpy() for curve in CURVES]
            assert np.array_equal(np.stack(codes), arrays["s0_code"])


def test_the_stem_and_each_step_of_the_first_block_are_the_golden_ones() -> None:
    arrays = golden("tiny_encoder")
    model = tiny_model().sonata
    named = {
        "emb": model.embedding,
        "b0_cpe": model.get_submodule("enc.enc0.block0.cpe.2"),
        "b0_attn": model.get_submodule("enc.enc0.block0.attn"),
        "b0_out": model.get_submodule("enc.enc0.block0"),
    }
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out[:64].clone())
        )
        for name, module in named.items()
    ]
    with torch.inference_mode():
        model(*tensors(golden_voxels(arrays)))
    for hook in hooks:
        hook.remove()
    for name in named:
        assert largest_difference(seen[name], arrays[f"{name}_head"]) < 1e-4, name


def test_shuffled_orders_are_five_draws_of_the_seed() -> None:
    arrays = golden("tiny_encoder")
    generator = torch.Generator().manual_seed(int(arrays["sh_torch_seed"]))
    drawn = [torch.randperm(4, generator=generator).tolist() for _ in STAGES]
    assert drawn == arrays["sh_perms"].tolist()


@pytest.mark.parametrize("kind", ["id", "sh"])
def test_features_of_all_stages_are_the_golden_ones(kind: str) -> None:
    arrays = golden("tiny_encoder")
    voxels = golden_voxels(arrays)
    orders = IN_ORDER if kind == "id" else arrays["sh_perms"].tolist()
    model = tiny_model()
    with torch.inference_mode():
        stages = model.sonata(*tensors(voxels), orders)
        inverse = torch.arange(len(voxels.grid))
        features = model.encode(*tensors(voxels), inverse, orders)
    named = {f"s{i}_feat": stages[i].features for i in STAGES}
    named |= {"cat": side_by_side(stages), "mlp": features}
    for name, found in named.items():
        assert largest_difference(found[:64], arrays[f"{kind}_{name}_head"]) < 1e-4
        assert largest_difference(found.mean(dim=0), arrays[f"{kind}_{name}_mean"]) < 1e-4
        assert (
            largest_difference(found.std(dim=0, correction=0), arrays[f"{kind}_{name}_std"]) < 1e-4
        )


def test_a_stage_of_one_patch_is_the_golden_one() -> None:
    arrays = golden("tiny_encoder")
    voxels = golden_voxels(arrays, "sm_")
    model = tiny_model()
    with torch.inference_mode():
        stages = model.sonata(*tensors(voxels))
        features = model.encode(*tensors(voxels), torch.arange(len(voxels.grid)))
    assert [len(stage.features) for stage in stages] == arrays["sm_stage_points"].tolist()
    assert largest_difference(side_by_side(stages), arrays["sm_cat"]) < 1e-4
    assert largest_difference(features[:64], arrays["sm_mlp_head"]) < 1e-4


def test_the_parts_of_the_projection_are_the_concatenation_s() -> None:
    voxels = golden_voxels(golden("tiny_encoder"))
    model = tiny_model()
    with torch.inference_mode():
        stages = model.sonata(*tensors(voxels))
        wide, mlp = side_by_side(stages), model.mlp
        assert wide.shape[1] == mlp.layers[0].in_features
        torch.testing.assert_close(project_stages(stages, mlp), mlp(wide), atol=1e-4, rtol=1e-5)


def test_a_cloud_of_one_voxel_has_features() -> None:
    grid = torch.zeros(1, 3, dtype=torch.int64)
    with torch.inference_mode():
        features = tiny_model().encode(grid, torch.zeros(1, 9), torch.zeros(3, dtype=torch.int64))
    assert features.shape == (3, 512)
    assert features.isfinite().all()


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        ([[0, 1, 2]], r"curve order \[0, 1, 2\]; give each of 0 to 3 once"),
        ([[0, 1, 2, 4]], r"curve order \[0, 1, 2, 4\]"),
        ([[0, 1, 2, 3]] * 2, "2 curve orders; give one, or one for each of 5 stages"),
        ([], "0 curve orders"),
    ],
)
def test_wrong_orders_of_curves_are_refused(orders: list[list[int]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tiny_model().sonata(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 9), orders)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_stem_and_norms_stay_in_float32(dtype: torch.dtype) -> None:
    seen: dict[str, torch.dtype] = {}
    model = tiny_model()
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out.dtype)
        )
        for name, module in model.sonata.named_modules()
        if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear)
    ]
    grid, features = tensors(golden_voxels(golden("tiny_encoder")))
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        model.sonata(grid, features)
    for hook in hooks:
        hook.remove()
    exact = {name for name, kind in seen.items() if kind == torch.float32}
    norms = {n for n, m in model.sonata.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert exact == norms | {"embedding.stem.linear"}
    assert len(seen) > len(exact)
