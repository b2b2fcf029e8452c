"""ShapeVAE: surface points to tokens, latents to a field.

Specification section 3. Module names follow the published checkpoint's keys; what the pipeline
never reads is not built. Everything works on one surface, without a batch axis. `dtype` is that of
the products; what the blocks add up, the norms and the embedded places are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partwise.points.attention import attend
from partwise.xpart.config import COORDINATES, VaeConfig
from partwise.xpart.fourier import embed_places
from partwise.xpart.products import multiply

_BLOCK_EPS, _LAST_EPS = 1e-6, 1e-5  # of the norms inside blocks, and of those after the last

Check = Callable[[], None]


def never_stop() -> None:
    """The check for callers that do not cancel."""


@dataclass(frozen=True)
class KeysValues:
    """What queries attend to, in the products' type. keys, values: (H, N, D)."""

    keys: Tensor
    values: Tensor


class Encoder(nn.Module):
    """A surface → tokens that each look at all of it from one of its points."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.input_proj = nn.Linear(config.embedded + config.point_feats, config.width)
        self.cross_attn = CrossBlock(config.width, config.heads)
        self.self_attn = Transformer(config.width, config.heads, config.num_encoder_layers)
        self.ln_post = nn.LayerNorm(config.width, eps=_LAST_EPS)

    def forward(
        self,
        surface: Tensor,
        queries: Tensor,
        *,
        point_chunk: int,
        dtype: torch.dtype,
        check: Check = never_stop,
    ) -> Tensor:
        """(S, M, W) float32 tokens, of S sets of M points of one surface.

        surface: (N, 7) float32. queries: (S, M) int64 rows of it. point_chunk: how many points are
        embedded at once. check: is called often, and may raise to stop.
        """
        seen = self._look(surface, point_chunk, dtype, check)
        sets = [self._tokens(surface[rows], seen, dtype, check) for rows in queries]
        return torch.stack(sets)

    def _look(
        self, surface: Tensor, point_chunk: int, dtype: torch.dtype, check: Check
    ) -> KeysValues:
        """Keys and values of all points; nothing else is ever held for all of them."""
        heads = self.config.heads
        shape = (heads, len(surface), self.config.width // heads)
        keys, values = (torch.empty(shape, dtype=dtype, device=surface.device) for _ in range(2))
        for start in range(0, len(surface), point_chunk):
            check()
            rows = slice(start, start + point_chunk)
            chunk = self.cross_attn.look(self._embed(surface[rows]), dtype)
            keys[:, rows], values[:, rows] = chunk.keys, chunk.values
            del chunk  # before the next one's
        return KeysValues(keys, values)

    def _tokens(self, points: Tensor, seen: KeysValues, dtype: torch.dtype, check: Check) -> Tensor:
        tokens = self.cross_attn(self._embed(points), seen, dtype)  # (M, W)
        return self.ln_post(self.self_attn(tokens, dtype, check))

    def _embed(self, points: Tensor) -> Tensor:
        """(n, W) float32 of (n, 7) points."""
        places, rest = points.split([COORDINATES, self.config.point_feats], dim=1)
        embedded = torch.cat([embed_places(places, self.config.num_freqs), rest], dim=1)
        return multiply(self.input_proj, embedded, torch.float32)


class ShapeDecoder(nn.Module):
    """The half of the ShapeVAE that the pipeline reads: latents → tokens → a field."""

    def __init__(self, config: VaeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VaeConfig()
        self.post_kl = nn.Linear(config.embed_dim, config.width)
        self.transformer = Transformer(config.width, config.heads, config.num_decoder_layers)
        self.geo_decoder = GeoDecoder(config)

    def decode(self, latents: Tensor, dtype: torch.dtype, check: Check = never_stop) -> Tensor:
        """(T, W) float32 tokens from (T, C) latents as the sampler leaves them."""
        tokens = multiply(self.post_kl, latents / self.config.scale_factor, dtype).float()
        return self.transformer(tokens, dtype, check)


class GeoDecoder(nn.Module):
    """The field: a logit for any place, > 0 inside. Places do not see one another."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.num_freqs = config.num_freqs
        self.query_proj = nn.Linear(config.embedded, config.width)
        ratio = config.geo_decoder_mlp_expand_ratio
        self.cross_attn_decoder = CrossBlock(config.width, config.heads, ratio)
        self.ln_post = nn.LayerNorm(config.width, eps=_LAST_EPS)
        self.output_proj = nn.Linear(config.width, 1)

    def forward(self, places: Tensor, seen: KeysValues, dtype: torch.dtype) -> Tensor:
        """(Q,) float32 logits of (Q, 3) float32 places; seen: from `cross_attn_decoder.look`."""
        embedded = embed_places(places, self.num_freqs)
        tokens = multiply(self.query_proj, embedded, torch.float32)  # (Q, W)
        tokens = self.ln_post(self.cross_attn_decoder(tokens, seen, dtype))
        return multiply(self.output_proj, tokens, torch.float32)[:, 0]


