import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from partwise.points.neighbors import MAX_CELLS, find_neighbors
from partwise.points.sparse_conv import SubMConv3
from scripts.regenerated_weights import tensor_for
from tests.p3sam_support import golden, largest_difference

CELL = st.tuples(*[st.integers(0, 4)] * 3)


@given(st.lists(CELL, min_size=1, max_size=60, unique=True))
def test_links_are_all_pairs_of_touching_cells(cells: list[tuple[int, int, int]]) -> None:
    grid = torch.tensor(cells)
    found = {
        (tuple(grid[low].tolist()), tuple(grid[high].tolist()))
        for link in find_neighbors(grid)
        for low, high in zip(link.low.tolist(), link.high.tolist(), strict=True)
    }
    occupied = set(cells)
    wanted = {
        (cell, other)
        for cell in occupied
        for step in itertools.product((-1, 0, 1), repeat=3)
        if step > (0, 0, 0)
        and (other := tuple(a + b for a, b in zip(cell, step, strict=True))) in occupied
    }
    assert found == wanted


def test_no_row_occurs_twice_in_an_offset() -> None:
    grid = torch.tensor(list(itertools.product(range(4), repeat=3)))
    for link in find_neighbors(grid):
        assert len(link.low.unique()) == len(link.low)
        assert len(link.high.unique()) == len(link.high)


def test_the_first_and_the_last_cell_of_an_axis_have_their_neighbours_only() -> None:
    last = MAX_CELLS - 1
    ends = [[last, last, z] for z in (0, last - 1, last)] + [[last, 0, 0], [0, last, last]]
    found = [(link.low.tolist(), link.high.tolist()) for link in find_neighbors(torch.tensor(ends))]
    assert [pair for pair in found if pair[0]] == [([1], [2])]


def test_a_grid_too_large_for_the_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="cells an axis"):
        find_neighbors(torch.tensor([[MAX_CELLS, 0, 0]]))


def test_the_convolution_is_the_golden_one() -> None:
    arrays = golden("subm")
    conv = SubMConv3(6, 8)
    shape = tuple(arrays["weight_shape"].tolist())
    conv.load_state_dict(
        {
            "weight": torch.from_numpy(tensor_for("subm.weight", shape)),
            "bias": torch.from_numpy(tensor_for("subm.bias", shape[:1])),
        }
    )
    grid = torch.from_numpy(arrays["grid"]).long()
    with torch.inference_mode():
        out = conv(torch.from_numpy(arrays["feat"]), find_neighbors(grid))
    assert largest_difference(out, arrays["out"]) < 1e-6


def test_the_convolution_is_the_dense_one_on_a_full_cube() -> None:
    generator = torch.Generator().manual_seed(0)
    conv = SubMConv3(3, 5)
    conv.load_state_dict(
        {
            name: torch.randn(value.shape, generator=generator)
            for name, value in conv.state_dict().items()
        }
    )
    side = 5
    grid = torch.tensor(list(itertools.product(range(side), repeat=3)))
    features = torch.randn(side**3, 3, generator=generator)
    volume = features.T.reshape(1, 3, side, side, side)
    kernel = conv.weight.permute(0, 4, 1, 2, 3)  # (out, in, x, y, z)
    with torch.inference_mode():
        dense = torch.nn.functional.conv3d(volume, kernel, conv.bias, padding=1)
        sparse = conv(features, find_neighbors(grid))
    np.testing.assert_allclose(sparse, dense.reshape(5, -1).T, atol=2e-5)
