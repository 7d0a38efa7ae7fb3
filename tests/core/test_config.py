from __future__ import annotations

import math
import re
from typing import Any

import pytest
import regex

from moos_integrations import CompressorConfig, ConfigError
from moos_integrations.core.config import Target


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.5, "budget_tokens": 10}, "exactly one of `rate`, `budget_tokens` and `threshold`; got rate=0.5, b"),
        ({"rate": 1.5}, "`rate` must be a number in [0, 1], got 1.5"),
        ({"rate": -0.1}, "`rate`"),
        ({"rate": math.nan}, "got nan"),
        ({"rate": "0.5"}, "got '0.5'"),
        ({"rate": True}, "got True"),
        ({"budget_tokens": -1}, "`budget_tokens` must be a whole number from 0 on, got -1"),
        ({"budget_tokens": 10.0}, "got 10.0"),
        ({"threshold": 2}, "`threshold`"),
        ({"scores": {"alpha": math.inf}}, "`scores.alpha` must be a number in [0, 1], got inf"),
        ({"scores": {"outlier_statistic": "mahalanobis"}}, "'global_diag', got 'mahalanobis'"),
        ({"scores": {"word_reduction": "median"}}, "'mean', 'first', 'max'"),
        ({"on_error": "ignore"}, "'raise', 'passthrough'"),
        ({"separator": None}, "`separator` must be a string, got None"),
        ({"tokenizer": 7}, "`tokenizer` must be"),
        ({"scores": {"max_batch_pieces": 0}}, "`scores.max_batch_pieces` must be a whole number from 1 on, got 0"),
        ({"protect": "numbers"}, "`protect` must be a list"),
        ({"protect": ["number"]}, "did you mean 'numbers'"),
        ({"protect": [""]}, "non-empty"),
        ({"protect": [3]}, "got 3"),
        ({"protect": [re.compile(b"x")]}, "compiled text patterns"),
    ],
)  # fmt: skip
def test_bad_settings_say_what_was_expected_and_what_came(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        CompressorConfig(**settings)


def test_config_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="rate"):
        CompressorConfig(rate=7)


def test_default_target() -> None:
    assert CompressorConfig().target(asked=False) == Target(rate=0.5)
    assert CompressorConfig(budget_tokens=0).target(asked=True) == Target(budget_tokens=0)
    assert Target.of() is None


def test_unknown_settings_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown setting 'ratio'; did you mean 'rate'\? Known are model, rate, budget_tokens"
    ):
        CompressorConfig.from_settings({"ratio": 0.5})


def test_json_round_trip() -> None:
    config = CompressorConfig(
        budget_tokens=100,
        scores={"alpha": 0.8},
        protect=["numbers", "ACME Corp", re.compile(r"§\d+", re.I), regex.compile(r"\p{Lu}+")],
    )
    again = CompressorConfig.from_json(config.to_json())
    assert again.to_json() == config.to_json()
    assert [type(item) for item in again.protect] == [type(item) for item in config.protect]


@pytest.mark.parametrize("text", ["[1]", "{", '{"ratio": 1}'])
def test_bad_json(text: str) -> None:
    with pytest.raises(ConfigError):
        CompressorConfig.from_json(text)


def test_objects_do_not_go_to_json() -> None:
    with pytest.raises(ConfigError, match="`tokenizer` given by name"):
        CompressorConfig(tokenizer=len).to_json()
