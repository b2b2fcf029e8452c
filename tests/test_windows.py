"""What of Windows can be tested elsewhere: nothing on the way to the first page needs POSIX."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Loads every package of others as the system has them, then ours anew as if this were Windows.
PROGRAM = """
import os, signal, subprocess, sys
import app, studio.ui.layout

OURS = {"app", "cli", "model_manager", "lazy_partformer", "partwise", "studio"}
POSIX_MODULES = "fcntl grp posix pty pwd readline resource syslog termios tty".split()
POSIX_FUNCTIONS = "chown fchmod fork getpgid geteuid getuid killpg nice setsid statvfs sysconf"
for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys(POSIX_MODULES))
for name in POSIX_FUNCTIONS.split():
    delattr(os, name)
del signal.SIGKILL, signal.SIGHUP
subprocess.Popen.kill = subprocess.Popen.terminate  # as it is there
sys.platform = "win32"

import app, cli
from studio.configuration import load_configuration
from studio.ui.layout import build_page
from studio.workflow import build_studio

studio = build_studio(load_configuration(environment={}, overrides={"workspace": sys.argv[1]}))
try:
    studio.monitor.sample_now()
    print(len(build_page(studio).get_config_file()["components"]))
finally:
    studio.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there it is so")
def test_the_page_is_built_without_anything_that_windows_lacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_the_scripts_for_windows_are_plain_ascii_and_do_as_run_does() -> None:
    # Windows' own PowerShell reads a file without a mark as the local code page
    script = (ROOT / "run.ps1").read_bytes().decode("ascii")
    assert "-m scripts.install requirements.txt" in script
    assert "app.py @args" in script
    assert "run.ps1" in (ROOT / "run.bat").read_bytes().decode("ascii")
