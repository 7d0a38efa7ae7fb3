"""Lines to units: sentences of paragraphs, list items, rows, lines of code and settings, each with its place."""

from __future__ import annotations

from collections.abc import Callable

from moos_integrations.core.text.lines import Form, Line
from moos_integrations.core.text.prose import Prose
from moos_integrations.core.text.structured import Structured
from moos_integrations.core.text.units import Level, Unit
from moos_integrations.core.types import Kind


class Blocks(Prose, Structured):
    """One pass over the lines of a text that writes its units."""

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
            index = _HANDLERS.get(line.form, Blocks._prose)(self, index)
        return self.units

    def _is_mark_alone(self, line: Line) -> bool:
        """Whether a line is the mark of a comment or quotation only, and no half of a pair."""
        return line.body >= line.last and not self._only_closes(line) and not self._only_opens(line)


# Not in a `Blocks`: its methods would refer to it, and its lines and units would be garbage in a cycle.
_HANDLERS: dict[Form, Callable[[Blocks, int], int]] = {
    Form.FENCE: Blocks._fence,
    Form.ROW: Blocks._table,
    Form.ROW_RULE: Blocks._table,
    Form.DIFF_HEAD: Blocks._diff,
    Form.HUNK: Blocks._diff,
    Form.LOG: Blocks._log,
    Form.TRACE: Blocks._trace_line,
    Form.CHAT: Blocks._turn,
    Form.LABELLED: Blocks._labelled,
    Form.LABEL: Blocks._label,
    Form.KEY_VALUE: Blocks._setting,
    Form.CODE: Blocks._code,
    Form.CLOSING: Blocks._code,
    Form.JSON: Blocks._json,
    Form.MARKUP: Blocks._markup,
    Form.HEADING: Blocks._hashed_heading,
    Form.SECTION: Blocks._section,
    Form.RULE: Blocks._rule,
    Form.ITEM: Blocks._item,
}
