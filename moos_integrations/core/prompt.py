"""How a prompt shows the kept documents, so that `budget_tokens` can count what the LLM really sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from moos_integrations.core.checks import shown
from moos_integrations.core.config import DEFAULT_SEPARATOR
from moos_integrations.core.result import CompressedDocument
from moos_integrations.errors import ConfigError, InputError


@dataclass(frozen=True, slots=True)
class PromptFormat:
    r"""How the prompt shows documents: with their titles, numbers or metadata.

    `budget_tokens` is then the ceiling of the formatted documents, joined. A `rate` stays a share of the texts alone.
    What the prompt has around the documents is not part of it: `budget_for` subtracts that.

    Attributes:
        document: From a compressed document to what the prompt shows of it. It is called for many texts of the same
            document, so it should be fast and always return the same for the same text.
        separator: What the prompt puts between the formatted documents.
        always: Indices of documents that the prompt shows even if nothing of their text was kept.

    Raises:
        ConfigError: If a value is of the wrong type.

    Examples:
        >>> from moos_integrations import ContextCompressor, PromptFormat
        >>> numbered = PromptFormat(lambda document: f"[{document.index + 1}] {document.text}", separator="\n")
        >>> compressor = ContextCompressor.from_pretrained(budget_tokens=20)
        >>> texts = ["The meeting was long. It ended at 17:30.", "Lunch was cold. Nobody ate it."]
        >>> result = compressor.compress(texts, "When did the meeting end?", prompt=numbered)
        >>> result.context.startswith("[1] "), result.context_tokens <= 20
        (True, True)
    """

    document: Callable[[CompressedDocument], str]
    separator: str = DEFAULT_SEPARATOR
    always: Collection[int] = ()

    def __post_init__(self) -> None:
        """Check the types."""
        if not callable(self.document):
            raise ConfigError(
                f"`document` must be a function from a `CompressedDocument` to a string, got {shown(self.document)}."
            )
        if not isinstance(self.separator, str):
            raise ConfigError(f"`separator` must be a string, got {shown(self.separator)}.")
        if isinstance(self.always, (str, bytes)) or not isinstance(self.always, Collection):
            raise ConfigError(f"`always` must hold indices of documents, got {shown(self.always)}.")

    def shows(self, document: CompressedDocument) -> bool:
        """Whether the prompt shows a document."""
        return bool(document.text) or document.passed_through or document.index in self.always

    def of(self, document: CompressedDocument) -> str:
        """What the prompt shows of one document.

        Raises:
            InputError: If the function does not return a string.
        """
        text = self.document(document)
        if not isinstance(text, str):
            raise InputError(
                f"A prompt's format must return a string, got {type(text).__name__} for document {document.index}."
            )
        return text

    def joined(self, documents: Sequence[CompressedDocument]) -> str:
        """The formatted documents as the prompt joins them, in the order of the list."""
        return self.separator.join([self.of(document) for document in documents if self.shows(document)])

    def without(self, indices: Collection[int]) -> PromptFormat:
        """The same format, for a request in which these documents are shown elsewhere."""
        return PromptFormat(self.document, self.separator, frozenset(self.always) - frozenset(indices))
