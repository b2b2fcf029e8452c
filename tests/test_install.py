"""The first start: which Python, by uv or without, which build of torch; all programs are fakes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import install, torch_build
from scripts.python_range import read_python_range
from scripts.torch_build import NvidiaDriver, TorchBuild, suitable_build

ROOT = Path(__file__).parents[1]
TORCH = install.pinned_torch()


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# ./run: a Python, an environment


class Machine:
    """A copy of ./run on a machine that has the tools of a shell and what `add` puts there."""

    def __init__(self, root: Path) -> None:
        self.program, self.bin, self.log = root / "program", root / "bin", root / "log"
        (self.program / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        self.log.touch()
        for name in ("run", "pyproject.toml", "scripts/setup_environment.sh"):
            shutil.copy(ROOT / name, self.program / name)
        for tool in ("bash", "sh", "env", "dirname", "sed", "rm", "mkdir", "cp"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        write_program(root / "made", f'echo "python $*" >> {self.log}')
        self._make = f"mkdir -p .venv/bin && cp {root}/made .venv/bin/python"

    def add_python(self, name: str, *, is_suitable: bool = True) -> None:
        """A Python that makes an environment, and says whether its version suits."""
        write_program(
            self.bin / name,
            f"""case "$*" in
                scripts/python_range.py) exit {0 if is_suitable else 1} ;;
                "-m venv .venv") echo "{name} $*" >> {self.log}; {self._make} ;;
            esac""",
        )

    def add_uv(self, *, works: bool = True) -> None:
        """A uv that makes an environment, or ends with an error."""
        end = self._make if works else "exit 2"
        write_program(self.bin / "uv", f'echo "uv $*" >> {self.log}; {end}')

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program / "run"), *arguments],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


START = ["python -m scripts.install requirements.txt", "python app.py --port 7"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if sys.platform == "win32":
        pytest.skip("shell scripts")
    return Machine(tmp_path)


def test_the_first_suitable_python_makes_the_environment_once(machine: Machine) -> None:
    machine.add_python("python3.12", is_suitable=False)
    machine.add_python("python3.13")
    machine.add_python("python3")
    assert machine.run("--port", "7").returncode == 0
    assert machine.calls == ["python3.13 -m venv .venv", *START]
    assert machine.run("--port", "7").returncode == 0
    assert machine.calls[3:] == START


def test_uv_makes_the_environment_where_there_is_one(machine: Machine) -> None:
    machine.add_python("python3.11")
    machine.add_uv()
    assert machine.run("--port", "7").returncode == 0
    assert machine.calls == ["uv venv --quiet --python python3.11 .venv", *START]


def test_uv_brings_a_python_where_none_suits(machine: Machine) -> None:
    machine.add_python("python3", is_suitable=False)
    machine.add_uv()
    assert machine.run("--port", "7").returncode == 0
    assert machine.calls == ["uv venv --quiet --python 3.12 .venv", *START]


def test_where_uv_fails_the_python_does_it_and_that_is_said(machine: Machine) -> None:
    machine.add_python("python3.10")
    machine.add_uv(works=False)
    done = machine.run("--port", "7")
    assert "trying without it" in done.stderr
    assert machine.calls[1:] == ["python3.10 -m venv .venv", *START]


def test_without_a_python_it_says_which_are_needed(machine: Machine) -> None:
    machine.add_python("python3", is_suitable=False)
    done = machine.run()
    assert done.returncode == 1
    (_, oldest), (_, too_new) = read_python_range()
    assert f"needs Python >=3.{oldest},<3.{too_new}" in done.stderr
    assert not (machine.program / ".venv").exists()


def test_a_python_that_was_named_is_taken_or_refused_never_replaced(machine: Machine) -> None:
    machine.add_python("python3.12")
    machine.add_python("mine")
    machine.add_python("old", is_suitable=False)
    done = machine.run(PARTWISE_PYTHON="old")
    assert (done.returncode, machine.calls) == (1, [])
    assert "PARTWISE_PYTHON is old" in done.stderr
    assert machine.run("--port", "7", PARTWISE_PYTHON="mine").returncode == 0
    assert machine.calls == ["mine -m venv .venv", *START]


# the build of torch


@pytest.mark.parametrize(
    ("system", "driver", "name"),
    [
        ("darwin", None, "default"),
        ("linux", None, "cpu"),
        ("linux", NvidiaDriver("580.65.06", (8, 9)), "default"),
        ("linux", NvidiaDriver("580.65.06", (7, 5)), "default"),
        ("linux", NvidiaDriver("580.65.06", None), "default"),
        ("linux", NvidiaDriver("580.65.06", (6, 1)), "cu126"),
        ("linux", NvidiaDriver("550.54.14", (8, 6)), "cu126"),
        ("linux", NvidiaDriver("470.256.02", (8, 6)), "cpu"),
        ("win32", None, "default"),
        ("win32", NvidiaDriver("581.29", (8, 9)), "cu130"),
        ("win32", NvidiaDriver("552.44", (8, 9)), "cu126"),
    ],
)
def test_the_build_follows_the_driver(system: str, driver: NvidiaDriver | None, name: str) -> None:
    build = suitable_build(system, driver, has_amd=False)
    assert build.name == name
    assert driver is None or driver.capability == (6, 1) or driver.version in build.reason


def test_an_amd_card_is_told_of_the_build_for_it() -> None:
    build = suitable_build("linux", None, has_amd=True)
    assert build.name == "cpu"
    assert "PARTWISE_TORCH=rocm" in build.reason


@pytest.mark.parametrize(
    ("output", "driver"),
    [
        ("550.54.14, 8.6", NvidiaDriver("550.54.14", (8, 6))),
        ("580.65.06, 6.1\n580.65.06, 12.0", NvidiaDriver("580.65.06", (12, 0))),
        ("580.65.06, [N/A]", NvidiaDriver("580.65.06", None)),
        ("No devices were found", None),
        ("", None),
    ],
)
def test_the_driver_is_read_from_nvidia_smi(
    output: str, driver: NvidiaDriver | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(tmp_path / "nvidia-smi", f"printf '{output}\\n'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.read_nvidia_driver() == driver


def test_an_nvidia_smi_that_fails_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path / "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.read_nvidia_driver() is None


def test_an_index_is_asked_for_this_python_and_machine(tmp_path: Path) -> None:
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    page, other = tmp_path / "page", tmp_path / "other"
    machine = torch_build._machine()
    page.write_text(f'<a href="/whl/cpu/torch-{TORCH}%2Bcpu-{tag}-{tag}-linux_{machine}.whl#x">')
    other.write_text(f'<a href="/whl/cpu/torch-{TORCH}%2Bcpu-cp27-cp27mu-linux_{machine}.whl">')
    version = f"{TORCH}+cpu"
    assert torch_build.index_problem(page.as_uri(), version) is None
    assert "has no torch" in str(torch_build.index_problem(page.as_uri(), f"{TORCH}+cu126"))
    assert "has no torch" in str(torch_build.index_problem(other.as_uri(), version))
    assert torch_build.index_problem((tmp_path / "none").as_uri(), version) == "cannot be reached"


@pytest.mark.parametrize(
    ("installed", "name"),
    [(None, "default"), ("2.0.0+cu126", "default"), (f"{TORCH}+cpu", "cpu"), (TORCH, "default")],
)
def test_without_the_index_what_is_installed_stays_else_the_default_is_taken(
    installed: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_build, "index_problem", lambda *_: "cannot be reached")
    build = torch_build.choose_torch("cu128", TORCH, installed)
    assert build.name == name
    assert "cu128 is wanted" in build.reason
    assert "cannot be reached" in build.reason


def test_an_index_is_not_asked_for_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "index_problem", lambda *_: pytest.fail("asked"))
    assert torch_build.choose_torch("cu126", TORCH, f"{TORCH}+cu126").name == "cu126"
    assert torch_build.choose_torch("default", TORCH, f"{TORCH}+cu126").name == "default"


# the installation


class Environment:
    """A virtual environment of which only the notes are real; commands are noted, not run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[str] = []
        self.sentences: list[str] = []
        self.torch: str | None = None
        self.failing = "nothing"
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(sys, "prefix", str(folder))
        monkeypatch.setattr(sys, "executable", "python")
        monkeypatch.setattr(install, "_run", self._run)
        monkeypatch.setattr(install, "_say", self.sentences.append)
        monkeypatch.setattr(install, "installed_torch", lambda: self.torch)
        monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: name)
        self.set_uv(None)

    def set_uv(self, path: str | None) -> None:
        self._monkeypatch.setattr(install.shutil, "which", lambda _: path)

    def _run(self, command: list[str]) -> bool:
        self.commands.append(" ".join(command))
        return self.failing not in self.commands[-1]

    def start(self, request: str | None, build: str, requirements: str = "requirements.txt") -> str:
        """A start with PARTWISE_TORCH and the build that would be chosen; what was run."""
        self.commands.clear()
        choice = TorchBuild(build, "the test says so")
        self._monkeypatch.setattr(install, "choose_torch", lambda *_: choice)
        self._monkeypatch.setenv("PARTWISE_TORCH", request or "")
        install.main(requirements)
        return " | ".join(self.commands)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    return Environment(tmp_path, monkeypatch)


