"""The last stage of X-Part: the latents of a part → its surface.

The latents become tokens, and their keys and values are made once; then the field is asked in
chunks. Tensors go to the model's device for a call and leave it when the part is done, also when it
fails; what is returned lies on the host.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.xpart.extract import extract_surface
from partwise.xpart.parts import RawSurface
from partwise.xpart.products import product_dtype
from partwise.xpart.settings import XPartSettings
from partwise.xpart.vae import Check, ShapeDecoder, never_stop

Floats32 = NDArray[np.float32]

QUERY_CHUNK = 20000


class PartField:
    """The field of one part: call it with places. Holds the keys and values of its tokens.

    latents: (T, C) float32, as the sampler leaves them. dtype: of the products. query_chunk: how
    many places are evaluated at once; it does not matter for what is found. check: is called
    between chunks, and may raise to stop.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: ShapeDecoder,
        latents: Floats32,
        *,
        dtype: torch.dtype = torch.float32,
        query_chunk: int = QUERY_CHUNK,
        check: Check = never_stop,
    ) -> None:
        self._decoder, self._dtype = model.geo_decoder, dtype
        self._chunk, self._check = query_chunk, check
        self._device = self._decoder.ln_post.weight.device
        tokens = model.decode(torch.tensor(latents, device=self._device), dtype, check)
        self._seen = self._decoder.cross_attn_decoder.look(tokens, dtype)

    @torch.inference_mode()
    def __call__(self, places: Floats32) -> Floats32:
        """(Q,) float32 logits of (Q, 3) float32 places in the networks' frame; > 0 is inside."""
        logits = np.empty(len(places), np.float32)
        for start in range(0, len(places), self._chunk):
            self._check()
            rows = slice(start, start + self._chunk)
            chunk = torch.from_numpy(places[rows]).to(self._device)
            logits[rows] = self._decoder(chunk, self._seen, self._dtype).cpu().numpy()
        return logits


def decode_part(
    model: ShapeDecoder,
    latents: Floats32,
    aabb: Floats32,
    settings: XPartSettings,
    *,
    query_chunk: int = QUERY_CHUNK,
    precision: str = "fp32",
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> RawSurface:
    """The surface of the part in a box.

    latents: (T, C) float32. aabb: (2, 3) float32 in the networks' frame. query_chunk: see
    `PartField`. precision: see `product_dtype`. Raises `Cancelled` between
    two chunks, and what `extract_surface` raises.
    """
    stop = cancel or CancelToken()
    field = PartField(
        model,
        latents,
        dtype=product_dtype(model, precision),
        query_chunk=query_chunk,
        check=stop.raise_if_cancelled,
    )
    return extract_surface(field, aabb, settings, progress=progress, cancel=stop)
