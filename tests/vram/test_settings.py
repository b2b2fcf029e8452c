from pathlib import Path

import pytest

from partwise.core.errors import ConfigError
from partwise.core.settings import load_settings
from partwise.vram.settings import VramSettings

FILE = Path(__file__).resolve().parents[2] / "configs" / "vram.yaml"


def test_the_file_holds_every_setting_and_the_defaults() -> None:
    loaded = load_settings(VramSettings, "vram", file=FILE)
    assert loaded.value == VramSettings()
    assert set(loaded.sources.values()) == {"vram.yaml"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"idle_unload_s": -1},
        {"history_s": 0},
        {"sample_hz_busy": 1},
        {"idle": 3},
        {"budget_gib": "inf"},
        {"budget_gib": "nan"},
        {"idle_unload_s": "inf"},
        {"history_s": "inf"},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        load_settings(VramSettings, "vram", overrides=wrong)
