"""Every door has the same settings: names, defaults, texts and checks come from one source."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from tiny import HashScorer, UnitScorer
from typer.main import get_command
from typer.testing import CliRunner

from moos_integrations import CompressorConfig, ConfigError, ContextCompressor, cli, messages
from moos_integrations.cli_options import NOT_ON_A_COMMAND_LINE
from moos_integrations.core.checks import plain_types, stages
from moos_integrations.core.config import (
    AllKeywords,
    GainKeywords,
    GainSettings,
    ScoreKeywords,
    ScoreSettings,
    SettingKeywords,
    Settings,
    without_effect,
)
from moos_integrations.langchain import MOOSCompressor, MOOSCompressorKeywords
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform
from moos_integrations.llama_index.component import NodeCompressorKeywords
from moos_integrations.llama_index.postprocessor import MOOSNodePostprocessorKeywords

ROOT = Path(__file__).parents[1]
ADAPTERS = [MOOSCompressor, MOOSNodePostprocessor, MOOSNodeTransform]
DOORS: dict[str, Callable[..., Any]] = {
    "config": CompressorConfig,
    "from_settings": lambda **settings: CompressorConfig.from_settings(settings),
    "model_validate": lambda **settings: CompressorConfig.model_validate(settings),
    "config_copy": lambda **settings: CompressorConfig().model_copy(update=settings),
    "from_pretrained": lambda **settings: ContextCompressor.from_pretrained(lazy=True, **settings),
    **{adapter.__name__: adapter for adapter in ADAPTERS},
    **{
        f"{adapter.__name__}_copy": lambda adapter=adapter, **settings: adapter().model_copy(update=settings)
        for adapter in ADAPTERS
    },
    "assignment": lambda **settings: _assigned(MOOSCompressor(), settings),
    "assignment_llama_index": lambda **settings: _assigned(MOOSNodePostprocessor(), settings),
    "from_dict": lambda **settings: MOOSNodePostprocessor.from_dict(settings),
}


def _assigned(component: Any, settings: dict[str, Any]) -> Any:
    for name, value in settings.items():
        setattr(component, name, value)
    return component


def config_of(built: Any) -> CompressorConfig:
    if isinstance(built, CompressorConfig):
        return built
    return built.config if isinstance(built, ContextCompressor) else built.compressor.config


def all_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by the name that messages use, such as `gains.temperature`."""
    nested = stages(Settings)
    for stage, model in {"": Settings, **nested}.items():
        for name, field in model.model_fields.items():
            if name not in nested:
                yield (f"{stage}.{name}" if stage else name), field


def as_settings(place: str, value: Any) -> dict[str, Any]:
    stage, _, name = place.rpartition(".")
    return {stage: {name: value}} if stage else {name: value}


def value_of(settings: Any, place: str) -> Any:
    for name in place.split("."):
        settings = getattr(settings, name)
    return settings


class Embedder:
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, 1.0]


class Store:
    def mget(self, keys: list[str]) -> list[bytes | None]:
        return [None for _ in keys]

    def mset(self, pairs: list[tuple[str, bytes]]) -> None:
        pass


