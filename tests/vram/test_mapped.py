"""Weights as views of a mapped file: exact, without memory of their own, gone when let go of."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from partwise.core.errors import WeightsError
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.host import held_host_bytes
from partwise.vram.mapped import MappedFile, mapped_bytes, take_notes
from partwise.vram.precision import PrecisionPolicy
from partwise.vram.safetensors_file import StoredTensor, build_header
from partwise.vram.slots import PlainSlots
from partwise.vram.tensor_stream import torch_dtypes
from partwise.vram.weights import HostMaster
from tests.vram.streamed_models import BLOCK_NAMES, build_tower, tokens_of, write_tower
from tests.vram.test_weights import GIB, masters, wide

ROOT = Path(__file__).parents[2]
MIB = 2**20
NAMES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@given(st.data())
def test_every_well_placed_tensor_is_read_exactly_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(st.sampled_from([*NAMES, "U8"]), min_size=1, max_size=6))
    sizes = [data.draw(st.integers(0, 9)) for _ in kinds]
    tensors = {f"t{i}": (kind, (n,)) for i, (kind, n) in enumerate(zip(kinds, sizes, strict=True))}
    values = [
        torch.arange(n).to(torch_dtypes()[kind]) for kind, n in zip(kinds, sizes, strict=True)
    ]
    path = tmp_path_factory.mktemp("odd") / "odd.safetensors"
    body = b"".join(bytes(value.view(torch.uint8).tolist()) for value in values)
    path.write_bytes(build_header(tensors) + body)
    file, header = open_checkpoint(path).mapped(), open_checkpoint(path)
    assert file is not None
    for i, value in enumerate(values):
        stored: StoredTensor = header[f"t{i}"]
        view = file.view(stored, value.dtype)
        is_well_placed = stored.offset % value.element_size() == 0
        assert (view is not None) == is_well_placed
        if view is not None:
            assert torch.equal(view, value)


class Mixed(nn.Module):
    """Floats that are well and ill placed in the file, a counter, one that stays float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 3)
        self.norm = nn.LayerNorm(3)
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("mask", torch.zeros(3, dtype=torch.uint8))


