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
from tests.tiers import slow_but

GROUPS = range(12)
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


@pytest.fixture(scope="module")
def corpus() -> list[BadFile]:
    """Files that are broken in every way we know."""
    return make_corpus()


def test_the_corpus_holds_many_distinct_bad_files(corpus: list[BadFile]) -> None:
    assert len({bad.name for bad in corpus}) == len(corpus) >= 60


@pytest.mark.parametrize("group", slow_but(GROUPS[::3], GROUPS))
def test_bad_files_are_refused_fast_and_leave_nothing(
    corpus: list[BadFile], pool: WorkerPool, scratch: Path, tmp_path: Path, group: int
) -> None:
    for bad in corpus[group :: len(GROUPS)]:
        assert_refused(bad, pool, scratch, tmp_path / "upload")


def assert_refused(bad: BadFile, pool: WorkerPool, scratch: Path, upload: Path) -> None:
    upload.write_bytes(bad.content)
    memory_before = psutil.Process().memory_info().rss
    message, elapsed_s = refuse(upload, bad.name, pool)
    grown = psutil.Process().memory_info().rss - memory_before
    if elapsed_s >= LONGEST_S:  # once more, in case that something else held the machine
        _, elapsed_s = refuse(upload, bad.name, pool)
    assert elapsed_s < LONGEST_S, bad.name
    assert grown < 100 * 2**20, bad.name
    assert list(scratch.iterdir()) == [], bad.name
    assert [path.name for path in upload.parent.iterdir()] == ["upload"], bad.name
    assert_is_readable(message)


def refuse(upload: Path, name: str, pool: WorkerPool) -> tuple[str, float]:
    """The message of the refusal, and the seconds until it came."""
    started = time.monotonic()
    try:
        load_mesh(upload, limits=LIMITS, pool=pool, name=name)
    except MeshError as err:
        return err.message, time.monotonic() - started
    pytest.fail(f"{name} was not refused")


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
