"""Write checkpoints with regenerated weights in the public layout into a weights folder.

python -m scripts.make_checkpoint DIR [--tiny] [--model p3sam|xpart|all]

The full-size files have the sizes and the keys of the published ones, so everything but the quality
of the results can be tried with them: `cli.py segment … --weights DIR`. P3-SAM takes 0.45 GB,
X-Part 9.04 GB. A file that stands there whole is left as it is.
"""

import argparse
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partwise.vram.safetensors_file import ITEM_BYTES, build_header
from scripts.regenerated_weights import tensor_for
from scripts.xpart_checkpoint import PublicFile, xpart_files

P3SAM_FILE = "p3sam/p3sam.safetensors"
P3SAM, XPART, ALL = "p3sam", "xpart", "all"
_COUNTER = "num_batches_tracked"

Shapes = Mapping[str, tuple[int, ...]]
TypeOf = Callable[[str], str]  # how a file holds the tensor of a key


def main(arguments: list[str] | None = None) -> int:
    """Write the files and say where they are; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make_checkpoint", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the weights folder")
    parser.add_argument("--tiny", action="store_true", help="a small model of the same structure")
    parser.add_argument("--model", choices=(P3SAM, XPART, ALL), default=P3SAM)
    options = parser.parse_args(arguments)
    files = _files(options.model, is_tiny=options.tiny)
    missing = [file for file in files if not _is_whole(options.folder / file.name, file)]
    needed = sum(file_bytes(file.shapes, file.dtype) for file in missing)
    options.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.folder).free
    if free < needed:
        print(f"{options.folder} has {free:,} bytes free; {needed:,} are needed. Free some.")
        return 1
    for file in files:
        path = options.folder / file.name
        if file in missing:
            write_public_file(options.folder, file)
        print(f"{path}: {path.stat().st_size:,} bytes{'' if file in missing else ', as it was'}")
    return 0


def p3sam_shapes(*, is_tiny: bool = False) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of P3-SAM's public checkpoint, by key."""
    from partwise.p3sam.model import TINY, P3SAMConfig, checkpoint_shapes

    shapes = checkpoint_shapes(TINY if is_tiny else P3SAMConfig())
    return {key: tuple(shape) for key, shape in shapes.items()}


def single_dtype(key: str) -> str:
    """How P3-SAM's file holds a tensor."""
    return "I64" if key.endswith(_COUNTER) else "F32"


def write_checkpoint(path: Path, shapes: Shapes, dtype: TypeOf = single_dtype) -> None:
    """Write the regenerated tensors one after the other; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(header_for(shapes, dtype))
            for key in _in_order(shapes, dtype):
                values = tensor_for(key, shapes[key])
                file.write((to_bf16(values) if dtype(key) == "BF16" else values).data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def header_for(shapes: Shapes, dtype: TypeOf = single_dtype) -> bytes:
    """The first bytes of the file; the tensors follow in the header's order."""
    return build_header({key: (dtype(key), shapes[key]) for key in _in_order(shapes, dtype)})


def file_bytes(shapes: Shapes, dtype: TypeOf = single_dtype) -> int:
    """The size of the file."""
    tensors = (math.prod(shape) * ITEM_BYTES[dtype(key)] for key, shape in shapes.items())
    return len(header_for(shapes, dtype)) + sum(tensors)


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16 of finite numbers; of two as near, the even one."""
    bits = values.view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def _files(model: str, *, is_tiny: bool) -> tuple[PublicFile, ...]:
    p3sam = PublicFile(P3SAM_FILE, p3sam_shapes(is_tiny=is_tiny), single_dtype, {})
    return {
        P3SAM: lambda: (p3sam,),
        XPART: lambda: xpart_files(is_tiny=is_tiny),
        ALL: lambda: (p3sam, *xpart_files(is_tiny=is_tiny)),
    }[model]()


def write_public_file(folder: Path, file: PublicFile) -> None:
    """Its `config.json` first: weights without it would be taken for those of another width."""
    path = folder / file.name
    if file.params:
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / file.config_name).write_text(file.config_text(), encoding="utf-8")
    write_checkpoint(path, file.shapes, file.dtype)


def _is_whole(path: Path, file: PublicFile) -> bool:
    """Whether all of the file stands there, be its weights these or the published ones."""
    header = header_for(file.shapes, file.dtype)
    if not path.is_file() or path.stat().st_size != file_bytes(file.shapes, file.dtype):
        return False
    with path.open("rb") as opened:
        return opened.read(len(header)) == header


def _in_order(shapes: Shapes, dtype: TypeOf) -> list[str]:
    """The wide types first, so that each tensor is aligned; then by key."""
    return sorted(shapes, key=lambda key: (-ITEM_BYTES[dtype(key)], key))


if __name__ == "__main__":
    sys.exit(main())
