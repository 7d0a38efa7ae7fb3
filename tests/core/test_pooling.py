"""Pieces to units, against a loop over pieces."""

from __future__ import annotations

import pytest
import torch

from moos_integrations.core.pooling import OUTSIDE, QUESTION, question_similarity, unit_means

UNITS = torch.tensor([[OUTSIDE, QUESTION, QUESTION, 0, 0, 2, OUTSIDE], [OUTSIDE, 0, 1, 1, 1, OUTSIDE, OUTSIDE]])
VALUES = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("values", [VALUES, VALUES[..., 0]], ids=["vectors", "numbers"])
def test_means_are_those_of_each_unit(values: torch.Tensor) -> None:
    means, sizes = unit_means(values, UNITS, 3)
    assert sizes.tolist() == [[2, 0, 1], [1, 3, 0]]
    for row in range(2):
        for unit in range(3):
            own = values[row, UNITS[row] == unit]
            expected = own.mean(0) if len(own) else torch.zeros(values.shape[2:])
            assert torch.allclose(means[row, unit], expected, atol=1e-6)


def test_similarity_is_the_cosine_of_the_means() -> None:
    found = question_similarity(VALUES, UNITS, 3)
    question = VALUES[0, 1:3].mean(0)
    for unit in (0, 2):
        own = VALUES[0, UNITS[0] == unit].mean(0)
        assert found[0, unit].item() == pytest.approx(torch.cosine_similarity(question, own, dim=0).item(), abs=1e-6)
    assert found[0, 1] == 0  # no pieces
    assert (found[1] == 0).all()  # no question
