import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from partwise.core.errors import MeshError
from partwise.core.worker import WorkerPool
from partwise.geometry.mesh_io import MeshLimits, load_mesh
from tests.geometry.fuzz_corpus import BadFile, make_corpus
from tests.geometry.mesh_files import good_files

CORPUS = make_corpus()
LIMITS = MeshLimits(parse_memory_bytes=2**30)
LONGEST_S = 10.0  # a hang, not a slow machine


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files of this process and its children."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def pool(scratch: Path) -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=2, preload=("partwise.geometry.mesh_io",))
    pool.warm_up()
    yield pool
    pool.close()


def test_the_corpus_holds_many_distinct_bad_files() -> None:
    assert len({bad.name for bad in CORPUS}) == len(CORPUS) >= 60


@pytest.mark.parametrize("bad", CORPUS, ids=[f"{i}" for i in range(len(CORPUS))])
def test_a_bad_file_is_refused_fast_and_leaves_nothing(
    bad: BadFile, pool: WorkerPool, scratch: Path, tmp_path: Path
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(bad.content)
    memory_before = psutil.Process().memory_info().rss
    message, elapsed_s = refuse(upload, bad.name, pool)
    grown = psutil.Process().memory_info().rss - memory_before
    if elapsed_s >= LONGEST_S:  # once more, in case that something else held the machine
        _, elapsed_s = refuse(upload, bad.name, pool)
    assert elapsed_s < LONGEST_S
    assert grown < 100 * 2**20
    assert list(scratch.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]
    assert_is_readable(message)


def refuse(upload: Path, name: str, pool: WorkerPool) -> tuple[str, float]:
    """The message of the refusal, and the seconds until it came."""
    started = time.monotonic()
    with pytest.raises(MeshError) as caught:
        load_mesh(upload, limits=LIMITS, pool=pool, name=name)
    return caught.value.message, time.monotonic() - started


def assert_is_readable(message: str) -> None:
    """A sentence for a person: what was found, what to do, nothing of our inside."""
    assert message.endswith(".")
    assert message.count(". ") >= 1
    assert len(message) < 400
    assert message.isprintable()
    assert not any(word in message for word in ("Error", "Traceback", "unexpectedly", "/tmp"))


@pytest.mark.parametrize(
    "name", ["стул “模型” 🪑.glb", f"{'字' * 296}.glb", "a\nb\x1b.glb", "x.GLB"]
)
def test_a_good_file_with_a_strange_name_loads(name: str, pool: WorkerPool, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(good_files()["box.glb"])
    mesh = load_mesh(upload, limits=LIMITS, pool=pool, name=name)
    assert len(mesh.faces) == 12
    assert mesh.name.isprintable()
    assert mesh.name == name.replace("\n", "").replace("\x1b", "")
