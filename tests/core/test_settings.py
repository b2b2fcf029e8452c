from dataclasses import dataclass
from pathlib import Path

import pytest

from partwise.core.errors import ConfigError
from partwise.core.settings import load_settings


@dataclass(frozen=True)
class Example:
    port: int
    host: str = "127.0.0.1"
    ratio: float = 0.5
    count: int | None = None
    is_open: bool = False

    def __post_init__(self) -> None:
        if self.port > 65535:
            raise ValueError(f"port is {self.port}; the largest is 65535")


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text("port: 1\nhost: file\nratio: 0.1\n")
    environment = {"PARTWISE_EXAMPLE_HOST": "environment", "PARTWISE_EXAMPLE_RATIO": "0.2"}
    loaded = load_settings(
        Example, "example", file=file, environment=environment, overrides={"ratio": 0.3}
    )
    assert loaded.value == Example(port=1, host="environment", ratio=0.3)
    assert loaded.sources == {
        "port": "example.yaml",
        "host": "PARTWISE_EXAMPLE_HOST",
        "ratio": "command line",
        "count": "default",
        "is_open": "default",
    }


def test_reads_every_type_from_text() -> None:
    environment = {
        "PARTWISE_EXAMPLE_PORT": "80",
        "PARTWISE_EXAMPLE_COUNT": "auto",
        "PARTWISE_EXAMPLE_IS_OPEN": "yes",
    }
    loaded = load_settings(Example, "example", environment=environment)
    assert loaded.value == Example(port=80, count=None, is_open=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("port: 1\ncolour: red\n", "“colour” is not a setting"),
        ("host: here\n", "“example.port” has no value"),
        ("port: many\n", "not of type int"),
        ("port: 1.5\n", "not of type int"),
        ("port: inf\n", "not of type int"),
        ("port: true\n", "not of type int"),
        ("port: 1\nis_open: perhaps\n", "not of type bool"),
        ("port: 99999\n", "the largest is 65535"),
        ("- port\n", "key: value"),
        ("port: [1\n", "not valid YAML"),
    ],
)
def test_refuses_bad_files_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_settings(Example, "example", file=file)


@dataclass(frozen=True)
class Kept:
    place: Path


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", refuse)
    with pytest.raises(ConfigError, match="Set HOME"):
        load_settings(Kept, "kept", environment={"PARTWISE_KEPT_PLACE": "~/x"})
