"""Wrong lines for core: each is a mistake that someone could make, and that tests should notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODULES = (
    "cache", "citations", "embeddings", "encoder", "explain", "gaps", "lexical", "marginal_gain", "ordering",
    "outliers", "output", "pooling", "prepared", "protection", "reasons", "redundancy", "rendering", "result",
    "selection", "steps", "table", "thinning", "tokens", "types", "views", "windows",
)  # fmt: skip
"""Modules of core that are mutated; the others are wiring, checks of settings, and segmentation."""


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: Name of the module in core.
        old: What stands in the file, exactly once.
        new: What stands there instead.
        equivalent: Why no test can see the difference, if none can.
        changed: The whole changed file, in place of a replacement.
    """

    module: str
    old: str
    new: str
    equivalent: str = ""
    changed: str = ""

    @property
    def name(self) -> str:
        """What is reported."""
        return f"{self.module}: {self.old}  ->  {self.new}"

    def path(self, tree: Path) -> Path:
        """The file, in the copy of the repository at `tree`."""
        return tree / "moos_integrations" / "core" / f"{self.module}.py"

    def source(self, tree: Path) -> str:
        """The changed file.

        Raises:
            SystemExit: If what should be replaced does not stand in the file, or more than once.
        """
        if self.changed:
            return self.changed
        text = self.path(tree).read_text(encoding="utf-8")
        if (times := text.count(self.old)) != 1:
            raise SystemExit(
                f"The line of a mutant must be in core/{self.module}.py exactly once; it is there {times} times:\n"
                f"    {self.old}\nThe code has changed: write the mutant anew in tests/mutation/mutants.py."
            )
        return text.replace(self.old, self.new)


