"""`SoftMemory`: contexts as vectors in front of a question, for transformers and for servers that take embeddings."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moos_integrations.errors import ConfigError

_SERVED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class SoftMemory:
    """Compressed contexts for one question.

    Attributes:
        embeds: Memory vectors, and embeddings of what stays text. Shape: `(positions, d)`.
        is_text: Which positions are text. Shape: `(positions,)`.
        prompt: The whole input of the decoder: `embeds` and the question, in the chat template if one is used.
            Shape: `(prompt, d)`.
        query: The question.
        context_tokens: Tokens of the contexts before compression.
        merge_size: Tokens per vector; with a budget the one that was found.
    """

    embeds: Tensor
    is_text: Tensor
    prompt: Tensor
    query: str
    context_tokens: int
    merge_size: int

    @property
    def positions(self) -> int:
        """Positions that the contexts take in the decoder's input."""
        return len(self.embeds)

    @property
    def tokens_saved(self) -> int:
        """Positions that the contexts would take as text, less those that they take now."""
        return self.context_tokens - self.positions

    def to_transformers(self) -> dict[str, Tensor]:
        """Arguments of `model.generate` of transformers, for the tuned decoder.

        Shapes: `inputs_embeds` `(1, prompt, d)`, `attention_mask` `(1, prompt)`.
        """
        mask = torch.ones(1, len(self.prompt), dtype=torch.long, device=self.prompt.device)
        return {"inputs_embeds": self.prompt[None], "attention_mask": mask}

    def as_openai_part(self, dtype: str = "bfloat16") -> dict[str, str]:
        """The vectors as a content part of a chat message, as vLLM's server takes it with `--enable-prompt-embeds`.

        Put it in front of a text part with the question: `[memory.as_openai_part(), {"type": "text", "text": query}]`.
        The server applies the chat template. It must serve the decoder of `export_decoder`. It loads the tensors that
        clients send, so enable this for trusted clients only. The format follows vLLM's documentation; it was tested
        against another decoder of the format, not against a running server.

        Args:
            dtype: Number type of the served model: "bfloat16", "float16" or "float32".

        Raises:
            ConfigError: On another dtype.
        """
        return {"type": "prompt_embeds", "data": tensor_to_base64(self.embeds, dtype)}

    def as_embeds_prompt(self, dtype: str = "bfloat16") -> dict[str, Tensor]:
        """The whole prompt for vLLM's offline `LLM.generate`, `{"prompt_embeds": ...}`. Shape: `(prompt, d)`.

        Raises:
            ConfigError: On an unknown dtype.
        """
        return {"prompt_embeds": served(self.prompt, dtype)}


def served(vectors: Tensor, dtype: str) -> Tensor:
    """A copy in the number type of a served model, without gradients, on the CPU.

    Raises:
        ConfigError: On an unknown dtype, or if a number is too large for it.
    """
    if dtype not in _SERVED:
        raise ConfigError(
            f"`dtype` must be the number type of the served model, one of {', '.join(map(repr, _SERVED))}; "
            f"got {dtype!r}."
        )
    found = vectors.detach().to("cpu", _SERVED[dtype], copy=True).contiguous()
    if not bool(found.isfinite().all()):
        raise ConfigError(f"The vectors have numbers too large for {dtype!r}. Serve the model in 'bfloat16'.")
    return found


def tensor_to_base64(vectors: Tensor, dtype: str) -> str:
    """A tensor as vLLM reads it: the bytes of `torch.save` in base64.

    The copy has a storage of its own: `torch.save` of a slice would write the whole tensor behind it.

    Raises:
        ConfigError: As for `served`.
    """
    stream = io.BytesIO()
    torch.save(served(vectors, dtype), stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def joined_prompts(memories: list[SoftMemory]) -> dict[str, Any]:
    """Prompts of several memories as one batch for `generate`, padded on the left.

    Shapes: `inputs_embeds` `(memories, longest, d)`, `attention_mask` `(memories, longest)`.
    """
    longest = max(len(own.prompt) for own in memories)
    pad = torch.nn.functional.pad
    inputs = torch.stack([pad(own.prompt, (0, 0, longest - len(own.prompt), 0)) for own in memories])
    lengths = torch.tensor([len(own.prompt) for own in memories], device=inputs.device)
    mask = torch.arange(longest, device=inputs.device)[None] >= longest - lengths[:, None]
    return {"inputs_embeds": inputs, "attention_mask": mask.long()}