FIELDS = dict(all_fields())
GOOD: dict[str, Any] = {
    "model": "someone/some-model",
    "rate": 0.25,
    "budget_tokens": 7,
    "threshold": 0.125,
    "protect": ("numbers", "ACME Corp", re.compile("a", re.IGNORECASE), regex.compile(r"\p{Lu}")),
    "tokenizer": "gpt-4",
    "separator": "\n--\t",
    "top_n": 3,
    "min_tokens": 9,
    "omission": "[... {count} {unit} omitted]",
    "order": "ends",
    "on_error": "passthrough",
    "timeout": 2.5,
    "cache_bytes": 0,
    "cache_dir": "not_there_yet/scores",
    "cache_dir_bytes": 5_000,
    "cache_store": Store(),
    "device": "cuda:1",
    "dtype": "bfloat16",
    "embeddings": Embedder(),
    "scores.alpha": 0.5,
    "scores.outlier_statistic": "global_diag",
    "scores.word_reduction": "max",
    "scores.max_batch_pieces": 64,
    "scores.preserve_label": "keep",
    "gains.budgets": "words",
    "gains.lexical_weight": 0.0,
    "gains.retriever_weight": 3.5,
    "gains.similarity_scale": 20.0,
    "gains.redundancy": "greedy",
    "gains.redundancy_weight": 1.0,
    "gains.temperature": 0.1,
    "gains.whole_from": 0.5,
    "gains.fill": False,
}
BAD: list[tuple[str, Any, str]] = [
    ("model", "", "`model` must be a bundled name (moos-minilm-en), a folder in Hugging Face layout or a hub id"),
    ("model", 3, "`model` must be a string, got 3."),
    ("model", "./no_such_folder", "there is no such folder"),
    ("model", "a/b/c", "there is no such folder"),
    ("model", "x" * 300, "there is no such folder"),
    ("model", "a\0b", "there is no such folder"),
    ("model", "moos-minilm-eng", "Did you mean 'moos-minilm-en'?"),
    ("rate", 1.5, "`rate` must be a number in [0, 1], got 1.5."),
    ("rate", True, "got True"),
    ("rate", np.bool_(True), "`rate` must be"),
    ("rate", "0.5", "got '0.5'"),
    ("rate", float("nan"), "got nan"),
    ("budget_tokens", -1, "`budget_tokens` must be a whole number from 0 on, got -1."),
    ("budget_tokens", 10.0, "got 10.0"),
    ("budget_tokens", np.float64(10), "`budget_tokens` must be a whole number"),
    ("budget_tokens", False, "got False"),
    ("threshold", -0.1, "`threshold` must be a number in [0, 1], got -0.1."),
    ("protect", "numbers", "`protect` must be a list of detector names"),
    ("protect", ["number"], "did you mean 'numbers'?"),
    ("protect", [""], "non-empty"),
    ("protect", [{"pattern": "("}], "`protect` has a stored pattern that cannot be read"),
    ("protect", [{"flags": 3}], "`protect` has a stored pattern that cannot be read"),
    ("tokenizer", "minivan-3", "`tokenizer` must name a tiktoken encoding (gpt2, "),
    ("tokenizer", 7, "got int"),
    ("separator", None, "`separator` must be a string, got None."),
    ("top_n", 0, "`top_n` must be a whole number from 1 on, got 0."),
    ("min_tokens", -1, "`min_tokens` must be a whole number from 0 on, got -1."),
    ("min_tokens", None, "`min_tokens` must be a whole number from 0 on, got None."),
    ("omission", 7, "`omission` must be a string or None, got int."),
    ("omission", "[{lines}]", "`omission` has the unknown field 'lines'"),
    ("order", "best", "`order` must be one of 'source', 'relevance', 'ends', got 'best'."),
    ("order", ["source"], "`order` must be one of"),
    ("on_error", "ignore", "`on_error` must be one of 'raise', 'passthrough', got 'ignore'."),
    ("cache_bytes", -1, "`cache_bytes` must be a whole number from 0 on, got -1."),
    ("cache_dir", 7, "`cache_dir` must be a path or None, got 7."),
    ("cache_dir", "", "`cache_dir` must be the path of a directory, got ''."),
    ("cache_dir", __file__, "is a file"),
    ("cache_dir", f"{__file__}/scores", "is a file"),
    ("timeout", 0, "`timeout` must be a finite number above 0, got 0."),
    ("timeout", "1", "`timeout` must be a finite number above 0, got '1'."),
    ("cache_dir_bytes", 0, "`cache_dir_bytes` must be"),
    ("cache_store", "redis://", "`cache_store` must be a LangChain `BaseStore[str, bytes]` (`mget`, `mset`) or"),
    ("cache_store", dict, "`cache_store` must be"),
    ("device", "gpu", "`device` must be 'auto' or a torch device such as 'cpu' or 'cuda:0', got 'gpu'. Did you mean "),
    ("device", "cuda:x", "`device` must be"),
    ("device", "cuda:0 ", "`device` must be"),
    ("dtype", "int8", "`dtype` must be one of 'auto', 'float32', 'bfloat16', 'float16', got 'int8'."),
    ("embeddings", "MiniLM", "`embeddings` must be a LangChain `Embeddings` or a LlamaIndex `BaseEmbedding`, got str."),
    ("scores", 5, "`scores` must be `ScoreSettings` or a dict of alpha, "),
    ("scores", {1: 2}, "names of settings as keys"),
    ("scores.alpha", float("inf"), "`scores.alpha` must be a number in [0, 1], got inf."),
    ("scores.outlier_statistic", "x", "`scores.outlier_statistic` must be one of 'class_diag', 'class_dist', "),
    ("scores.word_reduction", "median", "`scores.word_reduction` must be one of 'mean', 'first', 'max'"),
    ("scores.max_batch_pieces", 0, "`scores.max_batch_pieces` must be a whole number from 1 on, got 0."),
    ("scores.preserve_label", True, "`scores.preserve_label` must be a string or a whole number from 0 on, got True."),
    ("gains", [], "`gains` must be `GainSettings` or a dict of budgets, "),
    ("gains.budgets", "units", "`gains.budgets` must be one of 'gain', 'words'"),
    ("gains.lexical_weight", -1, "`gains.lexical_weight` must be a finite number from 0 on, got -1."),
    ("gains.retriever_weight", "1", "`gains.retriever_weight` must be"),
    ("gains.similarity_scale", float("inf"), "`gains.similarity_scale` must be a finite number from 0 on, got inf."),
    ("gains.redundancy", None, "`gains.redundancy` must be one of 'greedy', 'symmetric', got None."),
    ("gains.redundancy_weight", float("nan"), "`gains.redundancy_weight` must be"),
    ("gains.temperature", 0, "`gains.temperature` must be a finite number above 0, got 0."),
    ("gains.whole_from", 2, "`gains.whole_from` must be a number in [0, 1], got 2."),
    ("gains.fill", "maybe", "`gains.fill` must be True or False, got 'maybe'."),
    ("gains.rat", 2, "Unknown setting 'rat' in `gains`"),
    ("rat", 0.5, "Unknown setting 'rat'; did you mean 'rate'? Known are "),
    ("temperatur", 0.5, "Unknown setting 'temperatur'; did you mean gains={'temperature': ...}? Known are "),
]  # fmt: skip


