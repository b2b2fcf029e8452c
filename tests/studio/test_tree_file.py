"""The tree as a file: the same cuts as from memory; damaged files are refused in words."""

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from partwise.core.errors import ConfigError, MeshError
from partwise.geometry.mesh_io import MeshFacts
from studio import edit, tree_file
from studio.document import Document, Run
from studio.results import file_face_ids
from studio.tree_file import SavedTree, read_tree, saved_tree, tree_bytes, tree_files
from tests.studio.trees import random_tree, tree_document
from tests.tiers import SEEDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parts.tree.npz"


def arrays_of(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content)) as found:
        return dict(found)


def write(path: Path, **changed: Any) -> Path:
    """The file of a good tree with other arrays; None leaves one out."""
    arrays = arrays_of(tree_bytes(saved_tree(tree_document()))) | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@given(seed=SEEDS)
def test_a_file_gives_the_cuts_of_the_tree_that_was_written(path: Path, seed: int) -> None:
    document = tree_document(seed, least=2)
    assert document.tree is not None
    path.write_bytes(tree_bytes(saved_tree(document)))
    saved = read_tree(path)
    for count in range(2, 13):
        assert np.array_equal(saved.face_ids(count), document.tree.cut(count))
    for detail in (0.0, 0.3, 1.0):
        assert saved.tree.count_for(detail) == document.tree.count_for(detail)


def test_labels_are_of_the_file_s_faces_and_none_for_what_is_no_surface(path: Path) -> None:
    document = tree_document(count=5)
    mesh, tree = document.source, document.tree
    facts: MeshFacts = replace(mesh.facts, n_file_faces=80)
    quads = replace(mesh, facts=facts, file_faces=np.arange(144) // 2 + 3)
    other = Document(quads, "hash")
    assert document.parts is not None
    other.set_segmentation(document.parts, Run("segment", "geometric", "", {}, {}, 0.0), tree)
    path.write_bytes(tree_bytes(saved_tree(other)))
    ids = read_tree(path).face_ids(5)
    assert np.array_equal(ids, file_face_ids(other, "parts"))
    assert np.count_nonzero(ids == -1) == 80 - 72


def test_several_cuts_of_one_run_are_files_of_their_own(path: Path) -> None:
    document = tree_document()
    assert document.tree is not None
    files = tree_files(document, (4, 8), is_saved=True)
    assert sorted(files) == ["face_ids.4.npy", "face_ids.8.npy", "parts.tree.npz"]
    for count in (4, 8):
        ids = np.load(io.BytesIO(files[f"face_ids.{count}.npy"]))
        assert np.array_equal(ids, document.tree.cut(count))
    with pytest.raises(ConfigError, match=r"is 13; .* 1 to 12"):
        tree_files(document, (4, 13), is_saved=False)


def test_without_a_wish_for_it_no_tree_is_needed() -> None:
    document = tree_document()
    document.set_segmentation(edit.no_parts(144), Run("segment", "p3sam", "", {}, {}, 1.0))
    assert tree_files(document, (), is_saved=False) == {}
    with pytest.raises(ValueError, match="no tree"):
        tree_files(document, (4,), is_saved=False)


def ints(*values: object) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, dtype=np.int64)


ATOMS = random_tree(0, 12).face_atoms
JOINS = random_tree(0, 12).tree.joins


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"version": np.array(2)}, "version is 2"),
        ({"version": ints(1)}, r"version is \[1\]"),
        ({"heights": None}, "it holds"),
        ({"more": ints(1)}, "it holds"),
        ({"face_atoms": ATOMS.astype(float)}, "float64"),
        ({"face_atoms": ATOMS.reshape(2, -1)}, "shapes"),
        ({"face_atoms": np.where(ATOMS == 3, 12, ATOMS)}, "pieces 0 to 11"),
        ({"face_atoms": ATOMS - 2}, "pieces 0 to 11"),
        ({"face_atoms": np.full(20, -1)}, "pieces 0 to 11"),
        ({"face_atoms": np.array([object()])}, "readable|object"),
        ({"atom_areas": np.full(12, np.nan)}, "areas"),
        ({"atom_areas": -np.ones(12)}, "areas"),
        ({"atom_areas": np.array(1.0)}, "shapes"),
        ({"joins": np.zeros((11, 3), dtype=int)}, "shapes"),
        ({"joins": JOINS + 2}, "merges others"),
        ({"joins": np.zeros((11, 2), dtype=int)}, "same pieces twice"),
        ({"joins": np.tile(JOINS, (2, 1)), "heights": np.zeros(22)}, "22 merges"),
        ({"heights": np.arange(11.0)[::-1]}, "prices"),
        ({"heights": np.full(11, np.nan)}, "prices"),
    ],
)
def test_a_file_that_is_no_tree_is_refused_in_words(
    path: Path, changed: dict[str, Any], found: str
) -> None:
    with pytest.raises(MeshError, match=found) as refused:
        read_tree(write(path, **changed))
    assert "parts.tree.npz" in refused.value.message
    assert "--save-tree" in refused.value.message


def lying_header(name: str) -> bytes:
    """A zip with arrays whose headers claim far more than there is."""
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(  # type: ignore[attr-defined]
        header, {"descr": "<i4", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        for member in ("version", "face_atoms", "atom_areas", "joins", "heights"):
            archive.writestr(f"{member}.npy", header.getvalue() if member == name else b"\x93NUMPY")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 and then nothing", b"not a zip", pickle.dumps({}), lying_header("version")],
)
def test_a_damaged_file_is_refused_in_words(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MeshError, match="not a tree of parts"):
        read_tree(path)


def test_a_file_that_would_unpack_to_too_much_is_refused_unread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = random_tree(0, 12, faces_each=1000)
    path.write_bytes(tree_bytes(SavedTree(tree, np.ones(12_000, dtype=bool))))
    monkeypatch.setattr(tree_file, "MAX_BYTES", path.stat().st_size)
    with pytest.raises(MeshError, match="unpacked it is larger"):
        read_tree(path)


def test_each_cut_short_or_flipped_file_is_refused_or_read_whole(path: Path) -> None:
    good = tree_bytes(saved_tree(tree_document()))
    draw = np.random.default_rng(0)
    expected = tree_document().tree
    assert expected is not None
    for _ in range(60):
        content = bytearray(good[: int(draw.integers(1, len(good) + 1))])
        content[int(draw.integers(len(content)))] ^= int(draw.integers(1, 256))
        path.write_bytes(content)
        try:
            ids = read_tree(path).face_ids(5)
        except MeshError:
            continue
        assert np.array_equal(ids, expected.cut(5)), "what is read is whole"


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(MeshError, match="cannot be read"):
        read_tree(path)
    path.mkdir()
    with pytest.raises(MeshError, match="cannot be read"):
        read_tree(path)
