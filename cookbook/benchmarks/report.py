"""Write RESULTS.md, and the figures in README.md and the model card, from the JSON files in `results/`.

    python cookbook/benchmarks/report.py           # write
    python cookbook/benchmarks/report.py --check   # fail if a file would change (CI)

Figures stand between `<!-- results:NAME -->` and `<!-- /results -->`; nothing there is typed by hand.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from moos_benchmarks import command_line

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = ROOT / "moos_integrations" / "models" / "moos-minilm-en"
FILES = (HERE / "RESULTS.md", ROOT / "README.md", MODEL / "README.md", ROOT / "CHANGELOG.md")
METHODS = ("moos", "classifier", "baseline", "idf", "lead", "random")
RATES = ("0.5", "0.33")
RANKERS = ("model", "bm25", "embeddings", "random")
SPENDERS = (
    "moos", "sentences", "words", "uniform rate",
    "bm25", "embeddings", "embeddings, mmr", "documents, embeddings", "random",
)  # fmt: skip
STATISTICS = ("class_diag", "class_dist", "global_diag")
NOT_MEASURED = "Not measured yet.\n"
_BLOCK = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def load(name: str) -> dict[str, Any]:
    """One result file."""
    path = MODEL / "training.json" if name == "training" else HERE / "results" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def found(name: str) -> dict[str, Any]:
    """The measured sets of a result file; none if there is no such file yet."""
    try:
        return dict(load(name)["sets"])
    except FileNotFoundError:
        return {}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows]) + "\n"


def where(result: dict[str, Any]) -> str:
    """Machine and versions in one line."""
    env = result["environment"]
    packages = ", ".join(f"{name} {env['packages'][name]}" for name in ("torch", "transformers"))
    return f"{env['processor']}, {env['torch_threads']} threads, Python {env['python']}, {packages}; {env['date']}"


# --- speed ---------------------------------------------------------------------------------------------------------


def speed_full() -> str:
    """Every case of `speed.json`."""
    result = load("speed")
    header = [
        "documents x words", "ours ms", "tokens/s", "in the model", "peak MiB", "ours fp32 ms", "in the model",
        "LLMLingua-2 ms", "peak MiB", "times faster", "at fp32",
    ]  # fmt: skip
    rows = [speed_row(case) for case in result["cases"]]
    return f"{where(result)}\n\n{table(header, rows)}"


def speed_row(case: dict[str, Any]) -> list[str]:
    """One case; a failed engine shows its error."""
    ours, full, theirs = case["moos"], case["moos-fp32"], case["llmlingua2"]
    peer = [f"{theirs['milliseconds']:,.0f}", f"{theirs['peak_mib']:,}"] if "peak_mib" in theirs else ["failed", "-"]
    return [
        f"{case['documents']} x {case['words']:,}",
        f"{ours['milliseconds']:,.0f}",
        f"{ours['tokens_per_second']:,}",
        f"{ours['forward_share']:.0%}",
        f"{ours['peak_mib']:,}",
        f"{full['milliseconds']:,.0f}",
        f"{full['forward_share']:.0%}",
        *peer,
        f"{case.get('times_faster', float('nan')):.1f}",
        f"{case.get('times_faster_fp32', float('nan')):.1f}",
    ]


def speed_long() -> str:
    """Cost against length, one document."""
    rows = [
        [f"{case['words']:,}", f"{case['milliseconds'] / 1000:,.1f}", f"{case['tokens_per_second']:,}",
         f"{case['forward_share']:.0%}", f"{case['peak_mib']:,}"]
        for case in load("speed")["one_long_document"]
    ]  # fmt: skip
    return table(["words in one document", "seconds", "tokens/s", "in the model", "peak MiB"], rows)


def speed_short() -> str:
    """The cases for the README."""
    result = load("speed")
    rows = [
        [
            f"{case['documents']} x {case['words']:,} words",
            f"{case['moos']['milliseconds']:,.0f} ms",
            f"{case['llmlingua2']['milliseconds']:,.0f} ms",
            f"{case['times_faster']:.1f}x",
            f"{case['times_faster_fp32']:.1f}x",
        ]
        for case in result["cases"]
        if case["documents"] == 20
    ]  # fmt: skip
    header = ["documents", "moos", "LLMLingua-2", "faster", "faster, both fp32"]
    return f"{table(header, rows)}\n({where(result)}.)\n"


# --- answer recall -------------------------------------------------------------------------------------------------


def recall_full() -> str:
    """Every set, rate and method of `answer_recall.json`, with the paired differences."""
    sets = load("answer_recall")["sets"]
    methods, differences = methods_of(sets), differences_of(sets)
    rows = []
    for name, entry in sets.items():
        for rate in RATES:
            cell = entry[rate]
            shown = best_bold([cell[method]["answer_recall"] for method in methods])
            compared = [difference(cell[pair]) for pair in differences]
            rows.append([name, rate, f"{entry['questions']:,}", *shown, *compared])
    return table(["set", "rate", "questions", *methods, *[f"{pair} [95 %]" for pair in differences]], rows)


def methods_of(sets: dict[str, Any]) -> list[str]:
    """The methods that were measured on every set; the baseline model is measured only where one was given."""
    return [method for method in METHODS if all(method in entry[RATES[0]] for entry in sets.values())]


def differences_of(sets: dict[str, Any]) -> list[str]:
    """The differences to the method `moos` that every set has."""
    pairs = ("moos - classifier", "moos - baseline")
    return [pair for pair in pairs if all(pair in entry[RATES[0]] for entry in sets.values())]


def rare_words() -> str:
    """Share of numbers, names and identifiers that each method keeps, from `answer_recall.json`."""
    sets = {name: entry for name, entry in found("answer_recall").items() if "rare_words" in entry[RATES[0]]["moos"]}
    if not sets:
        return NOT_MEASURED
    methods = methods_of(sets)
    rows = [
        [name, rate, *best_bold([entry[rate][method]["rare_words"]["all"] for method in methods])]
        for name, entry in sets.items()
        for rate in RATES
    ]
    return table(["set", "rate", *methods], rows)


def best_bold(values: list[float | None]) -> list[str]:
    """Shares in percent, the best in bold; `-` where there was nothing to measure."""
    best = max((value for value in values if value is not None), default=None)
    return ["-" if value is None else percent(value, best) for value in values]


def percent(value: float, best: float | None = None) -> str:
    """A share in percent, bold if it is the best of its row."""
    return f"**{value:.1%}**" if value == best else f"{value:.1%}"


def difference(cell: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    if cell["difference"] is None:
        return "-"
    low, high = cell["interval"]
    return f"{100 * cell['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def alpha_sweep() -> str:
    """Mean over the sets, per statistic and alpha."""
    sets = load("alpha_sweep")["sets"]
    rows = []
    for rate in RATES:
        cells = [entry[rate] for entry in sets.values()]
        plain = mean([cell["classifier"] for cell in cells])
        for statistic in STATISTICS:
            alphas = list(cells[0][statistic])
            means = [mean([cell[statistic][alpha] for cell in cells]) for alpha in alphas]
            rows.append([statistic, rate, f"{plain:.1%}", *[f"{value:.1%}" for value in means]])
    return table(["statistic", "rate", "alpha 1", *[f"alpha {alpha}" for alpha in alphas]], rows)


def sweep_by_domain() -> str:
    """Mean answer recall and rare-word recall over the sets like the training data, and over the others."""
    sets = [entry for entry in found("alpha_sweep").values() if "domain" in entry]
    rows, alphas = [], []
    for domain, label in (("in", "Wikipedia"), ("out", "other domains")):
        members = [entry for entry in sets if entry["domain"] == domain]
        for rate in RATES if members else ():
            for what, cells in (
                ("answers", [entry[rate] for entry in members]),
                ("rare words", [entry[rate]["rare_words"] for entry in members]),
            ):
                for statistic in STATISTICS:
                    alphas = list(cells[0][statistic])
                    plain = known_mean([cell["classifier"] for cell in cells])
                    means = [known_mean([cell[statistic][alpha] for cell in cells]) for alpha in alphas]
                    rows.append([label, what, rate, statistic, *best_bold([plain, *means])])
    header = ["sets", "recall of", "rate", "statistic", "alpha 1", *[f"alpha {alpha}" for alpha in alphas]]
    return table(header, rows) if rows else NOT_MEASURED


def known_mean(values: list[float | None]) -> float | None:
    """Mean of the values that were measured, as precise as they are."""
    known = [value for value in values if value is not None]
    return round(mean(known), 4) if known else None


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


# --- sentence ranking ----------------------------------------------------------------------------------------------


def ranking() -> str:
    """Per set and budget, the share of questions whose answer survives, and the differences to the baselines."""
    rows = []
    for name, entry in found("ranking").items():
        rows += ranking_rows(name, entry, entry["model"])
        for source, own in entry.get("sources", {}).items():
            rows += ranking_rows(f"{name}, {source}", own, entry["model"])
    header = ["set", "questions", "whole context", "kept", *RANKERS, "model - bm25 [95 %]", "model - embeddings [95 %]"]
    return table(header, rows) if rows else NOT_MEASURED


def ranking_rows(name: str, entry: dict[str, Any], model: str) -> list[list[str]]:
    """One row per budget."""
    rankers = {**entry["rankers"], "model": entry["rankers"][model]}
    return [
        [
            name,
            f"{entry['questions']:,}",
            percent(entry["full"]["value"]),
            budget_label(budget),
            *best_bold([rankers[ranker][budget]["value"] for ranker in RANKERS]),
            *[difference(entry["differences"][f"{model} - {other}"][budget]) for other in ("bm25", "embeddings")],
        ]
        for budget in rankers["model"]
    ]


def budget_label(budget: str) -> str:
    """A share of the words in percent, as short as it is exact."""
    return f"{100 * float(budget):g}%"


def ranking_reductions() -> str:
    """Mean over the sets for every way to make a sentence score of word scores; best of each budget bold."""
    sets = list(found("ranking").values())
    if not sets:
        return NOT_MEASURED
    names = [name for name in sets[0]["rankers"] if all(name in entry["rankers"] for entry in sets)]
    budgets = list(sets[0]["rankers"]["bm25"])
    columns = [
        best_bold([known_mean([entry["rankers"][name][budget]["value"] for entry in sets]) for name in names])
        for budget in budgets
    ]
    rows = [[name, *cells] for name, *cells in zip(names, *columns, strict=True)]
    return table(["sentence score", *[budget_label(budget) for budget in budgets]], rows)


# --- budgets over documents ------------------------------------------------------------------------------------------


def budgets() -> str:
    """Per set and budget, what survives under one ceiling, and what ours gains over ranking and over embeddings."""
    rows = []
    for name, entry in found("budgets").items():
        rows += budget_rows(name, entry)
        for source, own in entry.get("sources", {}).items():
            rows += budget_rows(f"{name}, {source}", own)
    header = ["set", "questions", "kept", *SPENDERS, "moos - sentences [95 %]", "moos - embeddings [95 %]"]
    return table(header, rows) if rows else NOT_MEASURED


def budget_rows(name: str, entry: dict[str, Any]) -> list[list[str]]:
    """One row per budget; none for a set of which nothing can survive."""
    if not entry["questions"]:
        return []
    return [
        [
            name,
            f"{entry['questions']:,}",
            budget_label(budget),
            *best_bold([entry["methods"][method][budget]["value"] for method in SPENDERS]),
            *[difference(entry["differences"][f"moos - {other}"][budget]) for other in ("sentences", "embeddings")],
        ]
        for budget in entry["methods"]["moos"]
    ]


def gain_ablation() -> str:
    """Mean over the sets for every setting of the marginal gain; best of each budget bold."""
    return means_over_sets("gain_ablation", "setting")


def whole_from() -> str:
    """What readers make of sentences that are thinned and of whole ones."""
    return answer_tables("whole_from")


def recall_by_kind() -> str:
    """Recall and what is untrue, kind by kind, of several versions."""
    try:
        versions = load("recall_by_kind")["versions"]
    except FileNotFoundError:
        return NOT_MEASURED
    kinds = list(dict.fromkeys(kind for version in versions.values() for kind in version["kinds"]))
    rows = []
    for kind in kinds:
        for name, version in versions.items():
            cells = version["kinds"].get(kind)
            if cells:
                rows.append([f"{kind}: {name}", *[percent(value) for value in cells.values()]])
    targets = next(iter(next(iter(versions.values()))["kinds"].values()))
    told = ["mean recall of the sets", *[name if name == "default" else budget_label(name) for name in targets]]
    return table(told, rows) + "\n" + table(["at 50 % to 3 %", "crumbs", "negations lost"], _untrue_rows(versions))


def min_tokens() -> str:
    """What the default targets save and lose on small requests, by their size."""
    try:
        sizes = load("min_tokens")["sizes"]
    except FileNotFoundError:
        return NOT_MEASURED
    rows = []
    for size, requests in sizes.items():
        for documents, found_in in requests.items():
            for asked in ("question", "no question"):
                cell = found_in[asked]
                low, high = cell["interval"]
                name = f"{size} tokens, {documents}, {asked}"
                lost = f"{percent(cell['lost_answers'])} ({percent(low)} to {percent(high)})"
                rows.append([name, str(cell["requests"]), percent(cell["saved"]), percent(cell["unchanged"]), lost])
    return table(["requests", "number", "tokens saved", "unchanged", "answers lost (95 %)"], rows)


def _untrue_rows(versions: dict[str, Any]) -> list[list[str]]:
    """Crumbs and lost negations over all budgets, of the sets that every version has."""
    common = set.intersection(*[set(version["sets"]) for version in versions.values()])
    rows = []
    for name, version in versions.items():
        cells = [cell for own in common for target, cell in version["sets"][own].items() if target.startswith("0")]
        rows.append([name, *[str(sum(cell[what] for cell in cells)) for what in ("crumbs", "lost")]])
    return rows


CODE = ("defaults", "lines without those that they stand under", "lines of code and rows of tables thinned")
"""Settings of the ablation that are about lines."""


def code_lines() -> str:
    """What becomes of the answers in code when its lines are kept in other ways."""
    entry = found("gain_ablation").get("code_functions")
    if entry is None or not all(name in entry["methods"] for name in CODE):
        return NOT_MEASURED
    shares = list(entry["methods"]["defaults"])
    rows = []
    for name in CODE:
        cells = [percent(entry["methods"][name][share]["value"]) for share in shares]
        if name != "defaults":
            against = entry["differences"][f"defaults - {name}"]
            cells = [f"{cell} ({difference(against[share])})" for cell, share in zip(cells, shares, strict=True)]
        rows.append([name, *cells])
    said = f"code_functions, {entry['questions']} questions (defaults less this, with 95 % interval)"
    return table([said, *[budget_label(share) for share in shares]], rows)


def unit_size() -> str:
    """Mean over the sets by the number of sentences or lines in a unit."""
    return means_over_sets("unit_size", "sentences or lines per unit")


def means_over_sets(part: str, what: str) -> str:
    """One row per method; best of each budget bold."""
    sets = list(found(part).values())
    if not sets:
        return NOT_MEASURED
    names = [name for name in sets[0]["methods"] if all(name in entry["methods"] for entry in sets)]
    shares = list(sets[0]["methods"][names[0]])
    columns = [
        best_bold([known_mean([entry["methods"][name][share]["value"] for entry in sets]) for name in names])
        for share in shares
    ]
    rows = [[name, *cells] for name, *cells in zip(names, *columns, strict=True)]
    return table([f"{what}, mean over {len(sets)} sets", *[budget_label(share) for share in shares]], rows)


def duplicates() -> str:
    """What every method loses, in points, when documents are retrieved twice or in overlapping chunks."""
    rows = []
    for name, entry in found("duplicates").items():
        for kind in ("every document twice", "overlapping chunks"):
            once, again = entry[kind]["once"], entry[kind]["repeated"]
            for method, cells in once["methods"].items():
                values = [(cells[share]["value"], again["methods"][method][share]["value"]) for share in cells]
                shown = [f"{left:.1%} to {right:.1%} ({100 * (right - left):+.1f})" for left, right in values]
                rows.append([name, kind, f"{once['questions']}", method, *shown])
    header = ["set", "repeated", "questions", "method", *["25%", "12.5%", "6.25%", "3.125%"]]
    return table(header, rows) if rows else NOT_MEASURED


def calibrated() -> str:
    """The default target: the smallest that keeps the answers of all sets together."""
    try:
        result = load("calibration")
    except FileNotFoundError:
        return NOT_MEASURED
    rows = [
        [entry["target"], entry["value"], percent(entry["recall"]), percent(entry["kept"])]
        for entry in result["targets"]
    ]
    by_set = [
        [name, f"{own['questions']}", percent(own["recall"]), percent(own["kept"])]
        for name, own in result["sets"].items()
    ]
    first = table(["target", "smallest value", "answers kept", "tokens kept"], rows)
    return first + "\n" + table([f"set, at {result['chosen']}", "questions", "answers kept", "tokens kept"], by_set)


def latency() -> str:
    """What a call with a question costs."""
    try:
        result = load("latency")
    except FileNotFoundError:
        return NOT_MEASURED
    new, size = result["new_question"], f"{result['documents']} documents of {result['words']} words"
    rows = [
        [
            f"new question, new texts ({size})",
            f"{new['milliseconds']:,.0f} ms, {new['forward_share']:.0%} in the model",
        ],
        ["new question, known texts, embeddings of one's own", f"{result['known_texts']['milliseconds']:,.1f} ms"],
        ["same question, same texts", f"{result['same_question_again']['milliseconds']:,.1f} ms"],
        *[
            [f"{own['documents']:,} documents", f"{own['seconds']:,.1f} s, peak {own['peak_mib']:,} MiB"]
            for own in result["many"]
        ],
    ]
    return f"{where(result)}\n\n{table(['call', 'cost'], rows)}"


def ceiling() -> str:
    """Random requests: none above the ceiling, and what stays unused."""
    try:
        result = load("ceiling")
    except FileNotFoundError:
        return NOT_MEASURED
    rows = [
        [
            name,
            f"{own['draws']:,}",
            f"{own['above_the_ceiling']}",
            f"{own['counted_wrongly']}",
            *[f"{own['unused_tokens'][q]:g}" for q in ("0.5", "0.9", "0.99")],
            *[percent(own["unused_share_from_50_tokens_on"][q]) for q in ("0.5", "0.9", "0.99")],
            f"{own['much_unused_and_not_told']}",
        ]
        for name, own in {"all": result, **result["tokenizers"]}.items()
    ]
    header = ["tokenizer", "draws", "above", "counted wrongly", "unused tokens, median", "90 %", "99 %"]
    return table([*header, "unused share, median", "90 %", "99 %", "much unused, not told"], rows)


# --- readers ---------------------------------------------------------------------------------------------------------

ASKED_SETS = ("nq_20docs", "hotpotqa", "2wikimqa", "musique", "narrativeqa_summary")
"""Prose whose answers are quoted, read by both readers: what the short table and the plot take the mean of."""
READ = {"log_likelihood": "nats per token", "f1": "F1", "recall": "answers kept", "rouge2": "ROUGE-2 recall"}
README_SHARES = ("0.25", "0.125", "0.0625")


def times_fewer(share: str) -> str:
    """A share of the tokens as the factor by which there are fewer."""
    return f"{1 / float(share):g}x"


def shown(metric: str, value: float | None, best: float | None) -> str:
    """A cell of a metric, the best of its column in bold; `-` where there was nothing to measure."""
    if value is None:
        return "-"
    text = f"{value:.2f}" if metric == "log_likelihood" else f"{100 * value:.1f}"
    return f"**{text}**" if value == best else text


def read_columns(cells: dict[str, Any]) -> list[tuple[str, str]]:
    """The metrics and shares that a method was measured at."""
    return [(metric, share) for metric in READ for share in cells if metric in cells[share]]


def measured_rows(
    names: list[str], columns: list[tuple[str, str]], values: list[list[float | None]]
) -> list[list[str]]:
    """Rows of a table of `read_columns`, the best of each column in bold."""
    bests = [max((v for v in column if v is not None), default=None) for column in zip(*values, strict=True)]
    return [
        [name, *[shown(metric, value, best) for (metric, _), value, best in zip(columns, own, bests, strict=True)]]
        for name, own in zip(names, values, strict=True)
    ]


def value_of(cell: dict[str, Any], metric: str) -> float | None:
    """A measured value; None where it was not measured or says nothing."""
    return cell[metric]["value"] if metric in cell else None


def answers() -> str:
    """A table per set: what readers make of each method's contexts, and of all and of none of the text."""
    return answer_tables("answers")


