"""Laws of labels on a graph of regions."""

import numpy as np

from partwise.geometry.labels import (
    absorb_islands,
    connected_regions,
    number_by_area,
    smooth_labels,
    sum_by_group,
)


def grid(rows: int, columns: int) -> np.ndarray:
    """(P, 2) neighbours of the cells of a grid."""
    cell = np.arange(rows * columns).reshape(rows, columns)
    across = np.stack([cell[:, :-1].ravel(), cell[:, 1:].ravel()], axis=1)
    down = np.stack([cell[:-1].ravel(), cell[1:].ravel()], axis=1)
    return np.concatenate([across, down])


def test_numbers_go_from_large_to_small_and_keep_the_partition():
    labels = np.array([5, 5, 2, 9, 9, 9])

    numbered = number_by_area(labels, np.array([1.0, 1.0, 9.0, 1.0, 1.0, 1.0]))

    assert numbered.tolist() == [2, 2, 0, 1, 1, 1]


def test_equal_areas_are_numbered_by_first_use():
    assert number_by_area(np.array([7, 3, 7, 3]), np.ones(4)).tolist() == [0, 1, 0, 1]


def test_sums_by_group_add_up_to_the_whole():
    values = np.random.default_rng(0).random((50, 3))
    groups = np.arange(50) % 7

    sums = sum_by_group(groups, values, 9)

    assert sums.shape == (9, 3)
    np.testing.assert_allclose(sums.sum(axis=0), values.sum(axis=0))
    assert not sums[7:].any()


def test_pieces_of_a_label_are_told_apart():
    labels = np.array([0, 0, 1, 0])

    assert connected_regions(labels, grid(1, 4)).tolist() == [0, 0, 1, 2]


def test_an_island_goes_to_the_label_around_it():
    labels = np.zeros((8, 8), dtype=np.int64)
    labels[:, 4:] = 1
    labels[2, 1] = 1
    pairs = grid(8, 8)

    clean = absorb_islands(labels.ravel(), pairs, np.ones(len(pairs)), np.ones(64), share=0.2)

    assert clean.reshape(8, 8)[2, 1] == 0
    assert np.count_nonzero(clean != labels.ravel()) == 1


def test_a_ragged_border_becomes_straighter():
    rng = np.random.default_rng(0)
    ragged = (np.arange(20)[None] > 10 + rng.integers(-2, 3, 20)[:, None]).astype(np.int64)
    pairs = grid(20, 20)

    smooth = smooth_labels(ragged.ravel(), pairs, np.ones(len(pairs)), 4)

    def border(labels):
        return np.count_nonzero(labels[pairs[:, 0]] != labels[pairs[:, 1]])

    assert border(smooth) < border(ragged.ravel())


def test_smoothing_never_loses_a_label():
    labels = np.zeros(100, dtype=np.int64)
    labels[55] = 1
    pairs = grid(10, 10)

    smooth = smooth_labels(labels, pairs, np.ones(len(pairs)), 3)

    assert np.unique(smooth).tolist() == [0, 1]


def test_one_label_stays_as_it_is():
    labels = np.zeros(9, dtype=np.int64)
    pairs = grid(3, 3)

    assert not smooth_labels(labels, pairs, np.ones(len(pairs)), 2).any()


def test_a_label_too_small_to_last_keeps_its_regions_and_the_others_are_smoothed():
    labels = np.zeros((16, 16), dtype=np.int64)
    labels[:, 8:] = 1
    labels[4, 8:10] = 0  # a spur that smoothing shortens
    labels[12, 3] = 2
    pairs = grid(16, 16)

    out = smooth_labels(labels.ravel(), pairs, np.ones(len(pairs)), 3).reshape(16, 16)

    assert np.argwhere(out == 2).tolist() == [[12, 3]]
    assert out[4, 9] == 1


def test_many_labels_are_smoothed_as_each_border_alone_is():
    columns = np.repeat(np.arange(12), 4)
    labels = np.tile(columns, (12, 1))
    labels[5, 4:24:4] -= 1  # a tooth at each of five borders
    pairs = grid(12, 48)

    out = smooth_labels(labels.ravel(), pairs, np.ones(len(pairs)), 2)

    assert np.array_equal(out.reshape(12, 48), np.tile(columns, (12, 1)))
