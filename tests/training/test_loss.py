from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from moos_integrations.training.loss import IGNORED, MOOSLoss, inter_class_cosine


def naive_cosine(hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The definition: the mean over all pairs, per sequence, rows with an empty class left out."""
    rows = []
    for states, row in zip(hidden, labels, strict=True):
        pairs = [
            functional.cosine_similarity(left, right, dim=0) for left in states[row == 1] for right in states[row == 0]
        ]
        if pairs:
            rows.append(torch.stack(pairs).mean())
    return torch.stack(rows).mean()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 9, 6, generator=generator)
    logits = torch.randn(4, 9, 2, generator=generator)
    labels = torch.randint(0, 2, (4, 9), generator=generator).float()
    labels[:, 0] = labels[:, 7:] = IGNORED
    labels[3, 1:7] = 1  # no discard piece: this row has no pairs
    return logits, hidden, labels


def test_linear_form_equals_the_double_loop(batch: tuple[torch.Tensor, ...]) -> None:
    _, hidden, labels = batch
    assert inter_class_cosine(hidden, labels).item() == pytest.approx(naive_cosine(hidden, labels).item(), abs=1e-6)


def test_gradient_is_that_of_the_definition(batch: tuple[torch.Tensor, ...]) -> None:
    _, hidden, labels = batch
    fast, slow = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    inter_class_cosine(fast, labels).backward()
    naive_cosine(slow, labels).backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-6, rtol=1e-5)
    assert (fast.grad[labels == IGNORED] == 0).all()
    assert (fast.grad[3] == 0).all()


def test_no_pairs_at_all_gives_zero_and_no_gradient() -> None:
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    value = inter_class_cosine(hidden, torch.ones(2, 3))
    value.backward()
    assert value == 0
    assert (hidden.grad == 0).all()


def test_loss_is_cross_entropy_plus_beta_times_cosine(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    plain = functional.cross_entropy(logits[labels != IGNORED], labels[labels != IGNORED].long())
    assert MOOSLoss(0.0)(logits, hidden, labels).item() == pytest.approx(plain.item(), abs=1e-6)
    expected = plain + 0.3 * naive_cosine(hidden, labels)
    assert MOOSLoss(0.3)(logits, hidden, labels).item() == pytest.approx(expected.item(), abs=1e-6)


def test_soft_targets_are_cross_entropy_with_class_probabilities(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    labels = torch.where(labels == 1, 0.8, labels)
    real = labels != IGNORED
    distribution = torch.stack([1 - labels[real], labels[real]], -1)
    expected = functional.cross_entropy(logits[real], distribution)
    assert MOOSLoss(0.0)(logits, hidden, labels).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_weight_of_preserve_is_that_of_cross_entropy(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    real = labels != IGNORED
    expected = functional.cross_entropy(logits[real], labels[real].long(), weight=torch.tensor([1.0, 3.0]))
    found = MOOSLoss(0.0, preserve_weight=3.0)(logits, hidden, labels)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_first_piece_learns_relevance_and_nothing_else(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    told = labels.clone()
    told[:2, 0] = torch.tensor([1.0, 0.0])  # two passages with a question, two without
    assert MOOSLoss(0.1)(logits, hidden, told) == MOOSLoss(0.1)(logits, hidden, labels)  # no word label
    found = MOOSLoss(0.1, passage_weight=0.5)(logits, hidden, told) - MOOSLoss(0.1)(logits, hidden, labels)
    expected = 0.5 * functional.cross_entropy(logits[:2, 0], torch.tensor([1, 0]))
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    without = MOOSLoss(0.1, passage_weight=0.5)(logits, hidden, labels)
    assert without == MOOSLoss(0.1)(logits, hidden, labels)


def test_gradient_check(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    labels[:2, 0] = 1.0

    def cosine_in_double(states: torch.Tensor) -> torch.Tensor:
        return naive_cosine(states, torch.where(torch.arange(9) == 0, IGNORED, labels))

    states = hidden.double().requires_grad_()
    assert torch.autograd.gradcheck(cosine_in_double, states)  # the definition that the fast form is compared with
    scores = logits.clone().requires_grad_()
    loss = MOOSLoss(0.0, passage_weight=0.5, preserve_weight=2.0)
    loss(scores, hidden, labels).backward()
    step = 1e-3
    for place in [(0, 0, 1), (1, 3, 0), (2, 5, 1), (3, 8, 0)]:
        up, down = logits.clone(), logits.clone()
        up[place] += step
        down[place] -= step
        slope = (loss(up, hidden, labels) - loss(down, hidden, labels)) / (2 * step)
        assert scores.grad is not None
        assert scores.grad[place].item() == pytest.approx(slope.item(), abs=1e-3)


def test_loss_is_computed_in_fp32_inside_autocast(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    assert MOOSLoss(0.1)(logits.bfloat16(), hidden.bfloat16(), labels).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = MOOSLoss(0.1)(logits, hidden, labels)
    assert inside == MOOSLoss(0.1)(logits, hidden, labels)


def test_a_batch_without_any_label_costs_nothing() -> None:
    loss = MOOSLoss(0.1, passage_weight=1.0)
    assert loss(torch.randn(2, 3, 2), torch.randn(2, 3, 4), torch.full((2, 3), IGNORED)) == 0
