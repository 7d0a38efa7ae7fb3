from __future__ import annotations

import numpy as np
import pytest
import torch

from moos_integrations.core.gate import RelevanceGate, gated
from moos_integrations.core.voices import Gate


def test_before_training_the_weights_are_the_same_for_all_inputs() -> None:
    gates = RelevanceGate(6)(torch.randn(3, 6))
    torch.testing.assert_close(gates, torch.tensor([[15.0, 5.0]] * 3))


def test_weights_are_never_negative_and_have_a_limit() -> None:
    gate = RelevanceGate(4)
    torch.nn.init.normal_(gate.linear.weight, std=100)
    gates = gate(torch.randn(50, 4))
    assert (gates >= 0).all()
    assert (gates <= torch.tensor([40.0, 20.0])).all()
    assert gates.std(0).min() > 1


def test_relevance_gains_both_cosines_with_their_weights() -> None:
    gates = torch.tensor([[10.0, 2.0], [1.0, 0.0]])
    found = gated(gates, torch.tensor([0.5, torch.nan]), torch.tensor([[0.5, torch.nan], [1.0, 1.0]]))
    assert found.tolist() == [[6.0, 5.0], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_fp32_whatever_the_states_are(dtype: torch.dtype) -> None:
    assert RelevanceGate(4).to(dtype)(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_saved_gate_gives_the_same_weights_without_torch() -> None:
    gate = RelevanceGate(5)
    torch.nn.init.normal_(gate.linear.weight)
    saved = Gate(gate.linear.weight.detach().numpy(), gate.linear.bias.detach().numpy())
    first = torch.randn(20, 5)
    np.testing.assert_allclose(saved.of(first.numpy()), gate(first).detach().numpy(), rtol=1e-5)
