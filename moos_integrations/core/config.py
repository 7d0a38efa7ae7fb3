"""`CompressorConfig`: all settings in one checked, frozen value that goes to and from JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from moos_integrations.core.protection import Protect, check_protect, pattern_from_json, pattern_to_json
from moos_integrations.errors import ConfigError

OutlierStatistic = Literal["class_diag", "class_dist", "global_diag"]
WordReduction = Literal["mean", "first", "max"]
OnError = Literal["raise", "passthrough"]
Redundancy = Literal["greedy", "symmetric"]
Budgets = Literal["auto", "gain", "words"]
Order = Literal["source", "relevance", "ends"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

BUNDLED_MODEL = "moos-minilm-en"
BUNDLED_MODELS = Path(__file__).resolve().parent.parent / "models"
"""Folder with one sub-folder per model in the package."""
DEFAULT_RATE = 0.5
DEFAULT_TOKENIZER = "o200k_base"
DEFAULT_SEPARATOR = "\n\n"
DEFAULT_CACHE_BYTES = 64 * 2**20
DEFAULT_ALPHA = 1.0
DEFAULT_STATISTIC: OutlierStatistic = "class_diag"


# --- checks, shared by all settings ----------------------------------------------------------------------------------


def settings_in(text: str, what: str = "settings") -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        ConfigError: If it is none.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"Expected a JSON object of {what}: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"Expected a JSON object of {what}, got {type(values).__name__}.")
    return values


def refuse_unknown(settings: Mapping[str, Any], kind: type, what: str = "setting") -> None:
    """Check that all names are fields of a dataclass.

    Raises:
        ConfigError: Naming the unknown ones and the known ones.
    """
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"Unknown {what} {', '.join(map(repr, unknown))}; known are {', '.join(known)}.")


def check_share(name: str, value: Any) -> None:
    """Raise a `ConfigError` unless the value is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or not 0 <= value <= 1:
        raise ConfigError(f"`{name}` must be a number in [0, 1], got {value!r}.")


def check_number(name: str, value: Any, *, above: float | None = None) -> None:
    """Raise a `ConfigError` unless the value is a finite number from 0 on, or above a bound."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (value < 0 if above is None else value <= above):
        bound = "from 0 on" if above is None else f"above {above:g}"
        raise ConfigError(f"`{name}` must be a finite number {bound}, got {value!r}.")


def check_whole_number(name: str, value: Any, minimum: int) -> None:
    """Raise a `ConfigError` unless the value is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"`{name}` must be a whole number from {minimum} on, got {value!r}.")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}.")


# --- settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """How much to keep: exactly one of three.

    Attributes:
        rate: Share of the target LLM's tokens to keep over all documents together, in [0, 1]. A ceiling.
        budget_tokens: Ceiling in the target LLM's tokens for all documents together, joined by the separator.
        threshold: In [0, 1], adaptive: no ceiling. With a question, keep the units that are at least this share as
            likely to be needed as the best one (odds against odds), so that easy questions use few tokens. Without
            one, keep the words whose metric is at least this.
    """

    rate: float | None = None
    budget_tokens: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Unless exactly one target is given and lies in its range.
        """
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if len(given) != 1:
            shown = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "none"
            raise ConfigError(f"Give exactly one of `rate`, `budget_tokens` and `threshold`; got {shown}.")
        for name in ("rate", "threshold"):
            if name in given:
                check_share(name, given[name])
        if self.budget_tokens is not None:
            check_whole_number("budget_tokens", self.budget_tokens, 0)

    @classmethod
    def of(
        cls, rate: float | None = None, budget_tokens: int | None = None, threshold: float | None = None
    ) -> Target | None:
        """The target that was given, or None if none was.

        Raises:
            ConfigError: If two or more are given, or one is out of range.
        """
        if rate is None and budget_tokens is None and threshold is None:
            return None
        return cls(rate, budget_tokens, threshold)


