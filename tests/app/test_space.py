"""The repository as a Space: with the `spaces` package and without, front matter, requirements."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.check_pythons import pins_for, python_versions
from studio.configuration import load_configuration
from studio.ui import launch
from tests.app.support import ROOT

FAKE_SPACES = '''
"""As a ZeroGPU Space does it: the function runs in a forked process; arguments, result and errors
are pickled; of an error that is not gr.Error only the class name arrives."""
import os
import pickle
import gradio as gr

recorded = []


def GPU(task=None, *, duration=60):
    def decorate(function):
        recorded.append((function.__name__, duration))

        def borrowed(*args, **kwargs):
            read, write = os.pipe()
            given = pickle.dumps((args, kwargs))
            if os.fork() == 0:
                os.close(read)
                args, kwargs = pickle.loads(given)
                try:
                    answer = ("result", function(*args, **kwargs))
                except gr.Error as error:
                    answer = ("error", (error.message, error.title))
                except BaseException as error:
                    answer = ("bare", type(error).__name__)
                with os.fdopen(write, "wb") as pipe:
                    pipe.write(pickle.dumps(answer))
                os._exit(0)
            os.close(write)
            with os.fdopen(read, "rb") as pipe:
                kind, value = pickle.loads(pipe.read())
            os.wait()
            if kind == "result":
                return value
            raise gr.Error(*value[:1], title=value[1]) if kind == "error" else gr.Error(value)

        return borrowed

    return decorate if task is None else decorate(task)
'''


def run_python(code: str, *, path: Path | None = None, **environment: str) -> Any:
    """Run code in a process of its own; returns what it prints as JSON."""
    places = [str(ROOT), *([str(path)] if path else [])]
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)} | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package `spaces` to put on the path."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "spaces").mkdir()
    (folder / "spaces" / "__init__.py").write_text(FAKE_SPACES, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_without_the_package_nothing_of_it_is_active() -> None:
    code = """
        import json
        import app
        from studio.ui import zerogpu
        print(json.dumps([zerogpu.spaces is None, zerogpu.is_zerogpu()]))
    """
    assert run_python(code) == [True, False]


@pytest.mark.slow
def test_with_the_package_the_page_borrows_the_gpu_and_errors_keep_their_text(
    spaces: Path,
) -> None:
    code = """
        import json
        import app
        import gradio as gr
        import spaces
        from partwise.core.errors import MemoryBudgetError
        from studio.configuration import load_configuration
        from studio.ui import zerogpu
        from studio.ui.layout import build_page
        from studio.workflow import build_studio

        def refuse():
            raise MemoryBudgetError("It needs 9 GiB; 6 are free.", needed_bytes=9)

        def crash():
            raise RuntimeError("device-side assert with a path: /home/user")

        def fail_in_words():
            raise gr.Error("Too large.", title="Partwise")

        def text_of(function):
            try:
                return zerogpu.on_gpu(function, duration_s=5)()
            except gr.Error as error:
                return error.message

        texts = [text_of(f) for f in (refuse, crash, fail_in_words)]
        answer = zerogpu.on_gpu(lambda: {"free_bytes": 7}, duration_s=5)()
        studio = build_studio(load_configuration(environment={}))
        names = [function.api_name for function in build_page(studio).fns.values()]
        studio.close()
        known = [zerogpu.is_zerogpu(), "gpu" in names, spaces.recorded[0], texts, answer]
        print(json.dumps(known))
    """
    is_zerogpu, is_offered, recorded, texts, answer = run_python(
        code, path=spaces, SPACES_ZERO_GPU="true"
    )
    assert is_zerogpu is True
    assert is_offered is True
    assert recorded == ["_read_gpu", 10]
    assert texts[0] == "It needs 9 GiB; 6 are free."
    assert "/home/user" not in texts[1]
    assert texts[1].startswith("Something went wrong")
    assert texts[2] == "Too large."
    assert answer == {"free_bytes": 7}


def test_a_space_is_served_on_the_address_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert launch.host_of(load_configuration(environment={})) == "0.0.0.0"
    chosen = load_configuration(environment={}, overrides={"host": "127.0.0.2"})
    assert launch.host_of(chosen) == "127.0.0.2"


def test_the_page_is_launched_never_mounted() -> None:
    sources = [ROOT / "app.py", *sorted((ROOT / "studio").rglob("*.py"))]
    users = [path.name for path in sources if "mount_gradio_app" in path.read_text("utf-8")]
    assert users == []
    assert ".launch(" in (ROOT / "studio/ui/launch.py").read_text("utf-8")


def test_the_front_matter_of_the_readme_is_one_that_a_space_takes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, front, _ = readme.split("---\n", 2)
    settings = yaml.safe_load(front)
    assert settings["sdk"] == "gradio"
    assert (ROOT / settings["app_file"]).is_file()
    assert settings["python_version"] in ("3.10", "3.12")
    assert isinstance(settings["python_version"], str)
    assert settings["license"] == "apache-2.0"
    assert len(settings["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {settings["colorFrom"], settings["colorTo"]} <= colours
    assert settings["sdk_version"] == pins_for(settings["python_version"])["gradio"]


@pytest.mark.parametrize("python", python_versions())
def test_the_ranges_of_the_requirements_admit_the_pins(python: str) -> None:
    pins = pins_for(python)
    lines = [
        line
        for file in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / file).read_text("utf-8").splitlines()
        if line.strip() and not line.startswith(("#", "-"))
    ]
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_a_space_gets_no_package_that_it_must_compile() -> None:
    assert (ROOT / "packages.txt").read_text("utf-8").strip() == ""
