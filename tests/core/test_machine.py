"""What the machine must allow for a start, told in one sentence where it does not."""

import tempfile

import pytest

from partwise.core import machine
from partwise.core.errors import ConfigError
from partwise.core.machine import check_machine


def test_too_little_address_space_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "address_space_limit", lambda: 256 * 2**20)
    with pytest.raises(ConfigError, match=r"only 0.25 GiB of address space \(ulimit -v\)"):
        check_machine()


@pytest.mark.parametrize("limit", [None, 2**30])
def test_enough_address_space_is_no_matter(
    monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(machine, "address_space_limit", lambda: limit)
    check_machine()


def test_a_machine_without_a_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    with pytest.raises(ConfigError, match="TMPDIR"):
        check_machine()
