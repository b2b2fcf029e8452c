"""Weights into a module: exact, strict, one tensor at a time, and nothing left of a failure."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from benchmarks.loading import measure_load
from partwise.core.errors import Cancelled, WeightsError
from partwise.core.progress import CancelToken, Progress
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.precision import PrecisionPolicy
from tests.tiers import slow

Save = Callable[[dict[str, torch.Tensor]], Path]


class Small(nn.Module):
    """A few layers with a persistent buffer and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 5)
        self.norm = nn.LayerNorm(5)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))


def on_meta(kind: Callable[[], nn.Module] = Small) -> nn.Module:
    with torch.device("meta"):
        return kind()


def values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        key: torch.arange(2) if key == "count" else torch.randn(tensor.shape, generator=generator)
        for key, tensor in Small().state_dict().items()
    }


@pytest.fixture(params=["weights.safetensors", "weights.pt", "lightning.ckpt"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Save:
    """Writes tensors in each of the formats."""

    def write(tensors: dict[str, torch.Tensor]) -> Path:
        path = tmp_path / request.param
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(tensors, path)
        else:
            torch.save(
                {"state_dict": tensors, "epoch": 3} if "ckpt" in path.suffix else tensors, path
            )
        return path

    return write


def test_a_module_from_meta_gets_every_tensor_exactly_and_is_ready_to_run(save: Save) -> None:
    module = on_meta()
    loaded = load_weights(module, open_checkpoint(save(values())))
    for key, tensor in module.state_dict().items():
        assert tensor.dtype == values()[key].dtype
        assert torch.equal(tensor, values()[key]), key
    assert loaded.tensor_count == len(values())
    assert loaded.weight_bytes == sum(t.numel() * t.element_size() for t in values().values())
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_each_format_is_described_without_reading_it(save: Save) -> None:
    checkpoint = open_checkpoint(save(values()))
    described = {key: (entry.dtype, entry.shape) for key, entry in checkpoint.items()}
    assert described["stem.weight"] == ("F32", (5, 3))
    assert described["count"] == ("I64", (2,))
    assert set(described) == set(values())


def test_a_leading_prefix_is_removed_where_it_stands(save: Save) -> None:
    module = on_meta()
    path = save({f"dit.{key}": tensor for key, tensor in values().items()})
    load_weights(module, open_checkpoint(path))
    assert torch.equal(module.state_dict()["stem.weight"], values()["stem.weight"])


def test_two_tensors_for_one_place_are_refused(save: Save) -> None:
    path = save({**values(), "dit.stem.weight": torch.zeros(5, 3)})
    with pytest.raises(WeightsError, match=r"“dit.stem.weight”.* two tensors for one"):
        load_weights(on_meta(), open_checkpoint(path))


def test_floats_are_cast_once_and_those_to_keep_stay_in_full_precision(save: Save) -> None:
    module = on_meta()
    checkpoint = open_checkpoint(save(values()))
    load_weights(
        module,
        checkpoint,
        precision="bf16",
        policy=PrecisionPolicy(keep_fp32=lambda key: key.startswith("norm.")),
    )
    state = module.state_dict()
    assert torch.equal(state["stem.weight"], values()["stem.weight"].bfloat16())
    assert torch.equal(state["norm.weight"], values()["norm.weight"])
    assert state["count"].dtype == torch.int64


def test_half_precision_on_disk_becomes_what_the_module_is(save: Save) -> None:
    module = on_meta()
    halves = {k: t.half() if t.is_floating_point() else t for k, t in values().items()}
    load_weights(module, open_checkpoint(save(halves)))
    assert torch.equal(module.state_dict()["stem.weight"], halves["stem.weight"].float())


def test_a_cast_tensor_larger_than_one_piece_is_whole(tmp_path: Path) -> None:
    large = torch.arange(3_000_001, dtype=torch.float64)
    safetensors.torch.save_file({"weight": large}, tmp_path / "large.safetensors")
    module = on_meta(nn.Module)
    module.register_parameter("weight", nn.Parameter(torch.empty(3_000_001, device="meta")))
    load_weights(module, open_checkpoint(tmp_path / "large.safetensors"))
    assert torch.equal(module.state_dict()["weight"], large.float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("norm.bias"), ["1 missing: “norm.bias”"]),
        (lambda t: t.update(extra=torch.ones(1)), ["1 unexpected: “extra”"]),
        (
            lambda t: t.update({"stem.weight": torch.ones(3, 5)}),
            [
                "1 of another shape or kind: “stem.weight”",
                "[3, 5] in the file, [5, 3] in the model",
            ],
        ),
        (
            lambda t: t.update({"stem.bias": torch.ones(5, dtype=torch.int64)}),
            ["“stem.bias” (I64 in the file, float32 in the model)"],
        ),
        (
            lambda t: t.clear() or t.update(other=torch.ones(1)),
            ["6 missing", "and 2 more", "“other”"],
        ),
    ],
)
def test_each_difference_is_an_error_that_names_the_key(
    save: Save, change: Callable[[dict[str, torch.Tensor]], object], words: list[str]
) -> None:
    tensors, module = values(), on_meta()
    change(tensors)
    path = save(tensors)
    with pytest.raises(WeightsError) as refusal:
        load_weights(module, open_checkpoint(path))
    assert path.name in refusal.value.message
    assert all(word in refusal.value.message for word in words), refusal.value.message
    assert all(tensor.is_meta for tensor in module.state_dict().values())