DEFAULT_ASKED = Target(threshold=1e-4)
"""What is kept where a question is read and no target is set: about the smallest part that held 99 % of the answers of
the development sets together (`cookbook/benchmarks/results/calibration.json`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressorConfig:
    """Settings of a `ContextCompressor`, checked when built.

    How the budget is shared out (`lexical_weight` to `whole_from`) was chosen on development sets, where
    `cookbook/benchmarks/results/gain_ablation.json` changes one setting at a time: near the defaults little changes.

    Attributes:
        rate: See `Target`. If no target is set, `rate` is 0.5 without a question; with one that is read, see
            `DEFAULT_ASKED`.
        budget_tokens: See `Target`.
        threshold: See `Target`.
        alpha: Weight of the preserve probability in `m_k = alpha * p_k + (1 - alpha) * s_k^norm`, in [0, 1]. 1 is the
            plain classifier, and the default: in `cookbook/benchmarks/results/alpha_sweep.json` no other weight keeps
            clearly more answers, in or out of domain, and each keeps fewer rare words.
        outlier_statistic: Which outlier score `s_k` is used where `alpha` is below 1; see `core.outliers`. In the same
            file no statistic is clearly ahead of the others.
        word_reduction: How a word's score follows from its pieces'.
        budgets: "gain" shares the budget out among units (sentences, lines) by marginal information gain (COMI);
            "words" puts all words of all documents into one ranking; "auto" does the first with a question that is
            read, the second without.
        similarity_scale: Weight, in log-odds, of the cosine between question and unit where `embeddings` are given; the
            model brings its own.
        lexical_weight: Weight, in log-odds, of the match of a unit's terms with the question's (BM25, the best unit 1):
            names, codes and numbers that the model does not know.
        retriever_weight: Weight, in log-odds per standard deviation within a call, of the scores that the retriever
            gave the documents, where it gave any.
        redundancy: "greedy" or "symmetric"; see `core.marginal_gain`.
        redundancy_weight: Weight of redundancy against relevance, in log-odds.
        temperature: How evenly units share, in log-odds; towards 0 the best units get all.
        whole_from: Share of a unit's tokens from which it is kept whole, in [0, 1]. Lines of code, rows of tables, list
            items and log lines are kept whole or not at all, and only with the lines that they stand under by their
            indentation (`def`, `if`, the item above a nested list).
        top_n: Keep something of at most so many documents, those with the most relevant units; None for all.
        order: How the kept documents follow one another: "source" as they came, "relevance" the best first, "ends" the
            best first and last and the worst in the middle, where language models look least.
        protect: What is never dropped while it fits the target: names of detectors ("numbers", "negations", "urls",
            ...), compiled regular expressions, or literal strings.
        tokenizer: The target LLM's tokenizer: tiktoken encoding or model name, Hugging Face tokenizer, or callable.
        separator: What the prompt puts between documents; its tokens count.
        on_error: "raise", or "passthrough": if the model fails, return the documents unchanged with one warning.
        max_batch_pieces: Upper bound on word pieces, padding included, in one forward pass; bounds the memory.
        cache_bytes: Memory for texts and scores that are known already, so that the same text under the same question,
            or without one, is not read again; 0 keeps none.
        cache_dir: Directory that keeps scores across processes as well; None keeps none.
    """

    rate: float | None = None
    budget_tokens: int | None = None
    threshold: float | None = None
    alpha: float = DEFAULT_ALPHA
    outlier_statistic: OutlierStatistic = DEFAULT_STATISTIC
    word_reduction: WordReduction = "mean"
    budgets: Budgets = "auto"
    similarity_scale: float = 10.0
    lexical_weight: float = 2.0
    retriever_weight: float = 0.5
    redundancy: Redundancy = "symmetric"
    redundancy_weight: float = 2.0
    temperature: float = 0.7
    whole_from: float = 0.7
    top_n: int | None = None
    order: Order = "source"
    protect: Protect = ()
    tokenizer: Any = DEFAULT_TOKENIZER
    separator: str = DEFAULT_SEPARATOR
    on_error: OnError = "raise"
    max_batch_pieces: int = 4096
    cache_bytes: int = DEFAULT_CACHE_BYTES
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: Naming the setting, what was expected and what came.
        """
        Target.of(self.rate, self.budget_tokens, self.threshold)
        check_share("alpha", self.alpha)
        _check_choice("outlier_statistic", self.outlier_statistic, get_args(OutlierStatistic))
        _check_choice("word_reduction", self.word_reduction, get_args(WordReduction))
        _check_choice("budgets", self.budgets, get_args(Budgets))
        _check_choice("redundancy", self.redundancy, get_args(Redundancy))
        check_number("redundancy_weight", self.redundancy_weight)
        check_number("similarity_scale", self.similarity_scale)
        check_number("lexical_weight", self.lexical_weight)
        check_number("retriever_weight", self.retriever_weight)
        check_number("temperature", self.temperature, above=0.0)
        check_share("whole_from", self.whole_from)
        if self.top_n is not None:
            check_whole_number("top_n", self.top_n, 1)
        _check_choice("order", self.order, get_args(Order))
        _check_choice("on_error", self.on_error, get_args(OnError))
        object.__setattr__(self, "protect", check_protect(self.protect))
        if not isinstance(self.separator, str):
            raise ConfigError(f"`separator` must be a string, got {type(self.separator).__name__}.")
        if not (isinstance(self.tokenizer, str) or callable(self.tokenizer) or hasattr(self.tokenizer, "encode")):
            raise ConfigError(
                "`tokenizer` must be a tiktoken encoding or model name, a Hugging Face tokenizer or a callable, "
                f"got {type(self.tokenizer).__name__}."
            )
        check_whole_number("max_batch_pieces", self.max_batch_pieces, 1)
        check_whole_number("cache_bytes", self.cache_bytes, 0)
        if self.cache_dir is not None and not isinstance(self.cache_dir, str):
            raise ConfigError(f"`cache_dir` must be a path as a string, or None, got {type(self.cache_dir).__name__}.")

    def target(self, *, asked: bool) -> Target:
        """The target in force.

        Args:
            asked: Whether a question was read; without one, and with no target set, less can be left out.
        """
        default = DEFAULT_ASKED if asked else Target(rate=DEFAULT_RATE)
        return Target.of(self.rate, self.budget_tokens, self.threshold) or default

    def to_json(self) -> str:
        """The settings as a JSON object.

        Raises:
            ConfigError: If `tokenizer` is an object, which JSON cannot hold.
        """
        if not isinstance(self.tokenizer, str):
            raise ConfigError(
                "A config is saved only with a `tokenizer` given by name; got "
                f"{type(self.tokenizer).__name__}. Save it without, and pass the object again when loading."
            )
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["protect"] = [pattern_to_json(item) for item in self.protect]
        return json.dumps(values, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> CompressorConfig:
        """The settings that `to_json` wrote.

        Raises:
            ConfigError: If the text is no JSON object, or names an unknown setting.
        """
        values = settings_in(text)
        if isinstance(values.get("protect"), list):
            values["protect"] = tuple(pattern_from_json(item) for item in values["protect"])
        return cls.from_settings(values)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> CompressorConfig:
        """A config from keyword settings, unknown names refused with the list of known ones."""
        refuse_unknown(settings, cls)
        return cls(**settings)
