"""Packed rows give the numbers of padded ones, in every architecture, and do not see each other."""

import pytest

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LENGTHS = (5, 1, 9, 9)


def small_model(architecture: str, **sizes: int):
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**(SIZES | sizes))
    config._attn_implementation = "sdpa"
    return getattr(transformers, f"{architecture}ForCausalLM")(config).float()


def padded_rows():
    """Token ids, mask, labels and weights of rows of LENGTHS, padded on the right."""
    import torch

    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (len(LENGTHS), max(LENGTHS)), generator=chance)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    labels = torch.where(mask.bool(), ids, -100)
    labels[:, :2] = -100
    return ids, mask, labels, torch.rand(ids.shape, generator=chance)


@pytest.mark.parametrize("window", [64, 4])
@pytest.mark.parametrize("architecture", ["Mistral", "Llama", "Ministral3", "Phi"])
def test_the_loss_and_its_gradients_are_those_of_padded_rows(architecture, window):
    import torch

    from stock_llm.llm.training.answer_loss import put_loss_on_answers

    if window < max(LENGTHS) and architecture in ("Llama", "Phi"):
        pytest.skip("it has no sliding window")
    windowed = {} if architecture in ("Llama", "Phi") else {"sliding_window": window}
    model = small_model(architecture, **windowed)
    ids, mask, labels, weights = padded_rows()
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, 1:], reduction="none"
    )
    expected = (losses * weights[:, 1:]).sum()
    expected.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()

    put_loss_on_answers(model)
    loss = model(input_ids=ids, attention_mask=mask, labels=labels, weights=weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, gradients[name], atol=1e-4), name
    again = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    assert torch.allclose(again[mask[:, 1:].bool()], logits[mask[:, 1:].bool()], atol=1e-5), (
        "without labels it is the model as it was"
    )


def test_a_row_does_not_see_the_others():
    import torch

    from stock_llm.llm.training.packing import pack, packed_hidden, use_packed_attention

    model = small_model("Mistral", sliding_window=None)
    use_packed_attention(model)
    ids, mask, _, _ = padded_rows()
    rows = pack(ids, mask)
    assert rows.lengths == list(LENGTHS) and rows.ids.shape == (1, sum(LENGTHS))
    assert rows.positions[0].tolist() == [place for length in LENGTHS for place in range(length)]
    with torch.no_grad():
        before = packed_hidden(model, rows)
        ids[0] = (ids[0] + 7) % 49 + 1
        after = packed_hidden(model, pack(ids, mask))
    changed = (before - after).abs().amax(1) > 0
    assert changed[: LENGTHS[0]].all() and not changed[LENGTHS[0] :].any()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["Mistral", "Llama", "Ministral3", "Phi"])
def test_the_last_layer_computes_the_wanted_tokens_only(architecture, checkpointing):
    import torch

    from stock_llm.llm.training.packing import pack, packed_hidden, use_packed_attention

    model = small_model(architecture)
    use_packed_attention(model)
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    ids, mask, _, _ = padded_rows()
    rows = pack(ids, mask)
    wanted = torch.arange(sum(LENGTHS)) % 3 == 0
    seen = [[], []]
    for place, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(
            lambda _, given, place=place: seen[place].append(given[0].shape[1])
        )
    every = packed_hidden(model, rows)
    some = packed_hidden(model, rows, wanted)
    assert torch.allclose(some, every[wanted], atol=1e-6)
    trimmed = int(wanted.sum()) if architecture != "Phi" else sum(LENGTHS)
    assert seen == [[sum(LENGTHS)] * 2, [sum(LENGTHS), trimmed]]
    every[wanted].square().sum().backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}  # fmt: skip
    model.zero_grad()
    some.square().sum().backward()
    for name, weight in model.named_parameters():
        if name in expected:
            assert torch.allclose(weight.grad, expected[name], atol=1e-4), name