# --- one source -------------------------------------------------------------------------------------------------------


def test_every_field_has_examples_here_and_a_text() -> None:
    assert list(GOOD) == list(FIELDS)
    assert set(FIELDS) <= {place for place, _, _ in BAD}
    for place, field in FIELDS.items():
        assert field.description, place
        assert GOOD[place] != field.default, place


def test_fourteen_settings_or_so_are_flat_and_defaults_are_an_api() -> None:
    """A failure here needs a decision about the API, not a quick fix."""
    assert CompressorConfig().model_dump() == {
        "model": "moos-minilm-en",
        "rate": None,
        "budget_tokens": None,
        "threshold": None,
        "protect": [],
        "tokenizer": "o200k_base",
        "separator": "\n\n",
        "top_n": None,
        "min_tokens": 64,
        "omission": None,
        "order": "source",
        "on_error": "raise",
        "timeout": None,
        "cache_bytes": 64 * 2**20,
        "cache_dir": None,
        "cache_dir_bytes": 2**30,
        "cache_store": None,
        "device": "auto",
        "dtype": "auto",
        "embeddings": None,
        "scores": {
            "alpha": 1.0,
            "outlier_statistic": "class_diag",
            "word_reduction": "mean",
            "max_batch_pieces": 4096,
            "preserve_label": None,
        },
        "gains": {
            "budgets": "gain",
            "lexical_weight": 2.0,
            "retriever_weight": 0.5,
            "similarity_scale": 10.0,
            "redundancy": "symmetric",
            "redundancy_weight": 2.0,
            "temperature": 0.7,
            "whole_from": 0.0,
            "fill": True,
        },
    }


@pytest.mark.parametrize("door", [CompressorConfig, *ADAPTERS])
def test_classes_repeat_no_field(door: type[BaseModel]) -> None:
    assert not set(Settings.model_fields) & set(vars(door).get("__annotations__", {}))
    for name, field in Settings.model_fields.items():
        other = door.model_fields[name]
        assert (other.default, other.description) == (field.default, field.description)
        assert (other.annotation, other.metadata) == (field.annotation, field.metadata)


