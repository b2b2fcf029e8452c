"""The settings of torch's GPU allocator: chosen before torch is imported, read back once it works.

Imports no torch. A value that a person has set is left alone.
"""

import importlib.metadata
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_NEW, _CUDA, _HIP = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"
_WANTED = "expandable_segments:True"
_NEW_NAME_FROM = (2, 13)  # before, CUDA ignores expandable_segments under the new name
_ROCM_FROM = (7, 0)


@dataclass(frozen=True)
class EnvironmentReport:
    """What became of the environment: the variable that counts, its value, whether it was set now.

    sentence: why, in words. is_conflict: the person's own value or the order of imports is bad.
    """

    variable: str
    value: str
    was_set: bool
    sentence: str
    is_conflict: bool = False


@dataclass(frozen=True)
class AllocatorSettings:
    """The settings in effect, as the allocator itself tells them; empty before it works."""

    is_in_effect: bool
    sentence: str
    values: Mapping[str, str] = field(default_factory=dict)


def prepare_environment(
    environ: MutableMapping[str, str],
    *,
    modules: Mapping[str, ModuleType] = sys.modules,
    torch_version: str | None = None,
    platform: str = sys.platform,
) -> EnvironmentReport:
    """Ask for segments that grow, which fragment least, where this torch has them.

    To be called before torch is imported: later changes count for nothing, so none is made.
    """
    version = installed_torch() if torch_version is None else torch_version
    variable = _variable_for(version)
    own = next((name for name in (_CUDA, _HIP, _NEW) if environ.get(name)), None)
    if own is not None:
        return _judge(own, environ[own], version)
    if (reason := _why_not(version, platform)) is not None:
        return EnvironmentReport(variable, "", False, reason)
    if "torch" in modules:
        return EnvironmentReport(
            variable,
            "",
            False,
            f"torch is imported already, so {variable} would have no effect and was not set. Set "
            f"{variable}={_WANTED} before starting Partwise.",
            is_conflict=True,
        )
    environ[variable] = _WANTED
    return EnvironmentReport(variable, _WANTED, True, f"{variable}={_WANTED} is set.")


def read_back(modules: Mapping[str, ModuleType] = sys.modules) -> AllocatorSettings:
    """The settings in effect; makes no context and imports nothing."""
    torch: Any = modules.get("torch")
    is_importing = getattr(getattr(torch, "__spec__", None), "_initializing", False)
    if torch is None or is_importing:
        return AllocatorSettings(False, "Not in effect yet: torch is not imported.")
    if not torch.cuda.is_available():
        return AllocatorSettings(False, "There is no GPU with an allocator that has settings.")
    if not torch.cuda.is_initialized():
        return AllocatorSettings(False, "Not in effect yet: nothing was placed on the GPU.")
    if (backend := torch.cuda.get_allocator_backend()) != "native":
        return AllocatorSettings(False, f"The allocator is {backend}, which tells no settings.")
    known = torch.cuda.memory._snapshot()["allocator_settings"]
    values = {str(name): str(value) for name, value in known.items()}
    grows = values.get("expandable_segments") == "True"
    sentence = f"Segments that grow are {'on' if grows else 'off'}."
    return AllocatorSettings(True, sentence, values)


def _judge(variable: str, value: str, version: str) -> EnvironmentReport:
    """What a person's own value does."""
    said = f"{variable} is set to “{value}” and stays so."
    keys = {item.partition(":")[0].strip() for item in value.split(",")}
    grows = "expandable_segments:true" in value.lower().replace(" ", "")
    if grows and "max_split_size_mb" in keys:
        problem = "max_split_size_mb and expandable_segments do not go together; drop the first."
    elif grows and variable == _NEW and _is_before(version, _NEW_NAME_FROM):
        problem = f"torch {version} ignores expandable_segments there; set {_CUDA} instead."
    else:
        return EnvironmentReport(variable, value, False, said)
    return EnvironmentReport(variable, value, False, f"{said} {problem}", is_conflict=True)


def _why_not(version: str, platform: str) -> str | None:
    """Why segments cannot grow here."""
    local = version.partition("+")[2]
    if not version:
        return "torch is not installed, so its allocator needs no settings."
    if local.startswith("cpu") or platform == "darwin":
        return "This torch uses no CUDA GPU, so its allocator needs no settings."
    if platform == "win32":
        return "torch has no segments that grow on Windows, so the usual allocator is used."
    if local.startswith("rocm") and _is_before(local.removeprefix("rocm"), _ROCM_FROM):
        return f"torch has segments that grow from ROCm 7 on; this is {local}."
    return None


def _variable_for(version: str) -> str:
    if not _is_before(version, _NEW_NAME_FROM):
        return _NEW
    return _HIP if "+rocm" in version else _CUDA


def _is_before(version: str, limit: tuple[int, int]) -> bool:
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) < limit


def installed_torch() -> str:
    """The version of the installed torch without importing it; empty when there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
