"""Install what a list of requirements names into the environment that runs this; once.

.venv/bin/python -m scripts.install requirements.txt, as ./run does. It installs again only when the
list, the pins or PARTWISE_TORCH has changed; uv does it where there is one, else pip.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.torch_build import AUTO, TorchBuild, build_of, choose_torch

_ROOT = Path(__file__).resolve().parents[1]
_PINS = "constraints.txt"
_APPLICATION = "requirements.txt"  # every other list takes it in


def main(requirements: str) -> None:
    """Bring the environment up to date; ends the program with a sentence where that fails."""
    request_file = Path(sys.prefix) / "torch-request"
    last_request = request_file.read_text() if request_file.is_file() else ""
    asked = os.environ.get("PARTWISE_TORCH", "").strip()
    request = asked or last_request or AUTO
    if re.fullmatch(r"[a-z0-9.]+", request) is None:
        sys.exit(f"Partwise: PARTWISE_TORCH is {request!r}; give auto, default, cpu, cu126 or so.")
    is_current = is_installed(requirements)
    if is_current and request == last_request and asked != AUTO:
        return
    installed = installed_torch()
    build = choose_torch(request, pinned_torch(), installed)
    _say(f"the build of torch is {build.name}: {build.reason}.")
    if not is_current or installed is None or build_of(installed) != build.name:
        install(requirements, build, installed)
    is_met = request in (AUTO, build.name)
    request_file.write_text(request if is_met else last_request or AUTO)


def install(requirements: str, build: TorchBuild, installed: str | None) -> None:
    """Install a list at the pinned versions; the stamps say so afterwards, and not before.

    installed: the version of torch that is there; another build of it goes first.
    """
    for stamp in stamps(requirements).values():
        stamp.unlink(missing_ok=True)
    _say(f"installing {requirements} (the first time takes some minutes) …")
    arguments = ["-r", requirements, "-c", _PINS]
    if build.index is not None and installed != f"{pinned_torch()}+{build.name}":
        arguments += ["--extra-index-url", build.index]
    is_replaced = installed is not None and build_of(installed) != build.name
    if not (_install_with_uv(arguments, is_replaced) or _install_with_pip(arguments, is_replaced)):
        sys.exit("Partwise: the installation failed; the lines above say why. Nothing was started.")
    for name, stamp in stamps(requirements).items():
        stamp.write_text(fingerprint(name))


def _install_with_uv(arguments: list[str], is_replaced: bool) -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    pip = [uv, "pip"]
    target = ["--quiet", "--python", sys.executable]
    if is_replaced:
        _run([*pip, "uninstall", *target, "torch"])
    # torch's index has old copies of other packages; the newest that fits counts, wherever it is
    if _run([*pip, "install", *target, "--index-strategy", "unsafe-best-match", *arguments]):
        return True
    _say("uv could not install it (it does not read pip's configuration); trying pip …")
    return False


def _install_with_pip(arguments: list[str], is_replaced: bool) -> bool:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if importlib.util.find_spec("pip") is None:  # uv makes environments without it
        _run([sys.executable, "-m", "ensurepip"])
    if is_replaced:
        _run([*pip, "uninstall", "--yes", "torch"])
    return _run([*pip, "install", *arguments])


def installed_torch() -> str | None:
    """The version of torch in this environment, as 2.13.0+cpu; None when there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def pinned_torch() -> str:
    """The version of torch in constraints.txt."""
    pins = (_ROOT / _PINS).read_text("utf-8")
    return next(line[len("torch==") :] for line in pins.splitlines() if line.startswith("torch=="))


def is_installed(requirements: str) -> bool:
    """Whether the list is installed as it and the pins stand now."""
    return all(
        stamp.is_file() and stamp.read_text() == fingerprint(name)
        for name, stamp in stamps(requirements).items()
    )


def stamps(requirements: str) -> dict[str, Path]:
    """By list of requirements, the file that says what of it is installed."""
    return {name: Path(sys.prefix, f"installed-{name}") for name in {_APPLICATION, requirements}}


def fingerprint(requirements: str) -> str:
    """Changes when the list or a pin does."""
    names = (_APPLICATION, requirements, _PINS)
    return hashlib.sha256(b"".join((_ROOT / name).read_bytes() for name in names)).hexdigest()


def _run(command: list[str]) -> bool:
    return subprocess.run(command, cwd=_ROOT, check=False).returncode == 0


def _say(sentence: str) -> None:
    print(f"Partwise: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
