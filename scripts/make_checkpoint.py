"""Write a checkpoint with regenerated weights in the public layout: DIR/p3sam/p3sam.safetensors.

python -m scripts.make_checkpoint DIR [--tiny]

The full-size file has the size and the keys of the published one, so everything but the quality of
the results can be tried with it: `cli.py segment … --weights DIR`.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from partwise.vram.safetensors_file import ITEM_BYTES, build_header
from scripts.regenerated_weights import tensor_for

P3SAM_FILE = "p3sam/p3sam.safetensors"
_COUNTER = "num_batches_tracked"

Shapes = Mapping[str, tuple[int, ...]]


def main(arguments: list[str] | None = None) -> int:
    """Write the file and say where it is; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make_checkpoint", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the weights folder")
    parser.add_argument("--tiny", action="store_true", help="a small model of the same structure")
    options = parser.parse_args(arguments)
    path = options.folder / P3SAM_FILE
    write_checkpoint(path, p3sam_shapes(is_tiny=options.tiny))
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


def p3sam_shapes(*, is_tiny: bool = False) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of P3-SAM's public checkpoint, by key."""
    from partwise.p3sam.model import TINY, P3SAMConfig, checkpoint_shapes

    shapes = checkpoint_shapes(TINY if is_tiny else P3SAMConfig())
    return {key: tuple(shape) for key, shape in shapes.items()}


def write_checkpoint(path: Path, shapes: Shapes) -> None:
    """Write the regenerated tensors one after the other; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(header_for(shapes))
            for key in _in_order(shapes):
                file.write(tensor_for(key, shapes[key]).data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def header_for(shapes: Shapes) -> bytes:
    """The first bytes of the file; the tensors follow in the header's order."""
    return build_header({key: (_dtype(key), shapes[key]) for key in _in_order(shapes)})


def _in_order(shapes: Shapes) -> list[str]:
    """The wide types first, so that each tensor is aligned; then by key."""
    return sorted(shapes, key=lambda key: (-ITEM_BYTES[_dtype(key)], key))


def _dtype(key: str) -> str:
    return "I64" if key.endswith(_COUNTER) else "F32"


if __name__ == "__main__":
    sys.exit(main())