def write_mixed(path: Path, dtype: str) -> dict[str, torch.Tensor]:
    """With the mask of three bytes first, so that all that follows is ill placed but for bytes."""
    torch.manual_seed(1)
    state = Mixed().state_dict()
    state = {key: v.to(NAMES[dtype]) if v.is_floating_point() else v for key, v in state.items()}
    order = ["norm.weight", "norm.bias", "count", "mask", "first.weight", "first.bias"]
    kinds = {torch.int64: "I64", torch.uint8: "U8"}
    header = {key: (kinds.get(state[key].dtype, dtype), tuple(state[key].shape)) for key in order}
    body = b"".join(bytes(state[key].contiguous().view(torch.uint8).flatten()) for key in order)
    path.write_bytes(build_header(header) + body)
    return state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_mapped_module_is_the_loaded_one_whatever_had_to_be_read(
    tmp_path: Path, dtype: str, precision: str
) -> None:
    write_mixed(path := tmp_path / "mixed.safetensors", dtype)
    policy = PrecisionPolicy(keep_fp32=lambda key: key.startswith("norm"))
    modules = []
    for is_mapped in (False, True):
        with torch.device("meta"):
            module = Mixed()
        load_weights(
            module, open_checkpoint(path), precision=precision, policy=policy, is_mapped=is_mapped
        )
        modules.append(module)
    expected = {key: value.clone() for key, value in modules[0].state_dict().items()}
    master = HostMaster("mixed", precision, modules[1], [], is_mapped=True)
    assert master.host_bytes == sum(
        expected[key].nbytes for key in ("first.weight", "first.bias", "count", "mask")
    )
    found = master.stream((), PlainSlots("cpu")).state_dict()
    assert all(found[key].dtype == expected[key].dtype for key in expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not any(take_notes(owner) for owner in modules[1].modules())


def test_a_file_of_another_format_is_read_though_it_should_be_mapped(tmp_path: Path) -> None:
    module = nn.Linear(3, 3)
    torch.save(module.state_dict(), path := tmp_path / "linear.ckpt")
    with torch.device("meta"):
        made = nn.Linear(3, 3)
    load_weights(made, open_checkpoint(path), is_mapped=True)
    assert torch.equal(made.weight, module.weight)
    assert mapped_bytes() == 0


def test_who_changes_a_mapped_weight_changes_no_file(tmp_path: Path) -> None:
    path = write_tower(tmp_path / "tower.safetensors")
    before = path.read_bytes()
    module = build_tower(path)(LoadOrder(is_mapped=True))
    with torch.no_grad():
        module.get_parameter("first.weight").zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_goes_away_while_it_is_used_stays_for_who_uses_it(
    tmp_path: Path, how: str
) -> None:
    path = write_tower(tmp_path / "tower.safetensors")
    module = build_tower(path)(LoadOrder(is_mapped=True))
    master = HostMaster("tower", "fp32", module, [], is_mapped=True)
    expected = build_tower(path)(LoadOrder())(tokens_of())
    if how == "deleted":
        path.unlink()
    else:
        (new := tmp_path / "new").write_bytes(bytes(path.stat().st_size))
        new.replace(path)
    found = master.stream(BLOCK_NAMES, PlainSlots("cpu"))(tokens_of())
    assert torch.equal(found, expected)


def test_nothing_stays_mapped_once_the_module_is_gone(tmp_path: Path) -> None:
    path = write_tower(tmp_path / "tower.safetensors")
    module = build_tower(path)(LoadOrder(is_mapped=True))
    master = HostMaster("tower", "fp32", module, [], is_mapped=True)
    del module
    result = master.stream(BLOCK_NAMES, PlainSlots("cpu"))(tokens_of())
    assert mapped_bytes() == path.stat().st_size
    assert str(path) in Path("/proc/self/maps").read_text(encoding="utf-8")
    master.withdraw()
    del master
    assert result.shape == (7, 3)
    assert mapped_bytes() == 0
    assert str(path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_a_file_that_became_shorter_is_refused_before_it_is_used(tmp_path: Path) -> None:
    path = write_tower(tmp_path / "tower.safetensors")
    checkpoint = open_checkpoint(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(WeightsError, match="became shorter"):
        checkpoint.mapped()
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be mapped"):
        checkpoint.mapped()
    (tmp_path / "empty").touch()
    with pytest.raises(WeightsError, match="cannot be mapped"):
        MappedFile(tmp_path / "empty", 0)


def test_pages_of_mapped_weights_do_not_count_as_held(tmp_path: Path) -> None:
    size = 64 * MIB
    state = {"weight": torch.ones(size // 4)}
    safetensors.torch.save_file(state, path := tmp_path / "large.safetensors")
    del state
    file = open_checkpoint(path).mapped()
    assert file is not None
    before = held_host_bytes()
    view = file.view(open_checkpoint(path)["weight"], torch.float32)
    assert view is not None
    assert float(view.sum()) == size // 4
    assert held_host_bytes() - before < size // 8


_STEP = """
import sys
import torch
from tests.vram.streamed_models import compute, tower_spec
from partwise.core.progress import CancelToken
from partwise.vram.device import Device
from partwise.vram.host import free_host_bytes
from partwise.vram.runner import LocalRunner

def anonymous():
    text = open("/proc/self/smaps_rollup").read()
    return next(int(l.split()[1]) * 1024 for l in text.splitlines() if l.startswith("Anonymous"))

def run(path, width):
    spec = tower_spec(path, width=width)
    runner = LocalRunner(Device(), free_host_bytes)
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = anonymous()
    loaded = runner.load(
        spec, precision=sys.argv[3], is_on_host=False, streaming="blocks", cancel=CancelToken()
    )
    for _ in range(2):
        compute(loaded.module, progress=None, cancel=CancelToken())
    print(anonymous() - before, loaded.weight_bytes, loaded.host_bytes)

from pathlib import Path
run(Path(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process")
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.bfloat16, "bf16"), (torch.bfloat16, "fp32")]
)
def test_a_process_that_streams_from_the_file_takes_hardly_any_memory(
    tmp_path: Path, dtype: torch.dtype, precision: str
) -> None:
    """In fp32 only two blocks of five are there at a time, cast; in the file's type none is."""
    width = 1152
    path = write_tower(tmp_path / "tower.safetensors", dtype, width)
    done = subprocess.run(
        [sys.executable, "-c", _STEP, str(path), str(width), precision],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    grown, held, beside = map(int, done.stdout.split())
    size = path.stat().st_size * (2 if precision == "fp32" else 1)
    assert beside == 0
    if precision == "bf16":
        assert held == 0
        assert grown < 0.2 * size
    else:
        assert 0.4 * size < held < 0.5 * size
        assert grown < held + 0.2 * size


def test_one_that_is_being_read_has_its_room_and_is_not_mapped_beside() -> None:
    free, is_building, go = [8 * GIB], threading.Event(), threading.Event()
    plain = wide(4)

    def build(order: LoadOrder) -> nn.Module:
        free[0] = GIB  # what it has read so far
        is_building.set()
        assert go.wait(60)
        return plain.build(order)

    host = masters(None, lambda: free[0])
    spec = ComponentSpec("wide", "wide", build, count_bytes=lambda precision: 3 * GIB)
    assert host.has_room(spec, "fp32")
    ahead = threading.Thread(target=lambda: host.obtain(spec, "fp32"))
    ahead.start()
    assert is_building.wait(60)
    assert host.has_room(spec, "fp32")
    free[0] = 8 * GIB
    go.set()
    ahead.join(60)
    assert not host.obtain(spec, "fp32", is_mapped=None).is_mapped
