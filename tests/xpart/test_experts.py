import pytest
import torch
from torch import Tensor, nn

from partwise.xpart.experts import MixtureOfExperts
from tests.xpart.dit_support import tensor, tiny_dit
from tests.xpart.support import golden, largest_difference

BLOCKS = "dit_blocks_tiny"


def tiny_moe() -> MixtureOfExperts:
    found = tiny_dit().get_submodule("blocks.5.moe")
    assert isinstance(found, MixtureOfExperts)
    return found


def answer(moe: MixtureOfExperts, tokens: Tensor, *, row_chunk: int = 1000) -> Tensor:
    residual = torch.zeros_like(tokens)
    with torch.inference_mode():
        moe(tokens, moe.gate(tokens), residual, row_chunk=row_chunk)
    return residual


def one_by_one(moe: MixtureOfExperts, token: Tensor) -> Tensor:
    """The definition, for one (C,) token."""
    shares = moe.gate(token).softmax(dim=-1)
    best = sorted(range(len(shares)), key=lambda i: -float(shares[i]))[: moe.top_k]

    def ask(expert: nn.Module) -> Tensor:
        net = expert.net
        return net[2](nn.functional.gelu(net[0].proj(token)))

    return sum((shares[i] * ask(moe.experts[i]) for i in best), ask(moe.shared_experts))


def test_the_answer_is_the_golden_one() -> None:
    found = answer(tiny_moe(), tensor(BLOCKS, "moe_in_block5").flatten(0, 1))
    wanted = golden(BLOCKS)["moe_out_block5"].reshape(found.shape)
    assert largest_difference(found, wanted) < 1e-5


def test_each_token_goes_to_its_golden_experts_with_their_weights() -> None:
    tokens = tensor(BLOCKS, "moe_in_block5").flatten(0, 1)
    with torch.inference_mode():
        routes = tiny_moe().route(tiny_moe().gate(tokens))
    found = torch.zeros(len(tokens), 8)
    for expert, share in enumerate(routes.shares()):
        found[share.rows, expert] = share.weights
    wanted = torch.zeros(len(tokens), 8).scatter(
        1, tensor(BLOCKS, "moe_topk_idx_block5"), tensor(BLOCKS, "moe_topk_weight_block5")
    )
    assert torch.equal(found > 0, wanted > 0)
    assert largest_difference(found, wanted.numpy()) < 1e-6


def test_the_answer_is_the_definition() -> None:
    tokens = torch.randn(40, 64, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        wanted = torch.stack([one_by_one(tiny_moe(), token) for token in tokens])
    assert largest_difference(answer(tiny_moe(), tokens), wanted.numpy()) < 1e-5


@pytest.mark.parametrize("row_chunk", [1, 7, 40])
def test_how_many_rows_go_at_once_does_not_matter(row_chunk: int) -> None:
    tokens = torch.randn(40, 64, generator=torch.Generator().manual_seed(5))
    wanted = answer(tiny_moe(), tokens)
    found = answer(tiny_moe(), tokens, row_chunk=row_chunk)
    assert largest_difference(found, wanted.numpy()) < 1e-5


def test_every_token_is_dealt_to_as_many_experts_as_it_may_choose() -> None:
    logits = torch.randn(200, 8, generator=torch.Generator().manual_seed(6))
    routes = tiny_moe().route(logits)
    assert sum(routes.counts) == len(routes.rows) == 400
    assert torch.equal(routes.rows.bincount(), torch.full((200,), 2))
    for share in routes.shares():
        assert len(share.rows.unique()) == len(share.rows)


def test_an_expert_that_nobody_chose_is_not_called() -> None:
    moe = MixtureOfExperts(4, 8, num_experts=4, top_k=2)
    called: list[int] = []
    for i, expert in enumerate(moe.experts):
        expert.register_forward_pre_hook(lambda module, args, i=i: called.append(i))
    logits = torch.tensor([[5.0, 4, 0, 0]]).repeat(3, 1)
    with torch.inference_mode():
        moe(torch.ones(3, 4), logits, torch.zeros(3, 4), row_chunk=2)
    assert called == [0, 1]
