"""headroom finds the compressor in its group, and runs it in its own router."""

from __future__ import annotations

import json
import re
import warnings
from importlib.metadata import entry_points
from random import Random

import pytest

from moos_integrations import ConfigError, ContextCompressor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    registry = pytest.importorskip("headroom.transforms.compressor_registry")
    from headroom.ccr.marker_resolution import _MARKER_RE
    from headroom.transforms.content_router import ContentRouter, ContentRouterConfig

from moos_integrations.headroom import MOOSHeadroomCompressor


def log(seed: int = 0, lines: int = 80) -> str:
    random = Random(seed)
    return "\n".join(f"12:00:{i:02} INFO worker {random.randint(0, 99)} is idle" for i in range(lines))


def block(content: str, query: str = "Which worker is idle?", **own: object) -> object:
    return registry.CompressInput(content=content, content_type="text/x-log", query=query, **own)


def test_its_output_keeps_the_contract(compressor: ContextCompressor) -> None:
    made = MOOSHeadroomCompressor(compressor=compressor)
    assert isinstance(made, registry.Compressor)
    for target, most in (({}, 0.5), ({"budget": {"target_ratio": 0.2}}, 0.2), ({"config": {"budget_tokens": 200}}, 1)):
        text = log()
        out = made.compress(block(text, **target))
        assert isinstance(out, registry.CompressOutput)
        assert out.compressed
        assert not out.lossless
        assert out.tokens_after <= max(most * out.tokens_before + 60, 200)
        assert compressor.counter.count(out.content) == out.tokens_after
        (name,) = _MARKER_RE.findall(out.content)
        assert out.recoverable == {name: text}
        assert made.compress(block(text, **target)) == out, "the same bytes for the same block"


@pytest.mark.parametrize(
    ("content", "query", "own", "reason"),
    [
        (log(), " ", {}, "no query"),
        ("short", "why", {}, "saves nothing"),
        ("", "why", {}, "saves nothing"),
        (log(), "why", {"config": {"rate": 7}}, "`rate` must be"),
        (log(), "why", {"budget": {"target_ratio": "much"}}, "`rate` must be"),
        (None, "why", {}, "Error"),
    ],
)
def test_a_block_that_is_not_pruned_comes_back_as_it_is(
    compressor: ContextCompressor, content: str, query: str, own: dict[str, object], reason: str
) -> None:
    out = MOOSHeadroomCompressor(compressor=compressor).compress(block(content, query, **own))
    assert out.content is content
    assert (out.compressed, out.lossless, out.tokens_before) == (False, True, out.tokens_after)
    assert reason in out.warnings[0]


def test_json_stays_json(compressor: ContextCompressor) -> None:
    text = json.dumps([{"id": i, "host": f"db-{i}", "state": "idle"} for i in range(90)])
    out = MOOSHeadroomCompressor(compressor=compressor, rate=0.3).compress(block(text))
    assert out.compressed
    assert json.loads(out.content)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown setting 'rates'"):
        MOOSHeadroomCompressor(rates=0.5)


def test_the_group_names_it() -> None:
    found = [entry for entry in entry_points(group=registry.ENTRY_POINT_GROUP) if entry.name == "moos"]
    if not found:
        pytest.skip("the package was installed before it had the entry point")
    assert found[0].load() is MOOSHeadroomCompressor


def test_headrooms_router_uses_it_and_can_read_all_again(
    compressor: ContextCompressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def discovered(self: object, *, replace: bool = False) -> list[str]:
        return [self.register(MOOSHeadroomCompressor(compressor=compressor))]  # type: ignore[attr-defined]

    monkeypatch.setattr(registry.CompressorRegistry, "discover", discovered)
    router = ContentRouter(ContentRouterConfig(active_external_compressors=["moos"]))
    words = Random(5)
    names = ["Ada", "Ben", "Cora", "Dan", "Eve", "Finn", "Gus", "Hal"]
    text = " ".join(f"{words.choice(names)} painted room {i} while {words.choice(names)} slept." for i in range(200))
    result = router.compress(text, question="Who painted room 7?")
    (name,) = _MARKER_RE.findall(result.compressed)
    assert len(result.compressed) < len(text)
    from headroom.cache.compression_store import get_compression_store

    assert re.fullmatch("[0-9a-f]{24}", name)
    assert get_compression_store().retrieve(name).original_content == text
