"""Saved folders: changed weights as safetensors, settings as JSON, a card. Nothing in them is code."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from moos_integrations.comi.card import comi_card
from moos_integrations.comi.network import Network
from moos_integrations.comi.settings import DecoderTuning, Method
from moos_integrations.comi.states import fingerprint_of
from moos_integrations.core.hub import placement
from moos_integrations.errors import ConfigError, ModelError

SETTINGS, WEIGHTS = "comi.json", "weights.safetensors"
_FORMAT = 1


def load_llm(base: str | Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A causal LLM and its tokenizer, without code of others and without pickle.

    Args:
        base: A folder in Hugging Face layout with safetensors, a hub id, or a GGUF file (needs the package `gguf`).
        dtype: Number type of the weights.

    Raises:
        ModelError: If nothing can be loaded.
    """
    path = Path(base)
    source: Any = path.parent if path.suffix == ".gguf" else base
    options: dict[str, Any] = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
        weights = options or {"use_safetensors": True}
        llm = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=False, **weights)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        first_line = (str(error).splitlines() or [""])[0][:300]
        raise ModelError(
            f"Expected a causal LLM in {str(base)!r} (a folder with safetensors, a hub id or a GGUF file): {first_line}"
        ) from error
    llm.eval()  # type: ignore[no-untyped-call]
    return llm, tokenizer


def changed_weights(network: Network) -> dict[str, torch.Tensor]:
    """What training changes, by name."""
    return {name: own for name, own in network.named_parameters() if own.requires_grad}


def save(
    network: Network, folder: Path, *, base: str, base_fingerprint: str, report: dict[str, Any], dtype: torch.dtype
) -> None:
    """Write a folder; it is complete or absent.

    Args:
        network: Its changed weights are saved, not the LLM.
        folder: Replaced if it exists.
        base: Name or path of the LLM.
        base_fingerprint: Hash of its weights.
        report: The record of the training.
        dtype: Number type of the saved weights.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: own.detach().to("cpu", dtype).contiguous() for name, own in changed_weights(network).items()}
    save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})
    settings = {
        "format": _FORMAT,
        "base": base,
        "base_fingerprint": base_fingerprint,
        "own_embeddings": network.own_embeddings,
        "method": dataclasses.asdict(network.method),
        "tuning": dataclasses.asdict(network.tuning),
    }
    (partial / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (partial / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    size = (partial / WEIGHTS).stat().st_size
    (partial / "README.md").write_text(comi_card(settings, report, size), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def load(folder: Path, base: str | Path | None, device: str, dtype: str) -> tuple[Network, Any, str, str]:
    """The network of a folder, its tokenizer, and name and fingerprint of its LLM; see `COMI.from_pretrained`."""
    settings = _settings(folder)
    where, kind = placement(device, dtype)
    name = str(base or settings["base"])
    llm, tokenizer = load_llm(name, kind)
    fingerprint = fingerprint_of(llm.named_parameters())
    if fingerprint != settings["base_fingerprint"]:
        raise ModelError(
            f"{folder} was trained with another LLM than {name!r}: the weights have the fingerprint {fingerprint}, "
            f"expected {settings['base_fingerprint']} ({settings['base']}). Pass that one as `base`."
        )
    network = Network(llm, settings["method"], settings["tuning"], own_embeddings=settings["own_embeddings"])
    load_weights(network, folder / WEIGHTS)
    return network.to(device=where, dtype=kind).requires_grad_(False), tokenizer, name, fingerprint


def _settings(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if values["format"] != _FORMAT:
            raise ModelError(f"{folder} has the format {values['format']}; this version reads {_FORMAT}.")
        names = ("base", "base_fingerprint", "own_embeddings")
        found = {name: values[name] for name in names}
        method, tuning = Method.from_dict(values["method"]), DecoderTuning.from_dict(values["tuning"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"Expected a folder saved by `moos comi train` with a {SETTINGS} in {str(folder)!r}: {error}."
        ) from error
    return {**found, "method": method, "tuning": tuning}


def load_weights(network: Network, path: Path) -> None:
    """Read the changed weights of a network from a safetensors file.

    Raises:
        ModelError: If the file is damaged, or its weights are those of another network.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}.") from error
    own = changed_weights(network)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if shapes != (other := {name: tuple(tensor.shape) for name, tensor in found.items()}):
        names = sorted(name for name in {*shapes, *other} if shapes.get(name) != other.get(name))
        first = names[0]
        raise ModelError(
            f"{path} belongs to another LLM or other settings: {len(names)} weights differ, the first is {first!r} "
            f"with the shape {other.get(first)}, expected {shapes.get(first)}."
        )
    with torch.no_grad():
        for name, tensor in found.items():
            own[name].copy_(tensor)


def export_decoder(
    folder: str | Path, output: str | Path, *, base: str | Path | None = None, dtype: str = "bfloat16"
) -> Path:
    """Write the tuned decoder as a plain model folder, LoRA merged, so that a stock server can load it.

    Args:
        folder: Saved by `moos comi train`.
        output: New folder with safetensors and the tokenizer.
        base: The LLM; None for where it was at training.
        dtype: Number type of the written weights, that of the served model.

    Returns:
        `output`.

    Raises:
        ModelError: As for `COMI.from_pretrained`.
        ConfigError: If `output` exists, or the dtype is unknown.
    """
    target = Path(output)
    if target.exists():
        raise ConfigError(f"{target} exists already. Name a new folder.")
    _, kind = placement("cpu", dtype)
    network, tokenizer, _, _ = load(Path(folder), base, "cpu", "float32")
    merged = network.decoder.merge_and_unload() if network.tuning.tuning == "lora" else network.decoder
    merged.to(kind).save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target
