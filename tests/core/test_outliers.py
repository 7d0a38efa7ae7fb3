from __future__ import annotations

import numpy as np
import pytest
import torch

from moos_integrations.core.outliers import normalise, outlier_scores

STATISTICS = ("class_diag", "class_dist", "global_diag")


def reference(hidden: np.ndarray, preserve: np.ndarray, statistic: str) -> np.ndarray:
    """One window, plain numpy, written from the definition."""
    scores = np.zeros(len(hidden))
    classes = [np.ones(len(hidden), bool)] if statistic == "global_diag" else [preserve >= 0.5, preserve < 0.5]
    for members in classes:
        if not members.any():
            continue
        own = hidden[members]
        if statistic == "class_dist":
            distance = np.linalg.norm(own - own.mean(0), axis=1)
            scores[members] = (distance - distance.mean()) / (distance.std() + 1e-6)
        else:
            scores[members] = (np.abs(own - own.mean(0)) / (own.std(0) + 1e-6)).mean(1)
    return scores


@pytest.mark.parametrize("statistic", STATISTICS)
def test_batched_and_masked_equals_the_plain_definition(statistic: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, preserve = torch.randn(3, 12, 8, generator=generator), torch.rand(3, 12, generator=generator)
    mask = torch.zeros(3, 12, dtype=torch.bool)
    for row, (start, end) in enumerate([(0, 12), (1, 9), (2, 5)]):
        mask[row, start:end] = True
    scores = outlier_scores(hidden.clone(), preserve, mask, statistic)
    assert (scores[~mask] == 0).all()
    for row in range(3):
        own = mask[row]
        expected = reference(hidden[row, own].double().numpy(), preserve[row, own].numpy(), statistic)
        assert scores[row, own].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_piece_alone_in_its_class_is_no_outlier(statistic: str) -> None:
    scores = outlier_scores(torch.randn(1, 1, 4), torch.tensor([[0.9]]), torch.tensor([[True]]), statistic)
    assert scores.abs().max() < 1e-3


def test_the_odd_one_out_scores_highest() -> None:
    hidden = torch.zeros(1, 20, 4)
    hidden[0, :, 0] = torch.linspace(-1, 1, 20)
    hidden[0, 7] = 9.0
    for statistic in STATISTICS:
        scores = outlier_scores(
            hidden.clone(), torch.full((1, 20), 0.9), torch.ones(1, 20, dtype=torch.bool), statistic
        )
        assert scores.argmax() == 7


def test_normalise() -> None:
    assert normalise(np.array([])).tolist() == []
    assert normalise(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert normalise(np.array([1.0, 2.0, 3.0, 2.0]))[0] == 0.0
    many = normalise(np.append(np.linspace(0, 1, 200), 1e6))
    assert many.max() == 1.0
    assert many[100] > 0.4  # one huge value does not flatten the others


def test_the_highest_hundredth_is_clipped() -> None:
    found = normalise(np.linspace(5.0, 6.0, 201))
    assert found[100] == pytest.approx(0.5 / 0.99)
    assert (found[198:] == 1.0).all()
    assert found[197] < 1.0