@pytest.mark.parametrize(
    ("keywords", "model", "missing"),
    [
        (AllKeywords, CompressorConfig, set()),
        (SettingKeywords, CompressorConfig, {"model"}),
        (ScoreKeywords, ScoreSettings, set()),
        (GainKeywords, GainSettings, set()),
        (MOOSCompressorKeywords, MOOSCompressor, set()),
        (MOOSNodePostprocessorKeywords, MOOSNodePostprocessor, set()),
        (NodeCompressorKeywords, MOOSNodeTransform, set()),
    ],
)
def test_typed_keywords_are_the_fields(keywords: type, model: type[BaseModel], missing: set[str]) -> None:
    hints = get_type_hints(keywords)
    assert set(hints) == set(model.model_fields) - missing
    wider = {"protect", "tokenizer", "cache_dir", "embeddings", "scores", "gains", "callback_manager"}
    for name in set(hints) - wider:
        field = model.model_fields[name]
        assert set(plain_types(field)) == set(plain_types(FieldInfo(annotation=hints[name]))), name
        assert (type(None) in getattr(hints[name], "__args__", ())) == _takes_none(field), name


def _takes_none(field: FieldInfo) -> bool:
    return type(None) in getattr(field.annotation, "__args__", ())


def test_docstrings_and_the_reference_are_made_from_the_fields() -> None:
    shown = " ".join(f"{CompressorConfig.__doc__} {ScoreSettings.__doc__} {GainSettings.__doc__}".split())
    for place, field in FIELDS.items():
        assert f"{place.rpartition('.')[2]}: {' '.join(str(field.description).split())}" in shown
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run docs/make_settings.py"
    for place, field in FIELDS.items():
        assert f"| `{place.rpartition('.')[2]}` | " in script.page()
        assert str(field.description) in script.page()


# --- the same checks at every door ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", GOOD)
def test_every_door_takes_every_setting(place: str) -> None:
    for name, door in DOORS.items():
        found = config_of(door(**as_settings(place, GOOD[place])))
        assert value_of(found, place) == GOOD[place], name
        assert type(value_of(found, place)) is type(GOOD[place]), name
        for other, field in FIELDS.items():
            if other != place:
                assert value_of(found, other) == field.default, (name, other)


@pytest.mark.parametrize(("place", "value", "message"), BAD)
def test_every_door_refuses_with_the_same_words(place: str, value: Any, message: str) -> None:
    settings = as_settings(place, value)
    texts = set()
    for door in DOORS.values():
        with pytest.raises(ConfigError, match=re.escape(message)) as caught:
            door(**settings)
        # The known names at the end are those of the door: components have fields beside the settings.
        texts.add(str(caught.value).split(" Known are")[0])
        assert not isinstance(caught.value.__cause__, ValidationError)
        with pytest.raises(ConfigError, match=re.escape(message)):  # what cannot work is not passed through
            door(**{"on_error": "passthrough", **settings})
    assert len(texts) == 1


@pytest.mark.parametrize("door", sorted(set(DOORS) - {"assignment", "assignment_llama_index"}))
def test_two_targets_and_two_mistakes_are_one_error(door: str) -> None:
    with pytest.raises(ConfigError, match=r"Set exactly one of .*; got rate=0\.5, budget_tokens=10\."):
        DOORS[door](rate=0.5, budget_tokens=10)
    with pytest.raises(ConfigError) as caught:
        DOORS[door](rate=7, order="x")
    assert str(caught.value) == (
        "`rate` must be a number in [0, 1], got 7. `order` must be one of 'source', 'relevance', 'ends', got 'x'."
    )


@pytest.mark.parametrize("place", [place for place in FIELDS if "." in place])
def test_old_flat_names_say_where_the_setting_is(place: str) -> None:
    stage, _, name = place.partition(".")
    for door in DOORS.values():
        with pytest.raises(ConfigError) as caught:
            door(**{name: GOOD[place]})
        assert str(caught.value) == f"`{name}` is a setting of `{stage}`: write {stage}={{{name!r}: {GOOD[place]!r}}}."