INSTALL = "install -r requirements.txt -c constraints.txt"


def test_it_installs_once_and_says_which_build(environment: Environment) -> None:
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert environment.start(None, "cpu").endswith(f"{INSTALL} {index}")
    assert "the build of torch is cpu: the test says so." in environment.sentences
    environment.torch = f"{TORCH}+cpu"
    assert environment.start(None, "default") == ""


def test_the_tests_list_takes_in_the_application_s(environment: Environment) -> None:
    environment.start(None, "default", "requirements-dev.txt")
    assert environment.start(None, "default") == ""


def test_a_build_that_is_asked_for_replaces_another_and_stays(environment: Environment) -> None:
    environment.start(None, "default")
    environment.torch = TORCH
    commands = environment.start("cu126", "cu126")
    assert "uninstall --yes torch" in commands
    assert commands.endswith("https://download.pytorch.org/whl/cu126")
    environment.torch = f"{TORCH}+cu126"
    assert environment.start("cu126", "cu126") == ""
    assert environment.start(None, "default") == ""
    assert "uninstall" in environment.start("auto", "default")


def test_a_build_that_could_not_be_had_is_tried_again_only_when_named(
    environment: Environment,
) -> None:
    environment.start("cu126", "default")
    environment.torch = TORCH
    assert environment.start(None, "cpu") == ""
    assert "cu126" in environment.start("cu126", "cu126")


