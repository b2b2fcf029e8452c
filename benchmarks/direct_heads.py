"""P3-SAM's heads straight from the formulas of specification section 4, nothing split or chunked.

The yardstick for `partwise.p3sam.heads`, in tests and in benchmarks.
"""

import torch
from torch import Tensor

from partwise.p3sam.heads import HeadOutput
from partwise.p3sam.model import P3SAM


@torch.inference_mode()
def predict_directly(
    model: P3SAM, features: Tensor, points: Tensor, prompts: Tensor
) -> tuple[HeadOutput, Tensor]:
    """The heads' output for (P, 3) prompts, and the (P, N, 3) logits of the first stage."""
    count, n = len(prompts), len(points)
    x = torch.cat(
        [
            features.expand(count, n, -1),
            points.expand(count, n, -1),
            prompts[:, None].expand(count, n, -1),
        ],
        dim=2,
    )
    first = torch.cat([model.seg_mlp_1(x), model.seg_mlp_2(x), model.seg_mlp_3(x)], dim=2)
    x2 = torch.cat([x, first], dim=2)
    seen = model.seg_s2_mlp_g(x2).amax(dim=1, keepdim=True).expand(count, n, -1)
    x3 = torch.cat([seen, x2], dim=2)
    masks = (model.seg_s2_mlp_1(x3), model.seg_s2_mlp_2(x3), model.seg_s2_mlp_3(x3))
    logits = torch.cat(masks, dim=2)
    judged = model.iou_mlp(torch.cat([seen, x, logits], dim=2)).amax(dim=1)
    return HeadOutput(logits, model.iou_mlp_out(judged).sigmoid()), first
