"""Who may import whom; the arrows of CONTRIBUTING.md, checked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "partwise/core": (
        "partwise.g",
        "partwise.p",
        "partwise.vram",
        "studio",
        "gradio",
        "torch",
        "model_manager",
    ),
    "partwise/geometry": (
        "partwise.geometric",
        "partwise.p",
        "partwise.vram",
        "studio",
        "gradio",
        "torch",
    ),
    "partwise/geometric": (
        "partwise.p",
        "partwise.vram",
        "studio",
        "gradio",
        "torch",
        "model_manager",
    ),
    "partwise/vram": ("partwise.g", "partwise.p", "studio", "gradio", "model_manager"),
    "partwise/points": ("partwise.g", "partwise.p3sam", "partwise.vram", "studio", "gradio"),
    "partwise/p3sam": ("partwise.geometric", "partwise.vram", "studio", "gradio", "model_manager"),
    "partwise/xpart": (
        "partwise.geometric",
        "partwise.p3sam",
        "partwise.vram",
        "studio",
        "gradio",
        "model_manager",
    ),
    "model_manager.py": ("partwise.g", "partwise.p", "studio", "gradio"),
    "lazy_partformer.py": ("studio", "gradio"),
    "cli.py": ("gradio", "torch"),
    "app.py": ("torch",),
}


def _files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _imports(file: Path, *, is_top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if is_top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("place", FORBIDDEN)
def test_no_import_crosses_the_layers(place: str) -> None:
    crossings = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files(place)
        for name in _imports(file)
        if name.startswith(FORBIDDEN[place]) and not _is_late_torch(file, name)
    ]
    assert crossings == []


def _is_late_torch(file: Path, name: str) -> bool:
    is_torch = name.split(".")[0] == "torch"
    return is_torch and name not in set(_imports(file, is_top_level_only=True))


def test_gradio_is_imported_in_the_page_only() -> None:
    users = {
        file.relative_to(ROOT).as_posix()
        for file in [*_files("studio"), *_files("partwise"), ROOT / "cli.py"]
        if any(name.split(".")[0] == "gradio" for name in _imports(file))
    }
    assert all(user.startswith("studio/ui/") for user in users)


def test_argparse_is_imported_at_the_entry_points_only() -> None:
    users = [
        file
        for file in [*_files("studio"), *_files("partwise"), ROOT / "model_manager.py"]
        if "argparse" in set(_imports(file))
    ]
    kept = {ROOT / "studio" / f"{name}_options.py" for name in ("cutting", "making", "memory")}
    assert set(users) == kept  # options of the entry points


def test_cuda_memory_calls_and_nvml_stand_in_vram_only() -> None:
    users = [
        file.relative_to(ROOT).as_posix()
        for file in [*_files("studio"), *_files("partwise"), ROOT / "model_manager.py"]
        if "pynvml" in set(_imports(file)) or "torch.cuda." in file.read_text(encoding="utf-8")
    ]
    assert all(user.startswith("partwise/vram/") for user in users)


@pytest.mark.slow
def test_the_page_needs_no_torch() -> None:
    code = "import sys, app, cli, studio.ui.launch; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_files_and_functions_keep_their_sizes() -> None:
    places = ("app.py", "cli.py", "model_manager.py", "lazy_partformer.py", "partwise", "studio")
    too_long = []
    for file in (file for place in places for file in _files(place)):
        source = file.read_text(encoding="utf-8")
        if source.count("\n") >= 400:
            too_long.append(file.name)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 60:
                too_long.append(f"{file.name}:{node.name}")
    assert too_long == []