def test_an_installation_that_failed_is_not_taken_for_one(environment: Environment) -> None:
    environment.start(None, "default")
    environment.torch, environment.failing = TORCH, "install -r"
    with pytest.raises(SystemExit, match="the installation failed"):
        environment.start("cpu", "cpu")
    environment.torch, environment.failing = None, "nothing"
    assert INSTALL in environment.start(None, "default")


def test_uv_installs_where_there_is_one_else_pip(environment: Environment) -> None:
    environment.set_uv("/bin/uv")
    commands = environment.start(None, "cpu")
    assert commands.startswith("/bin/uv pip install --quiet --python python --index-strategy")
    assert "python -m pip" not in commands


def test_what_uv_cannot_install_pip_does_and_that_is_said(environment: Environment) -> None:
    environment.set_uv("/bin/uv")
    environment.failing = "/bin/uv"
    assert environment.start(None, "default").endswith(INSTALL)
    assert any("trying pip" in sentence for sentence in environment.sentences)


@pytest.mark.parametrize("name", ["CPU", "../cpu", "cpu --pre"])
def test_a_name_that_is_no_index_is_refused(environment: Environment, name: str) -> None:
    with pytest.raises(SystemExit, match="PARTWISE_TORCH is"):
        environment.start(name, "cpu")
    assert environment.commands == []
