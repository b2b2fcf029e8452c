from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from partwise.core.errors import Cancelled
from partwise.xpart.config import TINY_VAE, VaeConfig
from partwise.xpart.products import multiply, product_dtype
from partwise.xpart.vae import Encoder, ShapeDecoder
from tests.xpart.support import filled, golden, largest_difference, relative_rms, to_half

FP32 = torch.float32
CONFIG = replace(TINY_VAE, num_latents=16, num_freqs=8, pc_size=512)  # of the golden file
ROUNDING = {torch.bfloat16: 1.0, torch.float16: 0.13}  # of products, against bfloat16


@pytest.fixture(scope="module", autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def encoder() -> Encoder:
    return filled(Encoder(CONFIG), "encoder.")


def decoder() -> ShapeDecoder:
    return filled(ShapeDecoder(CONFIG))


def tokens_of(
    model: Encoder, item: int, *, point_chunk: int = 100, dtype: torch.dtype = FP32
) -> Tensor:
    arrays = golden("vae_tiny")
    surface = torch.from_numpy(arrays["surface"][item][arrays["subset_idx"]])
    queries = torch.from_numpy(arrays["query_idx"][item].astype(np.int64))
    assert torch.equal(surface[queries, :3], torch.from_numpy(arrays["query_xyz"][item]))
    return model(surface, queries[None], point_chunk=point_chunk, dtype=dtype)[0]


def logits_of(model: ShapeDecoder, tokens: Tensor, item: int, dtype: torch.dtype = FP32) -> Tensor:
    seen = model.geo_decoder.cross_attn_decoder.look(tokens, dtype)
    return model.geo_decoder(torch.from_numpy(golden("vae_tiny")["queries"][item]), seen, dtype)


def latents(item: int) -> Tensor:
    return torch.from_numpy(golden("vae_tiny")["latents"][item])


@pytest.mark.parametrize("item", [0, 1])
@pytest.mark.parametrize("point_chunk", [1, 37, 320, 10_000])
def test_a_surface_becomes_the_golden_tokens_in_any_chunks(item: int, point_chunk: int) -> None:
    found = tokens_of(encoder(), item, point_chunk=point_chunk)
    assert largest_difference(found, golden("vae_tiny")["enc_shape"][item]) < 1e-5


def test_the_tokens_have_the_golden_moments() -> None:
    arrays, heads = golden("vae_tiny"), filled(nn.Linear(32, 16), "pre_kl.")
    moments = torch.stack([multiply(heads, tokens_of(encoder(), i), FP32) for i in (0, 1)])
    assert largest_difference(moments, arrays["moments"]) < 1e-5
    mean, log_variance = moments.chunk(2, dim=-1)
    assert largest_difference(mean, arrays["mean"]) < 1e-5
    assert largest_difference(log_variance.clamp(-30, 20), arrays["logvar"]) < 1e-5


def test_sets_of_points_look_at_one_surface_each_for_itself() -> None:
    model, generator = encoder(), torch.Generator().manual_seed(1)
    surface = torch.randn(90, 7, generator=generator)
    sets = torch.stack([torch.randperm(90, generator=generator)[:16] for _ in range(3)])
    together = model(surface, sets, point_chunk=40, dtype=FP32)
    alone = torch.cat([model(surface, rows[None], point_chunk=90, dtype=FP32) for rows in sets])
    assert largest_difference(together, alone) < 1e-5


def test_the_order_of_points_does_not_matter() -> None:
    model, generator = encoder(), torch.Generator().manual_seed(2)
    surface, order = torch.randn(90, 7, generator=generator), torch.randperm(90)
    found = model(surface[order], order.argsort()[:16][None], point_chunk=32, dtype=FP32)
    wanted = model(surface, torch.arange(16)[None], point_chunk=32, dtype=FP32)
    assert largest_difference(found, wanted) < 1e-5


@pytest.mark.parametrize("item", [0, 1])
def test_latents_become_the_golden_tokens_and_field(item: int) -> None:
    arrays, model = golden("vae_tiny"), decoder()
    tokens = model.decode(latents(item), FP32)
    assert largest_difference(tokens, arrays["decoded"][item]) < 1e-5
    assert largest_difference(logits_of(model, tokens, item), arrays["logits"][item]) < 1e-5


def test_decoding_leaves_its_latents_as_they_are() -> None:
    given = latents(0).clone()
    decoder().decode(given, FP32)
    assert torch.equal(given, latents(0))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("is_held", [False, True], ids=["products", "weights"])
def test_sixteen_bits_change_as_little_as_they_may(dtype: torch.dtype, is_held: bool) -> None:
    arrays, coder, model = golden("vae_tiny"), encoder(), decoder()
    if is_held:
        coder, model = to_half(coder, dtype), to_half(model, dtype)
    seen = tokens_of(coder, 0, dtype=dtype)
    tokens = model.decode(latents(0), dtype)
    logits = logits_of(model, tokens, 0, dtype)
    assert seen.dtype == tokens.dtype == logits.dtype == FP32
    most = ROUNDING[dtype]
    assert 0 < relative_rms(seen, arrays["enc_shape"][0]) < 2e-2 * most
    assert 0 < relative_rms(tokens, arrays["decoded"][0]) < 2e-2 * most
    assert 0 < relative_rms(logits, arrays["logits"][0]) < 1.5e-2 * most


class Doubled(nn.Module):
    """What stands in a layer's place and computes in its input's type, as quantised layers do."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.seen: list[torch.dtype] = []

    def forward(self, features: Tensor) -> Tensor:
        self.seen.append(features.dtype)
        bias = None if self.bias is None else self.bias.to(features.dtype)
        return nn.functional.linear(features, self.weight.to(features.dtype), bias)


@pytest.mark.parametrize("dtype", [FP32, torch.bfloat16])
def test_any_layer_of_blocks_may_be_another_module(dtype: torch.dtype) -> None:
    model = decoder()
    wanted = logits_of(model, model.decode(latents(0), dtype), 0, dtype)
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    for name in names:
        parent, _, leaf = name.rpartition(".")
        linear = model.get_submodule(name)
        model.get_submodule(parent).add_module(leaf, Doubled(linear))
    found = logits_of(model, model.decode(latents(0), dtype), 0, dtype)
    assert torch.equal(found, wanted)
    seen = {name: set(model.get_submodule(name).seen) for name in names}
    in_fp32 = {"geo_decoder.query_proj", "geo_decoder.output_proj"}  # of places and of the logit
    assert {name for name in names if seen[name] != {dtype}} == (
        set() if dtype == FP32 else in_fp32
    )
    assert all(seen[name] == {FP32} for name in in_fp32)


@pytest.mark.parametrize(
    ("held", "precision", "wanted"),
    [
        (FP32, "fp32", FP32),
        (FP32, "fp16", torch.float16),
        (torch.bfloat16, "fp32", torch.bfloat16),
        (torch.float16, "bf16", torch.bfloat16),
    ],
)
def test_products_follow_the_precision_or_weights_of_16_bits(
    held: torch.dtype, precision: str, wanted: torch.dtype
) -> None:
    assert product_dtype(to_half(decoder(), held), precision) == wanted


def test_work_stops_when_a_check_says_so() -> None:
    model, calls = decoder(), 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        model.decode(latents(0), FP32, check)
    assert calls == 2


@pytest.mark.slow
def test_the_full_size_vae_decodes_to_the_golden_field() -> None:
    arrays, config = golden("vae_fullsize"), VaeConfig()
    with torch.device("meta"):
        model = ShapeDecoder(config)
    model = filled(model.to_empty(device="cpu"))
    given = np.random.default_rng(50).standard_normal((1, config.num_latents, config.embed_dim))
    tokens = model.decode(torch.from_numpy(given[0].astype(np.float32)), FP32)
    seen = model.geo_decoder.cross_attn_decoder.look(tokens, FP32)
    logits = model.geo_decoder(torch.from_numpy(arrays["queries"][0]), seen, FP32)
    assert largest_difference(tokens[::128], arrays["decoded_rows"]) < 1e-5
    assert largest_difference(logits, arrays["logits"][0]) < 1e-5
    del tokens, seen, logits
    tokens = model.decode(torch.from_numpy(given[0].astype(np.float32)), torch.bfloat16)
    seen = model.geo_decoder.cross_attn_decoder.look(tokens, torch.bfloat16)
    logits = model.geo_decoder(torch.from_numpy(arrays["queries"][0]), seen, torch.bfloat16)
    assert relative_rms(tokens[::128], arrays["decoded_rows"]) < 2e-2
    assert relative_rms(logits, arrays["logits"][0]) < 1e-2