def test_old_flat_names_come_together_in_one_error() -> None:
    with pytest.raises(ConfigError) as caught:
        CompressorConfig(temperature=0.5, whole_from=1, rate=2)  # type: ignore[call-arg]
    assert str(caught.value) == (
        "`temperature`, `whole_from` are settings of `gains`: write gains={'temperature': 0.5, 'whole_from': 1}. "
        "`rate` must be a number in [0, 1], got 2."
    )


NUMBERS = {place: plain_types(field)[0] for place, field in FIELDS.items() if {int, float} & set(plain_types(field))}


@pytest.mark.parametrize("place", NUMBERS)
def test_numpy_numbers_are_taken_and_stored_as_plain_ones(place: str) -> None:
    whole = int in plain_types(FIELDS[place])
    kinds = (np.int64, np.uint8, np.int32) if whole else (np.float32, np.float64, np.int64)
    for kind in kinds:
        found = value_of(CompressorConfig(**as_settings(place, kind(1))), place)
        assert found == 1
        assert type(found) is (int if whole else float)
        json.dumps(found)


def test_numpy_targets_of_a_call() -> None:
    compressor = ContextCompressor(HashScorer())
    text = "The quick brown fox jumps. The lazy dog sleeps on."
    assert 0 < compressor.compress(text, budget_tokens=np.int64(7)).kept_tokens <= 7
    assert compressor.compress(text, rate=np.float32(0.5)).text == compressor.compress(text, rate=0.5).text
    with pytest.raises(ConfigError, match="whole number"):
        compressor.compress(text, budget_tokens=np.float64(5))  # type: ignore[arg-type]


ANYTHING = st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())


@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "x"]), ANYTHING))
def test_nothing_but_our_error_comes_out(settings: dict[str, Any]) -> None:
    for door in (CompressorConfig, MOOSCompressor, MOOSNodeTransform):
        try:
            door(**settings)
        except ConfigError:
            continue


# --- checks without the weights ---------------------------------------------------------------------------------------


def test_a_model_folder_needs_its_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        CompressorConfig(model=str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert CompressorConfig(model=str(tmp_path)).model == str(tmp_path)
    with pytest.raises(ConfigError, match=r"is a file\. Name the folder that it is in"):
        CompressorConfig(model=str(tmp_path / "config.json"))
    for model in ("bert-base-uncased", "sentence-transformers/all-MiniLM-L6-v2", "a/b.c_d"):
        assert CompressorConfig(model=model).model == model


def test_a_cache_folder_is_checked_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tmp_path / "a" / "b"
    assert CompressorConfig(cache_dir=wanted).cache_dir == str(wanted)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("moos_integrations.core.checks.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=re.escape(f"{str(tmp_path)!r} is not writable")):
        CompressorConfig(cache_dir=wanted)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "mps", "xpu:1"])
def test_devices_of_torch_are_taken_where_they_are_not_there_too(device: str) -> None:
    assert CompressorConfig(device=device).device == device


def test_building_every_door_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from moos_integrations import CompressorConfig, ContextCompressor\n"
        "CompressorConfig(device='cuda:0', model='a/b'); ContextCompressor.from_pretrained(lazy=True, device='cuda')\n"
        "from moos_integrations.langchain import MOOSCompressor; MOOSCompressor(dtype='float16')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- JSON, copies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", GOOD)
def test_json_round_trip(place: str) -> None:
    config = CompressorConfig(**as_settings(place, GOOD[place]))
    if place in ("embeddings", "cache_store"):
        with pytest.raises(ConfigError, match=f"saved only without `{place}`; got {type(GOOD[place]).__name__}"):
            config.to_json()
        return
    again = CompressorConfig.from_json(config.to_json())
    assert again.to_json() == CompressorConfig.model_validate_json(config.to_json()).to_json() == config.to_json()
    if place == "protect":  # patterns of `regex` are equal to themselves alone
        assert [type(item) for item in again.protect] == [type(item) for item in config.protect]
    else:
        assert again == config


