"""Files that are written whole, with the rights that the person's umask says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.core import files
from partwise.core.files import write_atomically


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask of the process comes back."""
    before = os.umask(0)
    os.umask(before)
    yield
    os.umask(before)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.json"
    write_atomically(target, b"before")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"after")
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
@pytest.mark.usefixtures("umask")
def test_the_umask_says_who_may_read_a_file(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    target = tmp_path / "report.json"
    for content in (b"before", b"after"):
        write_atomically(target, content)
        assert target.stat().st_mode & 0o777 == mode
