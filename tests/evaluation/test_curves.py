from __future__ import annotations

import pytest
from test_measuring import TEXTS, Echo
from tiny import UnitScorer

from moos_integrations import ContextCompressor
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.evaluation import Readers, rate_curves
from moos_integrations.evaluation.curves import Point, RateCurves

ASKED = ["Who built the bridge?", "What is bread baked from?", "Who is the mayor?"]
ANSWERS = [["Ada Byron"], ["flour"], ["nobody in these texts"]]


def compressor() -> ContextCompressor:
    return ContextCompressor(UnitScorer())


def test_curves_have_a_point_per_rate_with_its_interval() -> None:
    found = rate_curves(
        compressor(), ASKED, [TEXTS] * 3, ANSWERS, rates=(1.0, 0.5, 0.1, 0.5), readers=Readers(Echo(), Echo())
    )
    assert found.questions == 2  # one answer stands nowhere
    assert set(found.curves) == {"recall", "exact_match", "f1", "log_likelihood"}
    points = found.curves["recall"]["moos"]
    assert [point.rate for point in points] == [0.1, 0.5, 1.0]
    assert all(point.kept <= point.rate and point.low <= point.value <= point.high for point in points)
    assert points[-1].value == found.whole["recall"] == 1
    assert (points[-1].low, points[-1].high) == (pytest.approx(0.3424, abs=1e-4), 1)  # Wilson: 2 of 2
    assert found.curves["exact_match"]["moos"][-1].low < 1


def test_the_recall_is_the_compressors() -> None:
    found = rate_curves(compressor(), ASKED[:1], [TEXTS], ANSWERS[:1], rates=(0.3, 0.6))
    for point in found.curves["recall"]["moos"]:
        kept = compressor().compress(list(TEXTS), ASKED[0], rate=point.rate).text
        assert point.value == ("Ada Byron" in kept)


def test_the_smallest_rate_is_the_one_above_which_all_is_well() -> None:
    points = tuple(
        Point(rate, rate, value, value, value) for rate, value in ((0.1, 0.9), (0.2, 0.7), (0.4, 0.8), (0.8, 0.9))
    )
    found = RateCurves(9, {"recall": {"moos": points}}, {"recall": 0.9})
    assert found.smallest_rate(0.85) == 0.4
    assert found.smallest_rate(1.0) == 0.8
    assert RateCurves(9, {"recall": {"moos": points}}, {"recall": 1.0}).smallest_rate(1.0) is None
    with pytest.raises(ConfigError, match="metric out of recall"):
        found.smallest_rate(metric="f1")


def test_a_plot_has_a_line_per_method_and_one_for_all_of_the_text() -> None:
    found = rate_curves(compressor(), ASKED[:2], [TEXTS] * 2, ANSWERS[:2], rates=(0.2, 0.5))
    axes = found.plot()
    assert axes.get_legend_handles_labels()[1] == ["all of the text", "moos"]
    (bars,) = axes.containers
    assert bars.has_yerr
    assert found.plot(axes=axes) is axes
    with pytest.raises(ConfigError, match="recall; got 'f1'"):
        found.plot("f1")


def test_bad_input_says_what_was_expected() -> None:
    with pytest.raises(InputError, match="1, 2 and 1"):
        rate_curves(compressor(), ASKED[:1], [TEXTS] * 2, ANSWERS[:1])
    with pytest.raises(InputError, match="nothing to measure"):
        rate_curves(compressor(), ASKED[2:], [TEXTS], ANSWERS[2:])
    for rates in ((), (0.0, 0.5), (1.5,)):
        with pytest.raises(ConfigError, match="rates in"):
            rate_curves(compressor(), ASKED[:1], [TEXTS], ANSWERS[:1], rates=rates)