@pytest.mark.parametrize(
    "make",
    [CompressorConfig, *ADAPTERS],
)
def test_copies_and_pickles_are_equal(make: Callable[..., Any]) -> None:
    built = make(rate=0.5, gains={"temperature": 0.5}, scores={"alpha": 0.5}, protect=["numbers"])
    for other in (pickle.loads(pickle.dumps(built)), copy.copy(built), copy.deepcopy(built), built.model_copy()):
        assert type(other) is type(built)
        assert config_of(other) == config_of(built)
        assert isinstance(other.gains, GainSettings)
    changed = built.model_copy(update={"gains": {"redundancy": "greedy"}})
    assert (changed.gains.redundancy, changed.gains.temperature, built.gains.temperature) == ("greedy", 0.7, 0.5)


def test_a_config_is_frozen_and_hashable() -> None:
    config = CompressorConfig(rate=0.5, protect=["numbers"])
    assert {config: 1}[CompressorConfig(rate=0.5, protect=("numbers",))] == 1
    with pytest.raises(ConfigError, match=re.escape("make another one with `.model_copy(update={'rate': ...})`")):
        config.rate = 0.7
    with pytest.raises(ConfigError, match="cannot be changed"):
        config.gains.temperature = 1.0
    with pytest.raises(ConfigError, match=r"`gains\.temperature` must be a finite number above 0"):
        config.gains.model_copy(update={"temperature": 0})
    assert config.gains.model_copy(update={"temperature": 2}).temperature == 2.0


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_made_from_a_config(adapter: Any) -> None:
    config = CompressorConfig(budget_tokens=9, gains={"temperature": 0.5}, device="cpu", protect=[re.compile("x")])
    made = adapter.from_config(config, keep_empty=True)
    assert type(made) is adapter
    assert made.keep_empty is True
    assert made.compressor.config == config
    assert adapter.from_config(CompressorConfig.from_json(config.to_json())).config_of_compressor() == config
    with pytest.raises(ConfigError, match="takes its settings from `config`; got rate too"):
        adapter.from_config(config, rate=0.5)
    with pytest.raises(ConfigError, match="Unknown setting 'keep_emty'; did you mean 'keep_empty'"):
        adapter.from_config(config, keep_emty=True)
    with pytest.raises(ConfigError, match="must be a `CompressorConfig`, got dict"):
        adapter.from_config({"rate": 0.5})


def test_the_model_of_from_pretrained_replaces_that_of_the_config() -> None:
    config = CompressorConfig(rate=0.5, model="a/b")
    assert ContextCompressor.from_pretrained(config=config, lazy=True).config is not None
    assert ContextCompressor.from_pretrained("c/d", config=config, lazy=True).config.model == "c/d"
    with pytest.raises(ConfigError, match="not both; got device"):
        ContextCompressor.from_pretrained(config=config, lazy=True, device="cpu")


# --- settings without effect ------------------------------------------------------------------------------------------

