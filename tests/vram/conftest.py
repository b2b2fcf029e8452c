from collections.abc import Iterator

import pytest

from tests.vram.watched_worker import Watched


@pytest.fixture(scope="module")
def shared() -> Iterator[Watched]:
    runner = Watched()
    yield runner
    runner.close()


@pytest.fixture
def runner(shared: Watched) -> Watched:
    """With “linear” loaded, in a new process when a test before has ended the last one."""
    shared.load_linear()
    shared.losses.clear()
    return shared


@pytest.fixture
def idle() -> Iterator[Watched]:
    runner = Watched()
    yield runner
    runner.close()
