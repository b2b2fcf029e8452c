"""Boxes come out of a file as they were written, or a message says what the file was instead."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from partwise.core.errors import MeshError
from partwise.geometry.aabb_file import MAX_BOXES, MAX_BYTES, MAX_NAME_LENGTH, AabbFile, read_aabbs


def boxes(count: int) -> np.ndarray:
    corners = np.random.default_rng(count).normal(size=(count, 2, 3))
    return np.sort(corners, axis=1)


def read(path: Path, content: bytes) -> AabbFile:
    path.write_bytes(content)
    return read_aabbs(path, name="given.json")


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def as_npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "boxes"


WRITERS = {
    "pairs": lambda b: as_json(b.tolist()),
    "sixes": lambda b: as_json(b.reshape(-1, 6).tolist()),
    "ours": lambda b: as_json({"corners": "…", "aabbs": b.tolist()}),
    "with a mark": lambda b: b"\xef\xbb\xbf" + as_json(b.tolist()),
    "utf-16": lambda b: json.dumps(b.tolist()).encode("utf-16"),
    "npy": as_npy,
    "flat npy": lambda b: as_npy(b.reshape(-1, 6)),
    "Fortran npy": lambda b: as_npy(np.asfortranarray(b)),
    "big-endian npy": lambda b: as_npy(b.astype(">f8")),
}


@pytest.mark.parametrize("count", [1, 7, MAX_BOXES])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_way_of_writing_gives_the_same_boxes(path: Path, kind: str, count: int):
    expected = boxes(count)

    found = read(path, WRITERS[kind](expected))

    assert np.array_equal(found.aabbs, expected)
    assert found.aabbs.dtype == np.float64
    assert found.names is None
    assert found.part_ids is None


def test_one_box_need_not_be_in_a_list(path: Path):
    expected = boxes(1)

    for content in (expected[0], expected[0].ravel()):
        assert np.array_equal(read(path, as_json(content.tolist())).aabbs, expected)
    assert np.array_equal(read(path, as_npy(expected[0])).aabbs, expected)


@pytest.mark.parametrize("kind", ["<f4", "<f2", "<i8", "u1"])
def test_numbers_of_any_plain_type_are_taken(path: Path, kind: str):
    expected = np.array([[[0, 1, 2], [3, 4, 5]]], dtype=kind)

    assert np.array_equal(read(path, as_npy(expected)).aabbs, expected)


def test_names_and_ids_are_kept_and_names_made_fit_to_show(path: Path):
    names = ["seat", " leg\n\u202eleft ", "", "x" * 500, "\ud800"]

    found = read(
        path, as_json({"aabbs": boxes(5).tolist(), "names": names, "part_ids": [4, 0, 9, 1, 2]})
    )

    assert found.names == ("seat", "leg left", "Part 3", "x" * MAX_NAME_LENGTH, "Part 5")
    assert found.part_ids == (4, 0, 9, 1, 2)


def test_a_flat_box_is_a_box(path: Path):
    flat = [[0, 0, 1], [1, 1, 1]]

    assert read(path, as_json([flat])).aabbs.tolist() == [flat]


ONE = [[0, 0, 0], [1, 1, 1]]
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "neither JSON nor"),
    "no JSON": (b"boxes, please", "neither JSON nor"),
    "no text": (bytes(range(256)), "neither JSON nor"),
    "deep": (b"[" * 200_000, "neither JSON nor"),
    "deep and closed": (b"[" * 100_000 + b"]" * 100_000, "neither JSON nor"),
    "npz": (b"PK\x03\x04 rest", "zip archive or .npz"),
    "no list": (b"7", "holds 7 where"),
    "a long word": (as_json("x" * 999), "x… where"),
    "another object": (as_json({"face_ids": [1]}), "without the key “aabbs”"),
    "an object inside": (as_json({"aabbs": {"a": 1}}), "holds an object where"),
    "no boxes": (b"[]", "holds no boxes"),
    "no boxes of ours": (as_json({"aabbs": []}), "holds no boxes"),
    "a short box": (as_json([ONE, [0, 0, 0, 1, 1]]), "a list of 5 entries in place of box 2"),
    "words": (as_json([[["0", 0, 0], [1, 1, 1]]]), "in place of box 1"),
    "claims": (as_json([[True, False, 0, 1, 1, 1]]), "in place of box 1"),
    "null": (as_json([ONE, None]), "holds null in place of box 2"),
    "lists inside": (as_json([[[[0], 0, 0], [1, 1, 1]]]), "in place of box 1"),
    "NaN": (b"[[0, 0, NaN, 1, 1, 1]]", "Box 1 of given.json has a coordinate"),
    "infinite": (b"[[0,0,0,1,1,1], [0, 0, 0, 1, 1, Infinity]]", "Box 2 of given.json"),
    "out of range": (b"[[0, 0, 0, 1, 1, 1e999]]", "not a finite number"),
    "too far": (b"[[-1e300, -1, -1, 1, 1, 1]]", "as large as 1e\\+300"),
    "too far in npy": (as_npy(np.array([[-1, -1, -1, 1, 1, 1e16]])), "as large as 1e\\+16"),
    "a million digits": (b"[[0,0,0,1,1," + b"9" * 1_000_000 + b"]]", "not a finite number"),
    "swapped": (as_json([ONE, ONE[::-1]]), "Box 2 of given.json reaches from 1 to 0 on x"),
    "too large": (b" " * (MAX_BYTES + 1), "larger than 1 MiB"),
    "too many": (as_json([[0] * 6] * (MAX_BOXES + 1)), f"at most {MAX_BOXES}"),
    "too many in npy": (as_npy(np.zeros((MAX_BOXES + 1, 6))), f"at most {MAX_BOXES}"),
    "too few names": (as_json({"aabbs": [ONE, ONE], "names": ["a"]}), "names of given.json"),
    "no names": (as_json({"aabbs": [ONE], "names": [3]}), "names of given.json"),
    "too few ids": (as_json({"aabbs": [ONE], "part_ids": []}), "part_ids of given.json"),
    "ids twice": (as_json({"aabbs": [ONE, ONE], "part_ids": [1, 1]}), "must be distinct"),
    "broken ids": (as_json({"aabbs": [ONE], "part_ids": [1.0]}), "must be distinct"),
    "claimed ids": (as_json({"aabbs": [ONE], "part_ids": [True]}), "must be distinct"),
    "ids below 0": (as_json({"aabbs": [ONE], "part_ids": [-1]}), "must be distinct"),
    "large ids": (as_json({"aabbs": [ONE], "part_ids": [2**31]}), "must be distinct"),
    "labels": (as_npy(np.zeros(12, dtype=np.int32)), r"int32 of shape \(12,\)"),
    "four corners": (as_npy(np.zeros((2, 4, 3))), r"shape \(2, 4, 3\)"),
    "an empty array": (as_npy(np.zeros((0, 2, 3))), "holds no boxes"),
    "complex numbers": (as_npy(np.zeros((1, 6), dtype=complex)), "complex128"),
    "text": (as_npy(np.full((1, 6), "a")), "holds <U1"),
    "objects": (as_npy(np.full((1, 6), None)), "holds object"),
    "NaN in npy": (as_npy(np.full((1, 6), np.nan)), "not a finite number"),
    "cut short": (as_npy(np.zeros((4, 6)))[:-1], "191 bytes"),
    "and more": (as_npy(np.zeros((4, 6))) + b"x", "193 bytes"),
    "only magic": (b"\x93NUMPY", "no readable header"),
    "another version": (b"\x93NUMPY\x09\x00" + b" " * 40, "no readable header"),
    "a huge claim": (
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**18}, 6)}}"),
        "holds 0 bytes",
    ),
    "below nothing": (
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 6)}", bytes(48)),
        r"shape \(-1, 6\)",
    ),
    "code": (header("__import__('os').getcwd()"), "no readable header"),
    "brackets": (header("(" * 5000), "no readable header"),
    "an open quote": (header("{'descr"), "no readable header"),
    "a long header": (header("{" + " " * 20_000 + "}"), "no readable header"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_list_of_boxes_is_refused_in_words(path: Path, kind: str):
    content, words = REFUSED[kind]

    with pytest.raises(MeshError, match=words) as caught:
        read(path, content)

    assert "given.json" in caught.value.message
    assert len(caught.value.message) < 400


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(MeshError, match=r"none\.json cannot be read"):
        read_aabbs(tmp_path / "none.json")


@pytest.mark.filterwarnings("ignore")  # Python's parser warns of odd headers before it refuses
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_give_boxes_or_a_message_and_nothing_else(path: Path, kind: str):
    rng = np.random.default_rng(5)
    whole = np.frombuffer(WRITERS[kind](boxes(2)), dtype=np.uint8)
    outcomes = set()

    for _ in range(300):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), size=rng.integers(1, 4))
        damaged[places] = rng.integers(0, 256, size=len(places))
        content = damaged[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else damaged
        try:
            found = read(path, content.tobytes())
        except MeshError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert np.isfinite(found.aabbs).all()
            assert (found.aabbs[:, 0] <= found.aabbs[:, 1]).all()

    assert outcomes == {"refused", "read"}