M = Mutant
MUTANTS = (
    # --- cache
    M("cache", "if key not in known]", "if key in known]"),
    M("cache", "for earlier in self._stores[:index] if found else ():", "for earlier in ():"),
    M("cache", '"" if query is None else f"q{query}"', 'query or ""'),
    M("cache", 'digest.update(len(own).to_bytes(8, "little") + own)', "digest.update(own)"),
    M("cache", "changed[id(array)].flags.writeable = False", "changed[id(array)].flags.writeable = True"),
    M("cache", "held - int(0.9 * self._max_bytes)", "held - int(0.1 * self._max_bytes)"),
    M("cache", "FROM scores ORDER BY used", "FROM scores ORDER BY used DESC"),
    M("cache", "SET used = ? WHERE", "SET used = used + 0 * ? WHERE"),
    M("cache", "range(0, len(keys), _KEYS_AT_ONCE)", "range(0, min(len(keys), _KEYS_AT_ONCE), _KEYS_AT_ONCE)"),
    M("cache", "return _OBJECT_BYTES + sum(", "return sum("),
    # --- citations
    M("citations", "size < min_coverage * len(wanted)", "size <= min_coverage * len(wanted)"),
    M("citations", "start >= found[-1] + len(wanted)", "start >= found[-1] + 1"),
    M("citations", "self.spans[end - 1][1]", "self.spans[end - 1][0]"),
    M("citations", "heads[first][1] + tails[second][1] >= len(wanted)", "heads[first][1] + tails[second][1] > 0"),
    M("citations", "if self.lengths[after] == self.lengths[before] + 1", "if self.lengths[after]"),
    M("citations", "key=lambda item: -item[1][2]", "key=lambda item: item[1][2]"),
    # --- embeddings
    M("embeddings", "document.text[start:end].strip()", "document.text[start:end]"),
    M("embeddings", "self._scale * (vectors @ asked)", "(vectors @ asked)"),
    M("embeddings", "self._words.score(documents, None)", "self._words.score(documents, query)"),
    M("embeddings", "out=np.zeros_like(table), where=lengths > 0", "out=table, where=lengths > 1"),
    # --- encoder
    M(
        "encoder",
        "-(-length // _PAD_TO) * _PAD_TO",
        "length",
        "padding changes the time and the last bits of the scores",
    ),
    M("encoder", "np.fmax(self.passage_probability, read.passage_probability)", "read.passage_probability"),
    M("encoder", "np.fmax(self._similarity[part], read.similarity)", "read.similarity"),
    M("encoder", "read.vectors * read.sizes[:, None]", "read.vectors"),
    M("encoder", "own = slice(window.own_start - window.start,", "own = slice(0 * window.own_start,"),
    M("encoder", "(len(batch) + 1) * length > self._max_batch_pieces", "len(batch) * length > self._max_batch_pieces"),
    M("encoder", "attention[row, : len(run.ids)] = 1", "attention[row, :] = 1"),
    M("encoder", "types[row, : len(run.types)] = run.types", "pass"),
    M("encoder", "passage[row, first : first + len(window)] = True", "passage[row, : first + len(window)] = True"),
    M("encoder", "units[:, frame.question] = QUESTION", "pass"),
    M("encoder", "= own - ranges[row][0]", "= own"),
    M(
        "encoder",
        "(*settings, self._alpha, self._statistic, self._reduction)",
        "(*settings, self._alpha, self._statistic)",
    ),
    M("encoder", "classifier.dtype, classifier.device.type)", "classifier.device.type)"),
    # --- explain
    M("explain", "first = int(self._table.word_borders[index])", "first = 0 * index"),
    M("explain", "np.bincount(table.unit_of_word[kept],", "np.bincount(table.unit_of_word[~kept],"),
    M("explain", "gains.shares(self._temperature)", "gains.shares(1.0)"),
    M("explain", "parts.append((document.text[position:end], None))", "pass"),
    M("explain", "position = max(position, end)", "position = end"),
    M("views", "if left <= 0 or len(found) >= MAX_UNITS:", "if len(found) >= MAX_UNITS:"),
    M("views", "if left <= 0 or len(found) >= MAX_UNITS:", "if left <= 0:"),
    M("views", "return html.escape(visible(text), quote=True)", "return html.escape(text, quote=True)"),
    M("views", "return html.escape(visible(text), quote=True)", "return visible(text)"),
    M("views", "if space and look == own:", "if space:"),
    M("views", "if merged and not source[merged[-1][1] : start].strip():", "if merged:"),
    M("views", "marked = marked_html(source[:most], spans)", "marked = marked_html(source, spans)"),
    M("reasons", "kept = [word for word in words if word.kept] or words", "kept = words"),
    M("explain", "if math.isinf(selection.cutoff) and selection.cutoff < 0:", "if math.isinf(selection.cutoff):"),
    M("explain", "if selection.needed is not None and selection.needed[word]:", "if False:"),
    M(
        "explain",
        'return "protected" if self._values[word] < selection.cutoff',
        'return "protected" if self._values[word] <= selection.cutoff',
    ),
    M("explain", "by_value if selection.filled is None else by_value | selection.filled", "by_value"),
    M(
        "explain",
        '"below the cut" if self._values[word] < self._lowest_kept',
        '"below the cut" if self._values[word] <= self._lowest_kept',
    ),
    M("explain", "if not self._order.eligible[document]:", "if not self._order.eligible.all():"),
    # --- lexical
    M("lexical", "holders + 0.5) / (holders + 0.5)", "holders + 0.5) / holders"),
    M("lexical", "for term in Counter(terms_of(question)):", "for term in terms_of(question):"),
    M("lexical", "_SATURATION, _LENGTH = 1.5, 0.75", "_SATURATION, _LENGTH = 1.2, 0.75"),
    M("lexical", "_TERM.findall(text.lower())", "_TERM.findall(text)"),
    # --- marginal_gain
    M("marginal_gain", "relevance - _furniture_loss(table, query)", "relevance"),
    M("marginal_gain", "if asked.intersection(terms[unit]):", "if False:"),
    M("marginal_gain", "relevance[known] += passage_weight", "relevance += passage_weight"),
    M("marginal_gain", "PASSAGE_WEIGHT = 0.5", "PASSAGE_WEIGHT = 1.0"),
    M("marginal_gain", "weight * np.maximum(alike, 0.0))", "weight * alike)"),
    M("marginal_gain", "np.where(repeated, 1.0, alike)", "np.where(repeated, 0.0, alike)"),
    M("marginal_gain", "(values - values[known].mean()) / spread", "(values - values[known].mean())"),
    M("marginal_gain", "known = np.isfinite(values)", "known = ~np.isnan(values)"),
    M("marginal_gain", "_LEAST = 1e-6", "_LEAST = 1e-3"),
    M(
        "marginal_gain",
        "out=np.full(table.units, least), where=words > 0)",
        "out=np.zeros(table.units), where=words > 0)",
    ),
    M("marginal_gain", "self.gain[alive].max()) / temperature)", "self.gain[alive].max()))"),
    M("marginal_gain", "_ECHO_OF_UNIT, _ECHO_OF_QUESTION = 0.8, 0.6", "_ECHO_OF_UNIT, _ECHO_OF_QUESTION = 0.5, 0.6"),
    M("marginal_gain", "_ECHO_OF_UNIT, _ECHO_OF_QUESTION = 0.8, 0.6", "_ECHO_OF_UNIT, _ECHO_OF_QUESTION = 0.8, 0.3"),
    M("marginal_gain", "(table.asks | (table.kinds == Kind.HEADING))", "table.asks"),
    M("marginal_gain", "np.asarray(heads | _states(table, query))", "heads"),
    M("marginal_gain", "others = relevance[~echo]", "others = relevance"),
    M("marginal_gain", "others.max() if len(others) else np.inf", "others.max() if len(others) else 0.0"),
    M("marginal_gain", "found[echo & _introduces_echoes(table, echo)] -= _EMPTY_ECHO", "found[echo] -= _EMPTY_ECHO"),
    M("marginal_gain", "_RULE_LOSS = 12, 0.5, 2.0, 1.0", "_RULE_LOSS = 4, 0.5, 2.0, 1.0"),
    M("marginal_gain", "(1 + place * bool(table.asks[lead]))", "(1 + place)"),
    M("marginal_gain", "max(relevance[unit], relevance[lead] - loss)", "relevance[lead] - loss"),
    M("marginal_gain", "elif partners[first] != lead:", "else:"),
    M("marginal_gain", "for unit in siblings if table.kinds[first] == Kind.ITEM else ():", "for unit in ():"),
    M("marginal_gain", "if parents[unit] == parents[first] and table.kinds", "if table.kinds"),
    M("marginal_gain", ".max() - _RULE_LOSS", ".min() - _RULE_LOSS"),
    # --- ordering
    M("ordering", 'config.order != "source" or config.top_n is not None', 'config.order != "source"'),
    M("ordering", "ranks < config.top_n", "ranks <= config.top_n"),
    M("ordering", "config.gains.lexical_weight * table.term_match", "table.term_match"),
    M("ordering", "retrieved[table.document_of_unit]", "np.zeros(table.units)"),
    M("ordering", "weight=config.gains.redundancy_weight,", "weight=4.0,"),
    M("ordering", "gains.gain / temperature - np.where", "gains.gain - np.where"),
    M("ordering", "np.minimum(gains.gain - best, 0.0)", "gains.gain - best"),
    M("ordering", "telling if telling.any() else alive", "np.ones(len(gains), bool)"),
    M(
        "ordering",
        "np.exp(np.minimum(gains.gain - best, 0.0)), 0.0)",
        "np.exp(np.minimum(gains.gain - best, 0.0)), 0.5)",
    ),
    M("ordering", "gains.gain - np.where(gains.repeated, _AFTER_ALL, 0.0))", "gains.gain)"),
    M("ordering", 'ranks[np.argsort(-best, kind="stable")]', "ranks[np.argsort(-best)[::-1]]"),
    M("ordering", "best_first[1::2][::-1]", "best_first[1::2]"),
    M("ordering", 'by_gain = settings.budgets != "words"', "by_gain = True"),
    M("ordering", "extra_words(table, settings.whole_from)", "extra_words(table, 0.0)"),
    M("ordering", "extra, temperature=settings.temperature,", "extra, temperature=0.7,"),
    M("ordering", "whole_from=settings.whole_from)", "whole_from=0.7)"),
    M("ordering", "redundancy=config.gains.redundancy\n", 'redundancy="greedy"\n'),
    M("ordering", "table.droppable if whole_from > 0 else", "table.droppable if whole_from >= 0 else"),
    M("ordering", "together = np.where(extra, 0.0, table.metric)", "together = table.metric"),
    M("ordering", "weights=~extra, minlength", "minlength"),
    M("ordering", "np.where(extra, table.metric, means[table.unit_of_word])", "means[table.unit_of_word]"),
    M("ordering", "np.maximum(table.path_cost, 1)", "np.maximum(table.unit_cost, 1)"),
    M("ordering", "np.minimum(later, first)", "later"),
    M("ordering", "alone[table.kinds == Kind.RULE] = -np.inf", "pass"),
    M("ordering", "alive & ~repeats_of(table, query)", "alive"),
    M("ordering", "min(gains.gain[setting].max(), HIGHEST_LEVEL)", "gains.gain[setting].max()"),
    M(
        "ordering",
        "np.where(table.unit_has(extra), thinned, priority)",
        "thinned",
    ),
    M("ordering", "np.lexsort((-table.metric, extra, unit))", "np.lexsort((-table.metric, unit))"),
    M("ordering", "np.where(extra, tokens, np.maximum(core[unit], 1))", "tokens"),
    M("ordering", "np.maximum(whole_from * length, core)[unit]", "(whole_from * length)[unit]"),
    M("ordering", "table.unit_of_word, np.maximum(table.cost, 1)", "table.unit_of_word, table.cost"),
    # --- outliers
    M("outliers", "preserved = preserve >= 0.5", "preserved = preserve >= 0.3"),
    M("outliers", "_CLIP_QUANTILE = 0.99", "_CLIP_QUANTILE = 0.8"),
    M("outliers", "if high - low > _EPS else np.zeros_like(scores)", "if high - low > _EPS else np.ones_like(scores)"),
    # --- output
    M("output", "[sources[index] for index in self.order]", "sources"),
    M("output", "if self._last[index][0] != key:", "if not self._last[index][0]:"),
    M(
        "output",
        "np.full(table.documents, counter.count(separator), np.int64)",
        "np.zeros(table.documents, np.int64)",
    ),
    M("output", "self.empty_tokens = self.tokens(np.zeros(self._table.words, bool))", "self.empty_tokens = 0"),
    M("output", "if self._shown[index][0] != key:", "if not self._shown[index][0]:"),
    M("output", "separator.join([text for text in texts if text])", "separator.join(texts)"),
    M("output", "empty[first[kept]] = empty[last[kept]] = False", "empty[first[kept]] = False"),
    M("output", "spans, source.tokens, tokens, dropped,", "spans, source.tokens, source.tokens, dropped,"),
    M(
        "output",
        "joined([documents[index].text for index in self.order], self._separator)",
        "self.text(selection.kept)",
    ),
    # --- pooling
    M("pooling", "rows * count + units[rows, places]", "rows + units[rows, places]"),
    M("pooling", "(units == QUESTION).float()", "(units != OUTSIDE).float()"),
    M("pooling", "torch.nonzero(units >= 0, as_tuple=True)", "torch.nonzero(units > 0, as_tuple=True)"),
    M("pooling", "sizes.clamp(min=1).reshape(shape)", "1"),
    # --- prepared
    M("prepared", 'side="right")\n    return np.bincount', 'side="left")\n    return np.bincount'),
    M("prepared", "max_bytes // _BYTES_PER_CHARACTER", "max_bytes"),
    M("prepared", "max(len(text.document.text), 1)", "1"),
    M("prepared", "flags = self.asks & (document.unit_leads_to >= 0)", "flags = self.asks.copy()"),
    M("prepared", "not document.unit_structured[unit] or document.unit_kinds[unit] in _SPOKEN", "True"),
    M(
        "prepared",
        "not document.unit_structured[unit] or document.unit_kinds[unit] in _SPOKEN",
        "not document.unit_structured[unit]",
    ),
    M("prepared", "prose and end in _INTRODUCING", "prose"),
    M("prepared", "”’»)]*_`>", ""),
    M("prepared", '_ASKING, _INTRODUCING = ("?", "？", "؟")', '_ASKING, _INTRODUCING = ("?",)'),
    # --- protection
    M("protection", "span[0] < span[1]]", "span[0] <= span[1]]"),
    M("protection", "regex.compile(regex.escape(item))", "regex.compile(item)"),
    M("protection", 'table[:, 0], side="right")', 'table[:, 0], side="left")'),
    M("protection", 'table[:, 1], side="left")', 'table[:, 1], side="right")'),
    M("protection", '"flags": int(item.flags),', '"flags": 0,'),
    M("protection", "n=1, cutoff=0.8)", "n=1, cutoff=0.95)"),
    # --- redundancy
    M("redundancy", "_SHINGLE = 4", "_SHINGLE = 2"),
    M("redundancy", 'np.argsort(-relevance, kind="stable").tolist()', "range(len(shingles))"),
    M("redundancy", "others = np.flatnonzero(~repeated)", "others = np.arange(len(vectors))"),
    M("redundancy", "relevance - weight * np.maximum(most, 0.0), -np.inf)", "relevance, -np.inf)"),
    M("redundancy", "vectors - vectors.mean(0)", "vectors"),
    M("redundancy", "_COMPARED_UNITS = 1024", "_COMPARED_UNITS = 4"),
    M("redundancy", "_RUN = 3", "_RUN = 2"),
    M(
        "redundancy",
        "if table.structured[unit] or table.parents[unit] != table.parents[other]:",
        "if table.structured[unit]:",
    ),
    M(
        "redundancy",
        "if table.structured[unit] or table.parents[unit] != table.parents[other]:",
        "if table.parents[unit] != table.parents[other]:",
    ),
    M("redundancy", "elif not _under_the_same(table, statements, unit, other):", "elif False:"),
    M("redundancy", "return _critical(statements[unit]) == _critical(statements[other])", "return True"),
    M("redundancy", "if word in _NEGATIONS or any(map(str.isdigit, word))", "if word in _NEGATIONS"),
    M("redundancy", "if word in _NEGATIONS or any(map(str.isdigit, word))", "if any(map(str.isdigit, word))"),
    M("redundancy", "if owner is None and len(owners) == 1:", "if owner is None:"),
    M("redundancy", " and statements[there] == statements[unit]", ""),
    M("redundancy", "if words and words[0] < unit and words[-1] >= stop:", "if False:"),
    M("redundancy", "if words and words[0] < unit and words[-1] >= stop:", "if words and words[-1] >= stop:"),
    M("redundancy", "if words and words[0] < unit and words[-1] >= stop:", "if words and words[0] < unit:"),
    M("redundancy", "int(table.leads_until[unit])] < 0).any()", "int(table.leads_until[unit])] < 0).all()"),
    M("redundancy", "return _later_holds_earlier(statements)", "return False"),
    M("redundancy", "return here > before >= 0 and", "return here >= 0 and"),
    # --- rendering
    M("rendering", "int(before[gap]), int(after[gap])))[-2:]", "int(before[gap]), int(after[gap])))[:2]"),
    M("rendering", "_PARAGRAPH if len(found) > 1 else _LINE", "_LINE"),
    M("rendering", "(strength < _LINE)", "(strength < _PARAGRAPH)"),
    M("rendering", "self._closes[right] | self._opens[left]", "self._closes[right]"),
    M("rendering", "np.arange(gaps, 0, -1)", "np.arange(gaps)"),
    M("rendering", 'category in ("Ps", "Pi")', 'category in ("Ps",)'),
    M("rendering", "(bracket or not attached or opens[word - 1])", "(bracket or not attached)"),
    M("rendering", "_MARK.match(self._text, line, start) or _BLANK.match", "_BLANK.match"),
    M("rendering", "if not goes_on or leaves_line:", "if not goes_on:"),
    M("rendering", "if not self.begins_line(gap.first):", "if False:"),
    M("rendering", "            if not leaves_line:", "            if not goes_on:"),
    M("rendering", "if kept[0] else []", "if False else []"),
    M("rendering", "if self._ends[word - 1] < start else []", "if False else []"),
    M("rendering", "return [(line, mark.end())]", "return []"),
    M("rendering", "return [] if self._text[line:start].strip() else [(line, start)]", "return []"),
    M("rendering", "[earlier.span(), nearest] if", "[nearest] if"),
    M("rendering", "strength == _PARAGRAPH and len(", "len("),
    M("rendering", "[-2 if begins else -1 :]", "[-1:]"),
    M("rendering", "return spans if self._commas is None else self._commas.without_dangling(spans)", "return spans"),
    M("rendering", "return [(end - strength, end)]", "return []"),
    # --- gaps
    M("gaps", "kept & ~self._is_known", "kept"),
    M("gaps", "(cost <= self.tokens) | says_nothing_new", "cost <= self.tokens"),
    M("gaps", "(cost <= self.tokens) | says_nothing_new", "says_nothing_new"),
    M("gaps", " & begun[document[begins]]", ""),
    M("gaps", " | (document[1:] != document[:-1])", ""),
    M("gaps", "if set(outside) & {units[0], units[-1]}:", "if False:"),
    M("gaps", ' - len(between), "line"', ', "line"'),
    M("gaps", "if not document.unit_structured[units].any():", "if True:"),
    M("gaps", "words = words[(words < mark.first) | (words > mark.last)]", "pass"),
    M("gaps", 'units[0] if len(units) == 1 else "part"', "units[0]"),
    M(
        "gaps",
        "first <= last == touched and not begins_before",
        "first <= last and not begins_before",
        "marks end in a bracket",
    ),
    # --- result
    M("result", "self._in_source(end - 1) + 1", "self._in_source(end)"),
    M("result", "if self.original_tokens else 1.0", "if self.original_tokens else 0.0"),
    # --- selection
    M("selection", "search.unused >= _EXCHANGED_SHARE * budget", "search.unused >= 0"),
    M("selection", "gain[groups.unit[left_out]] + _HARDLY_BETTER", "gain[groups.unit[left_out]] + 9.0"),
    M("selection", "better = 2 * search.unused <= unused and", "better ="),
    M("selection", "original_tokens + 1e-9)", "original_tokens)"),
    M("selection", "middle = (low + high) // 2", "middle = low + 1"),
    M("selection", "if counted[low] > budget:", "if counted[low] > 2 * budget:"),
    M("selection", "lost = protected & ~kept", "lost = protected & kept"),
    M("selection", "unused >= max(_UNUSED_TOKENS, _UNUSED_SHARE * budget)", "unused > 0"),
    M(
        "selection",
        "measure.whole_tokens <= budget and order.eligible.all()",
        "measure.original_tokens <= budget and order.eligible.all()",
    ),
    M("selection", "measure.whole_tokens <= budget and order.eligible.all()", "measure.whole_tokens <= budget"),
    M("selection", "groups.value >= threshold, _shielded", "groups.value > threshold, _shielded"),
    M("selection", "np.concatenate([ranked[shielded[ranked]], ranked[~shielded[ranked]]])", "ranked"),
    M("selection", "wanted[(reaches | shielded)[wanted]]", "wanted[reaches[wanted]]"),
    M("selection", "(flags & ~reaches & ~shielded)", "(flags & ~reaches)"),
    M("selection", "by_value = wanted[reaches[wanted] & ~shielded[wanted]]", "by_value = wanted[reaches[wanted]]"),
    M("selection", "rounds=_MOST_ROUNDS if fill else 1", "rounds=_MOST_ROUNDS"),
    M("selection", "_MOST_ROUNDS, _TRUSTING_ROUNDS = 12, 4", "_MOST_ROUNDS, _TRUSTING_ROUNDS = 2, 4"),
    M("selection", "taken[~self._shielded[taken]]", "taken"),
    M("selection", "if turn == 0:", "if True:"),
    M("selection", "self._that_may_fit(steps, kept, count + 1,", "self._that_may_fit(steps, kept, count,"),
    M("selection", "(groups.value < cutoff) & ~self._shielded", "(groups.value < cutoff)"),
    M("selection", "needed=(kept & ~drivers)", "needed=kept"),
    M("selection", "np.where(kept, -1, steps.of_group)", "steps.of_group"),
    M(
        "selection",
        "weights=self._measure.document_tokens[begins]",
        "weights=0 * self._measure.document_tokens[begins]",
        "an estimate only: the search counts exactly near the ceiling",
    ),
    M("selection", "int(steps.driver[count]) if left_out is None else left_out", "int(steps.driver[count])"),
    M("selection", "groups.table.protected & candidates[groups.of_word]", "groups.table.protected"),
    M("selection", "self._shielded & candidates].sum()", "candidates].sum()"),
    # --- steps
    M("steps", "value[table.units :] = values[words[begins]]", "pass"),
    M("steps", "begins = ~table.attached[words]", "begins = np.ones(len(words), bool)"),
    M("steps", "np.maximum.at(value, table.unit_of_word, values)", "value[table.unit_of_word] = values"),
    M("steps", "weights=table.cost, minlength=len(unit)", "minlength=len(unit)"),
    M(
        "steps",
        "np.lexsort((np.arange(len(self.value)), -self.value))",
        "np.lexsort((-np.arange(len(self.value)), -self.value))",
    ),
    M("steps", "groups[self.size[groups] > 0]", "groups"),
    M("steps", "(self._parents[other], self._partners[other]) if", "(self._parents[other],) if"),
    M("steps", "(self._parents[other], self._partners[other]) if", "(self._partners[other],) if"),
    M("steps", "waiting: list[int] = [unit]", "waiting: list[int] = [unit][: 1 - len(found)]"),
    M("steps", "waiting.append(self._first[lead])", "pass"),
    M("steps", "self._partners[unit] != parent and not self._separates[unit]", "not self._separates[unit]"),
    M("steps", "self._partners[unit] != parent and not self._separates[unit]", "self._partners[unit] != parent"),
    M("steps", "return self._needs_first[lead] or not self._below[lead]", "return self._needs_first[lead]"),
    M("steps", "return self._needs_first[lead] or not self._below[lead]", "return not self._below[lead]"),
    M("steps", "self._count(group, 1)", "pass", "of what is complete from the start, no parent is taken later"),
    M("steps", "of_group[new] = len(driver)", "of_group[group] = len(driver)"),
    M("steps", "sum(map(costs.__getitem__, new))", "costs[group]"),
    M("steps", "of_group[of_group == len(wanted)] = len(driver)", "pass"),
    M("steps", "            if new:", "            if True:"),
    # --- table
    M("table", "document.unit_of_word + first for document, first", "document.unit_of_word for document, first"),
    M("table", "if known and len(known) == len(self.scores) else None", "if known else None"),
    M("table", "any(score.reads_question for score", "all(score.reads_question for score"),
    M("table", "self.word_borders[1:-1]) if self.texts", "self.unit_borders[1:-1]) if self.texts"),
    M("table", "np.where(column < 0, -1, column + first)", "column + first"),
    M("table", "costs[unit] += costs[parent]", "costs[unit] += 0"),
    # --- thinning
    M("thinning", "_LEAST_ENGLISH = 0.12", "_LEAST_ENGLISH = 0.0"),
    M("thinning", "_LEAST_ENGLISH = 0.12", "_LEAST_ENGLISH = 0.5"),
    M(
        "thinning",
        "prose = (document.unit_kinds == Kind.SENTENCE) & ~document.unit_structured",
        "prose = np.ones(len(document.unit_kinds), bool)",
    ),
    M("thinning", "return not _QUANTITIES.intersection(after)", "return True"),
    M("thinning", "return word in _FILLERS and not denied", "return word in _FILLERS"),
    M("thinning", "other in _NEGATIONS or other.endswith", "other.endswith"),
    M("thinning", "words[max(index - 2, 0) : index]", "words[max(index - 1, 0) : index]"),
    M("thinning", "flags[index] = flags[index - 1]", "flags[index] = True"),
    M("thinning", "flags[1:] &= document.word_ends[:-1] == document.word_starts[1:]", "pass"),
    M("thinning", "[word.lower() for word in document.words()]", "list(document.words())"),
    # --- tokens
    M("tokens", "(bytes_of_text & 0xC0) != 0x80) - 1", "(bytes_of_text & 0xC0) != 0x80)"),
    M("tokens", "add_special_tokens=False", "add_special_tokens=True"),
    M(
        "tokens",
        "            return self.encoding.encode_ordinary(text)\n",
        "            return self.encoding.encode_ordinary(text)[::-1]\n",
    ),
    # --- types
    M("types", "not math.isnan(self.passage_probability)", "False"),
    M("types", 'self.word_starts, side="right") - 1', 'self.word_starts, side="left") - 1'),
    # --- windows
    M("windows", "_OVERLAP = 0.25", "_OVERLAP = 0.5"),
    M("windows", "QUESTION_PART = 4", "QUESTION_PART = 2"),
    M("windows", "own_start = begin if begin == start else begin + overlap // 2", "own_start = begin"),
    M("windows", "(overlap - overlap // 2)", "overlap // 2"),
    M("windows", 'start + room, side="right")) - 1', 'start + room, side="left")) - 1'),
    M("windows", "result[words[::-1]] = values[::-1]", "result[words] = values"),
    M("windows", 'document.word_ends, pieces.starts, side="right")', 'document.word_ends, pieces.starts, side="left")'),
    M("windows", "(len(pieces) * [self.passage_type])", "(len(pieces) * [0])"),
)
