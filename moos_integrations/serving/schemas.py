"""What `/v1/compress` reads: documents and a question, or chat messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from moos_integrations.core.checks import CheckedModel, Count, Number, Share, Text, shown
from moos_integrations.core.config import Target
from moos_integrations.errors import ConfigError
from moos_integrations.serving.chat import texts_of
from moos_integrations.serving.limits import Limits


class RequestError(ConfigError):
    """A request that cannot be served as it is.

    Attributes:
        status: Of the answer.
        kind: A few words that stay the same, as a name.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        """Say what was expected, what came, and what to do."""
        super().__init__(message)
        self.status, self.kind = status, kind


class Document(CheckedModel):
    """A document of a request."""

    text: Text = Field(description="The text.")
    id: Text | None = Field(default=None, description="Comes back with the result.")
    score: Number | None = Field(default=None, description="A retriever's or reranker's score; higher is better.")


def _document(value: Any) -> Document:
    if isinstance(value, str):
        return Document(text=value)
    if not isinstance(value, Mapping):
        raise ConfigError(f'A document must be a string or an object such as {{"text": "..."}}, got {shown(value)}.')
    return Document.model_validate(dict(value))


def _documents(value: Any) -> list[Document]:
    if not isinstance(value, list):
        raise ConfigError(f"`documents` must be a list of strings or of objects with a `text`, got {shown(value)}.")
    found = []
    for index, item in enumerate(value):
        try:
            found.append(_document(item))
        except ConfigError as error:
            raise ConfigError(f"Document {index}: {error}") from None
    return found


def _messages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        wrong = value if not isinstance(value, list) else next(item for item in value if not isinstance(item, dict))
        raise ConfigError(f"`messages` must be a list of message objects, got {shown(wrong)}.")
    return value


class _Targets(CheckedModel):
    rate: Share | None = Field(
        default=None, description="Share of the tokens to keep, in place of the server's target."
    )
    budget_tokens: Count | None = Field(
        default=None, description="Most tokens to keep, in place of the server's target; in chats, of each result."
    )
    threshold: Share | None = Field(default=None, description="Adaptive, in place of the server's target.")

    @property
    def target(self) -> Target | None:
        """The target of this request.

        Raises:
            ConfigError: If two or more are set.
        """
        return Target.of(self.rate, self.budget_tokens, self.threshold)


class DocumentsRequest(_Targets):
    """Documents that are compressed together under one target."""

    documents: Annotated[list[Document], BeforeValidator(_documents)] = Field(
        description='Strings, or objects {"text", "id", "score"}.'
    )
    query: Text | None = Field(default=None, description="The question.")
    explain: bool = Field(default=False, description="Also return every sentence with its gain, and why it stayed.")

    @property
    def texts(self) -> list[str]:
        """All texts that are limited, the question included."""
        return [*(document.text for document in self.documents), self.query or ""]


class MessagesRequest(_Targets):
    """Chat messages: the contract of headroom's guardrail in LiteLLM. What tools returned is pruned."""

    # Gateways also send what only they know, such as a session.
    model_config = ConfigDict(extra="ignore")

    messages: Annotated[list[dict[str, Any]], BeforeValidator(_messages)] = Field(
        description="In the form of OpenAI or Anthropic."
    )
    model: Text | None = Field(default=None, description="Name of the LLM; it has no effect.")

    @property
    def texts(self) -> list[str]:
        """All texts that are limited; images are not."""
        return [text for message in self.messages for text in texts_of(message)]


def parsed(body: bytes, limits: Limits) -> DocumentsRequest | MessagesRequest:
    """The request in a body.

    Raises:
        RequestError: If it is not JSON, or not a request, or has too many documents.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            400, "invalid_json", f"The body must be a JSON object in UTF-8, got something else ({error}). Send it anew."
        ) from None
    if not isinstance(value, dict) or ("documents" in value) == ("messages" in value):
        got = f"the keys {', '.join(sorted(value)) or 'none'}" if isinstance(value, dict) else shown(value)
        raise RequestError(
            422,
            "invalid_request",
            "The body must be a JSON object with either `documents` (a list of texts, with `query`) or `messages` (a "
            f"chat), got {got}. `/openapi.json` has both forms.",
        )
    return _checked(value, limits)


def _checked(value: dict[str, Any], limits: Limits) -> DocumentsRequest | MessagesRequest:
    kind: type[DocumentsRequest | MessagesRequest] = DocumentsRequest if "documents" in value else MessagesRequest
    name = "documents" if kind is DocumentsRequest else "messages"
    items = value[name]
    if isinstance(items, list) and len(items) > limits.max_documents:
        raise RequestError(
            413,
            "too_many_documents",
            f"A request may have {limits.max_documents} {name} (`max_documents`), got {len(items)}. Send fewer.",
        )
    try:
        request = kind.model_validate(value)
        request.target  # noqa: B018 - raises if two are set
    except ConfigError as error:
        raise RequestError(422, "invalid_request", str(error)) from None
    return request


@dataclass(frozen=True)
class Task:
    """A request as a batch takes it.

    Attributes:
        request: What came.
        target: Of the request; None for the server's.
    """

    request: DocumentsRequest | MessagesRequest
    target: Target | None

    @property
    def key(self) -> tuple[Any, ...]:
        """Requests with equal keys run together.

        The model reads only texts with the same question in one pass. Others would wait for one another's answers.
        """
        question = self.request.query if isinstance(self.request, DocumentsRequest) else None
        return type(self.request), self.target, question


def request_schema() -> dict[str, Any]:
    """The body of `/v1/compress` for OpenAPI, without references."""
    forms: Sequence[type[_Targets]] = (DocumentsRequest, MessagesRequest)
    schemas = [_inlined(form.model_json_schema(mode="validation")) for form in forms]
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": schemas}}}}


def _inlined(schema: Any, definitions: Mapping[str, Any] | None = None) -> Any:
    """A JSON schema with its definitions in their places."""
    if definitions is None:
        definitions = schema.pop("$defs", {})
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}