NO_EFFECT: list[tuple[dict[str, Any], set[str]]] = [
    ({"scores": {"outlier_statistic": "class_dist"}}, {"scores.outlier_statistic"}),
    ({"threshold": 0.5, "gains": {"temperature": 2}}, {"gains.temperature"}),
    ({"threshold": 0.5, "gains": {"whole_from": 0.5}}, {"gains.whole_from"}),
    ({"gains": {"similarity_scale": 3}}, {"gains.similarity_scale"}),
    ({"rate": 0.5, "gains": {"budgets": "words", "temperature": 2}}, {"gains.temperature"}),
    (
        {"gains": {"budgets": "words", "lexical_weight": 1, "redundancy": "greedy"}},
        {"gains.lexical_weight", "gains.redundancy"},
    ),
]
EFFECT: list[dict[str, Any]] = [
    {},
    {"scores": {"alpha": 0.5, "outlier_statistic": "class_dist"}},
    {"budget_tokens": 5, "gains": {"temperature": 2, "whole_from": 0.5}},
    {"budget_tokens": 5, "gains": {"budgets": "words", "whole_from": 0.5}},
    {"threshold": 0.5, "gains": {"budgets": "words", "whole_from": 0.5}},
    {"gains": {"fill": False}},
    {"gains": {"temperature": 2}},  # a call may give the budget
    {"embeddings": Embedder(), "gains": {"similarity_scale": 3}},
    {"order": "relevance", "gains": {"budgets": "words", "lexical_weight": 1}},
    {"threshold": 0.5, "gains": {"temperature": 0.7}},  # the default: nothing was changed
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    messages.forget_call_sites()
    with caplog.at_level(logging.WARNING, logger="moos_integrations"):
        yield caplog


@pytest.mark.parametrize("make", [CompressorConfig, *ADAPTERS, DOORS["from_pretrained"]])
@pytest.mark.parametrize(("settings", "names"), NO_EFFECT)
def test_a_setting_without_effect_is_logged(
    make: Callable[..., Any], settings: dict[str, Any], names: set[str], log: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        built = make(**settings)
    assert {record.message.split("=")[0].strip("`") for record in log.records} == names
    assert len(log.records) == len(names), "once per kind and call site"
    assert {record.name for record in log.records} == {"moos_integrations"}
    assert all("has no effect: " in record.message for record in log.records)
    log.clear()
    config_of(built)  # what uses it later says nothing more
    assert not log.records


@pytest.mark.parametrize("make", [CompressorConfig, MOOSCompressor, MOOSNodePostprocessor])
@pytest.mark.parametrize("settings", EFFECT)
def test_nothing_is_logged_where_settings_work(
    make: Callable[..., Any], settings: dict[str, Any], log: pytest.LogCaptureFixture
) -> None:
    config = config_of(make(**settings))
    if "embeddings" not in settings:
        CompressorConfig.from_json(config.to_json())
    assert not log.records


@given(
    texts=st.lists(st.sampled_from(["Ada built it in 1889. It stands.", "Rye bread.", "x = 1\n  y = 2\n", "A river."])),
    case=st.sampled_from(NO_EFFECT),
)
def test_what_is_said_to_have_no_effect_has_none(texts: list[str], case: tuple[dict[str, Any], set[str]]) -> None:
    settings, names = case
    changed = CompressorConfig(**settings)
    assert {name for name, _ in without_effect(changed)} == names
    plain = dict(settings)
    for name in names:
        stage, _, field = name.partition(".")
        plain[stage] = {key: value for key, value in plain[stage].items() if key != field}
    for query in (None, "Who built it?"):
        first, second = (
            ContextCompressor(UnitScorer(), each).compress(texts, query, document_scores=[1.0] * len(texts))
            for each in (changed, CompressorConfig(**plain))
        )
        assert (first.text, first.order) == (second.text, second.order)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"order": "ends", "top_n": 2}, {"order", "top_n"}),
        ({"gains": {"redundancy": "greedy", "lexical_weight": 1}}, {"gains.lexical_weight"}),
        ({"gains": {"budgets": "gain", "redundancy": "greedy", "retriever_weight": 1}}, {"gains.retriever_weight"}),
    ],
)
def test_at_ingestion_more_has_no_effect(settings: dict[str, Any], names: set[str]) -> None:
    changed = MOOSNodeTransform(**settings)
    assert {name for name, _ in without_effect(changed)} == names
    assert not list(without_effect(MOOSNodePostprocessor(**settings)))
    text = TextNode(text="Ada built it in 1889. It stands. Rye bread is baked by Ada. A river is long and cold.")
    kept = []
    effective = {
        name: value
        for name, value in changed.gains.model_dump(exclude_defaults=True).items()
        if f"gains.{name}" not in names
    }
    for component in (changed, MOOSNodeTransform(gains=effective)):
        component._compressor = ContextCompressor(UnitScorer(), component.config_of_compressor())
        kept.append([node.get_content() for node in component([text])])
    assert kept[0] == kept[1]


