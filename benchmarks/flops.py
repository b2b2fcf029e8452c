"""Operations as torch counts them, those included that its counter leaves out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Attention by plain products, since the counter does not know the CPU's fused kernel."""
    in_place = {torch.ops.aten.addmm_: _of_product}
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping=in_place) as counter,
    ):
        yield counter


def _of_product(
    total: tuple[int, int], left: tuple[int, int], right: tuple[int, int], **_: object
) -> int:
    return 2 * left[0] * left[1] * right[1]