def answers_llm() -> str:
    """The same with the peers that read with an LLM."""
    return answer_tables("llm/answers")


def answer_tables(file: str) -> str:
    """A table per set of a result file."""
    parts = []
    for name, entry in found(file).items():
        columns = read_columns(next(iter(entry["methods"].values())))
        values = [[value_of(cells[share], metric) for metric, share in columns] for cells in entry["methods"].values()]
        rows = measured_rows(list(entry["methods"]), columns, values)
        for bound, cell in entry["bounds"].items():
            rows.append(
                [f"*{bound} of the text*", *[shown(metric, value_of(cell, metric), None) for metric, _ in columns]]
            )
        header = ["kept", *[f"{READ[metric]}, {times_fewer(share)}" for metric, share in columns]]
        said = f"**{name}**: {entry['questions']} questions of {entry['tokens']:,} tokens in the mean"
        parts.append(f"{said}.\n\n{table(header, rows)}")
    return "\n".join(parts) if parts else NOT_MEASURED


def answer_means(shares: tuple[str, ...]) -> tuple[list[tuple[str, str]], dict[str, list[float | None]]]:
    """Means over `ASKED_SETS` by method, of every metric at every share; None where a method lacks one of the sets."""
    sets = [entry for name, entry in found("answers").items() if name in ASKED_SETS]
    columns = [(metric, share) for metric in ("log_likelihood", "f1", "recall") for share in shares]
    means: dict[str, list[float | None]] = {}
    for name in sets[0]["methods"] if sets else ():
        cells = [[value_of(entry["methods"][name][share], metric) for entry in sets] for metric, share in columns]
        means[name] = [None if None in own else known_mean(own) for own in cells]
    return columns, means


