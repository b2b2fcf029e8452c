"""The pins hold for every Python that runs Partwise, and all texts name the same ones.

tests/data/requires_python.json says what Python each pin asks for; scripts/check_pythons.sh, which
needs the registry, writes it.
"""

import json
import re
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from scripts.check_pythons import TABLE, Package, check, pins_for, python_versions, read_pins
from scripts.python_range import read_python_range

ROOT = Path(__file__).parents[1]
VERSIONS = python_versions()


def read_table() -> dict[str, str]:
    table: dict[str, str] = json.loads(TABLE.read_text("utf-8"))
    return table


@pytest.mark.parametrize("version", VERSIONS)
def test_every_pin_can_be_installed_on_the_pythons_that_it_holds_for(version: str) -> None:
    table = read_table()
    refused = [
        f"{name}=={pin}"
        for name, pin in pins_for(version).items()
        if version not in SpecifierSet(table[f"{name}=={pin}"])
    ]
    assert refused == []


def test_the_table_is_of_exactly_the_pins() -> None:
    pins = {f"{canonicalize_name(pin.name)}{pin.specifier}" for pin in read_pins()}
    assert set(read_table()) == pins, "run scripts/check_pythons.sh"


def test_every_pin_holds_for_some_python() -> None:
    lines = [f"{canonicalize_name(pin.name)}{pin.specifier}" for pin in read_pins()]
    held = {f"{name}=={pin}" for version in VERSIONS for name, pin in pins_for(version).items()}
    assert [line for line in lines if line not in held] == []


def test_all_texts_name_the_same_pythons() -> None:
    oldest, newest = VERSIONS[0], VERSIONS[-1]
    for name in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {oldest} to {newest}" in (ROOT / name).read_text("utf-8"), name
    for name in ("scripts/setup_environment.sh", "run.ps1"):
        script = (ROOT / name).read_text("utf-8")
        assert set(re.findall(r"3\.1\d", script)) == set(VERSIONS), name


def test_the_tools_check_for_the_oldest_python() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (major, minor), _ = read_python_range()
    assert f'target-version = "py{major}{minor}"' in project
    assert f'python_version = "{major}.{minor}"' in project


@pytest.mark.parametrize(
    ("package", "problem"),
    [
        (Package("six", "1.17.0", "", is_wheel=True), "six 1.17.0 is not pinned"),
        (Package("numpy", "2.2.6", ">=3.10", is_wheel=False), "numpy 2.2.6 has no wheel"),
    ],
)
def test_a_package_without_pin_or_wheel_is_a_problem(package: Package, problem: str) -> None:
    [found] = check([package], {"numpy": "2.2.6"} if package.name == "numpy" else {})
    assert problem in found


def test_what_torch_names_itself_needs_no_pin() -> None:
    names = ("nvidia-cublas", "cuda-bindings", "triton", "nvidia-cudnn-cu13")
    assert list(check([Package(name, "1", "", is_wheel=True) for name in names], {})) == []
    assert len(list(check([Package("nvidia-ml-py", "13", "", is_wheel=True)], {}))) == 1