def test_another_place_in_the_code_is_warned_too_and_memory_is_bounded(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    CompressorConfig(gains={"similarity_scale": 3})
    CompressorConfig(gains={"similarity_scale": 3})
    assert len(log.records) == 2
    monkeypatch.setattr(messages, "_MOST_SITES", 5)
    for kind in range(20):
        messages.warn_once(messages.Notice(str(kind), "message"))
    assert len(messages._said) == 5


# --- the command line -------------------------------------------------------------------------------------------------

RUNNER = CliRunner()
OPTIONS = {place: field for place, field in FIELDS.items() if place.rpartition(".")[2] not in NOT_ON_A_COMMAND_LINE}
OTHERS = {"files", "query", "explain", "as_json", "quiet", "help"}


@pytest.mark.parametrize("name", ["compress", "explain"])
def test_options_are_the_fields(name: str) -> None:
    command = get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    options = {option.name: option for option in command.params if option.name not in OTHERS}
    assert set(options) == {place.rpartition(".")[2] for place in OPTIONS}
    for place, field in OPTIONS.items():
        option = options[place.rpartition(".")[2]]
        assert option.opts == ["--" + option.name.replace("_", "-")]
        assert option.help == field.description
    page = RUNNER.invoke(cli.app, [name, "--help"], env={"COLUMNS": "300"}).stdout
    assert "[default: 0.7]" in page
    assert "--install-completion" in RUNNER.invoke(cli.app, ["--help"], env={"COLUMNS": "300"}).stdout
    assert "0.5 without a question" in page
    assert "0.0001 with a question" in page


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[CompressorConfig]:
    """The configs that commands build, on a scorer without a model."""
    configs: list[CompressorConfig] = []

    def build(config: CompressorConfig, texts: list[str]) -> ContextCompressor:
        configs.append(config)
        return ContextCompressor(HashScorer(), config.model_copy(update={"cache_dir": None}))

    monkeypatch.setattr(cli, "_compressor", build)
    return configs


@pytest.mark.parametrize("command", ["compress", "explain"])
def test_without_options_the_command_has_the_defaults(command: str, used: list[CompressorConfig]) -> None:
    assert RUNNER.invoke(cli.app, [command], input="A text.").exit_code == 0
    assert used == [CompressorConfig()]


@pytest.mark.parametrize("place", OPTIONS)
def test_every_option_reaches_its_setting(place: str, used: list[CompressorConfig]) -> None:
    value = GOOD[place]
    option = "--" + place.rpartition(".")[2].replace("_", "-")
    typed = ["numbers", "ACME Corp"] if place == "protect" else [str(value).replace("\n", "\\n").replace("\t", "\\t")]
    arguments = [part for item in typed for part in (option, item)]
    assert RUNNER.invoke(cli.app, ["compress", *arguments], input="A text.").exit_code == 0
    expected = ("numbers", "ACME Corp") if place == "protect" else value
    assert used == [CompressorConfig(**as_settings(place, expected))]


def test_a_label_may_be_an_index(used: list[CompressorConfig]) -> None:
    RUNNER.invoke(cli.app, ["compress", "--preserve-label", "1"], input="A text.")
    assert used[0].scores.preserve_label == 1


def test_the_command_warns_of_options_without_effect() -> None:
    arguments = ["compress", "--threshold", "0.5", "--temperature", "3"]
    result = RUNNER.invoke(cli.app, arguments, input=" ")
    assert result.exit_code == 0
    assert "warning: `gains.temperature=3.0` has no effect" in " ".join(result.stderr.split())
    assert RUNNER.invoke(cli.app, [*arguments, "-q"], input=" ").stderr == ""


def test_empty_input_loads_no_model() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from moos_integrations.cli import app\n"
        "for text in '', ' \\n\\t', '\\ufeff':\n"
        "    result = CliRunner().invoke(app, ['compress', '--rate', '0.5'], input=text)\n"
        "    assert result.exit_code == 0, result.output\n"
        "    assert result.stdout.strip() == '', result.stdout\n"
        "    assert 'tokens' in result.stderr, result.stderr\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_settings_end_with_a_usage_error_before_anything_is_read() -> None:
    result = RUNNER.invoke(cli.app, ["compress", "--device", "gpu", "no_such_file.txt"])
    assert result.exit_code == cli.EXIT_USAGE
    assert "Did you mean 'cuda'?" in " ".join(result.stderr.split())
