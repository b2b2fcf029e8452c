"""X-Part on a real GPU: golden without TF32, streamed as resident, within what is foreseen."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lazy_partformer import COMPONENTS, DIT
from model_manager import ModelManager
from partwise.points.cost import count_levels
from partwise.vram.component import Placement
from partwise.vram.device import Device
from partwise.vram.settings import VramSettings
from partwise.xpart.blocks import Way
from partwise.xpart.condition import condition_parts
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import COORDINATES, TINY, TINY_VAE, DitConfig, XPartConfig
from partwise.xpart.cost import condition_options, sample_options
from partwise.xpart.cost_surfaces import decode_bytes
from partwise.xpart.decode import PartField
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions, PreparedParts
from partwise.xpart.precision import keeps_fp32
from partwise.xpart.sample import sample_latents
from partwise.xpart.sampler import initial_latents
from partwise.xpart.settings import XPartSettings
from partwise.xpart.vae import Encoder, ShapeDecoder
from scripts.make_checkpoint import main as make_checkpoint
from studio.catalog import XPART, find_model
from studio.xpart_models import BLOCKS, EXPERTS, xpart_components
from tests.xpart.dit_support import conditions_of, filled_dit, tensor
from tests.xpart.support import filled, golden, largest_difference, prepared_balls

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]

Module = TypeVar("Module", bound=nn.Module)
GOLDEN = 1e-4
OVER = 1.1  # of what is predicted, at most
PARTS, STEPS, SEED = 3, 4, 7
SETTINGS = XPartSettings(steps=STEPS, octree_resolution=128, seed=SEED)
GOLDEN_VAE = replace(TINY_VAE, num_latents=16, num_freqs=8, pc_size=512)
FEW_BLOCKS = replace(XPartConfig(), dit=DitConfig(depth=5, num_moe_layers=2))


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """No TF32, whatever a machine has chosen; and nothing but a test's own results stays."""
    was = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = was


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    assert make_checkpoint([str(folder), "--tiny", "--model", "xpart"]) == 0
    return folder


@pytest.fixture
def manager(weights: Path) -> Iterator[ModelManager]:
    made = ModelManager(Device(), VramSettings(idle_unload_s=0, host_keep_s=0))
    for spec in xpart_components(find_model(XPART), weights):
        made.register(spec)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def prepared() -> PreparedParts:
    return prepared_balls(PARTS, TINY.conditioner.surface_points)


def on_gpu(conditions: Conditions) -> Conditions:
    return Conditions(conditions.object.cuda(), conditions.parts.cuda())


@pytest.mark.parametrize("call", [0, 1])
def test_the_tiny_partformer_is_the_golden_one(call: int) -> None:
    arrays, model = golden("dit_tiny"), filled_dit(TINY.dit).cuda()
    with torch.inference_mode():
        found = model(
            tensor("dit_tiny", "x").cuda(),
            float(arrays[f"t{call}"]),
            on_gpu(conditions_of("dit_tiny")),
            tensor("dit_tiny", f"part_ids{call}").long().cuda(),
            Way(),
        )
    assert largest_difference(found.cpu(), arrays[f"out{call}"]) < GOLDEN


@pytest.mark.parametrize("item", [0, 1])
def test_the_tiny_vae_encodes_as_the_golden_one(item: int) -> None:
    arrays, model = golden("vae_tiny"), filled(Encoder(GOLDEN_VAE), "encoder.").cuda()
    surface = torch.from_numpy(arrays["surface"][item][arrays["subset_idx"]]).cuda()
    queries = torch.from_numpy(arrays["query_idx"][item].astype(np.int64)).cuda()
    with torch.inference_mode():
        found = model(surface, queries[None], point_chunk=100, dtype=torch.float32)[0]
    assert largest_difference(found.cpu(), arrays["enc_shape"][item]) < GOLDEN


@pytest.mark.parametrize("item", [0, 1])
def test_the_tiny_vae_decodes_as_the_golden_one(item: int) -> None:
    arrays, model = golden("vae_tiny"), filled(ShapeDecoder(GOLDEN_VAE)).cuda()
    with torch.inference_mode():
        tokens = model.decode(torch.from_numpy(arrays["latents"][item]).cuda(), torch.float32)
        seen = model.geo_decoder.cross_attn_decoder.look(tokens, torch.float32)
        places = torch.from_numpy(arrays["queries"][item]).cuda()
        found = model.geo_decoder(places, seen, torch.float32)
    assert largest_difference(tokens.cpu(), arrays["decoded"][item]) < GOLDEN
    assert largest_difference(found.cpu(), arrays["logits"][item]) < GOLDEN


def test_the_conditions_are_the_cpus(prepared: PreparedParts) -> None:
    model = filled(Conditioner(TINY.conditioner))
    wanted = condition_parts(model, prepared, SEED)
    found = condition_parts(model.cuda(), prepared, SEED)
    assert not found.parts.is_cuda
    assert largest_difference(found.object, wanted.object) < 1e-3  # float32 in another order
    assert largest_difference(found.parts, wanted.parts) < 1e-3


