"""Small stand-ins: a scorer without a model, and seeded one-layer classifiers of all three tokenizer families."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from moos_integrations import SegmentedText, WordScores
from moos_integrations.core.config import BUNDLED_MODELS
from moos_integrations.core.prepared import PreparedText
from moos_integrations.core.table import Table
from moos_integrations.core.text import segment

CORPUS = (
    "The quick brown fox jumps over the lazy dog. Numbers like 42 and 3.14 matter, names like Ada Lovelace too.",
    "def add(a, b):\n    return a + b\n",
    "Die Straße ist naß; l'été à Zürich. 你好，世界。 emoji 😀 and marks é.",
)


class HashScorer:
    """Scores a word by its text and position alone: deterministic, without ties in practice, without torch."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        return [
            WordScores.from_preserve(
                [
                    hash_share(f"{word}|{start}")
                    for word, start in zip(document.words(), document.word_starts, strict=True)
                ]
            )
            for document in documents
        ]


class UnitScorer(HashScorer):
    """`HashScorer` that also tells documents' relevance and units' similarity and vectors, as a trained model does."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        if query is None:
            return super().score(documents, query)
        return [
            replace(
                scores,
                passage_probability=0.05 + 0.9 * hash_share(f"{query}|{document.text}"),
                unit_similarity=np.array([4 * hash_share(f"{query}|{unit}") for unit in _units(document)]),
                unit_vectors=np.array(
                    [[hash_share(f"{axis}|{unit}") for axis in range(4)] for unit in _units(document)], np.float32
                ).reshape(-1, 4),
            )
            for document, scores in zip(documents, super().score(documents, query), strict=True)
        ]


class WordCounter:
    """Counts words as tokens, so that every word costs one."""

    name, locates = "words", True

    def count(self, text: str) -> int:
        return len(segment(text))

    def starts(self, text: str) -> npt.NDArray[np.int64]:
        return segment(text).word_starts


def table_of(documents: Sequence[SegmentedText], scores: Sequence[WordScores] | None = None) -> Table:
    """A request whose words cost a token each; without scores, all words are equal."""
    equal = [WordScores.from_preserve(np.full(len(document), 0.5)) for document in documents]
    return Table.of(
        [PreparedText(document, WordCounter()) for document in documents], equal if scores is None else scores
    )


def _units(document: SegmentedText) -> list[str]:
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [document.text[start:end] for start, end in spans]


def hash_share(text: str) -> float:
    """A number in [0, 1) that depends on the text only (Python's own `hash` changes from run to run)."""
    value = 2166136261
    for character in text:
        value = (value ^ ord(character)) * 16777619 % 2**32
    return value % 10_007 / 10_007


def wordpiece(pair: str | None = None) -> PreTrainedTokenizerFast:
    """BERT's family; `pair` is the template for pairs, if there is one."""
    splitter = pre_tokenizers.BertPreTokenizer()
    words = {word for text in CORPUS for word, _ in splitter.pre_tokenize_str(text)}
    # Not trained: WordPieceTrainer picks other pieces in each process, and seeded weights would then differ too.
    heads, tails = {word[:3] for word in words}, {f"##{word[i : i + 3]}" for word in words for i in range(3, len(word))}
    letters = {mark + letter for word in words for letter in word for mark in ("", "##")}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(heads | tails | letters)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]",
        pair=pair,
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def byte_bpe(pair: str | None = None) -> PreTrainedTokenizerFast:
    """RoBERTa's and GPT's family: byte-level, pieces may hold half a character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def unigram(pair: str | None = None) -> PreTrainedTokenizerFast:
    """XLM-R's and T5's family: pieces carry the space before them; no special token in front."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<pad>", "<unk>", "</s>"], unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    # The trainer orders pieces anew in each process: sorted by their text, seeded weights are the same in all.
    pieces = [(piece, round(score, 3)) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    tokenizer.model = models.Unigram(pieces[:3] + sorted(pieces[3:]), unk_id=1)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", pair=pair, special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


TOKENIZERS = {"wordpiece": wordpiece, "byte_bpe": byte_bpe, "unigram": unigram}
PAIR_TEMPLATES = {
    "wordpiece": "[CLS] $A [SEP] $B:1 [SEP]:1",
    "byte_bpe": "<s> $A </s> </s> $B </s>",
    "unigram": "$A </s> $B </s>",
}


def save_tiny_model(
    folder: Path,
    family: str = "wordpiece",
    labels: Sequence[str] = ("discard", "preserve"),
    *,
    query_aware: bool = False,
) -> Path:
    """A seeded one-layer BERT of 32 dimensions and 64 positions, saved in Hugging Face layout.

    With `query_aware` its config.json says so as trained models do, and its tokenizer has a template for pairs.
    """
    tokenizer = TOKENIZERS[family](PAIR_TEMPLATES[family] if query_aware else None)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,  # large enough that words get clearly different scores
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **({"moos": {"query_aware": True, "similarity_scale": 10.0}} if query_aware else {}),
    )
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}


def save_tiny_span_model(folder: Path) -> Path:
    """An untrained reader with a span head and the bundled tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODELS / "moos-minilm-en")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=1.0, num_hidden_layers=1, **_SIZES)
    BertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_tiny_causal_model(folder: Path) -> Path:
    """An untrained causal language model with the bundled tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODELS / "moos-minilm-en")
    torch.manual_seed(0)
    sizes = {"max_position_embeddings": 128, "num_hidden_layers": 2, **_SIZES}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
