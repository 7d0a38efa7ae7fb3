from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moos_integrations import ModelError
from moos_integrations.core import passages
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.passages import PassageEncoder


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> PassageEncoder:
    return PassageEncoder(str(tiny_model), max_pieces=32)


def test_vectors_have_length_one_and_nothing_has_none(encoder: PassageEncoder) -> None:
    vectors = encoder.texts(["The fox jumps.", "", "fox " * 90])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1], atol=1e-5)
    assert encoder.texts([]).shape == (0, encoder.width)


def test_a_passage_is_read_alike_alone_and_in_a_batch(encoder: PassageEncoder) -> None:
    texts = ["The fox.", "The quick brown fox jumps over the lazy dog.", "fox " * 30, "dog"]
    together = encoder.texts(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.texts([text])[0], vector)


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


def test_of_an_endless_question_a_quarter_of_the_input_is_read(encoder: PassageEncoder) -> None:
    np.testing.assert_array_equal(encoder.question("fox " * 5000), encoder.question("fox " * 8))
    assert not encoder.question(" \n").any()


def test_the_network_of_a_classifier_encodes_like_its_folder(encoder: PassageEncoder, tiny_model: Path) -> None:
    classifier = load_classifier(str(tiny_model), device="cpu", dtype="float32")
    texts = ["The quick brown fox.", "A dog sleeps. It snores."]
    np.testing.assert_allclose(PassageEncoder.of(classifier, 32).texts(texts), encoder.texts(texts), atol=1e-6)
