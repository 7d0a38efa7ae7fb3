from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from moos_integrations.training.loss import IGNORED, inter_class_cosine, moos_loss


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
    labels = torch.randint(0, 2, (4, 9), generator=generator)
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
    value = inter_class_cosine(hidden, torch.ones(2, 3, dtype=torch.long))
    value.backward()
    assert value == 0
    assert (hidden.grad == 0).all()


def test_loss_is_cross_entropy_plus_beta_times_cosine(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    plain = functional.cross_entropy(logits[labels != IGNORED], labels[labels != IGNORED])
    assert moos_loss(logits, hidden, labels, 0.0).item() == pytest.approx(plain.item(), abs=1e-6)
    expected = plain + 0.3 * naive_cosine(hidden, labels)
    assert moos_loss(logits, hidden, labels, 0.3).item() == pytest.approx(expected.item(), abs=1e-6)


def test_loss_is_computed_in_fp32(batch: tuple[torch.Tensor, ...]) -> None:
    logits, hidden, labels = batch
    assert moos_loss(logits.bfloat16(), hidden.bfloat16(), labels, 0.1).dtype == torch.float32
