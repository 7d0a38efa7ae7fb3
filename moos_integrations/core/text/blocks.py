"""Lines to units: sentences of paragraphs, list items, rows, lines of code and settings, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moos_integrations.core.text.lines import Form, Line
from moos_integrations.core.text.prose import Prose
from moos_integrations.core.text.structured import Structured
from moos_integrations.core.text.units import Level, Unit
from moos_integrations.core.types import Kind


class Blocks(Prose, Structured):
    """One pass over the lines of a text that writes its units."""

    def __init__(self, text: str, lines: Sequence[Line], *, ordinals: bool) -> None:
        """Look at the lines once, before the units are written."""
        super().__init__(text, lines, ordinals=ordinals)
        self._handlers: dict[Form, Callable[[int], int]] = {
            Form.FENCE: self._fence,
            Form.ROW: self._table,
            Form.ROW_RULE: self._table,
            Form.DIFF_HEAD: self._diff,
            Form.HUNK: self._diff,
            Form.LOG: self._log,
            Form.TRACE: self._trace_line,
            Form.CHAT: self._turn,
            Form.LABELLED: self._labelled,
            Form.LABEL: self._label,
            Form.KEY_VALUE: self._setting,
            Form.CODE: self._code,
            Form.CLOSING: self._code,
            Form.JSON: self._json,
            Form.MARKUP: self._markup,
            Form.HEADING: self._hashed_heading,
            Form.SECTION: self._section,
            Form.RULE: self._rule,
            Form.ITEM: self._item,
        }

    def units_of_lines(self) -> list[Unit]:
        """All units, in order; they cover the text without a gap."""
        index, lines = 0, self.lines
        if lines and lines[0].form == Form.BLANK:
            self._add(lines[0], Kind.BLANK, False, Level.BLOCK)
        while index < len(lines):
            line = lines[index]
            if line.form == Form.BLANK or (line.mark and self.units and self._is_mark_alone(line)):
                self._block += 1
                self._trace = False
                index += 1
                continue
            index = self._handlers.get(line.form, self._prose)(index)
        return self.units

    def _is_mark_alone(self, line: Line) -> bool:
        """Whether a line is the mark of a comment or quotation only, and no half of a pair."""
        return line.body >= line.last and not self._only_closes(line) and not self._only_opens(line)
