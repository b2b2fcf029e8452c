"""Places as the networks see them: coordinates with their sines and cosines."""

import torch
from torch import Tensor


def embed_places(places: Tensor, num_freqs: int) -> Tensor:
    """(…, 3 + 6·num_freqs) x, y, z, then the sines, then the cosines of 2^j x, 2^j y, 2^j z.

    places: (…, 3). float32 at least, whatever comes in: the largest frequency turns a rounded
    coordinate into another place.
    """
    places = places if places.dtype == torch.float64 else places.float()
    powers = torch.ones(num_freqs, dtype=torch.int64, device=places.device)
    frequencies = powers << torch.arange(num_freqs, device=places.device)  # exact on any device
    angles = (places[..., None] * frequencies.to(places.dtype)).flatten(-2)  # (…, 3·num_freqs)
    return torch.cat([places, angles.sin(), angles.cos()], dim=-1)
