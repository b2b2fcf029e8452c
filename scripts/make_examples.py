"""Make the example meshes, their thumbnails and their index in assets/examples.

Run from the repository's root: python -m scripts.make_examples [name …] [--meshes-only]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from scripts.examples.furniture import chair, desk_lamp, plant
from scripts.examples.fused import dog, figure, teapot
from scripts.examples.render import render
from scripts.examples.robot import robot
from scripts.examples.scene import Model, to_glb
from scripts.examples.vehicles import rocket, toy_car

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
LICENCE = "CC0-1.0"
BUILDERS: dict[str, Callable[[], Model]] = {
    "chair": chair,
    "teapot": teapot,
    "robot": robot,
    "dog": dog,
    "desk_lamp": desk_lamp,
    "figure": figure,
    "toy_car": toy_car,
    "plant": plant,
    "rocket": rocket,
}


def describe(model: Model) -> dict[str, str | int]:
    """The model's entry in index.json; `faces` counts shared meshes at each place they stand."""
    placed = [node.shape for node in model.nodes if node.shape is not None]
    return {
        "name": model.name,
        "title": model.title,
        "file": f"{model.name}.glb",
        "thumbnail": f"{model.name}.png",
        "faces": sum(len(model.shapes[shape][0].faces) for shape in placed),
        "nodes": len(placed),
        "description": model.description,
        "licence": LICENCE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which to make; all when none is named")
    parser.add_argument("--meshes-only", action="store_true", help="keep the thumbnails")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(BUILDERS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(BUILDERS)}")
    index_file = FOLDER / "index.json"
    entries = {}
    if index_file.exists():
        entries = {entry["name"]: entry for entry in json.loads(index_file.read_text("utf-8"))}
    for name in arguments.names or BUILDERS:
        model = BUILDERS[name]()
        (FOLDER / f"{name}.glb").write_bytes(to_glb(model))
        if not arguments.meshes_only:
            render(model).save(FOLDER / f"{name}.png", optimize=True)
        entries[name] = describe(model)
        print(f"{name}: {entries[name]['faces']} faces in {entries[name]['nodes']} nodes")
    ordered = [entries[name] for name in BUILDERS if name in entries]
    index_file.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
