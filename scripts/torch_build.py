"""Which build of torch suits this machine: PyPI's, or one of PyTorch's own package indexes.

On Linux PyPI's build carries some gigabytes of CUDA 13, which a machine without an NVIDIA GPU does
not need and a driver before 580 cannot use. PARTWISE_TORCH overrides the choice.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

AUTO, DEFAULT, CPU = "auto", "default", "cpu"
OLDER_CUDA = "cu126"  # the oldest CUDA that PyTorch builds for: drivers from 525, GPUs from 5.0
_PYPI_CUDA = "cu130"  # what PyPI's build for Linux has; PyPI's build for Windows has no CUDA
_PYPI_DRIVER, _PYPI_CAPABILITY = 580, (7, 5)
_OLDER_DRIVER = 525
_INDEXES = "https://download.pytorch.org/whl"
_INDEX_TIMEOUT_S = 5.0
_AMD_DEVICE = Path("/dev/kfd")


@dataclass(frozen=True)
class TorchBuild:
    """A name among PyTorch's indexes (`cpu`, `cu126`, …) or `default` for PyPI's; and why."""

    name: str
    reason: str

    @property
    def index(self) -> str | None:
        """The package index that has it; None for PyPI."""
        return None if self.name == DEFAULT else f"{_INDEXES}/{self.name}"


@dataclass(frozen=True)
class NvidiaDriver:
    """What nvidia-smi says: the driver's version, the best GPU's compute capability."""

    version: str
    capability: tuple[int, int] | None

    @property
    def major(self) -> int:
        """580 of 580.65.06."""
        return int(self.version.split(".")[0])


def choose_torch(request: str, torch_version: str, installed: str | None) -> TorchBuild:
    """The build for a request (`auto`, or a build's name) that can be had here.

    torch_version: the version that constraints.txt pins; installed: the one that is installed.
    """
    if request == AUTO:
        wanted = suitable_build(sys.platform, read_nvidia_driver(), has_amd=_AMD_DEVICE.exists())
    else:
        wanted = TorchBuild(request, "PARTWISE_TORCH names it")
    if wanted.index is None or installed == f"{torch_version}+{wanted.name}":
        return wanted
    problem = index_problem(f"{wanted.index}/torch/", f"{torch_version}+{wanted.name}")
    if problem is None:
        return wanted
    kept = build_of(installed) if installed and installed.startswith(torch_version) else DEFAULT
    return TorchBuild(
        kept,
        f"{wanted.name} is wanted ({wanted.reason}), but {_INDEXES} {problem}",
    )


def build_of(version: str) -> str:
    """The build of an installed version: 2.13.0+cpu is `cpu`, 2.13.0 PyPI's."""
    return version.partition("+")[2] or DEFAULT


def suitable_build(system: str, driver: NvidiaDriver | None, *, has_amd: bool) -> TorchBuild:
    """The build for a system (as `sys.platform`) and its GPU."""
    if system == "darwin":
        return TorchBuild(DEFAULT, "the one for macOS")
    if driver is None:
        return _without_nvidia(system, has_amd=has_amd)
    cuda = _PYPI_CUDA if system == "win32" else DEFAULT
    found = f"NVIDIA driver {driver.version}"
    if driver.major < _OLDER_DRIVER:
        return TorchBuild(CPU, f"{found} is older than any build serves; update it to use the GPU")
    if driver.major < _PYPI_DRIVER:
        return TorchBuild(OLDER_CUDA, f"{found}; CUDA 13 needs {_PYPI_DRIVER} or newer")
    if driver.capability is not None and driver.capability < _PYPI_CAPABILITY:
        capability = "{}.{}".format(*driver.capability)
        return TorchBuild(OLDER_CUDA, f"CUDA 13 has no code for a GPU of capability {capability}")
    return TorchBuild(cuda, found)


def _without_nvidia(system: str, *, has_amd: bool) -> TorchBuild:
    if has_amd:
        return TorchBuild(
            CPU,
            "nvidia-smi finds no GPU; there is an AMD device, which PARTWISE_TORCH=rocm… would "
            f"serve, with one of the names at {_INDEXES}",
        )
    return TorchBuild(DEFAULT if system == "win32" else CPU, "nvidia-smi finds no GPU")


def read_nvidia_driver() -> NvidiaDriver | None:
    """What nvidia-smi says; None when there is none or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = re.findall(r"(?m)^\s*(\d+[\d.]*),\s*(.+?)\s*$", done.stdout)
    if not rows:
        return None
    numbers = [re.fullmatch(r"(\d+)\.(\d+)", capability) for _, capability in rows]
    known = [(int(number[1]), int(number[2])) for number in numbers if number]
    return NvidiaDriver(rows[0][0], max(known, default=None))


def index_problem(page: str, version: str) -> str | None:
    """Why an index's page of torch does not give the version for this Python; None if it does."""
    try:
        with urllib.request.urlopen(page, timeout=_INDEX_TIMEOUT_S) as answer:
            names = answer.read().decode(errors="replace").lower()
    except (OSError, ValueError):
        return "cannot be reached"
    name = f"torch-{version}-cp{sys.version_info[0]}{sys.version_info[1]}-"
    pattern = re.escape(name).replace(r"\+", r"(\+|%2b)") + rf'[^"<>]*{_machine()}\.whl'
    if re.search(pattern, names) is None:
        return f"has no torch {version} for this Python and machine"
    return None


def _machine() -> str:
    return os.environ.get("PROCESSOR_ARCHITECTURE", platform.machine()).lower()
