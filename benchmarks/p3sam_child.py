"""One measurement of P3-SAM in a fresh process: no peak, cache or buffer comes from another.

A measurement is a function that takes plain values by name and returns a dict that JSON can hold.
"""

import importlib
import json
import os
import subprocess
import sys

from benchmarks.common import ROOT, Payload
from partwise.core.errors import AppError

CPU, CUDA = "cpu", "cuda"
_REFUSAL = "refusal"
_HIDE_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}


def call(target: str, *, device: str, **arguments: object) -> Payload:
    """Call `target` ("package.module:function") in a child that sees a GPU only for “cuda”.

    Raises the `AppError` that the function raised, else `subprocess.CalledProcessError`; then the
    reason is on our stderr.
    """
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"} | (_HIDE_GPU if device == CPU else {})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.p3sam_child", target, json.dumps(arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Payload = json.loads(done.stdout.splitlines()[-1])
    if _REFUSAL in found:
        raise AppError(found[_REFUSAL])
    return found


def _answer(target: str, arguments: str) -> Payload:
    module, _, function = target.partition(":")
    try:
        found: Payload = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    except AppError as err:
        return {_REFUSAL: str(err)}
    return found


if __name__ == "__main__":
    print(json.dumps(_answer(*sys.argv[1:])))
