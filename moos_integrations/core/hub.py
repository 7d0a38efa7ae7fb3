"""Load token classifiers: the bundled one by name, a local folder, or a Hugging Face hub id."""

from __future__ import annotations

import hashlib
import inspect
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoModelForTokenClassification, AutoTokenizer

from moos_integrations.core.config import BUNDLED_MODELS
from moos_integrations.core.windows import SpecialTokens
from moos_integrations.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PRESERVE_NAMES = ("preserve", "keep", "LABEL_1")
_NO_LIMIT = 1_000_000
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A loaded two-label token classifier.

    Attributes:
        name: What it was loaded by.
        model: The network, in eval mode, on `device`.
        tokenizer: The backend of its fast tokenizer, truncation and padding off.
        special: The special tokens around a text, and around a question and a text.
        pad_id: Id used for padding (masked out).
        preserve_label: Index of the label "preserve".
        query_aware: It was trained to read a question before the passage. Its config.json has
            `"moos": {"query_aware": true}`.
        similarity_scale: Weight, in log-odds, of the cosine between the states of the question and of a unit; 0 if the
            states were not trained for it. Its config.json has it as `"moos": {"similarity_scale": 10.0}`.
        takes_types: It distinguishes question and passage by token types.
        max_pieces: Longest input, special tokens included.
        width: Numbers in a state.
        device: Where the model runs.
        dtype: The dtype of its matrix products.
        fingerprint: Hash of weights and configuration.
    """

    name: str
    model: torch.nn.Module
    tokenizer: Tokenizer
    special: SpecialTokens
    pad_id: int
    preserve_label: int
    query_aware: bool
    similarity_scale: float
    takes_types: bool
    max_pieces: int
    width: int
    device: torch.device
    dtype: torch.dtype
    fingerprint: str


def load_classifier(
    name: str, *, device: str = "auto", dtype: str = "auto", preserve_label: str | int | None = None
) -> Classifier:
    """Load a token classifier; the same arguments return the same object, also in concurrent threads.

    Args:
        name: "moos-minilm-en" (bundled), a folder in Hugging Face layout, or a hub id.
        device: "auto" (cuda over mps over cpu) or a torch device.
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on GPUs and on CPUs with native bfloat16
            instructions, else float32.
        preserve_label: Name or index of the label that means "keep"; by default the label called `preserve`, `keep`
            or `LABEL_1`.

    Raises:
        ModelError: If nothing can be loaded, the model does not have two labels, or none of them is known to mean
            "preserve". Also if its tokenizer is not a fast one, or has no template for pairs and the model is
            query-aware.
        ConfigError: On an unknown device or dtype.
    """
    with _LOADING:  # with the cache alone, concurrent first calls would load the weights several times
        return _load_classifier(name, device, dtype, preserve_label)


@lru_cache(maxsize=4)
def _load_classifier(name: str, device: str, dtype: str, preserve_label: str | int | None) -> Classifier:
    source = resolve(name)
    where, what = placement(device, dtype)
    with _quiet():
        model, tokenizer = _from_pretrained(name, source)
    return classifier_of(name, model.requires_grad_(False).to(device=where, dtype=what), tokenizer, preserve_label)


def classifier_of(name: str, model: Any, tokenizer: Any, preserve_label: str | int | None = None) -> Classifier:
    """A classifier from a network and its tokenizer in memory: for one that is not on disk yet.

    The network is put in eval mode and shared, not copied; the tokenizer is copied.

    Raises:
        ModelError: As for `load_classifier`.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"Model {name!r} has the slow tokenizer {type(tokenizer).__name__}, which has no character offsets. "
            "Save it with a fast one (a `tokenizer.json`)."
        )
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    special = SpecialTokens.of(backend)
    return Classifier(
        name=name,
        model=model.eval(),
        tokenizer=backend,
        special=special,
        pad_id=tokenizer.pad_token_id or 0,
        preserve_label=_preserve_label(name, model.config, preserve_label),
        query_aware=_query_aware(name, model.config, special),
        similarity_scale=_similarity_scale(name, model.config),
        takes_types=takes_types(model),
        max_pieces=_max_pieces(model.config, tokenizer),
        width=model.config.hidden_size,
        device=model.device,
        dtype=model.dtype,
        fingerprint=weights_fingerprint(model),
    )


