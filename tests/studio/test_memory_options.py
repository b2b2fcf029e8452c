"""The command line's options on memory: they win over the environment, which wins over the file."""

import argparse

import pytest

import cli
from partwise.core.errors import ConfigError
from studio.configuration import Configuration, load_configuration
from studio.memory_options import add_memory_options, memory_overrides

ENVIRONMENT = {"PARTWISE_VRAM_BUDGET_GIB": "5", "PARTWISE_VRAM_LADDER": "quantized"}


def configured(*arguments: str) -> Configuration:
    parser = argparse.ArgumentParser()
    add_memory_options(parser)
    given = memory_overrides(parser.parse_args(arguments))
    return load_configuration(environment=ENVIRONMENT, memory_overrides=given)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file() -> None:
    found = configured("--budget", "6.5", "--hold", "int8", "--isolate")
    vram, sources = found.vram, found.sources
    assert (vram.budget_gib, vram.ladder, vram.weights) == (6.5, "quantized", "int8")
    assert vram.is_isolated
    assert sources["vram.budget_gib"] == sources["vram.is_isolated"] == "command line"
    assert sources["vram.ladder"] == "PARTWISE_VRAM_LADDER"
    assert sources["vram.reserve_gib"] == "vram.yaml"


def test_what_is_not_given_changes_nothing() -> None:
    assert configured() == load_configuration(environment=ENVIRONMENT)


def test_a_budget_of_nothing_or_a_process_of_ones_own_can_be_taken_back() -> None:
    found = configured("--budget", "0", "--no-isolate")
    assert found.vram.budget_bytes is None
    assert not found.vram.is_isolated


@pytest.mark.parametrize("budget", ["-1", "nan", "inf"])
def test_a_senseless_budget_is_refused_by_its_name(budget: str) -> None:
    with pytest.raises(ConfigError, match="budget_gib"):
        configured("--budget", budget)


def test_settings_name_the_command_line_as_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["memory", "--settings", "--ladder", "exact"]) == 0
    row = next(row for row in capsys.readouterr().out.splitlines() if "vram.ladder" in row)
    assert row.split() == ["vram.ladder", "exact", "command", "line"]
