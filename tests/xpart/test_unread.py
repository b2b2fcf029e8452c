import json
import math

import pytest

from partwise.xpart.conditioner import conditioner_shapes
from partwise.xpart.unread import is_unread
from partwise.xpart.vae import shapevae_shapes
from tests.xpart.support import DATA

PUBLIC: dict[str, dict[str, list[int]]] = json.loads((DATA / "state_dict_shapes.json").read_text())
BUILT = {"conditioner": conditioner_shapes, "shapevae": shapevae_shapes}


@pytest.mark.parametrize("component", BUILT)
def test_what_is_built_is_the_public_file_without_what_is_never_read(component: str) -> None:
    read = {key: shape for key, shape in PUBLIC[component].items() if not is_unread(component, key)}
    assert {key: list(shape) for key, shape in BUILT[component]().items()} == read


@pytest.mark.parametrize(
    ("component", "all_keys", "unread_weights"),
    [("model", 942, 0), ("conditioner", 1283, 428_688_130), ("shapevae", 410, 113_533_312)],
)
def test_the_unread_weights_are_542_million(
    component: str, all_keys: int, unread_weights: int
) -> None:
    shapes = PUBLIC[component]
    found = sum(math.prod(shape) for key, shape in shapes.items() if is_unread(component, key))
    assert (len(shapes), found) == (all_keys, unread_weights)
