"""The checkpoint with regenerated weights: the public file's keys and size, and it loads."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks.loading import measure_load
from partwise.p3sam.model import P3SAM, TINY, P3SAMConfig
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.plan import PRECISIONS
from partwise.xpart import config as xpart
from scripts import make_checkpoint
from scripts.make_checkpoint import (
    P3SAM_FILE,
    file_bytes,
    header_for,
    main,
    p3sam_shapes,
    to_bf16,
    write_checkpoint,
)
from scripts.regenerated_weights import fill_module, tensor_for
from scripts.xpart_checkpoint import PublicFile, stored_dtype, xpart_files
from studio.catalog import NEURAL_MODELS

PUBLISHED = next(model for model in NEURAL_MODELS if model.name == "p3sam")
XPART_FILES = {  # specification 9.1 and 9.3: tensors, parameters, bytes
    "model/model.safetensors": (942, 3_315_236_672, 6_630_571_584),
    "conditioner/conditioner.safetensors": (1283, 768_258_114, 1_755_920_004),
    "shapevae/shapevae.safetensors": (410, 327_746_177, 655_539_474),
}


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


def test_xparts_full_size_files_have_the_published_ones_sizes_and_counts() -> None:
    found = {
        file.name: (
            len(file.shapes),
            sum(math.prod(shape) for shape in file.shapes.values()),
            file_bytes(file.shapes, file.dtype),
        )
        for file in xpart_files()
    }
    assert found == XPART_FILES


def test_xparts_tiny_set_is_whole_and_holds_the_rounded_weights(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--tiny", "--model", "xpart"]) == 0
    for file in xpart_files(is_tiny=True):
        path = tmp_path / file.name
        assert path.stat().st_size == file_bytes(file.shapes, file.dtype)
        with safe_open(path, "pt") as stored:
            assert set(stored.keys()) == set(file.shapes)
            for key in list(file.shapes)[::7]:
                expected = torch.from_numpy(tensor_for(key, file.shapes[key]))
                if stored_dtype(key) == "BF16":
                    expected = expected.bfloat16()
                assert torch.equal(stored.get_tensor(key), expected), key


def test_the_tiny_set_says_its_widths_beside_each_file(tmp_path: Path) -> None:
    main([str(tmp_path), "--tiny", "--model", "xpart"])

    def params(name: str) -> dict[str, object]:
        said = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        assert set(said) == {"target", "params"}
        found: dict[str, object] = said["params"]
        return found

    found = xpart.XPartConfig(
        xpart.conditioner_with_params(params("conditioner")),
        xpart.dit_with_params(params("model")),
        xpart.vae_with_params(params("shapevae")),
    )
    assert found == xpart.TINY


def test_the_full_set_says_the_published_widths() -> None:
    assert xpart.dit_with_params(dict(xpart_files()[-1].params)) == xpart.XPartConfig().dit


def test_what_stands_there_whole_is_left_as_it_is(tmp_path: Path) -> None:
    main([str(tmp_path), "--tiny", "--model", "xpart"])
    path = tmp_path / xpart_files()[0].name
    content = bytearray(path.read_bytes())
    content[-2:] = b"\x12\x34"  # other weights, the same tensors
    path.write_bytes(content)
    main([str(tmp_path), "--tiny", "--model", "xpart"])
    assert path.read_bytes() == content
    path.write_bytes(content[:-1])
    main([str(tmp_path), "--tiny", "--model", "xpart"])
    assert len(path.read_bytes()) == len(content)
    assert path.read_bytes() != content


def test_both_models_can_be_written_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        make_checkpoint,
        "write_public_file",
        lambda folder, file: written.append(file.name) or keep(folder, file),
    )
    assert main([str(tmp_path), "--model", "all"]) == 0
    assert written == [P3SAM_FILE, *reversed(XPART_FILES)]


def keep(folder: Path, file: PublicFile) -> None:
    (folder / file.name).parent.mkdir(parents=True)
    (folder / file.name).touch()


def test_nothing_is_written_where_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "scripts.make_checkpoint.shutil.disk_usage", lambda _: SimpleNamespace(free=9_000_000_000)
    )
    assert main([str(tmp_path), "--model", "xpart"]) == 1
    assert f"{sum(size for _, _, size in XPART_FILES.values()):,}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_halves_are_rounded_to_the_nearest_even_one() -> None:
    values = np.random.default_rng(3).standard_normal(5000).astype(np.float32)
    ties = (np.arange(0x3F80, 0x3F90, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    both = np.concatenate([values, ties, -ties, np.zeros(1, np.float32)])
    expected = torch.from_numpy(both).bfloat16().view(torch.uint16).numpy()
    assert np.array_equal(to_bf16(both), expected)


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
