"""What a host application relies on: threads, cancelled calls, failures, and models and caches of unknown origin."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import pickle
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from langchain_core.documents import Document
from langchain_core.stores import InMemoryByteStore
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from tiny import HashScorer, save_tiny_model

from moos_integrations import (
    CompressionError,
    CompressionTimeoutError,
    CompressorConfig,
    ContextCompressor,
    MissingExtraError,
    ModelError,
    PassthroughWarning,
    SegmentedText,
    WordScores,
    errors,
)
from moos_integrations.core import cache, hub, threads
from moos_integrations.core.cache import CachedScorer, DirectoryStore, FrameworkStore, MemoryStore, packed, unpacked
from moos_integrations.core.failures import isolated
from moos_integrations.core.text import segment
from moos_integrations.core.threads import check_stop
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform

ANY_SIZE = CompressorConfig(min_tokens=0)
TEXT = "The meeting was long. It ended at 17:30 on 3 May. Nobody knows why."


class PanicException(BaseException):
    """As PyO3's: no `Exception`."""


class Refusing(HashScorer):
    """Fails on texts with a word in them."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        if any("BAD" in document.text for document in documents):
            raise self.error
        return super().score(documents, query)


class InBatches(HashScorer):
    """Goes through batches for a second; counts them."""

    def __init__(self) -> None:
        self.batches, self.begun, self.ended = 0, threading.Event(), threading.Event()

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.begun.set()
        try:
            for _ in range(200):
                check_stop()
                self.batches += 1
                time.sleep(0.005)
        finally:
            self.ended.set()
        return super().score(documents, query)


def passing(scorer: Any, **settings: Any) -> ContextCompressor:
    return ContextCompressor(scorer, CompressorConfig(on_error="passthrough", min_tokens=0, **settings))


# --- async calls ------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_stops_before_its_next_batch() -> None:
    scorer = InBatches()
    task = asyncio.create_task(ContextCompressor(scorer, ANY_SIZE).acompress(TEXT))
    while not scorer.begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    start = time.perf_counter()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.perf_counter() - start < 0.2
    assert scorer.ended.wait(1)
    assert scorer.batches < 100


async def test_the_time_of_a_call_is_limited() -> None:
    scorer = InBatches()
    start = time.perf_counter()
    with pytest.raises(CompressionTimeoutError, match=r"within `timeout=0.05` seconds"):
        await ContextCompressor(scorer, ANY_SIZE).acompress(TEXT, timeout=0.05)
    assert time.perf_counter() - start < 0.5
    assert scorer.ended.wait(1)
    assert scorer.batches < 100
    with pytest.raises(TimeoutError):
        ContextCompressor(InBatches(), CompressorConfig(timeout=0.02, min_tokens=0)).compress(TEXT)
    with pytest.warns(PassthroughWarning, match="CompressionTimeoutError"):
        assert (await passing(InBatches(), timeout=0.02).acompress(TEXT)).text == TEXT
    with pytest.warns(PassthroughWarning, match="CompressionTimeoutError"):
        assert passing(InBatches(), timeout=0.02).compress(TEXT).passed_through
    with pytest.raises(errors.ConfigError, match="`timeout` must be a finite number above 0, got 0"):
        ContextCompressor(HashScorer(), ANY_SIZE).compress(TEXT, timeout=0)


async def test_many_calls_leave_the_threads_of_the_host_free() -> None:
    compressor = ContextCompressor(InBatches(), ANY_SIZE)
    tasks = [asyncio.create_task(compressor.acompress(TEXT)) for _ in range(100)]
    await asyncio.sleep(0.02)
    start = time.perf_counter()
    await asyncio.to_thread(int)
    assert time.perf_counter() - start < 0.5
    assert sum(own.name.startswith("moos-calls") for own in threading.enumerate()) <= threads.THREADS
    for task in tasks:
        task.cancel()
    assert all(isinstance(own, asyncio.CancelledError) for own in await asyncio.gather(*tasks, return_exceptions=True))


def test_a_lock_that_was_held_at_a_fork_is_free_in_the_child() -> None:
    lock, plain = threads.Lock(), threads.Lock()
    with lock:
        lock._after_fork()
        plain._after_fork()
        with lock as intact, plain as other:
            assert (intact, other) == (False, True)
    store = MemoryStore()
    store.put({"a": WordScores.from_preserve([0.5])})
    store._lock._intact = False
    assert store.get(["a"]) == {}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_forked_after_use_compresses_too() -> None:
    code = (
        "import os, torch, warnings; warnings.simplefilter('ignore')\n"
        "from moos_integrations import ContextCompressor\n"
        "torch.set_num_threads(2)\n"
        "c = ContextCompressor.from_pretrained(dtype='float32', cache_bytes=0)\n"
        f"texts = [{TEXT!r} * 8] * 8\n"
        "r = c.compress(texts, 'When?')\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if c.compress(texts, 'When?').text == r.text else 3)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "2"})


# --- copies -----------------------------------------------------------------------------------------------------------


def test_public_objects_can_be_pickled_and_copied(tiny_model: Path) -> None:
    loaded = ContextCompressor.from_pretrained(str(tiny_model), device="cpu", dtype="float32", rate=0.5)
    result = loaded.compress([TEXT, ""], "When?")
    again = pickle.loads(pickle.dumps(loaded))
    assert again._scorer is None
    assert again.compress([TEXT, ""], "When?").documents == result.documents
    assert copy.copy(loaded) is copy.deepcopy(loaded) is loaded
    given = pickle.loads(pickle.dumps(ContextCompressor(HashScorer(), ANY_SIZE)))
    assert given.compress(TEXT).text == ContextCompressor(HashScorer(), ANY_SIZE).compress(TEXT).text
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert twin == result
        assert twin.explain().to_dicts() == result.explain().to_dicts()
    for own in (loaded.config, MOOSCompressor(rate=0.5), MOOSNodePostprocessor(rate=0.5), MOOSNodeTransform(rate=0.5)):
        for twin in (pickle.loads(pickle.dumps(own)), copy.deepcopy(own)):
            assert type(twin) is type(own)
            assert CompressorConfig.model_fields.keys() <= twin.model_dump().keys()
            assert all(getattr(twin, name) == getattr(own, name) for name in CompressorConfig.model_fields)


def test_errors_keep_their_fields() -> None:
    missing = MissingExtraError("x", extra="cli")
    for twin in (pickle.loads(pickle.dumps(missing)), copy.copy(missing)):
        assert (twin.module, twin.extra, str(twin)) == ("x", "cli", str(missing))
    for name in ("ConfigError", "InputError", "ModelError", "TokenizerError", "CompressionTimeoutError"):
        error = getattr(errors, name)("text")
        assert (type(pickle.loads(pickle.dumps(error))), str(pickle.loads(pickle.dumps(error)))) == (
            type(error),
            "text",
        )


@pytest.mark.parametrize("uncopyable", [threading.Lock(), (n for n in [1]), sys, sqlite3.connect(":memory:")])
def test_metadata_that_cannot_be_copied_are_shared(uncopyable: Any) -> None:
    metadata = {"plain": {"list": [1]}, "deep": {"own": [uncopyable, {"x": 1}]}}
    component = MOOSCompressor(rate=0.5)
    component._compressor = ContextCompressor(HashScorer(), component.config_of_compressor())
    (kept,) = component.compress_documents([Document(TEXT, metadata=metadata, id="a")])
    assert kept.metadata["deep"]["own"][0] is uncopyable
    assert kept.metadata["plain"] == metadata["plain"]
    assert kept.metadata["plain"]["list"] is not metadata["plain"]["list"]
    assert kept.metadata["deep"]["own"][1] is not metadata["deep"]["own"][1]
    assert "moos" not in metadata
    assert (kept.id, kept.page_content != TEXT) == ("a", True)
    processor = MOOSNodePostprocessor(rate=0.5)
    processor._compressor = component._compressor
    node = TextNode(text=TEXT, metadata=metadata)
    (item,) = processor.postprocess_nodes([NodeWithScore(node=node, score=0.5)])
    assert item.node.metadata["deep"]["own"][0] is uncopyable
    assert item.node.metadata["plain"]["list"] is not metadata["plain"]["list"]
    assert (item.node.node_id, node.text, "moos" in node.metadata) == (node.node_id, TEXT, False)


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), PanicException("index out of range"), AssertionError(), MemoryError()]
)
def test_one_bad_text_passes_through_alone(error: BaseException) -> None:
    texts = [f"{TEXT} Number {index}." for index in range(20)]
    texts[7] = "BAD text. It stays as it is. All of it."
    good = ContextCompressor(HashScorer(), ANY_SIZE).compress(
        [text if index != 7 else "" for index, text in enumerate(texts)], rate=0.5
    )
    with pytest.warns(PassthroughWarning, match="on documents 7, which are returned unchanged"):
        result = passing(Refusing(error)).compress(texts, rate=0.5)
    assert [own.text for own in result.documents[:7]] == [own.text for own in good.documents[:7]]
    assert result.documents[7].text == texts[7]
    assert [own.passed_through for own in result.documents] == [index == 7 for index in range(20)]
    assert not result.passed_through
    assert result.kept_tokens == passing(HashScorer()).counter.count(result.text)
    with pytest.raises(CompressionError):
        ContextCompressor(Refusing(error), ANY_SIZE).compress(texts)
    with pytest.warns(PassthroughWarning):
        many = passing(Refusing(error)).compress_many(texts, rate=0.5)
    assert [one.passed_through for one in many] == [index == 7 for index in range(20)]


def test_what_passes_through_is_taken_from_the_ceiling() -> None:
    bad = "BAD text that stays."
    with pytest.warns(PassthroughWarning):
        result = passing(Refusing(RuntimeError())).compress([TEXT * 5, bad, TEXT * 5], budget_tokens=40)
    assert bad in result.text
    assert result.kept_tokens <= 40


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_a_program_always_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        passing(Refusing(error)).compress("BAD")


def test_a_tokenizer_that_fails_passes_its_texts_through() -> None:
    def count(text: str) -> int:
        if "BAD" in text:
            raise OSError("service is down")
        return len(text.split())

    with pytest.warns(PassthroughWarning, match="service is down"):
        result = passing(HashScorer(), tokenizer=count).compress([TEXT, "BAD one. It stays."], rate=0.5)
    assert result.documents[1].passed_through
    assert len(result.documents[0].text) < len(TEXT)


def test_where_all_fails_few_calls_are_made() -> None:
    calls = []

    def work(items: list[int]) -> list[int]:
        calls.append(len(items))
        raise RuntimeError

    assert len(isolated(work, range(1000))[1]) == 1000
    assert len(calls) < 30
    found, failed = isolated(lambda items: [1 // (item % 100) for item in items], range(1000))
    assert sorted(failed) == list(range(0, 1000, 100))
    assert len(found) == 990


def test_similarities_that_are_no_numbers_are_an_error() -> None:
    class Wrong(HashScorer):
        def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
            (own,) = super().score(documents, query)
            return [WordScores(own.preserve, own.outlier, own.metric, 0.5, np.full(3, np.nan))]

    with pytest.raises(CompressionError, match="`unit_similarity` of document 0"):
        ContextCompressor(Wrong(), ANY_SIZE).compress(TEXT, "When?")


# --- the cache --------------------------------------------------------------------------------------------------------


def scores() -> WordScores:
    own = WordScores.from_preserve(np.linspace(0, 1, len(segment(TEXT))))
    units = len(segment(TEXT).unit_starts)
    return WordScores(
        own.preserve, own.outlier, own.metric, 0.5, np.arange(units, dtype=float), np.ones((units, 4), np.float32)
    )


def huge() -> bytes:
    payload = struct.pack("<d", 0.5) + b"d" + struct.pack("<QQQ", 2, 2**40, 2**40)
    return cache._MAGIC + cache._checksum("k", payload) + payload


WHOLE = packed("k", scores())
DAMAGED = {
    "text": "text", "number": 7, "nothing": b"", "zip": b"PK\x03\x04" + b"0" * 99, "cut": WHOLE[:-9],
    "longer": WHOLE + b"0",
    "bit": WHOLE[:-3] + bytes([WHOLE[-3] ^ 1]) + WHOLE[-2:],
    "of another key": packed("l", scores()), "huge": huge(),
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999,), }",
    "pickle": b"\x80\x04\x95cposix\nsystem\n(S'false'\ntR.",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_entries_are_no_entries(name: str) -> None:
    assert unpacked("k", DAMAGED[name]) is None


def test_entries_come_back_as_they_were() -> None:
    again = unpacked("k", WHOLE)
    assert again is not None
    assert packed("k", again) == WHOLE
    assert not again.misfit(segment(TEXT))


class Once(HashScorer):
    def __init__(self) -> None:
        self.asked = 0

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        self.asked += len(documents)
        return super().score(documents, query)


@pytest.mark.parametrize("value", [*DAMAGED.values(), packed("k", WordScores.from_preserve([np.nan]))])
def test_a_directory_passes_damaged_entries_over_and_writes_them_anew(value: Any, tmp_path: Path) -> None:
    documents = [segment(TEXT), segment("Other.")]
    CachedScorer(Once(), "m", DirectoryStore(tmp_path)).score(documents, None)
    with sqlite3.connect(tmp_path / "scores.sqlite") as database:
        database.execute("UPDATE scores SET value = ?", (value,))
    database.close()
    scorer = Once()
    with pytest.warns(RuntimeWarning, match="damaged entries") as caught:  # noqa: PT031
        store = DirectoryStore(tmp_path)
        for _ in range(3):
            CachedScorer(scorer, "m", store).score(documents, None)
    assert (len(caught), scorer.asked) == (1, 2)


@pytest.mark.parametrize("make", [InMemoryByteStore, SimpleKVStore])
def test_stores_of_both_frameworks_keep_scores(make: Any) -> None:
    store = make()
    config = CompressorConfig(cache_store=store, min_tokens=0)
    assert MOOSCompressor(cache_store=store).compressor.config.cache_store is config.cache_store
    documents = [segment(TEXT), segment("")]
    first = CachedScorer(Once(), "m", FrameworkStore(store)).score(documents, "When?")
    scorer = Once()
    again = CachedScorer(scorer, "m", FrameworkStore(store)).score(documents, "When?")
    assert scorer.asked == 0
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.metric, other.metric)
    json.dumps(store.to_dict() if hasattr(store, "to_dict") else [*map(str, store.yield_keys())])


def test_a_store_that_fails_is_passed_over_with_one_warning() -> None:
    class Down:
        def mget(self, keys: Any) -> Any:
            raise ConnectionError("refused")

        def mset(self, pairs: Any) -> None:
            raise ConnectionError("refused")

    scorer = CachedScorer(Once(), "m", FrameworkStore(Down()))
    with pytest.warns(RuntimeWarning, match="Down cannot be used and is ignored: .*refused") as caught:  # noqa: PT031
        scorer.score([segment(TEXT)], None)
        scorer.score([segment(TEXT)], None)
    assert len(caught) == 1


def test_a_file_that_can_only_be_read_gives_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CachedScorer(Once(), "m", DirectoryStore(tmp_path)).score([segment(TEXT)], None)

    def refuse(self: DirectoryStore) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(DirectoryStore, "_open", refuse)
    scorer = Once()
    store = DirectoryStore(tmp_path)
    CachedScorer(scorer, "m", store).score([segment(TEXT)], None)
    assert scorer.asked == 0
    with pytest.warns(RuntimeWarning, match="can only be read"):
        CachedScorer(scorer, "m", store).score([segment("Other.")], None)


def test_a_mount_that_can_only_be_read_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CachedScorer(Once(), "m", DirectoryStore(tmp_path)).score([segment(TEXT)], None)

    def refuse(self: DirectoryStore) -> sqlite3.Connection:  # as SQLite on such a mount
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(DirectoryStore, "_open", refuse)
    scorer = Once()
    with pytest.warns(RuntimeWarning, match="can only be read; new scores are not kept"):
        CachedScorer(scorer, "m", DirectoryStore(tmp_path)).score([segment(TEXT), segment("Other.")], None)
    assert scorer.asked == 1
    (tmp_path / "scores.sqlite").unlink()
    with pytest.warns(RuntimeWarning, match="cannot be used and is ignored"):
        CachedScorer(scorer, "m", DirectoryStore(tmp_path)).score([segment(TEXT)], None)


def test_memory_keeps_no_views_of_batches() -> None:
    batch, store = np.zeros(1_000_000), MemoryStore()
    store.put({"a": WordScores(batch[:3], batch[3:6], batch[6:9])})
    kept = store.get(["a"])["a"]
    assert all(getattr(kept, name).base is None for name in ("preserve", "outlier", "metric"))


def test_labels_tokenizer_and_configuration_are_in_the_key(tiny_model: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path, **settings: Any) -> str:
        loaded = ContextCompressor.from_pretrained(str(folder), device="cpu", dtype="float32", scores=settings)
        return str(loaded.scorer.fingerprint)  # type: ignore[attr-defined]

    base = fingerprint(tiny_model)
    assert fingerprint(tiny_model, preserve_label=0) != base == fingerprint(tiny_model, preserve_label=1)
    for index, (file, old, new) in enumerate(
        [
            ("config.json", '"num_attention_heads": 2', '"num_attention_heads": 4'),
            ("config.json", '"model_type"', '"moos": {"similarity_scale": 2.0}, "model_type"'),
            ("tokenizer.json", '"fox"', '"f@x"'),
        ]
    ):
        folder = Path(shutil.copytree(tiny_model, tmp_path / str(index)))
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(
            text.replace(old, new) if old in text else text.replace('"the"', '"th@"'), encoding="utf-8"
        )
        assert fingerprint(folder) != base, file


def test_a_folder_that_was_trained_anew_is_loaded_anew(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    before = hub.load_classifier(str(folder), device="cpu", dtype="float32")
    assert hub.load_classifier(str(folder), device="cpu", dtype="float32") is before
    before.model.classifier.bias.data += 1
    before.model.save_pretrained(folder)
    before.model.classifier.bias.data -= 1
    after = hub.load_classifier(str(folder), device="cpu", dtype="float32")
    assert after.fingerprint != before.fingerprint


# --- models of unknown origin -----------------------------------------------------------------------------------------


def attacked(folder: Path, attack: str) -> Path:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    code = f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\n"
    if attack == "code":
        config |= {
            "model_type": "evil",
            "auto_map": {"AutoConfig": "evil.C", "AutoModelForTokenClassification": "evil.C"},
        }
        (folder / "evil.py").write_text(code)
    elif attack == "code of the tokenizer":
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings |= {"tokenizer_class": "C", "auto_map": {"AutoTokenizer": ["evil.C", "evil.C"]}}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "evil.py").write_text(code)
        config["model_type"] = "evil"
    elif attack == "pickle":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(
            b"cbuiltins\nopen\n(S'" + str(folder / "ran").encode() + b"'\nS'w'\ntR."
        )
    elif attack == "path":
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))
    elif attack == "adapter":
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/etc"}))
    elif attack == "weights":
        (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    elif attack == "depth":
        (folder / "config.json").write_text("[" * 100_000)
        return folder
    else:
        config[attack] = 10**9 if attack != "id2label" else {str(n): "x" for n in range(70_000)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "attack",
    [
        "code", "code of the tokenizer", "pickle", "path", "adapter", "weights", "depth", "num_hidden_layers",
        "vocab_size", "hidden_size", "num_labels", "id2label",
    ],
)  # fmt: skip
def test_a_hostile_folder_is_an_error_and_runs_no_code(
    attack: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *given: pytest.fail("asked on a terminal"))
    folder = attacked(Path(shutil.copytree(tiny_model, tmp_path / "model")), attack)
    with pytest.raises(ModelError):
        hub.load_classifier(str(folder), device="cpu", dtype="float32")
    assert not (folder / "ran").exists()


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def large(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**27 + 1)


def long_list_of_tensors(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**23 + 1) + b" " * (2**23 + 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(
            (name, change)
            for change in (endless, pipe)
            for name in ("model.safetensors", "tokenizer.json", "config.json")
        ),
        ("tokenizer.json", large),
        ("config.json", large),
        ("model.safetensors", long_list_of_tensors),
    ],
)
def test_files_without_an_end_are_not_read(name: str, change: Any, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    change(folder / name)
    start = time.perf_counter()
    with pytest.raises((ModelError, errors.ConfigError)):
        ContextCompressor.from_pretrained(str(folder), device="cpu", dtype="float32")
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("attack", ["path", "adapter"])
def test_a_hostile_hub_id_is_an_error(attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = attacked(save_tiny_model(tmp_path), attack)

    def download(source: str, name: str) -> str:
        if not (folder / name).exists():
            raise EntryNotFoundError(name)
        return str(folder / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(ModelError, match="is an adapter" if attack == "adapter" else "in the same folder"):
        hub.load_classifier(f"someone/{attack}", device="cpu", dtype="float32")


@pytest.mark.parametrize("length", [-5, 0, 2])
def test_a_model_without_room_for_text_is_an_error(length: int, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": length}))
    loaded = ContextCompressor.from_pretrained(str(folder), device="cpu", dtype="float32", min_tokens=0)
    if length == 0:  # transformers' "no limit"
        assert loaded.compress(TEXT, rate=1.0).text == TEXT
        return
    with pytest.raises(ModelError, match="has no room for text"):
        loaded.compress(TEXT, "When?", rate=0.5)


def test_code_beside_a_known_model_is_ignored(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForTokenClassification": "evil.C"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    hub.load_classifier(str(folder), device="cpu", dtype="float32")
    assert not (folder / "ran").exists()


def test_every_load_of_a_model_says_that_no_code_is_run() -> None:
    package = Path(hub.__file__).parent.parent
    for path in package.rglob("*.py"):
        for part in path.read_text(encoding="utf-8").split("Auto")[1:]:
            if ".from_pretrained(" in part[:60]:
                assert "_SAFE" in part[:260] or "trust_remote_code=False" in part[:260], (path, part[:80])


# --- the application's torch ------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_what_the_application_set(tiny_model: Path, tmp_path: Path) -> None:
    def run(folder: Path) -> Any:
        loaded = ContextCompressor.from_pretrained(str(folder), device="cpu", dtype="float32", cache_bytes=0)
        return loaded.compress([TEXT * 6, "Numbers like 42 matter."], "fox?", rate=0.5)

    expected = run(tiny_model)
    metrics = [word.metric for word in expected.explain()]
    state = torch.get_rng_state()
    try:
        for index, change in enumerate(
            [lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_device("meta"), lambda: None]
        ):
            change()
            folder = Path(shutil.copytree(tiny_model, tmp_path / str(index)))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                again = run(folder)
            assert [word.metric for word in again.explain()] == metrics
            assert again.text == expected.text
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(torch.get_rng_state(), state)


STATE = """
import decimal, gc, json, locale, logging, multiprocessing, os, random, signal, socket, sys, threading, warnings
import numpy, torch, transformers, tiktoken, pydantic
from transformers import AutoTokenizer, BertForTokenClassification  # libraries change filters when they are loaded
def state():
    return {
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch defaults": (str(torch.get_default_dtype()), str(torch.get_default_device())),
        "torch grad, autocast": (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")),
        "torch determinism": torch.are_deterministic_algorithms_enabled(),
        "random": (hash(random.getstate()), str(numpy.random.get_state()), torch.get_rng_state().tolist()[:99]),
        "logging": (logging.root.level, len(logging.root.handlers), logging.getLogger("transformers").level),
        "warnings": [str(own) for own in warnings.filters], "showwarning": str(warnings.showwarning),
        "environment": dict(os.environ), "sys.path": list(sys.path), "folder": os.getcwd(),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "locale": locale.setlocale(locale.LC_ALL), "start method": multiprocessing.get_start_method(allow_none=True),
        "hooks": (str(sys.excepthook), str(threading.excepthook), str(sys.unraisablehook), str(sys.displayhook)),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), socket.getdefaulttimeout()),
        "numbers": (str(decimal.getcontext()), str(numpy.geterr()), str(numpy.get_printoptions())),
        "transformers": transformers.utils.logging.get_verbosity(),
        "threads": [own.name for own in threading.enumerate() if not own.name.startswith("moos-")],
    }
