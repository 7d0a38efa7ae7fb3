"""The outputs of the bundled model, against a snapshot of them."""

from __future__ import annotations

import pytest
from cases import CASES
from make_golden import changes, read, settled, snapshot

from moos_integrations import ContextCompressor


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_snapshot(bundled: ContextCompressor, name: str) -> None:
    old = read()[name]
    new = settled(snapshot(bundled, CASES[name]), old)
    if new != old:
        pytest.fail(
            f"The outputs for the texts {name!r} have changed. If that is wanted, run "
            "`python tests/golden/make_golden.py`, read what it prints, and say in the commit's message why each "
            f"change is right.\n{''.join(changes(old, new))}",
            pytrace=False,
        )


def test_the_snapshot_has_all_texts_and_no_others() -> None:
    assert list(read()) == list(CASES)


def test_values_may_differ_by_rounding_and_nothing_else() -> None:
    old = {"words": ["fog 0.912  bank 0.100"], "text": ["fog"]}
    assert settled({"words": ["fog 0.914  bank 0.099"], "text": ["fog"]}, old) == old
    for words in (["fog 0.915  bank 0.100"], ["frog 0.912  bank 0.100"], []):
        assert settled({"words": words, "text": ["fog"]}, old) != old
    assert "-  " in "".join(changes(old, {**old, "text": ["frog"]}))