def bound_mean(bound: str, metric: str) -> float | None:
    """Mean of a metric over `ASKED_SETS`, of the `whole` of the text or of `nothing` of it."""
    return known_mean(
        [value_of(own["bounds"][bound], metric) for name, own in found("answers").items() if name in ASKED_SETS]
    )


def answers_short() -> str:
    """The mean over the sets of quoted answers, for the README."""
    columns, means = answer_means(README_SHARES)
    if not means:
        return NOT_MEASURED
    rows = measured_rows(list(means), columns, list(means.values()))
    sets = {name: entry for name, entry in found("answers").items() if name in ASKED_SETS}
    for bound in ("whole", "nothing"):
        values = [
            known_mean([value_of(own["bounds"][bound], metric) for own in sets.values()]) for metric, _ in columns
        ]
        cells = [shown(metric, value, None) for (metric, _), value in zip(columns, values, strict=True)]
        rows.append([f"*{bound} of the text*", *cells])
    header = ["kept by", *[f"{READ[metric]}, {times_fewer(share)}" for metric, share in columns]]
    return f"Mean over {len(sets)} sets ({', '.join(sets)}):\n\n{table(header, rows)}"


def mean_difference(cells: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Mean of differences over sets, with a 95 % interval.

    The sets' own intervals are put together by their distances to the differences, squared (MOVER: Zou and Donner,
    2008): right for independent samples, which the questions of different sets are, and for uneven intervals.
    """
    mean = statistics.fmean(cell["difference"] for cell in cells)
    below, above = (
        math.hypot(*(cell["difference"] - cell["interval"][edge] for cell in cells)) / len(cells) for edge in (0, 1)
    )
    return mean, mean - below, mean + above


def answers_means() -> str:
    """Ours minus every other method in the mean over the sets of quoted answers, with intervals."""
    sets = [entry["differences"] for name, entry in found("answers").items() if name in ASKED_SETS]
    if not sets:
        return NOT_MEASURED
    columns = [(metric, share) for metric in ("log_likelihood", "f1") for share in README_SHARES]
    rows = []
    for pair in sets[0]:
        row = [pair.removeprefix("moos - ")]
        for metric, share in columns:
            cells = [own[pair][share].get(metric) for own in sets]
            if any(cell is None or cell["difference"] is None for cell in cells):
                row.append("-")
                continue
            scale, digits = (1, 2) if metric == "log_likelihood" else (100, 1)
            mean, low, high = (f"{scale * value:+.{digits}f}" for value in mean_difference(cells))
            row.append(f"{mean} [{low}, {high}]")
        rows.append(row)
    return table(["moos -", *[f"{READ[metric]}, {times_fewer(share)}" for metric, share in columns]], rows)


def answers_lost() -> str:
    """Every set, share and metric at which another method is ahead of ours: the one that is furthest ahead."""
    rows = []
    for name, entry in found("answers").items():
        for metric, share in read_columns(entry["methods"]["moos"]):
            cells = {
                pair.removeprefix("moos - "): own[share][metric]
                for pair, own in entry["differences"].items()
                if metric in own[share] and own[share][metric]["difference"] is not None
            }
            ahead = {other: cell for other, cell in cells.items() if cell["difference"] < 0}
            if ahead:
                other, cell = min(ahead.items(), key=lambda own: own[1]["difference"])
                scale = 1 if metric == "log_likelihood" else 100
                low, high = (scale * edge for edge in cell["interval"])
                told = f"{scale * cell['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
                rows.append([name, times_fewer(share), READ[metric], other, told, f"{len(ahead)} of {len(cells)}"])
    if not found("answers"):
        return NOT_MEASURED
    return table(["set", "tokens", "metric", "furthest ahead", "moos - other [95 %]", "ahead of moos"], rows)


def answers_kept() -> str:
    """How much of its budget each method used, what it cost, and what went wrong; over all sets."""
    sets = found("answers")
    if not sets:
        return NOT_MEASURED
    first = next(iter(sets.values()))
    rows = []
    for name in first["methods"]:
        cells = {share: [entry["methods"][name][share] for entry in sets.values()] for share in first["methods"][name]}
        used = [known_mean([cell["tokens"] for cell in own]) for own in cells.values()]
        seconds = known_mean([cell["median_seconds"] for cell in cells["0.25"] if "median_seconds" in cell])
        notes: dict[str, int] = {}
        for cell in (cell for own in cells.values() for cell in own):
            for note, count in cell.get("notes", {}).items():
                notes[note] = notes.get(note, 0) + count
        told = "; ".join(f"{note}: {count}" for note, count in sorted(notes.items(), key=lambda own: -own[1])[:4])
        rows.append(
            [
                name,
                *["-" if value is None else f"{value:.1%}" for value in used],
                "-" if seconds is None else f"{1000 * seconds:,.0f}",
                told.replace("|", "/") or "-",
            ]
        )
    questions = sum(entry["questions"] for entry in sets.values())
    asked = [f"asked {budget_label(share)}" for share in first["methods"]["moos"]]
    return table([f"mean over {len(sets)} sets, {questions:,} questions", *asked, "ms per call", "notes"], rows)


def end_to_end() -> str:
    """Seconds from documents to a short answer, and how many times faster with compression."""
    try:
        result = load("end_to_end")
    except FileNotFoundError:
        return NOT_MEASURED
    rates = list(result["rates"])
    rows = []
    for name, own in result["readers"].items():
        for case in own["cases"]:
            if "without" not in case:
                told = case.get("left_out") or case["error"]
                rows.append([name, f"{case['length']:,}", told, *["-"] * (2 * len(rates))])
                continue
            whole, others = case["without"], [case["with"][rate] for rate in rates]
            rows.append(
                [
                    name,
                    f"{whole['context_tokens']:,}",
                    f"{whole['total_seconds']:,.2f}",
                    *[f"{row['total_seconds']:,.2f} ({row['compress_seconds']:,.2f})" for row in others],
                    *[f"{row['speed_up']:.1f}x" for row in others],
                ]
            )
        tokens = [own["break_even"][rate]["tokens"] for rate in rates]
        pays = ["-" if value is None else f"{value:,} tokens" for value in tokens]
        rows.append([name, "pays from", "-", *pays, *["-"] * len(rates)])
    header = ["reader", "tokens of context", "seconds without", *[f"with {rate} (of it compression)" for rate in rates]]
    return f"{where(result)}\n\n{table([*header, *[f'faster at {rate}' for rate in rates]], rows)}"


def end_to_end_short() -> str:
    """The same at 4x for contexts from 1k tokens on, for the README."""
    try:
        result = load("end_to_end")
    except FileNotFoundError:
        return NOT_MEASURED
    rows = [
        [
            name,
            f"{case['without']['context_tokens']:,}",
            f"{case['without']['total_seconds']:,.1f}",
            f"{case['with']['4x']['total_seconds']:,.1f}",
            f"{case['with']['4x']['compress_seconds']:,.1f}",
            f"{case['with']['4x']['generate_seconds']:,.1f}",
            f"{case['with']['4x']['speed_up']:.1f}x",
        ]
        for name, own in result["readers"].items()
        for case in own["cases"]
        if "without" in case and case["length"] >= 1000
    ]
    header = ["reader", "tokens of context", "seconds without", "with 4x", "of it compression", "of it the answer"]
    return f"{table([*header, 'faster'], rows)}\n({where(result)}.)\n"


SURVIVING = ("numbers", "negations", "names", "urls", "identifiers")


def robust_text() -> str:
    """What is left of the words that must not be lost, and of structure; one row per set, rate and method."""
    rows = []
    for name, entry in found("robust_text").items():
        for rate in (rate for rate in entry if rate.startswith("0.")):
            for method, own in entry[rate].items():
                kinds = [own["survived"].get(kind, {}).get("value") for kind in SURVIVING]
                valid = [own[kind]["valid"]["value"] for kind in ("json", "tables")]
                cells = ["-" if value is None else f"{value:.0%}" for value in (own["kept"]["value"], *kinds, *valid)]
                changed = "-" if own["altered"]["value"] is None else f"{own['altered']['value']:.0%}"
                failed = "; ".join(f"{told}: {times}" for told, times in own["errors"].items()).replace("|", "/")
                rows.append([name, budget_label(rate), method, *cells, changed, failed or "-"])
    header = ["set", "asked", "kept by", "tokens", *SURVIVING, "valid JSON", "whole tables", "altered", "errors"]
    return table(header, rows) if rows else NOT_MEASURED


def truth_exchanges() -> str:
    """Answers kept at the default, and tokens saved."""
    entries = load("truth").get("exchanges", {})
    rows = [
        [layout, wording, str(own["texts"]), f"{own['answers']:.1%}", f"{own['saved']:.0%}"]
        for layout, wordings in entries.items()
        for wording, own in wordings.items()
    ]
    return table(["layout", "question in", "texts", "answers kept", "tokens saved"], rows) if rows else NOT_MEASURED


def truth_sections() -> str:
    """Foreign lines and the right line, by layout and target."""
    rows = []
    for layout, targets in load("truth").get("sections", {}).items():
        cells = [f"{own['foreign']} / {own['right']:.0%} / {own['kept']:.0%}" for own in targets.values()]
        rows.append([layout, str(targets["default"]["texts"]), *cells])
    return table(["layout", "texts", "default", "50 %", "30 %"], rows) if rows else NOT_MEASURED


def truth_parts() -> str:
    """What must be nothing: cut lines, parts of atoms, versions lost, numbers taken for others."""
    measured, rows = load("truth"), []
    for part, what, of in (("lines", "cut", "outputs"), ("atoms", "parts", "outputs")):
        entries = measured.get(part, {})
        rows += [[f"{part}: {kind}", f"{own['outputs']:,} {of}", str(own[what])] for kind, own in entries.items()]
    for way, own in measured.get("corrections", {}).items():
        lost = own["pairs"] - own.get("both", 0)
        rows.append([f"two versions: {way}", f"{own['pairs']} pairs", str(lost)])
    for name, own in measured.get("repetitions", {}).items():
        rows.append(
            [f"repetitions: {name}", f"{own['repetitions']:,} of {own['units']:,} units", str(own["other numbers"])]
        )
    return table(["what", "measured on", "faults"], rows) if rows else NOT_MEASURED


def truth_attacks() -> str:
    """Answers kept at an eighth of the tokens with an attacking document in front."""
    rows = [
        [name, attack, str(own["texts"]), f"{own['answers']:.1%}", f"{100 * own['change']:+.1f}", f"{own['share']:.0%}"]
        for name, attacks in load("truth").get("attacks", {}).items()
        for attack, own in attacks.items()
    ]
    header = ["set", "attack", "questions", "answers kept", "points", "budget taken"]
    return table(header, rows) if rows else NOT_MEASURED


def reader() -> str:
    """The span reader on questions of held-out articles."""
    try:
        result = load("reader")
    except FileNotFoundError:
        return NOT_MEASURED
    trained = f"{result['trained_on']['examples']:,}"
    rows = []
    for told, name in (("its own paragraph", "held_out_articles"), ("that among ten", "among_ten")):
        if own := result.get(name):
            cells = [percent(own[metric]["value"]) for metric in ("exact_match", "f1")]
            rows.append([f"MiniLM, {told}", trained, f"{own['questions']:,}", *cells])
    return table(["span reader", "trained on", "questions", "exact match", "F1"], rows)


# --- sentence compression ------------------------------------------------------------------------------------------


def pairs() -> str:
    """Agreement with human compression on the held-out Google pairs."""
    rows = []
    for name, entry in found("pairs").items():
        for method, own in entry["methods"].items():
            shown = [own["f1"]["value"], own["precision"], own["recall"], own["f1_at_matched_keep_rate"]["value"]]
            kept = [own["keep_rate"], entry["keep_rate_of_people"]]
            cells = ["-" if value is None else percent(value) for value in (*shown, *kept)]
            rows.append([name, f"{entry['sentences']:,}", method, *cells])
    header = ["set", "sentences", "model", "F1", "precision", "recall", "F1 at people's rate", "kept", "kept by people"]
    return table(header, rows) if rows else NOT_MEASURED


# --- training ------------------------------------------------------------------------------------------------------


def training() -> str:
    """What the run of the bundled model recorded."""
    record = load("training")
    recipe = record["recipe"]
    weights = [recipe[name] for name in ("passage_weight", "ranking_weight", "distillation_weight")]
    rows = [
        ["training pieces", f"{record['training_pieces']:,}"],
        ["examples, of them with a question", f"{record['examples']:,}, {record['query_aware_examples']:,}"],
        ["`beta` (inter-class cosine)", str(recipe["beta"])],
        ["weights of relevance, ranking, distillation", ", ".join(f"{weight:g}" for weight in weights)],
        ["scale of the question-sentence cosine", f"{recipe['similarity_scale']:g}"],
        ["learning rate", f"{recipe['learning_rate']:g}"],
        ["steps (warm-up, decay)", f"{record['steps']:,} ({recipe['warmup_steps']}, {recipe['decay_steps']})"],
        ["questions and texts per step", str(recipe["batch_size"])],
        ["longest input in pieces", str(recipe["max_pieces"])],
        ["seed", str(recipe["seed"])],
        ["inter-class cosine, last layer", f"{record['over_smoothing'][-1][1][-1]:.2f}"],
        *[
            [
                f"averaged in, {number}",
                f"{other['share']:.0%}: {run['training_pieces']:,} pieces without a question, "
                f"seed {run['recipe']['seed']}",
            ]
            for number, (other, run) in enumerate(
                zip(recipe.get("averaged_with", []), record.get("averaged_with", []), strict=True), 1
            )
        ],
        *[[f"held-out articles: {name.replace('_', ' ')}", f"{v:.3f}"] for name, v in record["downstream"].items()],
    ]
    return table(["setting or result", "value"], rows)


def beta_layers() -> str:
    """Inter-class cosine per layer, mean over the seeds."""
    runs = beta_runs()
    if not runs:
        return NOT_MEASURED
    rows = []
    for beta, own in runs.items():
        curves = zip(*[run["cosine_per_layer"] for run in own], strict=True)
        rows.append([f"{beta:g}", *[f"{mean(list(values)):.2f}" for values in curves]])
    layers = [f"layer {layer}" for layer in range(1, len(rows[0]) - 1)]
    return table(["beta", "embeddings", *layers], rows)


def beta_recall() -> str:
    """Answer recall in and out of domain, and the difference to the plain classifier, for each seed."""
    runs = beta_runs()
    if not runs:
        return NOT_MEASURED
    rows = []
    for beta, own in runs.items():
        for alpha in ("1.0", "0.95"):
            for run in own:
                cells = [
                    difference(run["difference"][alpha][where][rate])
                    for where in ("in_domain", "out_of_domain")
                    for rate in RATES
                ]
                shares = [known_mean([cell[rate] for cell in run["recall"][alpha].values()]) for rate in RATES]
                rows.append(
                    [f"{beta:g}", alpha, str(run["seed"]), *[percent(value or 0.0) for value in shares], *cells]
                )
    header = ["beta", "alpha", "seed", "recall at 50 %", "at 33 %"]
    return table([*header, "in domain, 50 %", "33 %", "out of domain, 50 %", "33 %"], rows)


def beta_runs() -> dict[float, list[dict[str, Any]]]:
    """The runs of the sweep by beta; none if it was not run."""
    try:
        runs = load("beta_sweep")["runs"]
    except FileNotFoundError:
        return {}
    return {beta: [run for run in runs if run["beta"] == beta] for beta in sorted({run["beta"] for run in runs})}


def alignment() -> str:
    """Word error rates of the aligners."""
    sets = {name: entry for name, entry in load("alignment").items() if name != "environment"}
    names = list(next(iter(sets.values()))["aligners"])
    rows = []
    for name, entry in sets.items():
        rates = [entry["aligners"][aligner]["word_error_rate"] for aligner in names]
        shown = [f"**{rate:.2%}**" if rate == min(rates) else f"{rate:.2%}" for rate in rates]
        rows.append([name.replace("_", " "), f"{entry['cases']:,}", f"{entry['words']:,}", *shown])
    return table(["set", "texts", "words", *[name.replace("_", " ") for name in names]], rows)


def annotation() -> str:
    """The run of `moos annotate` with a small model."""
    result = load("annotation_smollm2")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(result["verdicts"].items()))
    rows = [
        ["model", result["model"]],
        ["chunks", f"{result['chunks']}: {verdicts}"],
        ["mean share of added words", f"{result['mean_added_share']:.1%}"],
        ["tokens estimated, used", f"{sum(result['estimate'].values()):,}, {sum(result['used'].values()):,}"],
        ["seconds", f"{result['seconds']:.0f}"],
        ["second run", f"{result['second_run']['sent']} sent, {result['second_run']['done']} done before"],
    ]
    return table(["annotation", "value"], rows)


def tool_output() -> str:
    """Marked lines kept, and lines with an error lost where all of them fit the budget."""
    sets = found("tool_output")
    if not sets:
        return NOT_MEASURED
    rows, lost = [], []
    for name, entry in sets.items():
        for dropped, cells in entry["dropped"].items():
            label = [name, f"{entry['questions']}", f"{float(dropped):.0%}"]
            rows.append([*label, *best_bold([cell["gold_lines_kept"] for cell in cells.values()])])
            errors = next(iter(cells.values()))["error_lines_where_they_fit"]
            lost.append([*label, f"{errors}", *[f"{own['error_lines_lost_where_they_fit']}" for own in cells.values()]])
    methods = list(next(iter(next(iter(sets.values()))["dropped"].values())))
    kept = table(["marked lines kept", "questions", "dropped", *methods], rows)
    return f"{kept}\n{table(['lines with an error lost', 'questions', 'dropped', 'of', *methods], lost)}"


def money() -> str:
    """Bills without and with pruning, for each price list."""
    sets = found("money")
    if not sets:
        return NOT_MEASURED
    header = ["scenario", "prices", "calls", "fresh tokens", "cached tokens", "dollars", "saved", "answers kept"]
    rows = []
    for name, entry in sets.items():
        for prices, cell in entry["bills"].items():
            pairs = [
                f"{before:,} -> {after:,}" for before, after in (cell[key] for key in ("calls", "fresh", "cached"))
            ]
            dollars = "{:.4f} -> {:.4f}".format(*cell["dollars"])
            rows.append([name, prices, *pairs, dollars, f"{cell['saved']:+.0%}", f"{entry['answers_kept']:.0%}"])
    return table(header, rows)


BLOCKS = {
    "speed": speed_short,
    "speed_full": speed_full,
    "speed_long": speed_long,
    "recall": recall_full,
    "rare_words": rare_words,
    "alpha": alpha_sweep,
    "sweep": sweep_by_domain,
    "ranking": ranking,
    "ranking_reductions": ranking_reductions,
    "budgets": budgets,
    "gain_ablation": gain_ablation,
    "code_lines": code_lines,
    "recall_by_kind": recall_by_kind,
    "min_tokens": min_tokens,
    "unit_size": unit_size,
    "whole_from": whole_from,
    "duplicates": duplicates,
    "calibration": calibrated,
    "latency": latency,
    "ceiling": ceiling,
    "answers": answers,
    "answers_short": answers_short,
    "answers_means": answers_means,
    "answers_lost": answers_lost,
    "answers_kept": answers_kept,
    "answers_llm": answers_llm,
    "end_to_end": end_to_end,
    "end_to_end_short": end_to_end_short,
    "robust_text": robust_text,
    "tool_output": tool_output,
    "money": money,
    "truth_exchanges": truth_exchanges,
    "truth_sections": truth_sections,
    "truth_parts": truth_parts,
    "truth_attacks": truth_attacks,
    "reader": reader,
    "pairs": pairs,
    "training": training,
    "beta_layers": beta_layers,
    "beta_recall": beta_recall,
    "alignment": alignment,
    "annotation": annotation,
}


def rendered(text: str) -> str:
    """`text` with every block filled anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n{match[3]}", text)


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is out of date.")] = False,
) -> None:
    """Write the tables of README, RESULTS and the model card from the JSON files."""
    stale = []
    for path in FILES:
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(("out of date: " if check else "written: ") + ", ".join(stale))
    sys.exit(bool(stale) and check)


if __name__ == "__main__":
    command_line.start(main)
