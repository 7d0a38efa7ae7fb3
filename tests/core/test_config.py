"""Targets, and what a config alone does; what every door shares is in `tests/test_settings.py`."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from moos_integrations import CompressorConfig, ConfigError
from moos_integrations.core.config import Target


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({}, "exactly one of `rate`, `budget_tokens` and `threshold`; got none"),
        ({"rate": 0.5, "budget_tokens": 10}, "exactly one of `rate`, `budget_tokens` and `threshold`; got rate=0.5, b"),
        ({"rate": 1.5}, "`rate` must be a number in [0, 1], got 1.5"),
        ({"rate": -0.1}, "`rate`"),
        ({"rate": math.nan}, "got nan"),
        ({"rate": "0.5"}, "got '0.5'"),
        ({"rate": True}, "got True"),
        ({"budget_tokens": -1}, "`budget_tokens` must be a whole number from 0 on, got -1"),
        ({"budget_tokens": 10.0}, "got 10.0"),
        ({"threshold": 2}, "`threshold`"),
    ],
)
def test_bad_targets_say_what_was_expected_and_what_came(targets: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Target(**targets)


def test_config_errors_are_value_errors() -> None:
    with pytest.raises(ValueError, match="rate"):
        CompressorConfig(rate=7)


def test_default_target() -> None:
    assert CompressorConfig().target(asked=False) == Target(rate=0.5)
    assert CompressorConfig(budget_tokens=0).target(asked=True) == Target(budget_tokens=0)
    assert Target.of() is None


@pytest.mark.parametrize("text", ["[1]", "{", '{"ratio": 1}', '{"gains": 3}', '{"rate": "0.5"}', '{"rate": true}', "3"])
def test_bad_json(text: str) -> None:
    with pytest.raises(ConfigError):
        CompressorConfig.from_json(text)


@pytest.mark.parametrize("value", [None, "rate", [("rate", 0.5)], {1: 2}])
def test_settings_must_be_a_dict(value: Any) -> None:
    with pytest.raises(ConfigError, match="Expected a dict"):
        CompressorConfig.from_settings(value)


def test_objects_do_not_go_to_json() -> None:
    with pytest.raises(ConfigError, match="the name of a `tokenizer`"):
        CompressorConfig(tokenizer=len).to_json()
