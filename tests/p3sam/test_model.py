import json

import numpy as np
import pytest
import torch

from partwise.p3sam.heads import PromptHeads
from partwise.p3sam.model import checkpoint_shapes
from tests.p3sam_support import DATA, filled, golden, golden_voxels, largest_difference, tensors


def test_the_model_has_the_public_checkpoint_s_keys_and_shapes() -> None:
    published = json.loads((DATA / "keys.json").read_text())
    found = {key: list(shape) for key, shape in checkpoint_shapes().items()}
    assert found == published
    assert sum(shape.numel() for shape in checkpoint_shapes().values()) == 112_728_649


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
        features = model.encode(*tensors(voxels), torch.from_numpy(voxels.inverse))
        heads = PromptHeads(model, features, torch.from_numpy(shifted.astype(np.float32)))
        output = heads.predict(torch.from_numpy(arrays["prompts"].astype(np.float32)))
    rounding = 2.0**-11  # of the golden arrays, which are float16
    wanted = arrays["feats"].astype(np.float64)
    allowed = 1e-4 + rounding * np.abs(wanted)
    assert (np.abs(features[arrays["rows"]].numpy() - wanted) <= allowed).all()
    masks = output.logits.sigmoid().permute(0, 2, 1)
    assert largest_difference(masks, arrays["masks"].astype(np.float64)) < 1e-4 + rounding
    assert largest_difference(output.ious, arrays["iou"]) < 1e-5
