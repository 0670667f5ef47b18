"""The loss on answers, in one part or in several."""

import pytest

from stock_llm.llm.bases import needs


@pytest.mark.parametrize("tokens", [1, 7, 24])
def test_in_parts_it_is_the_same_with_the_same_gradients(tokens, monkeypatch):
    import torch

    from stock_llm.llm.training.answer_loss import token_losses

    torch.manual_seed(0)
    lm_head = torch.nn.Linear(16, 50, bias=False)
    targets = torch.randint(0, 50, (tokens,))
    weights = torch.rand(tokens)
    hidden = torch.randn(tokens, 16)
    results = []
    for logits in (1 << 27, 50 * 5, 1):
        monkeypatch.setattr(needs, "LOGITS_AT_ONCE", logits)
        given = hidden.clone().requires_grad_()
        losses = token_losses(given, lm_head, targets)
        (losses * weights).sum().backward()
        results.append((losses.detach(), given.grad))
    logits = lm_head(hidden)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    for losses, gradient in results:
        assert torch.allclose(losses, expected, atol=1e-6)
        assert torch.allclose(gradient, results[0][1], atol=1e-6)


def test_in_parts_no_more_logits_are_kept_than_of_one(monkeypatch):
    import torch

    from stock_llm.llm.training.answer_loss import token_losses

    lm_head = torch.nn.Linear(8, 1000, bias=False)
    lm_head.weight.requires_grad_(False)
    hidden, targets = torch.randn(64, 8, requires_grad=True), torch.zeros(64, dtype=torch.long)

    def kept() -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            losses = token_losses(hidden, lm_head, targets)
        assert losses.shape == (64,)
        return max(sizes)

    assert kept() == 64 * 1000
    monkeypatch.setattr(needs, "LOGITS_AT_ONCE", 8 * 1000)
    assert kept() <= 8 * 1000
