"""Draw the figures in `plots/` from the JSON files in `results/`; what has not been measured is left out.

    python cookbook/benchmarks/plots.py

* `ranking_SET.svg`: share of questions whose answer survives, against the words kept, for each ranker;
* `recall.svg`: query-free answer recall against the rate, mean over the sets, for each method;
* `answers.svg`: what readers make of some methods' contexts, against the tokens kept, mean over the sets of questions;
* `end_to_end.svg`: seconds from context to answer with and without compression, against the length of the context;
* `documents.svg`: milliseconds per call, against the number of documents, ours and LLMLingua-2 on the same weights;
* `layers.svg`: cosine between preserve and discard words in every layer, for each `beta` of training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from report import (
    ASKED_SETS,
    RANKERS,
    RATES,
    READ,
    bound_mean,
    budget_label,
    found,
    known_mean,
    load,
    methods_of,
    times_fewer,
)

mpl.use("agg")
# Text stays text, and the same figures give the same bytes.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "moos", "axes.grid": True, "grid.alpha": 0.3})

from matplotlib.figure import Figure  # noqa: E402

PLOTS = Path(__file__).parent / "plots"
SIZE = (6, 4)
COLOURS = {
    "moos": "#0072b2",
    "model": "#0072b2",
    "bm25": "#d55e00",
    "embeddings": "#009e73",
    "random": "#bbbbbb",
    "lead": "#777777",
    "llmlingua-2": "#cc79a7",
    "llmlingua2": "#cc79a7",
    "embeddings, mmr": "#009e73",
    "ctxprune": "#e69f00",
    "llmslim": "#56b4e9",
    "classifier": "#56b4e9",
    "baseline": "#cc79a7",
    "idf": "#e69f00",
}
"""One colour per method in all figures; from a palette that colour-blind people can read."""
DRAWN = ("moos", "embeddings, mmr", "bm25", "lead", "ctxprune", "llmslim", "llmlingua-2")
"""Methods of `answers.svg`: ours, the strongest others and two plain ones; RESULTS.md has the numbers of all."""
_WIDTH_95 = 2 * 1.96  # of a 95 % interval, in standard errors


def save(figure: Figure, name: str) -> Path:
    """Write a figure without the date, which would change it on every run."""
    PLOTS.mkdir(exist_ok=True)
    path = PLOTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    return path


def axes_of(title: str, across: str, up: str) -> tuple[Figure, Any]:
    """An empty figure; a `Figure` of its own needs no closing."""
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set(title=title, xlabel=across, ylabel=up)
    return figure, axes


def legend_beside(axes: Any) -> None:
    """The legend to the right of the curves."""
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def curve(axes: Any, across: Sequence[float], cells: Sequence[Mapping[str, Any]], **style: Any) -> None:
    """A line with its 95 % intervals as bars; `cells` have `value` and `interval`."""
    below = [max(cell["value"] - cell["interval"][0], 0.0) for cell in cells]
    above = [max(cell["interval"][1] - cell["value"], 0.0) for cell in cells]
    axes.errorbar(across, [cell["value"] for cell in cells], yerr=(below, above), marker="o", capsize=2, **style)


def mean_cell(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over sets, with an interval from those of the sets, which are independent of one another."""
    value = sum(cell["value"] for cell in cells) / len(cells)
    errors = [(cell["interval"][1] - cell["interval"][0]) / _WIDTH_95 for cell in cells]
    half = _WIDTH_95 / 2 * sum(error**2 for error in errors) ** 0.5 / len(cells)
    return {"value": value, "interval": (value - half, value + half)}


def ranking() -> list[Path]:
    """One figure per set, with 95 % intervals and the share of the whole context as a line."""
    paths = []
    for name, entry in found("ranking").items():
        figure, axes = axes_of(name, "share of words kept", "share of questions whose answer survives")
        rankers = {**entry["rankers"], "model": entry["rankers"][entry["model"]]}
        for ranker in RANKERS:
            budgets = sorted(rankers[ranker], key=float)
            cells = [rankers[ranker][budget] for budget in budgets]
            across = [float(budget) for budget in budgets]
            label = f"model ({entry['model']})" if ranker == "model" else ranker
            curve(axes, across, cells, label=label, color=COLOURS[ranker])
        axes.axhline(entry["full"]["value"], color="grey", linestyle="--", label="whole context")
        axes.set_xscale("log", base=2)
        axes.set_xticks(across, [budget_label(budget) for budget in budgets])
        legend_beside(axes)
        paths.append(save(figure, f"ranking_{name}"))
    return paths


