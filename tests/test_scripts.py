"""The shell scripts, with fakes of every program that would change the machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from studio.configuration import load_configuration

ROOT = Path(__file__).parents[1]
SCRIPTS = ("check_gpu_memory.sh", "check_pythons.sh", "setup_swap_file.sh", "start_server.sh")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts")

Done = subprocess.CompletedProcess[str]


def run(script: Path | str, *arguments: str, environment: dict[str, str] | None = None) -> Done:
    return subprocess.run(
        [str(ROOT / "scripts" / script), *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_can_be_started_and_says_how_to_use_it(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: scripts/{script}" in done.stdout


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    done = subprocess.run(
        ["shellcheck", script], cwd=ROOT / "scripts", capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


# start_server.sh


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Done]:
    """Starts the server script with a fake ./run, which prints its environment and arguments."""
    fake = tmp_path / "run"
    write_program(fake, 'env | grep -E "^(PARTWISE|CUDA_VIS)"\nprintf "<%s>" "$@"')

    def call(*arguments: str, environment: dict[str, str] | None = None) -> Done:
        given = {"PARTWISE_RUN": str(fake), **(environment or {})}
        return run("start_server.sh", *arguments, environment=given)

    return call


PRESETS = ("balanced", "quality", "low_vram", "8gb", "12gb", "16gb", "24gb", "cpu")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_what_the_application_accepts(
    start: Callable[..., Done], preset: str
) -> None:
    done = start("--preset", preset, "--dry-run")
    assert done.returncode == 0, done.stderr
    pairs = [line.split("=", 1) for line in done.stdout.splitlines() if "=" in line]
    environment = {name: value for name, value in pairs}
    configuration = load_configuration(environment=environment)
    sources = set(configuration.sources.values())
    assert {name for name in environment if name.startswith("PARTWISE_")} <= sources
    assert all(value for name, value in pairs if name.startswith("PARTWISE_"))


def test_the_points_are_those_of_the_page_s_preset(start: Callable[..., Done]) -> None:
    preset = load_configuration(environment={}).preset("low_vram")
    lines = start("--preset=low_vram", "--dry-run").stdout.splitlines()
    assert f"PARTWISE_P3SAM_POINT_NUM={preset.point_num}" in lines
    assert f"PARTWISE_P3SAM_PROMPT_NUM={preset.prompt_num}" in lines


def test_the_server_gets_the_environment_and_the_other_arguments_as_they_are(
    start: Callable[..., Done],
) -> None:
    done = start("--port", "8001", "--preset", "8gb", "--weights", "a folder")
    assert done.returncode == 0, done.stderr
    assert "PARTWISE_VRAM_BUDGET_GIB=7\n" in done.stdout
    assert done.stdout.endswith("<--port><8001><--weights><a folder>")


def test_a_value_of_the_environment_wins_over_the_preset(start: Callable[..., Done]) -> None:
    done = start("--preset", "8gb", environment={"PARTWISE_VRAM_BUDGET_GIB": "3"})
    assert "PARTWISE_VRAM_BUDGET_GIB=3\n" in done.stdout


@pytest.mark.parametrize("arguments", [("--preset", "huge"), ("--preset",)])
def test_an_unknown_preset_starts_nothing(
    start: Callable[..., Done], arguments: tuple[str, ...]
) -> None:
    done = start(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


# check_gpu_memory.sh


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The script in a folder of its own, without an environment."""
    folder = tmp_path / "program" / "scripts"
    folder.mkdir(parents=True)
    return Path(shutil.copy(ROOT / "scripts" / "check_gpu_memory.sh", folder))


def test_without_an_environment_it_says_what_to_run_first(elsewhere: Path) -> None:
    done = run(elsewhere)
    assert done.returncode == 1
    assert "Run ./run once" in done.stderr


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ((), "cli.py memory --diagnose"),
        (("--budget", "4"), "cli.py memory --diagnose --budget 4"),
        (("--free", "--yes"), "cli.py memory --free --yes"),
        (("--yes", "--free"), "cli.py memory --yes --free"),
    ],
)
def test_it_calls_the_command_line(elsewhere: Path, given: tuple[str, ...], passed: str) -> None:
    python = elsewhere.parents[1] / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    write_program(python, 'echo "$PWD: $*"')
    done = run(elsewhere, *given)
    assert done.stdout == f"{elsewhere.parents[1]}: {passed}\n"


# setup_swap_file.sh