def resolve(name: str) -> str:
    """The folder of a bundled model; any other name as it is.

    Raises:
        ConfigError: If it is not a string, or empty.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"`model` must be a bundled name, a folder or a hub id, got {name!r}.")
    bundled = BUNDLED_MODELS / name
    if "/" not in name and "\\" not in name and (bundled / "config.json").is_file():
        return str(bundled)
    return name


def _from_pretrained(name: str, source: str) -> tuple[Any, Any]:
    local = Path(source).is_dir()
    try:
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=local)
        if config.num_labels != 2:
            raise ModelError(
                f"Model {name!r} has {config.num_labels} labels ({', '.join(map(str, config.id2label.values()))}); "
                "a token classifier with two, preserve and discard, is needed."
            )
        model = AutoModelForTokenClassification.from_pretrained(
            source, config=config, dtype=torch.float32, local_files_only=local
        )
        return model, AutoTokenizer.from_pretrained(source, local_files_only=local)
    except ModelError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... by what is missing
        bundled = ", ".join(sorted(folder.parent.name for folder in BUNDLED_MODELS.glob("*/config.json")))
        first_line = (str(error).splitlines() or [""])[0][:300]
        what = "the folder has no usable model" if local else "it is not a folder, and the hub did not return it"
        raise ModelError(
            f"Model {name!r} could not be loaded: {what} ({type(error).__name__}: {first_line}). Expected a bundled "
            f"name ({bundled}), a folder in Hugging Face layout with a fast tokenizer, or a hub id."
        ) from error


def _preserve_label(name: str, config: Any, wanted: str | int | None) -> int:
    labels = {str(label): int(index) for index, label in config.id2label.items()}
    if isinstance(wanted, int) and wanted in labels.values():
        return wanted
    names = _PRESERVE_NAMES if wanted is None else (str(wanted),)
    for candidate in names:
        for label, index in labels.items():
            if label.lower() == candidate.lower():
                return index
    raise ModelError(
        f"Model {name!r} has the labels {', '.join(map(repr, labels))}; none is {' or '.join(map(repr, names))}. "
        "Set `preserve_label` to the one that means keep."
    )


def _query_aware(name: str, config: Any, special: SpecialTokens) -> bool:
    """Whether the model's config.json declares that it reads questions; most have no such entry."""
    settings = getattr(config, "moos", {})
    value = settings.get("query_aware", False) if isinstance(settings, dict) else None
    if not isinstance(value, bool):
        raise ModelError(
            f"Model {name!r}: `moos` in its config.json must be an object whose `query_aware` is true or false, got "
            f"{settings!r}."
        )
    if value and special.pair is None:
        raise ModelError(
            f"Model {name!r} is query-aware by its config.json, but its tokenizer has no template for pairs: it puts "
            "nothing between question and passage. Save it with the template that the model was trained with, such as "
            "`[CLS] $A [SEP] $B:1 [SEP]:1`."
        )
    return value


def _similarity_scale(name: str, config: Any) -> float:
    """The scale in the model's config.json; `_query_aware` has checked before that `moos` is an object."""
    value = getattr(config, "moos", {}).get("similarity_scale", 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ModelError(
            f"Model {name!r}: `similarity_scale` in `moos` of its config.json must be a number from 0 on, got "
            f"{value!r}."
        )
    return float(value)


def takes_types(model: torch.nn.Module) -> bool:
    """Whether the network distinguishes a question from a passage by token types."""
    known: Any = getattr(model.config, "type_vocab_size", None)
    return (known or 0) > 1 and "token_type_ids" in inspect.signature(model.forward).parameters


def _max_pieces(config: Any, tokenizer: Any) -> int:
    """The smaller one of the limits by positions and by the tokenizer's settings."""
    positions = getattr(config, "max_position_embeddings", None) or _NO_LIMIT
    # RoBERTa-like models count positions from padding_idx + 1, so that many of the embeddings are never used.
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"):
        positions -= (config.pad_token_id or 0) + 1
    return int(min(positions, tokenizer.model_max_length or _NO_LIMIT, _NO_LIMIT))


def _device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"`device` must be 'auto' or a torch device such as 'cpu' or 'cuda:0', got {device!r}."
        ) from error


def placement(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Device and number type of a model; the arguments are those of `load_classifier`.

    Raises:
        ConfigError: On an unknown device or dtype.
    """
    return _device(device), _dtype(dtype, _device(device))


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype in known:
        return known[dtype]
    if dtype != "auto":
        raise ConfigError(f"`dtype` must be 'auto' or one of {', '.join(map(repr, known))}; got {dtype!r}.")
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


def multiplies_bfloat16(device: torch.device | None = None) -> bool:
    """Whether bfloat16 products are native on a device; None for the one that `auto` takes."""
    device = device or _device("auto")
    native = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return native or (device.type == "cpu" and _cpu_multiplies_bfloat16())


def _cpu_multiplies_bfloat16() -> bool:
    """True where bfloat16 products are instructions; elsewhere they are emulated and slower than float32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def weights_fingerprint(model: torch.nn.Module) -> str:
    """A short hash of a model's weights, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().contiguous().view(torch.uint8).numpy(force=True).tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off the user's terminal."""
    logging: Any = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
