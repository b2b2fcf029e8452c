"""Files that are not what they say: each is refused with its name, before a tensor is read."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from partwise.core.errors import WeightsError
from partwise.vram.checkpoint import open_checkpoint
from partwise.vram.safetensors_file import build_header, read_header

GOOD = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def write(path: Path, header: Any, data: bytes = bytes(24)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": GOOD["a"] | changes}


def test_our_header_and_everybodys_agree(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.float32([[1.5]]),
              "empty": np.zeros((0, 4), np.float32), "scalar": np.array(7, np.int64)}  # fmt: skip
    save_file(arrays, tmp_path / "theirs.safetensors", metadata={"format": "np"})
    read = read_header(tmp_path / "theirs.safetensors")
    assert {key: tensor.shape for key, tensor in read.items()} == {
        k: v.shape for k, v in arrays.items()
    }

    names = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    header = build_header({key: (names[array.dtype], array.shape) for key, array in arrays.items()})
    ours = tmp_path / "ours.safetensors"
    ours.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()))
    loaded = load_file(ours)
    assert all(np.array_equal(loaded[key], array) for key, array in arrays.items())
    assert next(iter(read_header(ours).values())).offset == len(header)


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"", b"", "not JSON"),
        (b"{", b"", "not JSON"),
        (b"\xff\xfe", b"", "not JSON"),
        (b"[" * 5000 + b"]" * 5000, b"", "not"),
        (b"[1, 2]", b"", "not a list of tensors"),
        (b'{"a": 1, "a": 2}', b"", "“a” stands twice"),
        ({"a": 5}, b"", "“a” has no type, shape and place"),
        ({"a": {"dtype": "F32"}}, b"", "“a” has no type, shape and place"),
        (entry(dtype="F31"), bytes(24), "“a” is of the type “F31”, which is unknown"),
        (entry(dtype=["F32"]), bytes(24), "unknown"),
        (entry(shape="23"), bytes(24), "“a” has no shape"),
        (entry(shape=[2, -3]), bytes(24), "“a” has no shape"),
        (entry(shape=[2, 3.0]), bytes(24), "“a” has no shape"),
        (entry(shape=[True, 6]), bytes(24), "“a” has no shape"),
        (entry(shape=[2**63, 2**63]), bytes(24), "“a” has no shape"),
        (entry(shape=[2**62, 2**62]), bytes(24), "“a” has 24 bytes, and its shape"),
        (entry(shape=[1] * 9), bytes(24), "at most 8 sizes"),
        (entry(shape=[2, 2]), bytes(24), "“a” has 24 bytes, and its shape [2, 2] of F32 needs 16"),
        (entry(data_offsets=[24, 0]), bytes(24), "“a” has no place"),
        (entry(data_offsets=[0]), bytes(24), "“a” has no place"),
        (entry(data_offsets=[8, 32]), bytes(32), "“a” leaves a gap"),
        (GOOD, bytes(23), "“a” ends at byte"),
        (GOOD, bytes(25), "its tensors end at byte"),
        (GOOD | {"b": {"dtype": "U8", "shape": [8], "data_offsets": [20, 28]}}, bytes(28),
         "“b” overlaps"),
        ({"\ud800" * 200: 1}, b"", "“" + "?" * 80 + "…”"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_agree_is_refused_by_name(
    tmp_path: Path, header: Any, data: bytes, words: str
) -> None:
    path = write(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(WeightsError) as refusal:
        open_checkpoint(path)
    assert refusal.value.message.startswith("bad.safetensors is not a complete safetensors file: ")
    assert words in refusal.value.message
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 17 * 2**20, 100])
def test_an_announced_header_longer_than_the_file_is_never_allocated(
    tmp_path: Path, length: int
) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(WeightsError, match="announces a header of"):
        open_checkpoint(path)


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.safetensors", GOOD).read_bytes()
    path = tmp_path / "cut.safetensors"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut.safetensors is not a complete"):
            open_checkpoint(path)


def test_a_header_with_any_byte_changed_is_refused_or_still_agrees_with_the_file(
    tmp_path: Path,
) -> None:
    save_file({"layers.0.weight": np.ones((3, 4), np.float32), "b": np.ones(2, np.float16)},
              tmp_path / "whole.safetensors")  # fmt: skip
    whole, path = (tmp_path / "whole.safetensors").read_bytes(), tmp_path / "bad.safetensors"
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(1500):
        content = bytearray(whole)
        for place in generator.integers(0, len(whole) - 52, generator.integers(1, 4)):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content)
        try:
            tensors = read_header(path)
        except WeightsError:
            refused += 1
        else:
            assert sum(tensor.byte_count for tensor in tensors.values()) == 52
            assert all(0 < tensor.offset <= len(whole) - 4 for tensor in tensors.values())
    assert refused > 1000


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.ckpt"])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name} cannot be read: No such file"):
        open_checkpoint(tmp_path / name)


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model.onnx .* \.safetensors, \.ckpt"):
        open_checkpoint(tmp_path / "model.onnx")


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, is_zip: bool
) -> None:
    path, trace = tmp_path / "hostile.ckpt", tmp_path / "it-ran"
    content = {"state_dict": {"a": torch.ones(2)}, "callbacks": Hostile(trace)}
    if is_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(WeightsError, match=r"hostile.ckpt .*\.safetensors"):
        open_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": {"a": 3}}, "“a” is not a tensor but int"),
        ({"a": torch.ones(1), 5: torch.ones(1)}, "“5” is not a tensor"),
        ([torch.ones(1)], "no tensors by name"),
        ({}, "no tensors by name"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "“a” is of the type torch.complex64"),
        ({"a": torch.ones(2).to_sparse()}, "“a” is of the type"),
    ],
)  # fmt: skip
def test_a_checkpoint_without_plain_tensors_is_refused(
    tmp_path: Path, content: object, words: str
) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=r"odd.pt") as refusal:
        open_checkpoint(tmp_path / "odd.pt")
    assert words in refusal.value.message


@pytest.mark.parametrize("size", [0, 10, 300])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, size: int) -> None:
    torch.save({"a": torch.ones(100)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"cut.pt"):
        open_checkpoint(tmp_path / "cut.pt")
