"""Writes random labelled objects as npz files: vertices, faces, labels, family."""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from scripts.assemblies import FAMILIES, fused_surface, joined_surface, make_assembly


def main() -> None:
    """Reads the command line and fills the folder, families in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=["fused", "joined", "both"], default="fused")
    parser.add_argument("--families", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = [(args.families[i % len(args.families)], args.seed + i) for i in range(args.count)]
    start = time.perf_counter()
    with ProcessPoolExecutor(args.workers) as pool:
        write = partial(write_object, folder=args.out, kind=args.kind)
        for count, name in enumerate(pool.map(write, *zip(*jobs, strict=True)), 1):
            print(f"{count}/{len(jobs)} {name} {time.perf_counter() - start:.1f} s", flush=True)


def write_object(family: str, seed: int, folder: Path, kind: str) -> str:
    """Makes one object and writes its surfaces; returns its name."""
    assembly = make_assembly(family, seed)
    name = f"{family}-{seed}"
    kinds = ("fused", "joined") if kind == "both" else (kind,)
    for one in kinds:
        surface = fused_surface(assembly, seed) if one == "fused" else joined_surface(assembly)
        np.savez_compressed(
            folder / f"{name}.{one}.npz",
            vertices=surface.vertices.astype(np.float32),
            faces=surface.faces.astype(np.int32),
            labels=surface.labels.astype(np.int16),
            family=family,
        )
    return name


if __name__ == "__main__":
    main()