@dataclass(frozen=True)
class Machine:
    """A machine of fakes: programs that note that they were called, files in place of the kernel's.

    `set(program, output)` makes a program print something else.
    """

    root: Path

    @property
    def swap_file(self) -> Path:
        return self.root / "disk" / "swap"

    @property
    def calls(self) -> list[str]:
        log = self.root / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def file(self, name: str) -> Path:
        return self.root / name

    def set(self, program: str, text: str) -> None:
        write_program(self.root / "bin" / program, text)

    def note(self, program: str, text: str = "") -> None:
        self.set(program, f'echo "{program} $*" >> {self.root}/calls\n{text}')

    def run(self, *arguments: str) -> Done:
        return run(
            "setup_swap_file.sh",
            *arguments,
            "--path",
            str(self.swap_file),
            environment={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "PARTWISE_FSTAB": str(self.file("fstab")),
                "PARTWISE_SWAPS": str(self.file("swaps")),
                "PARTWISE_STATUS": str(self.file("status")),
            },
        )

    def files(self) -> dict[str, str]:
        """Everything on the machine that a run could change."""
        places = [self.file("fstab"), self.file("swaps"), *self.swap_file.parent.iterdir()]
        return {str(path): path.read_text() for path in places}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Linux machine where root may make a swap file of some gigabytes."""
    made = Machine(tmp_path)
    for folder in ("bin", "disk"):
        made.file(folder).mkdir(mode=0o755)
    made.set("uname", "echo Linux")
    made.set("id", "echo 0")
    made.set("stat", "echo ext2/ext3")
    made.set("df", 'echo "header"; echo "disk 100000 1 20000 1% /"')
    made.note("fallocate", 'echo swap > "$3"')
    made.note("mkswap")
    made.note("swapon", f'echo "$1 file 1 0 -2" >> {tmp_path}/swaps')
    made.note("swapoff", f'echo "Filename" > {tmp_path}/swaps')
    made.file("swaps").write_text("Filename Type Size Used Priority\n")
    made.file("fstab").write_text("/dev/sda / ext4 defaults 0 1")  # no newline at its end
    made.file("status").write_text("CapEff:\t000001ffffffffff\n")
    return made


def test_it_makes_a_private_file_and_turns_it_on(machine: Machine) -> None:
    fstab = machine.file("fstab").read_text()
    done = machine.run("8G")
    assert done.returncode == 0, done.stderr
    path = machine.swap_file
    assert machine.calls == [f"fallocate -l 8192M {path}", f"mkswap {path}", f"swapon {path}"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert machine.file("fstab").read_text() == fstab
    assert "is on at" in done.stdout


def test_without_fallocate_it_writes_zeros(machine: Machine) -> None:
    machine.note("fallocate", "exit 1")
    machine.note("dd", f"echo zeros > {machine.swap_file}")
    assert machine.run("512M").returncode == 0
    assert machine.calls[1].startswith(f"dd if=/dev/zero of={machine.swap_file} bs=1M count=512")


def test_a_dry_run_prints_every_step_and_changes_nothing(machine: Machine) -> None:
    before = machine.files()
    done = machine.run("8G", "--permanent", "--dry-run")
    assert done.returncode == 0, done.stderr
    for step in ("fallocate -l 8192M", "chmod 600", "mkswap", "swapon", "add "):
        assert f"+ {step}" in done.stdout
    assert machine.files() == before
    assert machine.calls == []


def test_what_it_made_it_takes_away(machine: Machine) -> None:
    before = machine.files()
    assert machine.run("8G", "--permanent").returncode == 0
    assert f"\n{machine.swap_file} none swap sw 0 0\n" in machine.file("fstab").read_text()
    assert machine.run("--remove", "--dry-run").returncode == 0
    assert machine.swap_file.exists()
    assert machine.run("--remove").returncode == 0
    after = machine.files()
    assert {name: text.split() for name, text in after.items() if "swaps" not in name} == {
        name: text.split() for name, text in before.items() if "swaps" not in name
    }


def test_a_step_that_fails_leaves_nothing_behind(machine: Machine) -> None:
    before = machine.files()
    machine.note("swapon", "echo 'swapon failed: Operation not permitted' >&2; exit 255")
    done = machine.run("8G", "--permanent")
    assert done.returncode != 0
    assert "what was made is removed" in done.stderr
    after = machine.files()
    assert after.keys() == before.keys()
    assert after[str(machine.file("fstab"))] == before[str(machine.file("fstab"))]


@pytest.mark.parametrize(
    "size", ["8", "G", "8g", "8GB", "-8G", "0G", "08G", "1.5G", "15M", "1025G", "8 G", "$(id)G"]
)
def test_a_size_that_is_none_is_refused(machine: Machine, size: str) -> None:
    done = machine.run(size)
    assert done.returncode == 1
    assert "Nothing was changed" in done.stderr
    assert machine.calls == []


Spoil = Callable[[Machine], object]
REFUSALS: dict[str, tuple[Spoil, str]] = {
    "another user": (lambda m: m.set("id", "echo 1000"), "needs root"),
    "another system": (lambda m: m.set("uname", "echo Darwin"), "Linux only"),
    "a container": (
        lambda m: m.file("status").write_text("CapEff:\t00000000a80425fb\n"),
        "container may not",
    ),
    "no swap at all": (lambda m: m.file("swaps").unlink(), "out of reach"),
    "too little room": (
        lambda m: m.set("df", 'echo h; echo "disk 1 1 9000 1% /"'),
        "9011 MiB are needed",
    ),
    "btrfs": (lambda m: m.set("stat", "echo btrfs"), "copy-on-write"),
    "overlay": (lambda m: m.set("stat", "echo overlayfs"), "do not work"),
    "tmpfs": (lambda m: m.set("stat", "echo tmpfs"), "do not work"),
    "nfs": (lambda m: m.set("stat", "echo nfs"), "do not work"),
    "a file of somebody": (lambda m: m.swap_file.write_text("mine"), "not made by this script"),
    "a link": (lambda m: m.swap_file.symlink_to("/etc/passwd"), "is a link"),
    "a folder for everybody": (
        lambda m: m.swap_file.parent.chmod(0o1777),
        "Everybody may write",
    ),
    "no folder": (lambda m: m.swap_file.parent.rmdir(), "does not exist"),
    "active already": (
        lambda m: m.file("swaps").write_text(f"Filename\n{m.swap_file} file 1 0 -2\n"),
        "on at",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("extra", [(), ("--dry-run",)])
def test_an_unsafe_state_is_refused_and_nothing_is_called(
    machine: Machine, name: str, extra: tuple[str, ...]
) -> None:
    spoil, sentence = REFUSALS[name]
    spoil(machine)
    done = machine.run("8G", *extra)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert machine.calls == []
    assert not machine.swap_file.exists() or name in ("a file of somebody", "a link")


def test_it_removes_only_what_it_made(machine: Machine) -> None:
    machine.swap_file.write_text("mine")
    done = machine.run("--remove")
    assert done.returncode == 1
    assert "not made by this script" in done.stderr
    assert machine.swap_file.read_text() == "mine"
