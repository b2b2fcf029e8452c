"""The command line's options of Generate, and what they say."""

import argparse
from pathlib import Path

from partwise.geometric.complete import CompletionSettings
from partwise.xpart.settings import DECODINGS
from studio.asked import GenerateChoice, read_part_ids
from studio.configuration import DEFAULT_QUALITY
from studio.print_size import read_printing


def add_making_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is left to the configuration."""
    parser.add_argument("--labels", type=Path, help="face_ids.npy to use in place of segmenting")
    parser.add_argument("--boxes", type=Path, help=".json or .npy: of the labels, or each a part")
    parser.add_argument("--only", default="", metavar="IDS", help="parts to generate, as in 0,2,5")
    parser.add_argument(
        "--format", choices=("glb", "obj", "stl", "3mf"), help="meshes in this format alone"
    )
    printing = parser.add_argument_group("printing")
    printing.add_argument(
        "--print-size", default="", metavar="MM", help="largest side; “file”: 1 unit is 1 mm"
    )
    printing.add_argument(
        "--min-wall", default="", metavar="MM", help="warn of parts thinner than this; default: 0.8"
    )
    own = parser.add_argument_group("built-in engine, lengths in units of the mesh")
    own.add_argument("--plug", type=float, default=0.0, help="pegs of this length; default: none")
    own.add_argument("--clearance", type=float, default=0.0, help="gap around a peg")
    own.add_argument("--wall", type=float, default=0.0, help="thickness that sheets get")
    neural = parser.add_argument_group("X-Part")
    neural.add_argument("--quality", default=DEFAULT_QUALITY, help="a name in configs/qualities")
    neural.add_argument(
        "--preview", dest="quality", action="store_const", const="preview", help="a first look"
    )
    neural.add_argument("--steps", type=int, metavar="N", help="default: quality")
    neural.add_argument("--octree", type=int, metavar="N", help="cells a side; default: quality")
    neural.add_argument("--decoding", help=f"{' or '.join(DECODINGS)}")


def making_choice(options: argparse.Namespace) -> GenerateChoice:
    """What the options say; raises `ConfigError` for values that cannot be."""
    return GenerateChoice(
        options.quality,
        options.steps,
        options.octree,
        options.seed,
        options.decoding,
        read_part_ids(options.only),
        CompletionSettings(options.plug, options.clearance, options.wall),
        read_printing(options.print_size, options.min_wall),
    )
