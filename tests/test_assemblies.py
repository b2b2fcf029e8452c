"""The random labelled objects: laws that every family and both kinds of surface keep."""

from pathlib import Path

import numpy as np
import pytest

from scripts.assemblies import (
    FAMILIES,
    LEARNED,
    UNSEEN,
    Fusing,
    Labelled,
    fused_surface,
    joined_surface,
    make_assembly,
)
from scripts.assemblies import __main__ as command
from scripts.assemblies.kit import Kit
from scripts.assemblies.solids import Solid

COARSE = Fusing(cells=40, faces=2000, blend=0.5, growth=0.75, noise=0.05)


def _shares(surface: Labelled) -> np.ndarray:
    corners = surface.vertices[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    return np.bincount(surface.labels, weights=areas) / areas.sum()


def _edge_uses(faces: np.ndarray) -> np.ndarray:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)[1]


def _solids(family: str, seed: int) -> list[Solid]:
    return [solid for piece in make_assembly(family, seed).parts for solid in piece.solids]


def test_there_are_many_families_each_named_once() -> None:
    assert len(set(FAMILIES)) == len(FAMILIES) >= 30


def test_a_family_is_either_learned_from_or_kept_to_judge() -> None:
    assert set(LEARNED).isdisjoint(UNSEEN)
    assert set(LEARNED) | set(UNSEEN) == set(FAMILIES)
    assert len(UNSEEN) >= 12


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_joins_into_two_or_more_visible_parts(family: str) -> None:
    surface = joined_surface(make_assembly(family, 3))

    shares = _shares(surface)

    assert surface.faces.min() == 0
    assert surface.faces.max() == len(surface.vertices) - 1
    assert len(surface.labels) == len(surface.faces)
    assert np.isfinite(surface.vertices).all()
    assert 2 <= len(shares) <= 16
    assert shares.min() >= 0.003


@pytest.mark.parametrize("family", ["car", "figure", "chest", "teapot", "hybrid", *UNSEEN])
def test_meshes_of_solids_are_closed_outward_and_where_their_fields_are_zero(family: str) -> None:
    for solid in _solids(family, 5):
        vertices, faces = solid.vertices, solid.faces
        corners = vertices[faces]
        volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
        size = np.ptp(vertices, axis=0).max()
        assert (_edge_uses(faces) == 2).all()
        assert volume > 0
        assert np.abs(solid.distance(vertices)).max() <= 0.13 * size


@pytest.mark.parametrize("family", ["car", "cupboard", "octopus"])
def test_a_fused_surface_is_nearly_closed_and_holds_every_part(family: str) -> None:
    assembly = make_assembly(family, 1)

    surface = fused_surface(assembly, 1, COARSE)

    shares = _shares(surface)
    uses = _edge_uses(surface.faces)
    assert (uses == 2).mean() > 0.995
    assert (uses == 1).sum() == 0
    assert len(surface.faces) <= 1.1 * COARSE.faces
    assert surface.faces.max() == len(surface.vertices) - 1
    assert shares.min() >= 0.003
    assert len(shares) == len(assembly.parts)


def test_a_fused_surface_stays_near_the_parts_it_is_labelled_with() -> None:
    assembly = make_assembly("train", 2)
    corners = np.concatenate([s.vertices for p in assembly.parts for s in p.solids])
    cell = np.ptp(corners, axis=0).max() / COARSE.cells

    surface = fused_surface(assembly, 2, COARSE)

    assert surface.vertices.min(axis=0) == pytest.approx(corners.min(axis=0), abs=2 * cell)
    assert surface.vertices.max(axis=0) == pytest.approx(corners.max(axis=0), abs=2 * cell)


def test_the_same_family_and_seed_give_the_same_surfaces() -> None:
    for make in (joined_surface, lambda a: fused_surface(a, 4, COARSE)):
        one, other = make(make_assembly("bird", 4)), make(make_assembly("bird", 4))
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_object() -> None:
    one, other = (joined_surface(make_assembly("bird", seed)) for seed in (4, 5))
    assert one.vertices.shape != other.vertices.shape or (one.vertices != other.vertices).any()


def test_an_unknown_family_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="zeppelin"):
        make_assembly("zeppelin", 0)


def test_a_mirrored_solid_still_faces_outward() -> None:
    kit = Kit(np.random.default_rng(0))
    solid = kit.box((1, 2, 3), (4, 0, 0)).mirrored()
    corners = solid.vertices[solid.faces]
    assert np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0
    assert solid.distance(np.array([[-4.0, 0, 0], [4.0, 0, 0]])) @ [1, 0] < 0


def test_the_command_writes_what_the_functions_give(tmp_path: Path) -> None:
    name = command.write_object("shield", 2, folder=tmp_path, kind="joined")

    expected = joined_surface(make_assembly("shield", 2))
    with np.load(tmp_path / f"{name}.joined.npz") as written:
        np.testing.assert_array_equal(written["faces"], expected.faces)
        np.testing.assert_array_equal(written["labels"], expected.labels)
        np.testing.assert_allclose(written["vertices"], expected.vertices, atol=1e-5)
        assert written["family"] == "shield"
