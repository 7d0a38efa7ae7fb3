"""Fixtures that most tests need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny import HashScorer, save_tiny_causal_model, save_tiny_model, save_tiny_span_model

from moos_integrations import ContextCompressor

# Haystack reports its use over the network, in a thread that would outlive its test.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

# A first example may load a tokenizer; what counts is that the laws hold, not how fast each draw is.
settings.register_profile("fast", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
# For `pytest -m "slow or hypothesis" --hypothesis-profile=thorough`.
settings.register_profile("thorough", parent=settings.get_profile("fast"), max_examples=200)
settings.load_profile("fast")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny WordPiece classifier."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def aware_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny WordPiece classifier that is query-aware."""
    return save_tiny_model(tmp_path_factory.mktemp("aware"), query_aware=True)


@pytest.fixture(scope="session")
def span_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny, untrained model with a span head."""
    return save_tiny_span_model(tmp_path_factory.mktemp("span"))


@pytest.fixture(scope="session")
def causal_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny, untrained causal language model that reads 128 tokens."""
    return save_tiny_causal_model(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="session")
def compressor() -> ContextCompressor:
    """A compressor without a model."""
    return ContextCompressor(HashScorer())


@pytest.fixture(scope="session")
def bundled() -> ContextCompressor:
    """The compressor with the model that ships in the package, in float32."""
    return ContextCompressor.from_pretrained(dtype="float32")
