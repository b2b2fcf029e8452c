import pytest
import torch

from partwise.xpart.fourier import embed_places
from tests.xpart.support import golden, largest_difference


def test_places_are_embedded_as_in_the_golden_file() -> None:
    arrays = golden("fourier")
    found = embed_places(torch.from_numpy(arrays["x"]), len(arrays["frequencies"]))
    assert largest_difference(found, arrays["out"]) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_before_anything_is_computed(dtype: torch.dtype) -> None:
    places = torch.linspace(-1, 1, 33)[:, None].expand(33, 3).to(dtype)
    with torch.autocast("cpu", dtype):
        found = embed_places(places, 8)
    assert found.dtype == torch.float32
    assert torch.equal(found, embed_places(places.float(), 8))


def test_double_precision_is_kept() -> None:
    places = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    found = embed_places(places, 8)
    assert found.dtype == torch.float64
    assert found[0, 10] == torch.sin(places[0, 0] * 128)


def test_the_embedding_has_sines_before_cosines_axis_by_axis() -> None:
    x, y, z, *rest = embed_places(torch.tensor([0.1, 0.2, 0.3]), 2).tolist()
    wanted = torch.tensor([0.1, 0.2, 0.2, 0.4, 0.3, 0.6])
    assert [x, y, z] == pytest.approx([0.1, 0.2, 0.3])
    assert rest == pytest.approx([*wanted.sin().tolist(), *wanted.cos().tolist()])
