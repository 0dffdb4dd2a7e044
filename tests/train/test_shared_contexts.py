"""Branches under one context, packed with others, must train just as the same questions do one by one."""

from __future__ import annotations

import pytest

pytest.importorskip("peft", reason="peft is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

from ragtune.train import attention  # noqa: E402
from ragtune.train.batches import pack, split_batches  # noqa: E402
from ragtune.train.lora import add_lora  # noqa: E402
from ragtune.train.loss import batch_loss  # noqa: E402
from ragtune.train.sequences import ANSWER_TOKENS, BranchIds, TokenSequence  # noqa: E402
from tiny_models import make_model  # noqa: E402

VOCABULARY = 300


def sequence(context: int, *branches: tuple[int, int], seed: int = 0) -> TokenSequence:
    """Random ids: tokens of the context, and of each branch's question and completion."""
    generator = torch.Generator().manual_seed(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (count,), generator=generator).tolist())

    return TokenSequence(ids(context), tuple(BranchIds(ids(question), ids(completion)) for question, completion in branches))


# Longer than one block of queries, and a branch longer than one too.
SHARED = sequence(2 * attention.ROWS + 45, (20, 9), (attention.ROWS + 3, 4), (7, 30), (5, 1))
ALONE = sequence(90, (12, 6), seed=1)
SEPARATE = [TokenSequence(SHARED.context, (branch,)) for branch in SHARED.branches] + [ALONE]


def adapted():
    model = make_model(VOCABULARY)
    # Milder weights than the shared tiny model's, whose gradients are so large that float32 has few digits left for a comparison.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.3 if weight.dim() > 1 else 1.0)
    layers = add_lora(model, rank=4, alpha=8, dropout=0.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    return model, layers


def gradients(layers):
    return torch.cat([part.grad.flatten() for layer in layers.values() for part in (layer.lora_A, layer.lora_B)])


def trained(batches, dtype=torch.float32):
    """Loss and all LoRA gradients."""
    model, layers = adapted()
    model.to(dtype)
    for layer in layers.values():
        layer.lora_A.data, layer.lora_B.data = layer.lora_A.data.float(), layer.lora_B.data.float()
    model.config._attn_implementation = attention.NAME
    total = 0.0
    for batch in batches:
        loss = batch_loss(model, batch.to(torch.device("cpu"), dtype))
        loss.backward()
        total += float(loss.detach())
    return total, gradients(layers)


def plain():
    """The same with nothing of ours but the adapters: transformers' attention, labels and loss, one sequence at a time."""
    model, layers = adapted()
    model.config._attn_implementation = "sdpa"
    total = 0.0
    for each in SEPARATE:
        question, completion = each.branches[0].question, each.branches[0].completion
        prompt = each.context + question
        labels = [-100] * len(prompt) + list(completion)
        mean = model(input_ids=torch.tensor([prompt + completion]), labels=torch.tensor([labels]), use_cache=False).loss
        loss = mean * len(completion) / ANSWER_TOKENS
        loss.backward()
        total += float(loss.detach())
    return total, gradients(layers)


@pytest.fixture(scope="module")
def reference():
    return plain()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("sequences", [[SHARED, ALONE], [ALONE, SHARED], SEPARATE], ids=["shared", "shared-second", "separate-packed"])
def test_loss_and_gradients_equal_those_of_separate_sequences(sequences, fused, reference):
    loss, gradient = trained([pack(sequences, fused=fused)])
    assert loss == pytest.approx(reference[0], rel=1e-6)
    assert (gradient - reference[1]).abs().max() < 1e-5 * reference[1].abs().max()


def test_in_bfloat16_the_gradient_points_the_same_way(reference):
    _, gradient = trained([pack([SHARED, ALONE], fused=False)], torch.bfloat16)
    assert torch.cosine_similarity(gradient, reference[1], dim=0) > 0.995


def test_a_branch_does_not_see_its_neighbour(reference):
    other = TokenSequence(SHARED.context, (SHARED.branches[0], BranchIds((5,) * 60, (6, 7)), *SHARED.branches[2:]))
    model, _ = adapted()
    model.config._attn_implementation = attention.NAME
    hidden = []
    for each in (SHARED, other):
        batch = pack([each], fused=False)
        hidden.append(
            model.model(input_ids=batch.ids_1t, position_ids=batch.positions_1t, ragtune_blocks=batch.blocks).last_hidden_state[0]
        )
    first = len(SHARED.context) + len(SHARED.branches[0])
    last = sum(map(len, SHARED.branches[2:]))
    assert torch.allclose(hidden[0][:first], hidden[1][:first], atol=1e-5)
    assert torch.allclose(hidden[0][-last:], hidden[1][-last:], atol=1e-5)


def test_long_batches_take_the_kernels_that_keep_no_scores():
    batches = list(split_batches([SHARED, ALONE], 450, fused=False, max_scores=100 * 100))
    assert [batch.blocks.fused for batch in batches] == [True, False]


def test_batches_hold_each_token_once_and_pad_none():
    sequences = [sequence(30 + 7 * number, (5, 4), (6, 3), seed=number) for number in range(9)]
    batches = list(split_batches(sequences, 200, fused=False))
    assert sum(batch.tokens for batch in batches) == sum(map(len, sequences))
    assert sum(batch.answers for batch in batches) == 18
    assert all(batch.tokens <= 200 for batch in batches)
    for batch in batches:
        assert torch.equal(batch.ids_1t[0][batch.at_c + 1], batch.targets_c)
        covered = sorted(query for block in batch.blocks.blocks for query in range(block.start, block.end))
        assert covered == list(range(batch.tokens))
