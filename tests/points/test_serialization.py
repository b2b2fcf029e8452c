import itertools

import numpy as np
import pytest
import torch

from partwise.points.serialization import CURVES, curve_codes, curve_depth, curve_order
from tests.p3sam_support import golden


@pytest.mark.parametrize("case", ["d9", "d5", "d16"])
@pytest.mark.parametrize("curve", CURVES)
def test_codes_are_the_golden_ones(case: str, curve: str) -> None:
    arrays = golden("serialization")
    grid = torch.from_numpy(arrays[f"{case}_grid"]).long()
    codes = curve_codes(grid, int(arrays[f"{case}_depth"]), curve)
    assert np.array_equal(codes.numpy(), arrays[f"{case}_code_{curve}"])


@pytest.mark.parametrize("curve", CURVES)
def test_the_number_of_a_cloud_goes_above_the_codes(curve: str) -> None:
    arrays = golden("serialization")
    depth = 9
    codes = curve_codes(torch.from_numpy(arrays["batch_grid"]).long(), depth, curve).numpy()
    assert codes.max() < 1 << 3 * depth
    assert np.array_equal(codes | arrays["batch_batch"] << 3 * depth, arrays[f"batch_code_{curve}"])


@pytest.mark.parametrize(
    ("largest", "depth"), [(0, 1), (1, 2), (24, 5), (49, 6), (399, 9), (510, 9), (511, 10)]
)
def test_the_depth_leaves_room_for_one_more(largest: int, depth: int) -> None:
    assert curve_depth(torch.tensor([[0, largest, 0]])) == depth


def test_more_than_sixteen_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="17 bits"):
        curve_depth(torch.tensor([[2**16 - 1, 0, 0]]))


@pytest.mark.parametrize("curve", CURVES)
def test_every_cell_of_a_cube_has_its_own_place(curve: str) -> None:
    grid = torch.tensor(list(itertools.product(range(8), repeat=3)))
    codes = curve_codes(grid, 3, curve)
    assert sorted(codes.tolist()) == list(range(512))


@pytest.mark.parametrize("curve", ["hilbert", "hilbert-trans"])
def test_hilbert_steps_go_to_a_neighbour(curve: str) -> None:
    grid = torch.tensor(list(itertools.product(range(16), repeat=3)))
    path = grid[curve_order(grid, 4, curve)]
    assert ((path[1:] - path[:-1]).abs().sum(dim=1) == 1).all()
