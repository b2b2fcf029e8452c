"""One section of `gpu.py` in a fresh process: no context, cache or peak comes from another.

Use: python -m benchmarks.gpu_child SECTION SETTING, both as `gpu.py` gives them. Prints the
figures as one line of JSON; `ballast BYTES` takes the GPU but for so much until its input closes.
"""

import importlib
import json
import os
import sys

from benchmarks.common import Payload, say
from benchmarks.gpu_setting import Setting
from partwise.vram.allocator import prepare_environment

SECTIONS = {
    "machine": "benchmarks.gpu_machine:measure_machine",
    "switch": "benchmarks.gpu_switch:measure_switch",
    "leftovers": "benchmarks.gpu_switch:measure_leftovers",
    "bars": "benchmarks.gpu_bars:measure_bars",
    "budgets": "benchmarks.gpu_budgets:measure_budgets",
    "peaks": "benchmarks.gpu_peaks:measure_peaks",
    "quality": "benchmarks.gpu_quality:measure_quality",
    "failures": "benchmarks.gpu_failures:measure_failures",
    "sampler": "benchmarks.gpu_machine:measure_sampling",
    "xpart": "benchmarks.xpart_gpu:measure_xpart",
}
NEEDS_XPART = ("xpart",)
NEEDS_WEIGHTS = tuple(name for name in SECTIONS if name not in ("machine", "sampler", "xpart"))
BALLAST, READY = "ballast", "ready"


def measure(section: str, setting: Setting) -> Payload:
    """The figures of a section; raises whatever it raises."""
    module, _, function = SECTIONS[section].partition(":")
    found: Payload = getattr(importlib.import_module(module), function)(setting)
    return found


def hold(left_bytes: int) -> None:
    """Be another program that leaves so much of the GPU free, until there is no more input."""
    import torch

    torch.ones(1, device="cuda")
    free = int(torch.cuda.mem_get_info()[0])
    ballast = torch.empty(max(1, free - left_bytes), dtype=torch.uint8, device="cuda")
    say(READY)
    sys.stdin.read()
    del ballast


def main(arguments: list[str]) -> None:
    """Measure and print, or hold; the environment is made as the application makes it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_environment(os.environ)  # before a section imports torch
    if arguments[0] == BALLAST:
        hold(int(arguments[1]))
    else:
        say(json.dumps(measure(arguments[0], Setting(**json.loads(arguments[1])))))


if __name__ == "__main__":
    main(sys.argv[1:])
