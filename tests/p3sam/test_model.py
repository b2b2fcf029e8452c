import json

import numpy as np
import pytest
import torch

from partwise.p3sam.heads import PromptHeads
from partwise.p3sam.model import checkpoint_shapes
from partwise.points.serialization import curve_depth
from partwise.points.sonata import pool_grid
from tests.p3sam_support import (
    DATA,
    filled,
    golden,
    golden_voxels,
    largest_difference,
    side_by_side,
    tensors,
)

ROUNDING = 2.0**-11  # of golden arrays in float16


def test_the_model_has_the_public_checkpoint_s_keys_and_shapes() -> None:
    published = json.loads((DATA / "keys.json").read_text())
    found = {key: list(shape) for key, shape in checkpoint_shapes().items()}
    assert found == published
    assert sum(shape.numel() for shape in checkpoint_shapes().values()) == 112_728_649


def test_curves_have_the_golden_depths_at_each_stage() -> None:
    arrays = golden("full_encoder")
    grid = torch.from_numpy(golden_voxels(arrays).grid)
    depths, counts = [], []
    for i in range(5):
        grid = pool_grid(grid, 2)[0] if i else grid
        depths.append(curve_depth(grid))
        counts.append(len(grid))
    assert depths == arrays["stage_depth"].tolist()
    assert counts == arrays["stage_points"].tolist()


@pytest.mark.slow
def test_the_full_model_agrees_with_the_published_one() -> None:
    arrays = golden("full_encoder")
    voxels = golden_voxels(arrays)
    model = filled()
    points = arrays["points"]
    low, high = points.min(axis=0), points.max(axis=0)
    shifted = points - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    with torch.inference_mode():
        stages = model.sonata(*tensors(voxels))
        assert [len(stage.features) for stage in stages] == arrays["stage_points"].tolist()
        wide = side_by_side(stages)
        features = model.encode(*tensors(voxels), torch.from_numpy(voxels.inverse))
        heads = PromptHeads(model, features, torch.from_numpy(shifted.astype(np.float32)))
        output = heads.predict(torch.from_numpy(arrays["prompts"].astype(np.float32)))
    for found, name in ((features[arrays["rows"]], "feats"), (wide[:64], "cat_head")):
        wanted = arrays[name].astype(np.float64)
        allowed = 1e-4 + ROUNDING * np.abs(wanted)
        assert (np.abs(found.numpy() - wanted) <= allowed).all(), name
    assert largest_difference(wide.mean(dim=0), arrays["cat_mean"]) < 1e-4
    assert largest_difference(wide.std(dim=0, correction=0), arrays["cat_std"]) < 1e-4
    masks = output.logits.sigmoid().permute(0, 2, 1)
    assert largest_difference(masks, arrays["masks"].astype(np.float64)) < 1e-4 + ROUNDING
    assert largest_difference(output.ious, arrays["iou"]) < 1e-5