before = state()
"""


@pytest.mark.slow
def test_import_and_use_change_no_global_state() -> None:
    code = STATE + (
        "import asyncio\n"
        "from moos_integrations import ContextCompressor\n"
        "c = ContextCompressor.from_pretrained(dtype='float32')\n"
        "c.compress(['The meeting ended at 17:30. It was long.'], 'When?')\n"
        "asyncio.run(c.acompress(['Another text. It is short.'], 'What?'))\n"
        "after = state()\n"
        "changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}\n"
        "assert not changed, changed\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# --- a real server ----------------------------------------------------------------------------------------------------


class RedisStore:
    """`mget` and `mset` of a Redis server, over its own protocol."""

    def __init__(self, path: str) -> None:
        import socket

        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _call(self, *parts: bytes) -> Any:
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(own), own) for own in parts))
        return self._reply()

    def _reply(self) -> Any:
        line = self._file.readline().strip()
        if line[:1] == b"*":
            return [self._reply() for _ in range(int(line[1:]))]
        if line[:1] != b"$":
            return line
        size = int(line[1:])
        return None if size < 0 else self._file.read(size + 2)[:-2]

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        return list(self._call(b"MGET", *(key.encode() for key in keys)))

    def mset(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        assert self._call(b"MSET", *(part for key, value in pairs for part in (key.encode(), value))) == b"+OK"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_scores_are_kept_by_a_real_redis_server(tmp_path: Path) -> None:
    path = str(tmp_path / "redis.sock")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", ""], cwd=tmp_path, stdout=-3
    )
    try:
        while not Path(path).exists():
            time.sleep(0.02)
        with contextlib.closing(RedisStore(path)) as store:
            first = CachedScorer(Once(), "m", FrameworkStore(store)).score([segment(TEXT)], None)
        scorer = Once()
        with contextlib.closing(RedisStore(path)) as store:
            again = CachedScorer(scorer, "m", FrameworkStore(store)).score([segment(TEXT)], None)
        assert scorer.asked == 0
        np.testing.assert_array_equal(first[0].metric, again[0].metric)
    finally:
        server.terminate()
        server.wait()
