"""The settings of torch's GPU allocator: set in time, a person's own left alone, read back."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from partwise.vram.allocator import EnvironmentReport, prepare_environment, read_back

ROOT = Path(__file__).parents[2]
NEW, CUDA, HIP = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"
GROW = "expandable_segments:True"


def _prepare(
    environ: dict[str, str],
    version: str = "2.13.0+cu130",
    *,
    platform: str = "linux",
    is_imported: bool = False,
) -> EnvironmentReport:
    modules: Any = {"torch": SimpleNamespace()} if is_imported else {}
    return prepare_environment(environ, modules=modules, torch_version=version, platform=platform)


@pytest.mark.parametrize(
    ("version", "variable"),
    [
        ("2.8.0", CUDA),
        ("2.9.1+cu128", CUDA),  # ignores the setting under the new name
        ("2.12.0", CUDA),
        ("2.13.0", NEW),
        ("3.0.0a0+git1", NEW),
        ("2.12.0+rocm7.0", HIP),
        ("2.13.0+rocm7.1", NEW),
    ],
)
def test_the_variable_is_the_one_that_this_torch_heeds(version: str, variable: str) -> None:
    environ = {"HOME": "/home"}
    report = _prepare(environ, version)
    assert environ == {"HOME": "/home", variable: GROW}
    assert (report.variable, report.value, report.was_set) == (variable, GROW, True)
    assert not report.is_conflict


@pytest.mark.parametrize(
    ("version", "platform", "words"),
    [
        ("2.13.0+cpu", "linux", "uses no CUDA GPU"),
        ("2.13.0", "darwin", "uses no CUDA GPU"),
        ("2.13.0+cu130", "win32", "on Windows"),
        ("2.12.0+rocm6.4", "linux", "from ROCm 7 on; this is rocm6.4"),
        ("", "linux", "not installed"),
    ],
)
def test_nothing_is_set_where_segments_cannot_grow(version: str, platform: str, words: str) -> None:
    environ: dict[str, str] = {}
    report = _prepare(environ, version, platform=platform)
    assert environ == {}
    assert (report.was_set, report.is_conflict) == (False, False)
    assert words in report.sentence


def test_once_torch_is_imported_nothing_is_set_and_it_is_said() -> None:
    environ: dict[str, str] = {}
    report = _prepare(environ, is_imported=True)
    assert environ == {}
    assert report.is_conflict
    assert f"Set {NEW}={GROW} before" in report.sentence


@pytest.mark.parametrize("variable", [NEW, CUDA, HIP])
@pytest.mark.parametrize("value", ["max_split_size_mb:512", GROW, "backend:cudaMallocAsync"])
def test_a_persons_own_value_stays(variable: str, value: str) -> None:
    environ = {variable: value}
    report = _prepare(environ)
    assert environ == {variable: value}
    assert (report.variable, report.value, report.was_set) == (variable, value, False)
    assert not report.is_conflict


def test_own_values_that_do_not_go_together_are_named() -> None:
    value = f"max_split_size_mb:512, {GROW}"
    report = _prepare({CUDA: value})
    assert report.is_conflict
    assert "do not go together" in report.sentence


def test_an_own_value_under_a_name_that_this_torch_ignores_is_named() -> None:
    assert _prepare({NEW: GROW}, "2.9.1").is_conflict
    assert not _prepare({NEW: GROW}, "2.13.0").is_conflict


def test_the_name_that_torch_reads_first_is_the_one_judged() -> None:
    assert _prepare({NEW: GROW, CUDA: "max_split_size_mb:64"}).variable == CUDA


def _cuda(**more: Any) -> Any:
    snapshot = {"allocator_settings": {"expandable_segments": True, "max_split_size": -1}}
    known: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "get_allocator_backend": lambda: "native",
        "memory": SimpleNamespace(_snapshot=lambda: snapshot),
    }
    return {"torch": SimpleNamespace(cuda=SimpleNamespace(**(known | more)))}


def test_the_settings_in_effect_are_the_allocators_own() -> None:
    settings = read_back(_cuda())
    assert settings.is_in_effect
    assert settings.values == {"expandable_segments": "True", "max_split_size": "-1"}
    assert settings.sentence == "Segments that grow are on."


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({}, "torch is not imported"),
        ({"torch": SimpleNamespace(__spec__=SimpleNamespace(_initializing=True))}, "not imported"),
        (_cuda(is_available=lambda: False), "no GPU"),
        (_cuda(is_initialized=lambda: False), "nothing was placed"),
        (_cuda(get_allocator_backend=lambda: "cudaMallocAsync"), "cudaMallocAsync"),
    ],
)
def test_what_is_not_in_effect_is_said_to_be_so(modules: Any, words: str) -> None:
    settings = read_back(modules)
    assert (settings.is_in_effect, settings.values) == (False, {})
    assert words in settings.sentence


@pytest.mark.gpu
def test_a_real_gpu_has_the_settings_in_effect() -> None:
    code = (
        "import os; from partwise.vram.allocator import *;"
        "report = prepare_environment(os.environ); import torch; torch.zeros(1, device='cuda');"
        "print(report.was_set, read_back().values['expandable_segments'])"
    )
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available() or sys.platform != "linux":
        pytest.skip("needs a GPU that torch can use, on Linux")
    environ = {k: v for k, v in os.environ.items() if k not in (NEW, CUDA, HIP)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environ
    )
    assert done.stdout.strip() == "True True"
