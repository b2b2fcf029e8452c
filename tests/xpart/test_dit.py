import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from partwise.xpart.attention import ConditionCache
from partwise.xpart.blocks import Block, Way
from partwise.xpart.config import TINY, DitConfig
from partwise.xpart.dit import PartFormer, TimeEmbedder, time_waves
from partwise.xpart.parts import Conditions
from scripts.regenerated_weights import fill_module
from tests.xpart.dit_support import (
    ask_fullwidth,
    conditions_of,
    filled_dit,
    normal,
    tensor,
    tiny_dit,
    velocity,
)
from tests.xpart.support import DATA, golden, largest_difference, relative_rms

BLOCKS = "dit_blocks_tiny"


def five_parts() -> tuple[Tensor, Conditions]:
    """Latents and conditions of five parts, the same object for all."""
    return normal(1, 5, 16, 8), Conditions(normal(2, 1, 20, 32), normal(3, 5, 24, 32))


def block(index: int) -> Block:
    found = tiny_dit().blocks[index]
    assert isinstance(found, Block)
    return found


def test_the_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        shapes = {key: list(value.shape) for key, value in PartFormer().state_dict().items()}
    assert len(shapes) == 942
    assert shapes == json.loads((DATA / "state_dict_shapes.json").read_text())["model"]


@pytest.mark.parametrize(
    ("name", "config"),
    [("dit_tiny", TINY.dit), ("dit_fullwidth_depth2", DitConfig(depth=2, num_moe_layers=1))],
)
def test_other_depths_have_the_published_keys_too(name: str, config: DitConfig) -> None:
    with torch.device("meta"):
        shapes = {key: list(value.shape) for key, value in PartFormer(config).state_dict().items()}
    assert shapes == json.loads((DATA / "configs.json").read_text())[name]["shapes"]


def test_a_time_is_the_golden_waves_and_token() -> None:
    embedder = TimeEmbedder(64)
    fill_module(embedder, "t_embedder.")
    time = tensor("timestep", "t")
    arrays = golden("timestep")
    with torch.inference_mode():
        assert largest_difference(embedder(time), arrays["out"]) < 1e-5
    assert largest_difference(time_waves(time, 64), arrays["sinusoid_64"]) <= 1e-6
    wide = time_waves(time, 2048)
    assert largest_difference(wide[:, :32], arrays["sinusoid_2048_first32"]) <= 1e-6
    assert largest_difference(wide[:, 1024:1056], arrays["sinusoid_2048_cos32"]) <= 1e-6


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "out_block0_plain_local"),
        (1, "out_block1_plain_global"),
        (4, "out_block4_plain_skip_local"),
        (5, "out_block5_moe_skip_global"),
        (6, "out_block6_moe_skip_local"),
    ],
)
@pytest.mark.parametrize("part_batch", [0, 2])
def test_each_kind_of_block_is_the_golden_one(index: int, name: str, part_batch: int) -> None:
    hidden, skip = tensor(BLOCKS, "hidden"), tensor(BLOCKS, "skip")
    with torch.inference_mode():
        found = block(index)(
            hidden,
            skip if TINY.dit.has_skip(index) else None,
            conditions_of(BLOCKS),
            Way(part_batch=part_batch),
        )
    assert largest_difference(found, golden(BLOCKS)[name]) < 1e-5


def test_self_attention_within_and_over_parts_is_the_golden_one() -> None:
    hidden, arrays = tensor(BLOCKS, "hidden"), golden(BLOCKS)
    with torch.inference_mode():
        within = block(0).attn1(block(0).norm1(hidden))
        over = block(1).attn1(block(1).norm1(hidden).flatten(0, 1)[None]).view_as(hidden)
    assert largest_difference(within, arrays["self_attn_local_block0"]) < 1e-5
    assert largest_difference(over, arrays["self_attn_global_block1"]) < 1e-5


def test_cross_attention_is_the_golden_one() -> None:
    hidden, condition = tensor(BLOCKS, "hidden"), tensor(BLOCKS, "obj_cond")
    attention = block(0).attn2
    with torch.inference_mode():
        found = attention(block(0).norm2(hidden), attention.project(condition))
    assert largest_difference(found, golden(BLOCKS)["cross_attn_obj_block0"]) < 1e-5


@pytest.mark.parametrize("call", [0, 1])
def test_the_tiny_model_is_the_golden_one(call: int) -> None:
    arrays = golden("dit_tiny")
    with torch.inference_mode():
        found = tiny_dit()(
            tensor("dit_tiny", "x"),
            float(arrays[f"t{call}"]),
            conditions_of("dit_tiny"),
            tensor("dit_tiny", f"part_ids{call}").long(),
            Way(),
        )
    assert largest_difference(found, arrays[f"out{call}"]) < 1e-5


