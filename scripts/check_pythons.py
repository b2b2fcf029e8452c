"""Resolve the pins for each Python that runs Partwise, and note what Python each pin asks for.

scripts/check_pythons.sh. A version without an interpreter here is resolved for by the pip of the
newest one, from wheels alone; that reads the markers of other packages' requirements as of its own
version, so that a package which the missing version alone needs is not seen.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.python_range import read_python_range

_ROOT = Path(__file__).resolve().parents[1]
TABLE = _ROOT / "tests" / "data" / "requires_python.json"
_REQUIREMENTS = _ROOT / "requirements-dev.txt"
_PINS = _ROOT / "constraints.txt"
# what torch's CUDA builds need beside it: torch names the versions, others for each build
_OF_TORCH = re.compile(r"(nvidia|cuda)-(?!ml-py).*|triton")


@dataclass(frozen=True)
class Package:
    """One package that pip would install: its canonical name, and what Python it asks for."""

    name: str
    version: str
    requires_python: str
    is_wheel: bool


class Unresolvable(Exception):
    """The pins cannot be installed together; the message is pip's."""


def main() -> int:
    """Check every version; write the table when all is well. Returns the exit status."""
    table: dict[str, str] = {}
    problems: list[str] = []
    newest = sys.executable
    for version in python_versions():
        pins = pins_for(version)
        interpreter = find_interpreter(version)
        newest = interpreter or newest
        print(
            f"Python {version}: resolving {'with' if interpreter else 'without'} it …", flush=True
        )
        try:
            packages = resolve(version, newest, pins, is_foreign=interpreter is None)
        except Unresolvable as err:
            problems.append(f"Python {version}: {err}")
            continue
        problems += [f"Python {version}: {problem}" for problem in check(packages, pins)]
        for package in packages:
            if package.name in pins:
                pin = f"{package.name}=={pins[package.name]}"
                table[pin] = package.requires_python
        print(f"Python {version}: {len(packages)} packages, {len(pins)} pins")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{TABLE.relative_to(_ROOT)}: {len(table)} pins")
    return 0


def python_versions() -> list[str]:
    """Every version in the range of pyproject.toml: 3.10, 3.11, …"""
    (major, oldest), (_, too_new) = read_python_range()
    return [f"{major}.{minor}" for minor in range(oldest, too_new)]


def pins_for(version: str) -> dict[str, str]:
    """The pins of constraints.txt that hold for a Python version, by canonical name."""
    pins: dict[str, str] = {}
    for pin in read_pins():
        if pin.marker is None or pin.marker.evaluate({"python_version": version}):
            name = canonicalize_name(pin.name)
            if name in pins:
                raise ValueError(f"constraints.txt pins {name} twice for Python {version}")
            pins[name] = str(pin.specifier).removeprefix("==")
    return pins


def read_pins() -> Iterator[Requirement]:
    """Every line of constraints.txt."""
    for line in _PINS.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield Requirement(line)


def find_interpreter(version: str) -> str | None:
    """A Python of that version: PARTWISE_PYTHON, on PATH, or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [os.environ.get("PARTWISE_PYTHON", ""), f"python{version}", sys.executable]
    names += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for program in filter(None, map(shutil.which, filter(None, names))):
        question = "import sys; print('{}.{}'.format(*sys.version_info))"
        answer = subprocess.run([program, "-c", question], capture_output=True, text=True)
        if answer.stdout.strip() == version:
            return program
    return None


def resolve(
    version: str, interpreter: str, pins: dict[str, str], *, is_foreign: bool
) -> list[Package]:
    """What the pip of an interpreter would install for a version, its own unless `is_foreign`.

    Raises `Unresolvable`.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, constraints = Path(folder, "report.json"), Path(folder, "constraints.txt")
        constraints.write_text("\n".join(f"{name}=={pins[name]}" for name in pins))
        command = [interpreter, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--disable-pip-version-check", "--report", str(report)]
        command += ["-r", str(_REQUIREMENTS), "-c", str(constraints)]
        if is_foreign:
            command += ["--python-version", version, "--only-binary", ":all:"]
            command += ["--target", str(Path(folder, "target"))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unresolvable(done.stderr.strip())
        return [_package(item) for item in json.loads(report.read_text("utf-8"))["install"]]


def _package(item: dict[str, dict[str, str]]) -> Package:
    metadata = item["metadata"]
    return Package(
        name=canonicalize_name(metadata["name"]),
        version=metadata["version"],
        requires_python=metadata.get("requires_python", ""),
        is_wheel=item["download_info"]["url"].endswith(".whl"),
    )


def check(packages: list[Package], pins: dict[str, str]) -> Iterator[str]:
    """What is wrong with a resolution: packages without a pin or a wheel, pins of nothing."""
    for package in packages:
        if package.name not in pins and not _OF_TORCH.fullmatch(package.name):
            yield f"{package.name} {package.version} is not pinned in constraints.txt"
        if not package.is_wheel:
            yield f"{package.name} {package.version} has no wheel"
    for name in pins.keys() - {package.name for package in packages}:
        yield f"nothing needs {name}, which constraints.txt pins"


if __name__ == "__main__":
    sys.exit(main())