def latents_of(
    manager: ModelManager, prepared: PreparedParts, placement: Placement, **knobs: int
) -> NDArray[np.float32]:
    """Denoised latents, with conditions of noise."""
    tokens = TINY.conditioner.geo.num_latents
    generator = torch.Generator().manual_seed(SEED)
    whole, parts = (
        torch.randn(count, tokens, TINY.dit.encoder_hidden_dim, generator=generator)
        for count in (1, PARTS)
    )
    noise = initial_latents(prepared.aabbs, SEED, TINY.vae.num_latents, TINY.dit.in_channels)
    with manager.use(DIT, placement) as lease:
        found = lease.call(
            "partwise.xpart.sample:sample_latents",
            Conditions(whole, parts),
            noise,
            prepared.aabbs,
            SETTINGS,
            precision=placement.precision,
            **knobs,
        )
    manager.unload(DIT)
    latents: NDArray[np.float32] = found.latents
    assert np.isfinite(latents).all()
    return latents


@pytest.mark.parametrize("streaming", [BLOCKS, EXPERTS])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("is_cached", [0, 1])
def test_streamed_is_resident_bit_for_bit(
    manager: ModelManager,
    prepared: PreparedParts,
    precision: str,
    streaming: str,
    is_cached: int,
) -> None:
    whole = latents_of(manager, prepared, Placement(precision), is_cached=is_cached)
    placement = Placement(precision, streaming=streaming)
    found = latents_of(manager, prepared, placement, is_cached=is_cached)
    assert np.array_equal(found, whole)


def test_nothing_is_left_when_components_leave(
    manager: ModelManager, prepared: PreparedParts
) -> None:
    device = Device()
    before = device.read().allocator
    for name in COMPONENTS:
        with manager.use(name, Placement("bf16")) as lease:
            assert next(lease.module.parameters()).is_cuda
        manager.unload(name)
    latents_of(manager, prepared, Placement("bf16", streaming=BLOCKS))
    after = device.read().allocator
    assert after is not None
    assert after.allocated_bytes == (before.allocated_bytes if before else 0)
    device.close()


def taken(run: Callable[[], object]) -> int:
    """Bytes of tensors at the peak of a call, beside what was there."""
    run()  # libraries take their workspaces once
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def full_width(build: Callable[[], Module]) -> Module:
    """A module on the GPU with any weights, its matrices in 16 bits as the pipeline holds them."""
    with torch.device("cuda"), torch.no_grad():
        module = build().requires_grad_(False).eval()
        for name, weight in module.named_parameters():
            weight.data.normal_(0, 0.02)
            if weight.dim() > 1 and not keeps_fp32(name):
                weight.data = weight.data.bfloat16()
    return module


def assert_foreseen(taken_bytes: int, foreseen_bytes: int) -> None:
    """No more than is foreseen, nor so much less that the measure was blind."""
    assert foreseen_bytes / 4 < taken_bytes <= OVER * foreseen_bytes


def test_conditions_take_what_is_foreseen() -> None:
    config = XPartConfig()
    prepared = prepared_balls(PARTS, config.conditioner.surface_points)
    levels = count_levels(prepared.voxels.grid)
    model = full_width(lambda: Conditioner(config.conditioner))
    for option in condition_options(config, PARTS, "bf16", is_gpu=True, levels=levels):
        run = partial(condition_parts, model, prepared, SEED, precision="bf16", **option.knobs)
        assert_foreseen(taken(run), option.size.peak_bytes)


def test_denoising_takes_what_is_foreseen() -> None:
    config, aabbs = FEW_BLOCKS, prepared_balls(PARTS, 64).aabbs
    model = full_width(lambda: PartFormer(config.dit))
    shape = (config.conditioner.geo.num_latents, config.dit.encoder_hidden_dim)
    conditions = Conditions(*(torch.randn(count, *shape).bfloat16() for count in (1, PARTS)))
    for option in sample_options(config, PARTS, STEPS, "bf16", is_gpu=True):
        knobs = dict(option.knobs)

        def run(knobs: dict[str, int] = knobs) -> None:
            noise = initial_latents(aabbs, SEED, config.vae.num_latents, config.dit.in_channels)
            sample_latents(model, conditions, noise, aabbs, SETTINGS, precision="bf16", **knobs)

        assert_foreseen(taken(run), option.size.peak_bytes)


@pytest.mark.parametrize("chunk", [8192, 32768])
def test_a_field_takes_what_is_foreseen(chunk: int) -> None:
    config, generator = XPartConfig().vae, np.random.default_rng(SEED)
    model = full_width(lambda: ShapeDecoder(config))
    shape = (config.num_latents, config.embed_dim)
    latents = generator.standard_normal(shape, dtype=np.float32)
    places = generator.uniform(-1, 1, (3 * chunk, COORDINATES)).astype(np.float32)

    def run() -> None:
        PartField(model, latents, dtype=torch.bfloat16, query_chunk=chunk)(places)

    assert_foreseen(taken(run), decode_bytes(config, 2, chunk).peak_bytes)