@pytest.mark.parametrize("part_batch", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("is_offloaded", [False, True])
@pytest.mark.parametrize("is_cached", [False, True])
def test_the_way_does_not_change_the_velocity(
    part_batch: int, is_offloaded: bool, is_cached: bool
) -> None:
    latents, conditions = five_parts()
    wanted = velocity(tiny_dit(), latents, conditions)
    way = Way(
        part_batch=part_batch,
        is_offloaded=is_offloaded,
        cache=ConditionCache() if is_cached else None,
    )
    for _ in range(1 + is_cached):
        found = velocity(tiny_dit(), latents, conditions, way)
        assert largest_difference(found, wanted.numpy()) < 1e-5


@pytest.mark.parametrize("is_cached", [False, True])
def test_the_object_seen_once_is_the_object_seen_by_each_part(is_cached: bool) -> None:
    latents, conditions = five_parts()
    repeated = replace(conditions, object=conditions.object.repeat(5, 1, 1))
    found = velocity(tiny_dit(), latents, conditions, Way(part_batch=2))
    way = Way(part_batch=2, cache=ConditionCache() if is_cached else None)
    wanted = velocity(tiny_dit(), latents, repeated, way)
    assert largest_difference(found, wanted.numpy()) < 1e-5


def test_a_cache_is_filled_in_the_first_step_and_read_in_the_next() -> None:
    latents, conditions = five_parts()
    way = Way(cache=ConditionCache())
    wanted = velocity(tiny_dit(), latents, conditions, way)
    gone = Conditions(conditions.object * torch.nan, conditions.parts * torch.nan)
    assert torch.equal(velocity(tiny_dit(), latents, gone, way), wanted)


def test_the_order_of_the_parts_does_not_matter() -> None:
    latents, conditions = five_parts()
    order = torch.tensor([3, 0, 4, 1, 2])
    ids = torch.tensor([7, 30, 2, 49, 0])
    with torch.inference_mode():
        wanted = tiny_dit()(latents, 0.4, conditions, ids, Way())[order]
        turned = Conditions(conditions.object, conditions.parts[order])
        found = tiny_dit()(latents[order], 0.4, turned, ids[order], Way())
    assert largest_difference(found, wanted.numpy()) < 1e-5


def test_neither_latents_nor_conditions_are_changed() -> None:
    latents, conditions = five_parts()
    before = [item.clone() for item in (latents, conditions.object, conditions.parts)]
    velocity(tiny_dit(), latents, conditions)
    after = (latents, conditions.object, conditions.parts)
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)], ids=str
)
def test_products_in_16_bits_stay_close(dtype: torch.dtype, bound: float) -> None:
    latents, conditions = five_parts()
    wanted = velocity(tiny_dit(), latents, conditions)
    found = velocity(tiny_dit(), latents, conditions, Way(dtype, part_batch=2))
    assert found.dtype == torch.float32
    assert 0 < relative_rms(found, wanted.numpy()) < bound


def test_a_block_and_an_expert_with_tokens_are_called_once_in_a_step() -> None:
    model = filled_dit(TINY.dit)
    called: list[str] = []
    for name, module in model.named_modules():
        parent = name.rpartition(".")[0]
        if parent == "blocks" or parent.endswith("experts") or name.endswith("shared_experts"):
            module.register_forward_pre_hook(lambda module, args, name=name: called.append(name))
    latents, conditions = five_parts()
    velocity(model, latents, conditions, Way(part_batch=2))
    assert len(called) == len(set(called))
    assert {f"blocks.{i}" for i in range(7)} < set(called)
    assert sum(".experts." in name for name in called) > 8


def test_a_step_can_be_stopped_between_two_blocks() -> None:
    shares: list[float] = []

    def check(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise InterruptedError

    latents, conditions = five_parts()
    with pytest.raises(InterruptedError), torch.inference_mode():
        tiny_dit()(latents, 0.4, conditions, torch.arange(5), Way(), check=check)
    assert shares == [0, 1 / 7, 2 / 7]


@pytest.mark.parametrize(
    ("objects", "parts", "ids"), [(2, 5, 5), (1, 4, 5), (5, 5, 6)], ids=["object", "part", "id"]
)
def test_numbers_of_parts_that_do_not_match_are_refused(objects: int, parts: int, ids: int) -> None:
    latents, _ = five_parts()
    conditions = Conditions(normal(2, objects, 20, 32), normal(3, parts, 24, 32))
    with pytest.raises(ValueError, match="for 5 parts"):
        tiny_dit()(latents, 0.4, conditions, torch.arange(ids), Way())


@contextmanager
def filled_when_used(model: PartFormer) -> Iterator[None]:
    """Weights of `blocks` exist within a block's forward pass alone; the others all the time."""
    hooks = []
    for name, module in model.named_children():
        if name != "blocks":
            fill_module(module.to_empty(device="cpu"), f"{name}.")
    model.part_embed = nn.Parameter(torch.empty(model.part_embed.shape), requires_grad=False)
    # the embedding of the parts has no module of its own
    own = nn.ParameterDict({"part_embed": model.part_embed})
    fill_module(own)
    for i, block in enumerate(model.blocks):
        prefix = f"blocks.{i}."

        def fill(module: nn.Module, args: object, prefix: str = prefix) -> None:
            fill_module(module.to_empty(device="cpu"), prefix)

        def drop(module: nn.Module, args: object, out: object) -> None:
            module.to("meta")

        hooks += [block.register_forward_pre_hook(fill), block.register_forward_hook(drop)]
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dit_fullwidth_depth2", DitConfig(depth=2, num_moe_layers=1)),
        ("dit_fullsize", DitConfig()),
    ],
)
def test_a_model_of_full_width_is_the_golden_one(name: str, config: DitConfig) -> None:
    with torch.device("meta"):
        model = PartFormer(config).requires_grad_(False).eval()
    first, second, third = (int(seed) for seed in golden(name)["seeds"])
    with filled_when_used(model):
        found = ask_fullwidth(model, (first, second, third), name)
    assert largest_difference(found, golden(name)["out"]) < 1e-5
