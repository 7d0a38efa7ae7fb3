"""Token counts of LLMs whose tokenizers do not ship with us: tokens of `o200k_base`, each weighed by its script.

A weight says how many tokens another family of models makes, at most, of one token of `o200k_base`. Some families cut
numbers into single digits; there a number weighs its digits. No token weighs more than its bytes, because all these
tokenizers fall back to bytes.

The weights were chosen so that nearly all pieces of prose, tables, code, logs and text in 22 languages, of 1,500
characters each, count no fewer tokens than public tokenizers make of them
(`cookbook/benchmarks/results/token_ratios.json`). They are upper bounds for usual text, not for any text.

Which names belong to which family, and the factor of newer Claude models, are as known in November 2026. They were not
checked against the services of the makers. Claude's tokenizer is public up to Claude 2 only. Gemini is counted as the
open Gemma, and a later generation of any family may count otherwise: before you rely on the last tokens of a context
window, compare with the count of the provider. Results say that their counts are approximate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moos_integrations.core.types import FloatArray


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of models counts, beside `o200k_base`.

    Attributes:
        name: What messages call it.
        models: Expression that finds its models' names, in lower case.
        weights: Of a token of ASCII characters; of accented letters, Greek, Cyrillic, Hebrew, Arabic and typographic
            marks; of the scripts of South and South-East Asia, and Ethiopic; of Chinese, Japanese and Korean.
        single_digits: Whether each digit is a token.
    """

    name: str
    models: str
    weights: tuple[float, float, float, float]
    single_digits: bool


_CLAUDE_2 = (1.5, 4.2, 7.0, 2.5)
# Anthropic: the tokenizer that came with Opus 4.7 makes up to 1.35 times the tokens of the one before.
_NEWER = (2.0, 5.7, 9.5, 3.4)
_PIECES_32K = (1.6, 4.0, 5.4, 2.2)

_DIGIT = 1.1  # some of these tokenizers make a token of the space before a number
_TEKKEN = r"mistral-nemo|ministral|pixtral-12b|devstral|magistral|mistral-(small|medium)-(2[5-9]|3|latest)"

FAMILIES: tuple[Family, ...] = (
    Family(
        "Claude up to 4.6",
        r"claude-(instant|v?[123]\b|(opus|sonnet|haiku)-4([-.][0-6])?($|[-@]2\d{7}|-v\d))",
        _CLAUDE_2,
        False,
    ),
    Family("Claude", r"claude", _NEWER, True),
    Family("Gemini", r"gemini|gemma", (1.4, 1.7, 1.8, 1.3), True),
    Family("Llama 3", r"llama-?[34]", (1.35, 3.4, 5.6, 1.4), False),
    Family("Llama 2", r"llama|vicuna", _PIECES_32K, True),
    Family("Mistral with Tekken", _TEKKEN, (1.3, 1.8, 1.9, 1.6), True),
    Family("Mistral", r"mi[sx]tral|codestral|pixtral", _PIECES_32K, True),
    Family("Qwen", r"qwen|qwq", (1.35, 3.3, 4.9, 1.3), True),
    Family("DeepSeek", r"deepseek", (1.35, 2.1, 2.5, 1.2), False),
)
"""In the order in which a model's name is compared with them."""


def family_of(model: str) -> Family | None:
    """The family of a model's name, such as "claude-sonnet-4-5" or "meta-llama/Llama-3.1-8B"; None if there is none."""
    name = model.lower()
    return next((family for family in FAMILIES if re.search(rf"(?<![a-z])(?:{family.models})", name)), None)


def token_weights(family: Family, tokens: Sequence[bytes]) -> FloatArray:
    """Tokens of the family per token of `o200k_base`.

    Args:
        family: The family.
        tokens: The bytes of each token; empty for holes in the vocabulary.

    Returns:
        Shape: `(vocabulary,)`.
    """
    return np.array([_weight(family, token) for token in tokens], np.float64)


def _weight(family: Family, token: bytes) -> float:
    if token.isdigit():
        return _DIGIT * len(token) if family.single_digits else min(family.weights[0], len(token))
    beyond = next((byte for byte in token if byte >= 0x80), None)
    if beyond is None:
        return min(family.weights[0], len(token))
    return min(_weight_of_script(family, beyond), len(token))


def _weight_of_script(family: Family, byte: int) -> float:
    """The weight for the first byte of a token that is not ASCII."""
    if 0xC2 <= byte <= 0xDF or byte == 0xE2:
        return family.weights[1]
    if byte in (0xE0, 0xE1):
        return family.weights[2]
    if 0xE3 <= byte <= 0xEF:
        return family.weights[3]
    return np.inf  # emoji, rare letters, parts of characters: as many tokens as bytes
