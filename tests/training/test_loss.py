from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from moos_integrations.core.pooling import OUTSIDE, QUESTION, question_similarity, unit_means
from moos_integrations.training.loss import IGNORED, MOOSLoss, inter_class_cosine, ranking_loss, unit_relevance


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


# --- ranking -------------------------------------------------------------------------------------------------------


def naive_ranking(relevance: torch.Tensor, needed: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
    """The definition: per needed unit, the softmax over itself and all units of its question that are not needed."""
    questions = []
    for asked in question.unique():
        own = question == asked
        others = relevance[own & ~needed]
        losses = [-functional.log_softmax(torch.cat([score[None], others]), 0)[0] for score in relevance[own & needed]]
        if losses and len(others):
            questions.append(torch.stack(losses).mean())
    return torch.stack(questions).mean() if questions else relevance.sum() * 0


@pytest.mark.parametrize("spread", [1, 30, 300])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_loss_and_gradient_are_those_of_the_definition(seed: int, spread: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    relevance = spread * torch.randn(40, generator=generator)
    question = torch.randint(0, 6, (40,), generator=generator)
    needed = (torch.rand(40, generator=generator) < 0.3) & (question != 0)  # one question needs nothing
    needed |= question == 1  # and one everything
    fast, slow = relevance.clone().requires_grad_(), relevance.clone().requires_grad_()
    found, expected = ranking_loss(fast, needed, question), naive_ranking(slow, needed, question)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    found.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-6, rtol=1e-4)


def test_nothing_to_rank_gives_zero() -> None:
    empty = torch.zeros(0, requires_grad=True)
    assert ranking_loss(empty, torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.long)) == 0
    units = torch.full((4, 9), OUTSIDE)
    hidden = torch.randn(4, 9, 6)
    loss = MOOSLoss(0.0, ranking_weight=1.0)(torch.randn(4, 9, 2), hidden, torch.zeros(4, 9), units, torch.arange(4))
    assert torch.isfinite(loss)


def test_a_units_relevance_is_words_and_passage_and_nearness() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, hidden = torch.randn(2, 7, 2, generator=generator), torch.randn(2, 7, 5, generator=generator)
    units = torch.tensor([[OUTSIDE, QUESTION, QUESTION, OUTSIDE, 0, 0, 1], [OUTSIDE, OUTSIDE, 0, 1, 1, 2, OUTSIDE]])
    relevance, sizes = unit_relevance(logits, hidden, units, 10.0)
    assert sizes.tolist() == [[2, 1, 0], [1, 2, 1]]
    odds = logits[..., 1] - logits[..., 0]
    near = functional.cosine_similarity(hidden[0, 1:3].mean(0), hidden[0, 4:6].mean(0), dim=0)
    assert relevance[0, 0].item() == pytest.approx((odds[0, 4:6].mean() + odds[0, 0] + 10 * near).item(), abs=1e-5)
    assert relevance[1, 1].item() == pytest.approx((odds[1, 3:5].mean() + odds[1, 0]).item(), abs=1e-5)  # no question
    assert question_similarity(hidden, units, 3)[1].tolist() == [0, 0, 0]
    assert unit_means(odds, units, 3)[0][0, 2] == 0


def test_only_units_of_the_same_question_are_ranked() -> None:
    """A needed unit of one question does not compete with the units of another."""
    torch.manual_seed(0)
    logits, hidden = torch.randn(2, 4, 2), torch.randn(2, 4, 5)
    labels = torch.tensor([[1.0, IGNORED, 1.0, 0.0], [0.0, IGNORED, 0.0, 0.0]])
    units = torch.tensor([[OUTSIDE, QUESTION, 0, 1], [OUTSIDE, QUESTION, 0, 1]])
    loss = MOOSLoss(0.0, ranking_weight=1.0)
    apart, together = (loss(logits, hidden, labels, units, torch.tensor(groups)) for groups in ([0, 1], [0, 0]))
    plain = MOOSLoss(0.0)(logits, hidden, labels)
    assert plain < apart < together
    units[:, 1] = OUTSIDE
    assert loss(logits, hidden, labels, units, torch.tensor([0, 0])) == plain  # without a question nothing is ranked


def test_cosines_are_held_against_those_of_a_sentence_encoder() -> None:
    torch.manual_seed(0)
    logits, hidden = torch.randn(2, 5, 2), torch.randn(2, 5, 4, requires_grad=True)
    labels = torch.full((2, 5), IGNORED)
    units = torch.tensor([[OUTSIDE, QUESTION, 0, 0, 1], [OUTSIDE, OUTSIDE, 0, 1, 2]])
    told = torch.tensor(
        [[0.3, -0.2, 0.9], [torch.nan] * 3]
    )  # the third unit was cut off, the second row has no question
    found = MOOSLoss(0.0, distillation_weight=2.0)(logits, hidden, labels, units, torch.arange(2), told)
    cosines = [
        functional.cosine_similarity(hidden[0, 1], state, dim=0) for state in (hidden[0, 2:4].mean(0), hidden[0, 4])
    ]
    expected = ((cosines[0] - 0.3) ** 2 + (cosines[1] + 0.2) ** 2) / 2
    assert found.item() == pytest.approx(2 * expected.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(found, hidden)
    assert gradient[0, 1:].abs().sum() > 0
    assert gradient[1].abs().sum() == 0
    nobody = MOOSLoss(0.0, distillation_weight=2.0)(logits, hidden, labels, units, torch.arange(2), told[:, :0])
    assert nobody == 0