class Transformer(nn.Module):
    """Blocks of self-attention, one after another."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([SelfBlock(width, heads) for _ in range(depth)])

    def forward(self, tokens: Tensor, dtype: torch.dtype, check: Check = never_stop) -> Tensor:
        """(M, W) float32; changes its input, too."""
        for block in self.resblocks:
            check()
            tokens = block(tokens, dtype)
        return tokens


class SelfBlock(nn.Module):
    """Attention among tokens, then each on its own; both added in place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = _SelfAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=_BLOCK_EPS)
        self.mlp = _Mlp(width)
        self.ln_2 = nn.LayerNorm(width, eps=_BLOCK_EPS)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """(M, W) float32."""
        tokens += self.attn(self.ln_1(tokens).to(dtype), dtype)
        tokens += self.mlp(self.ln_2(tokens).to(dtype), dtype)
        return tokens


class CrossBlock(nn.Module):
    """Tokens look at data, then each on its own; both added in place."""

    def __init__(self, width: int, heads: int, expand_ratio: int = 4) -> None:
        super().__init__()
        self.attn = _CrossAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=_BLOCK_EPS)
        self.ln_2 = nn.LayerNorm(width, eps=_BLOCK_EPS)
        self.mlp = _Mlp(width, expand_ratio)
        self.ln_3 = nn.LayerNorm(width, eps=_BLOCK_EPS)

    def look(self, data: Tensor, dtype: torch.dtype) -> KeysValues:
        """Keys and values of (N, W) float32 data."""
        return self.attn.look(self.ln_2(data).to(dtype), dtype)

    def forward(self, tokens: Tensor, seen: KeysValues, dtype: torch.dtype) -> Tensor:
        """(M, W) float32."""
        tokens += self.attn(self.ln_1(tokens).to(dtype), seen, dtype)
        tokens += self.mlp(self.ln_3(tokens).to(dtype), dtype)
        return tokens


class _HeadNorms(nn.Module):
    """Norms of queries and of keys, the same for all heads."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.q_norm = nn.LayerNorm(head_width, eps=_BLOCK_EPS)
        self.k_norm = nn.LayerNorm(head_width, eps=_BLOCK_EPS)


class _Attention(nn.Module):
    """What both kinds of attention share: norms of the heads, and the way out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = _HeadNorms(width // heads)
        self.c_proj = nn.Linear(width, width)

    def _split(self, features: Tensor, pieces: int) -> list[Tensor]:
        """(M, H, D) pieces of (M, pieces · W) features: each head's own lie side by side."""
        return list(features.view(len(features), self.heads, pieces, -1).unbind(2))

    def _mix(self, query: Tensor, seen: KeysValues, dtype: torch.dtype) -> Tensor:
        """(M, W) of (M, H, D) queries before their norm."""
        query = self.attention.q_norm(query.float()).to(dtype).transpose(0, 1)
        mixed = attend(query[None], seen.keys[None], seen.values[None])[0]  # (H, M, D)
        return multiply(self.c_proj, mixed.transpose(0, 1).flatten(1), dtype)

    def _seen(self, key: Tensor, value: Tensor, dtype: torch.dtype) -> KeysValues:
        """From (N, H, D) keys before their norm, and values."""
        key = self.attention.k_norm(key.float()).to(dtype)
        return KeysValues(key.transpose(0, 1), value.transpose(0, 1))


class _SelfAttention(_Attention):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.c_qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        query, key, value = self._split(multiply(self.c_qkv, tokens, dtype), 3)
        return self._mix(query, self._seen(key, value, dtype), dtype)


class _CrossAttention(_Attention):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.c_q = nn.Linear(width, width, bias=False)
        self.c_kv = nn.Linear(width, 2 * width, bias=False)

    def look(self, data: Tensor, dtype: torch.dtype) -> KeysValues:
        key, value = self._split(multiply(self.c_kv, data, dtype), 2)
        return self._seen(key, value, dtype)

    def forward(self, tokens: Tensor, seen: KeysValues, dtype: torch.dtype) -> Tensor:
        query = self._split(multiply(self.c_q, tokens, dtype), 1)[0]
        return self._mix(query, seen, dtype)


class _Mlp(nn.Module):
    def __init__(self, width: int, expand_ratio: int = 4) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, expand_ratio * width)
        self.c_proj = nn.Linear(expand_ratio * width, width)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        hidden = multiply(self.c_fc, tokens, dtype)
        return multiply(self.c_proj, torch.ops.aten.gelu_(hidden), dtype)  # the widest: in place


def shapevae_shapes(config: VaeConfig | None = None) -> dict[str, torch.Size]:
    """Each key that is read of the public ShapeVAE, with its shape."""
    with torch.device("meta"):
        return {key: value.shape for key, value in ShapeDecoder(config).state_dict().items()}