def test_keys_named_as_ignored_may_be_in_the_file_alone(save: Save) -> None:
    checkpoint = open_checkpoint(save({**values(), "mask_token": torch.ones(1, 4)}))
    assert load_weights(on_meta(), checkpoint, ignored_keys={"mask_token"}).tensor_count == 6


def test_a_buffer_no_checkpoint_holds_must_be_made_before(save: Save) -> None:
    module = on_meta()
    module.register_buffer("table", torch.empty(4, device="meta"), persistent=False)
    checkpoint = open_checkpoint(save(values()))
    with pytest.raises(ValueError, match="made before loading: table"):
        load_weights(module, checkpoint)
    module.table = torch.arange(4.0)
    load_weights(module, checkpoint)
    assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))


def test_cancel_is_heard_between_two_tensors_and_leaves_the_module_as_it_was(save: Save) -> None:
    module, cancel = on_meta(), CancelToken()
    steps: list[Progress] = []

    def stop_at_the_second(step: Progress) -> None:
        steps.append(step)
        if len(steps) == 2:
            cancel.cancel()

    checkpoint = open_checkpoint(save(values()))
    with pytest.raises(Cancelled):
        load_weights(module, checkpoint, cancel=cancel, progress=stop_at_the_second)
    assert len(steps) == 2
    assert all(tensor.is_meta for tensor in module.state_dict().values())


def test_progress_goes_up_to_the_whole(save: Save) -> None:
    steps: list[Progress] = []
    load_weights(on_meta(), open_checkpoint(save(values())), progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert re.fullmatch(r"0 of 0 MB", steps[-1].detail)


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    safetensors.torch.save_file(values(), path)
    checkpoint, module = open_checkpoint(path), on_meta()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"short.safetensors ended within “"):
        load_weights(module, checkpoint)
    assert all(tensor.is_meta for tensor in module.state_dict().values())


def test_a_file_that_went_away_after_its_header_was_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(values(), path)
    checkpoint = open_checkpoint(path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"small\.safetensors cannot be read: No such file"):
        load_weights(on_meta(), checkpoint)


def test_each_weight_lies_in_the_memory_that_was_given_for_it(save: Save) -> None:
    module, given = on_meta(), []

    def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        given.append(torch.empty(shape, dtype=dtype))
        return given[-1]

    policy = PrecisionPolicy(quantizable=lambda key: key == "stem.weight")
    path = save(values())
    load_weights(module, open_checkpoint(path), precision="int8", policy=policy, empty=empty)
    loaded = {tensor.data_ptr() for tensor in module.state_dict().values()}
    assert loaded == {tensor.data_ptr() for tensor in given}
    found = module.stem.weight(torch.float32)
    assert torch.allclose(found, values()["stem.weight"], atol=0.02)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_cancel_leaves_a_module_that_was_to_be_quantised_as_it_was(
    save: Save, precision: str
) -> None:
    module, cancel = on_meta(), CancelToken()
    before = {key: tensor.shape for key, tensor in module.state_dict().items()}
    policy = PrecisionPolicy(quantizable=lambda key: True)
    with pytest.raises(Cancelled):
        load_weights(
            module,
            open_checkpoint(save(values())),
            precision=precision,
            policy=policy,
            cancel=cancel,
            progress=lambda step: cancel.cancel(),
        )
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == before
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    assert type(module.stem) is nn.Linear


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same 200 MB of weights in two formats."""
    folder = tmp_path_factory.mktemp("large")
    tensors = {f"layers.{i}.weight": torch.randn(1024, 2048) for i in range(24)}
    torch.save(tensors, folder / "weights.pt")
    safetensors.torch.save_file(tensors, folder / "weights.safetensors")
    return folder


@pytest.mark.parametrize(
    ("precision", "suffix", "bytes_each"),
    [
        slow("fp32", "safetensors", 4),
        ("bf16", "safetensors", 2),
        slow("fp16", "safetensors", 2),
        slow("int8", "safetensors", 1 + 4 / 2048),
        slow("int4", "safetensors", 0.5 + 4 / 64),
        slow("fp32", "pt", 4),
    ],
)
def test_loading_takes_little_more_memory_than_the_weights_and_unloading_gives_it_back(
    large: Path, precision: str, suffix: str, bytes_each: float
) -> None:
    figures = measure_load(large / f"weights.{suffix}", precision=precision, rounds=1)
    assert figures.weight_bytes == 24 * 1024 * 2048 * bytes_each
    assert figures.memory_ratio < (1.15 if suffix == "pt" else 1.10), figures
    assert figures.left_ratio < 0.02, figures
