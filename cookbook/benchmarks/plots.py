"""Draw the figures in `plots/` from the JSON files in `results/`; what has not been measured is left out.

    python cookbook/benchmarks/plots.py

* `ranking_SET.svg`: share of questions whose answer survives, against the words kept, for each ranker;
* `recall.svg`: query-free answer recall against the rate, mean over the sets, for each method;
* `answers.svg`: what readers make of every method's contexts, against the tokens kept, mean over the sets of questions;
* `end_to_end.svg`: seconds from context to answer with and without compression, against the length of the context;
* `documents.svg`: milliseconds per call, against the number of documents, ours and LLMLingua-2 on the same weights;
* `layers.svg`: cosine between preserve and discard words in every layer, for each `beta` of training.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from report import (
    RANKERS,
    RATES,
    READ,
    answer_means,
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
            axes.plot(across, [cell["value"] for cell in cells], marker="o", label=label)
            lows, highs = zip(*[cell["interval"] for cell in cells], strict=True)
            axes.fill_between(across, lows, highs, alpha=0.12)
        axes.axhline(entry["full"]["value"], color="grey", linestyle="--", label="whole context")
        axes.set_xscale("log", base=2)
        axes.set_xticks(across, [budget_label(budget) for budget in budgets])
        axes.legend()
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
        axes.plot([float(rate) for rate in RATES], shares, marker="o", label=method)
    axes.set_xticks([float(rate) for rate in RATES])
    axes.legend()
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
    axes.legend()
    return [save(figure, "layers")]


def answers() -> list[Path]:
    """Log-likelihood and F1 side by side; ours thick, the others in colours of their own, all of the text dashed."""
    entries = list(found("answers").values())
    if not entries:
        return []
    shares = tuple(entries[0]["methods"]["moos"])
    columns, means = answer_means(shares)
    means = {method: values for method, values in means.items() if any(value is not None for value in values)}
    figure = Figure(figsize=(2 * SIZE[0], SIZE[1] + 1))
    for axes, metric in zip(figure.subplots(1, 2), ("log_likelihood", "f1"), strict=True):
        colours = iter(mpl.colormaps["tab20"].colors)
        for method, values in means.items():
            known = [
                (share, value)
                for (own, share), value in zip(columns, values, strict=True)
                if own == metric and value is not None
            ]
            style = {"linewidth": 3.0, "color": "black"} if method == "moos" else {"color": next(colours)}
            across = [times_fewer(share) for share, _ in known]
            axes.plot(across, [value for _, value in known], marker=".", label=method, **style)
        whole = bound_mean("whole", metric)
        if whole is not None:
            axes.axhline(whole, color="grey", linestyle="--", label="all of the text")
        axes.set(xlabel="times fewer tokens", ylabel=READ[metric], title="mean over the sets of questions")
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return [save(figure, "answers")]


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
        axes.legend(fontsize="small")
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
        for engine, colour in (("moos", "black"), ("llmlingua2", "tab:orange")):
            known = [
                (case["documents"], case[engine]["milliseconds"]) for case in own if "milliseconds" in case[engine]
            ]
            axes.plot(
                *zip(*known, strict=True), style, color=colour, marker=".", label=f"{engine}, {words:,} words each"
            )
    axes.set(xscale="log", yscale="log")
    axes.legend(fontsize="small")
    return [save(figure, "documents")]


def main() -> None:
    """Draw everything that there are results for."""
    for path in (*ranking(), *recall(), *answers(), *end_to_end(), *documents(), *layers()):
        print(path.name)


if __name__ == "__main__":
    main()
