from __future__ import annotations

from moos_integrations.core.text import segment
from moos_integrations.training.labels import LabelledText, labels_from_questions, labels_from_token_mask


def kept(labelled: LabelledText) -> list[str]:
    return [word for word, keep in zip(segment(labelled.text).words(), labelled.keep, strict=True) if keep]


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
