from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import save_tiny_model

from moos_integrations import ModelError
from moos_integrations.core import passages
from moos_integrations.core.passages import PassageEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PassageEncoder:
    return PassageEncoder(str(save_tiny_model(tmp_path_factory.mktemp("encoder"))), max_pieces=32)


def test_vectors_have_length_one_and_nothing_has_none(encoder: PassageEncoder) -> None:
    vectors = encoder.texts(["The fox jumps.", "", "fox " * 90])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)
    assert encoder.texts([]).shape == (0, encoder.width)


def test_a_passage_is_read_alike_alone_and_in_a_batch(encoder: PassageEncoder) -> None:
    texts = ["The fox.", "The quick brown fox jumps over the lazy dog.", "fox " * 30, "dog"]
    together = encoder.texts(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.question(text), vector)


def test_unit_vectors_are_means_over_their_pieces(encoder: PassageEncoder) -> None:
    ids = [pieces.ids.tolist() for pieces in passages.tokenize(encoder.tokenizer, ["The fox jumps over the dog."])]
    count = len(ids[0])
    (split,) = encoder.passages(ids, [[0] * 2 + [2] * (count - 2)])
    (one,) = encoder.passages(ids, [[0] * count])
    (each,) = encoder.passages(ids, [list(range(count))])
    assert split.units.shape == (3, encoder.width)
    assert not split.units[1].any()
    np.testing.assert_array_equal(split.passage, one.passage)
    assert each.units.shape == (count, encoder.width)
    np.testing.assert_allclose(np.linalg.norm(each.units, axis=1), 1, atol=1e-5)


def test_kept_vectors_are_not_made_again(
    encoder: PassageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encoder.texts(["The fox.", "The dog."], kept=tmp_path)
    monkeypatch.setattr(encoder, "passages", None)  # would fail if it were called again
    np.testing.assert_allclose(encoder.texts(["The fox.", "The dog."], kept=tmp_path), first, atol=1e-3)
    with pytest.raises(TypeError):
        encoder.texts(["The fox.", "The cat."], kept=tmp_path)


def test_what_is_no_encoder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Expected a sentence encoder with a fast tokenizer in "):
        PassageEncoder(str(tmp_path))
