"""The checkpoint with regenerated weights: the public file's keys and size, and it loads."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks.loading import measure_load
from partwise.p3sam.model import P3SAM, TINY, P3SAMConfig
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.plan import PRECISIONS
from scripts.make_checkpoint import P3SAM_FILE, header_for, main, p3sam_shapes, write_checkpoint
from scripts.regenerated_weights import fill_module, tensor_for
from studio.catalog import NEURAL_MODELS

PUBLISHED = next(model for model in NEURAL_MODELS if model.name == "p3sam")


def test_the_full_size_file_has_the_published_ones_size_and_keys() -> None:
    shapes = p3sam_shapes()
    data_bytes = sum(4 * math.prod(shape) for shape in shapes.values())
    assert len(shapes) == 513
    assert len(header_for(shapes)) + data_bytes == PUBLISHED.file_bytes == 450_968_044


def test_any_safetensors_reader_opens_it_and_the_model_loads_it(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--tiny"]) == 0
    path = tmp_path / PUBLISHED.files[0]
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    with safe_open(path, "np") as file:
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            stored = file.get_tensor(key)
            assert np.array_equal(stored, tensor_for(key, stored.shape)), key

    with torch.device("meta"):
        module = P3SAM(TINY)
    load_weights(module, open_checkpoint(path))
    filled = P3SAM(TINY)
    fill_module(filled)
    assert all(
        torch.equal(tensor, filled.state_dict()[key]) for key, tensor in module.state_dict().items()
    )


@pytest.mark.parametrize(
    ("key", "law"),
    [
        ("a.running_var", lambda v: v.min() >= 1),
        ("a.running_mean", lambda v: abs(v.std() - 0.1) < 0.01),
        ("a.num_batches_tracked", lambda v: v.dtype == np.int64 and not v.any()),
        ("a.bias", lambda v: abs(v.std() - 0.02) < 0.002),
        ("a.weight", lambda v: abs(v.mean() - 1) < 0.02 and abs(v.std() - 0.1) < 0.01),
    ],
)
def test_values_follow_the_kind_of_the_tensor(key: str, law: object) -> None:
    values = tensor_for(key, (2000,))
    assert law(values)  # type: ignore[operator]
    assert np.array_equal(values, tensor_for(key, (2000,)))


def test_matrices_keep_the_size_of_what_they_multiply() -> None:
    kernel = tensor_for("conv.weight", (64, 3, 3, 3, 16))
    assert kernel.std() == pytest.approx(1 / math.sqrt(27 * 16), rel=0.02)
    assert tensor_for("x.mask_token", (1, 4000)).std() == pytest.approx(0.02, rel=0.05)


def test_types_of_several_widths_stay_aligned(tmp_path: Path) -> None:
    shapes = {"a.weight": (3,), "b.num_batches_tracked": (), "c.bias": (2, 2)}
    write_checkpoint(tmp_path / "mixed.safetensors", shapes)
    checkpoint = open_checkpoint(tmp_path / "mixed.safetensors")
    assert {key: entry.shape for key, entry in checkpoint.items()} == shapes
    assert all(
        entry.offset % (8 if entry.dtype == "I64" else 4) == 0 for entry in checkpoint.values()
    )


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.make_checkpoint.tensor_for", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(tmp_path / "broken.safetensors", {"a": (2,)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_full_size_model_loads_within_a_tenth_more_memory_and_leaves_none(
    tmp_path: Path,
) -> None:
    write_checkpoint(path := tmp_path / P3SAM_FILE, p3sam_shapes())
    assert path.stat().st_size == PUBLISHED.file_bytes
    with torch.device("meta"):
        module = P3SAM(P3SAMConfig())
    assert load_weights(module, open_checkpoint(path)).weight_bytes == 450_914_596
    for precision in PRECISIONS:
        figures = measure_load(path, precision=precision, rounds=2)
        assert figures.memory_ratio <= 1.10, (precision, figures)
        assert figures.left_ratio <= 0.02, (precision, figures)
