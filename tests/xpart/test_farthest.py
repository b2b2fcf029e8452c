import numpy as np
import pytest
import torch

from partwise.xpart.farthest import farthest_points
from tests.xpart.support import golden


def places(sets: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(sets, count, 3, generator=torch.Generator().manual_seed(seed))


def test_the_golden_points_are_chosen_from_their_first() -> None:
    arrays = golden("vae_tiny")
    wanted = torch.from_numpy(arrays["query_idx"].astype(np.int64))
    kept = torch.from_numpy(arrays["surface"])[:, arrays["subset_idx"].astype(np.int64), :3]
    found = farthest_points(kept, wanted[:, 0], wanted.shape[1])
    assert torch.equal(found, wanted)


def test_each_point_is_the_farthest_from_those_before() -> None:
    cloud = places(1, 200)
    rows = farthest_points(cloud, torch.tensor([17]), 20)[0]
    assert rows[0] == 17
    squared = torch.cdist(cloud[0].double(), cloud[0].double()) ** 2
    for count in range(1, 20):
        nearest = squared[:, rows[:count]].amin(dim=1)
        assert nearest[rows[count]] == pytest.approx(float(nearest.max()), rel=1e-5)


def test_of_equally_far_points_the_first_is_chosen() -> None:
    corners = torch.tensor([[[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0.0]]])
    assert farthest_points(corners, torch.tensor([0]), 5).tolist() == [[0, 1, 2, 3, 4]]
    repeated = corners[:, [0, 1, 1, 2]]
    assert farthest_points(repeated, torch.tensor([2]), 4).tolist() == [[2, 3, 0, 0]]


def test_sets_do_not_see_one_another() -> None:
    clouds, starts = places(5, 300), torch.tensor([0, 3, 299, 7, 7])
    together = farthest_points(clouds, starts, 40)
    for cloud, start, rows in zip(clouds, starts, together, strict=True):
        assert torch.equal(farthest_points(cloud[None], start[None], 40)[0], rows)


def test_more_points_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="a surface has 9 points; 10 are to be chosen"):
        farthest_points(places(1, 9), torch.tensor([0]), 10)