def recall() -> list[Path]:
    """Mean over all sets at each rate."""
    sets = found("answer_recall")
    if not sets:
        return []
    figure, axes = axes_of(f"mean over {len(sets)} sets, without a query", "share of tokens kept", "answer recall")
    for method in methods_of(sets):
        shares = [known_mean([entry[rate][method]["answer_recall"] for entry in sets.values()]) for rate in RATES]
        axes.plot([float(rate) for rate in RATES], shares, marker="o", label=method, color=COLOURS.get(method))
    axes.set_xticks([float(rate) for rate in RATES])
    legend_beside(axes)
    return [save(figure, "recall")]


def layers() -> list[Path]:
    """Mean over the seeds of each beta, the seeds as points."""
    try:
        runs = load("beta_sweep")["runs"]
    except FileNotFoundError:
        return []
    by_beta = defaultdict(list)
    for run in runs:
        by_beta[run["beta"]].append(run["cosine_per_layer"])
    figure, axes = axes_of("over-smoothing", "layer (0: embeddings)", "cosine between preserve and discard")
    for beta, curves in sorted(by_beta.items()):
        means = [sum(values) / len(values) for values in zip(*curves, strict=True)]
        (line,) = axes.plot(range(len(means)), means, marker="o", label=f"beta {beta:g}")
        for curve in curves if len(curves) > 1 else ():
            axes.plot(range(len(curve)), curve, ".", color=line.get_color(), alpha=0.5)
    legend_beside(axes)
    return [save(figure, "layers")]


def answers() -> list[Path]:
    """Log-likelihood and F1 side by side, with intervals; all of the text as a dashed line."""
    sets = [entry for name, entry in found("answers").items() if name in ASKED_SETS]
    if not sets:
        return []
    figure = Figure(figsize=(2 * SIZE[0] + 2, SIZE[1] + 0.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("log_likelihood", "f1"), strict=True):
        for method in DRAWN:
            shares, cells = answer_curve(sets, method, metric)
            if cells:
                curve(axes, [times_fewer(share) for share in shares], cells, label=method, color=COLOURS[method])
        whole = bound_mean("whole", metric)
        if whole is not None:
            axes.axhline(whole, color="black", linestyle="--", linewidth=1, label="all of the text")
        axes.set(xlabel="times fewer tokens", ylabel=READ[metric], title="mean over the sets of questions")
    legend_beside(axes)
    return [save(figure, "answers")]


def answer_curve(sets: Sequence[Any], method: str, metric: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The shares at which a method was read in all sets, and its mean there."""
    if not all(method in entry["methods"] for entry in sets):
        return [], []
    known = [
        share
        for share in sets[0]["methods"][method]
        if all((entry["methods"][method][share].get(metric) or {}).get("interval") for entry in sets)
    ]
    return known, [mean_cell([entry["methods"][method][share][metric] for entry in sets]) for share in known]


def end_to_end() -> list[Path]:
    """One panel per reader, both axes logarithmic."""
    try:
        readers = load("end_to_end")["readers"]
    except FileNotFoundError:
        return []
    figure = Figure(figsize=(2 * SIZE[0], SIZE[1]), layout="constrained")
    for axes, (name, reader) in zip(figure.subplots(1, len(readers), squeeze=False)[0], readers.items(), strict=True):
        cases = [case for case in reader["cases"] if "without" in case]
        lengths = [case["without"]["context_tokens"] for case in cases]
        totals = {"no compression": [case["without"]["total_seconds"] for case in cases]}
        for rate in cases[0]["with"] if cases else ():
            totals[f"{rate} fewer tokens"] = [case["with"][rate]["total_seconds"] for case in cases]
        for label, seconds in totals.items():
            axes.plot(lengths, seconds, "--" if label == "no compression" else "-", marker=".", label=label)
        axes.set(title=name, xlabel="tokens of context", ylabel="seconds to the answer")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=45)
        axes.yaxis.set_major_formatter("{x:g}")
    legend_beside(axes)
    return [save(figure, "end_to_end")]


def documents() -> list[Path]:
    """Of `speed.json`, one line per length of the documents and engine."""
    try:
        cases = load("speed")["cases"]
    except FileNotFoundError:
        return []
    figure, axes = axes_of("time of one call", "documents", "milliseconds")
    for words, style in zip(sorted({case["words"] for case in cases}), ("-", "--", ":"), strict=True):
        own = [case for case in cases if case["words"] == words]
        for engine, colour in (("moos", COLOURS["moos"]), ("llmlingua2", COLOURS["llmlingua2"])):
            known = [
                (case["documents"], case[engine]["milliseconds"]) for case in own if "milliseconds" in case[engine]
            ]
            axes.plot(
                *zip(*known, strict=True), style, color=colour, marker=".", label=f"{engine}, {words:,} words each"
            )
    axes.set(xscale="log", yscale="log")
    legend_beside(axes)
    return [save(figure, "documents")]


def main() -> None:
    """Draw everything that there are results for."""
    for path in (*ranking(), *recall(), *answers(), *end_to_end(), *documents(), *layers()):
        print(path.name)


if __name__ == "__main__":
    main()
