"""What a server takes: sizes of requests, length of its queue, and time."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from moos_integrations.core.checks import AboveZero, FrozenModel, PositiveCount, Text
from moos_integrations.errors import ConfigError


def _not_empty(key: str | None) -> str | None:
    if key == "":
        raise ConfigError("`api_key` must have at least one character, got ''. Leave it out to serve without a key.")
    return key


_Key = Annotated[Text | None, Field(repr=False), AfterValidator(_not_empty)]


class Limits(FrozenModel):
    """Limits of `moos serve`; each is an option of the command."""

    max_body_bytes: PositiveCount = Field(default=8_000_000, description="Largest body of a request, in bytes.")
    max_documents: PositiveCount = Field(default=2_000, description="Most documents, or chat messages, of one request.")
    max_tokens: PositiveCount = Field(
        default=400_000, description="Most tokens of a request, in the tokenizer of the target LLM."
    )
    queue_size: PositiveCount = Field(
        default=64, description="Most requests in the server at a time; the next one is refused with status 429."
    )
    max_batch: PositiveCount = Field(default=16, description="Most requests that are compressed together.")
    max_batch_tokens: PositiveCount = Field(
        default=100_000, description="Most tokens that are compressed together; a larger request runs alone."
    )
    parallel: PositiveCount = Field(default=1, description="How many batches run at the same time.")
    request_timeout: AboveZero = Field(
        default=60.0, description="Most seconds for a request, its wait included; then it fails with status 504."
    )
    body_timeout: AboveZero = Field(default=30.0, description="Most seconds for the body of a request to arrive.")
    stop_timeout: PositiveCount = Field(
        default=30, description="Seconds that a server which is stopped goes on with requests that it has taken."
    )
    keep_bytes: PositiveCount = Field(
        default=256_000_000, description="Memory in bytes for full texts that can be read again by their hash."
    )
    api_key: _Key = Field(
        default=None, description="Key that requests must carry; better set with the variable MOOS_API_KEY."
    )
