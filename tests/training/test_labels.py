from __future__ import annotations

import numpy as np

from moos_integrations.core.text import segment
from moos_integrations.training.labels import (
    LabelledText,
    content_words,
    labels_for_question,
    labels_from_questions,
    labels_from_token_mask,
)


def kept(labelled: LabelledText) -> list[str]:
    return [word for word, target in zip(segment(labelled.text).words(), labelled.targets, strict=True) if target]


def targets(labelled: LabelledText) -> dict[str, float]:
    return dict(zip(segment(labelled.text).words(), labelled.targets.tolist(), strict=True))


def test_token_mask() -> None:
    text = "The Gilmer City Council on Tuesday plans to consider canceling its election."
    tokens = text.replace(".", " .").split()
    labelled = labels_from_token_mask(text, tokens, [bit == "1" for bit in "1111001111111"])
    assert labelled is not None
    assert " ".join(kept(labelled)) == "The Gilmer City Council plans to consider canceling its election ."


def test_tokens_that_do_not_spell_the_text_are_refused() -> None:
    assert labels_from_token_mask('He said "no".', ["He", "said", "``", "no", "''", "."], [True] * 6) is None
    assert labels_from_token_mask("a b c", ["a", "c"], [True, True]) is None


def test_questions_and_answers() -> None:
    context = "Marie Curie was born in Warsaw in 1867. She liked the sea. Curie did not want the prizes."
    answer = context.index("Warsaw")
    labelled = labels_from_questions(context, ["Where was Marie Curie born?"], [(answer, answer + 6)])
    # The answer, and what the question repeats inside the answer's sentence: not the Curie of the last one.
    assert kept(labelled) == ["Marie", "Curie", "born", "Warsaw"]


def test_stems_and_negations_in_answer_sentences() -> None:
    context = "The council never measured the dams. It was late."
    answer = context.index("dams")
    labelled = labels_from_questions(context, ["What measurements did the council take?"], [(answer, answer + 4)])
    assert kept(labelled) == ["council", "never", "dams"]
    labelled = labels_from_questions(context, ["What was measured?"], [(answer, answer + 4)])
    assert kept(labelled) == ["never", "measured", "dams"]


def test_no_answers_no_labels() -> None:
    assert kept(labels_from_questions("Some text here.", ["Which text?"], [])) == []


def test_one_question_needs_its_sentence_and_some_words_of_it_more() -> None:
    context = "Curie liked the sea. She was not born in Paris but in old Warsaw, in 1867. She wrote."
    answer = context.index("Warsaw")
    labelled = labels_for_question(context, "Where was Marie Curie born?", [(answer, answer + 6)])
    found = targets(labelled)
    assert {word for word, target in found.items() if target == 1.0} == {"not", "born", "Warsaw", "1867"}
    assert found["Paris"] == found["old"] == 0.8
    assert found["but"] == found["in"] == found[","] == 0.5
    # Another sentence gets nothing, also where it repeats the question.
    assert found["Curie"] == found["sea"] == found["wrote"] == 0.0


def test_evidence_without_an_answer_is_needed_too() -> None:
    context = "Doe directed Alien Sun. It rained."
    labelled = labels_for_question(context, "Who directed Alien Sun?", evidence=[(0, 23)])
    assert kept(labelled) == ["Doe", "directed", "Alien", "Sun", "."]


def test_a_passage_without_answer_or_evidence_is_a_negative() -> None:
    assert not labels_for_question("Doe directed Alien Sun.", "Who directed Alien Sun?").targets.any()
    assert labels_for_question("", "Who?").targets.shape == (0,)


def test_content_words() -> None:
    assert content_words("Who was the first man on the moon?") == ["first", "man", "moon"]
    assert content_words("") == []


def test_targets_are_probabilities() -> None:
    labelled = labels_for_question("A b. C d 1.", "What is d?", [(5, 6)])
    assert labelled.targets.dtype == np.float64
    assert ((labelled.targets >= 0) & (labelled.targets <= 1)).all()
