"""Write RESULTS.md, and the figures in README.md and the model card, from the JSON files in `results/`.

    python cookbook/benchmarks/report.py           # write
    python cookbook/benchmarks/report.py --check   # fail if a file would change (CI)

Figures stand between `<!-- results:NAME -->` and `<!-- /results -->`; nothing there is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = ROOT / "moos_integrations" / "models" / "moos-minilm-en"
FILES = (HERE / "RESULTS.md", ROOT / "README.md", MODEL / "README.md", ROOT / "CHANGELOG.md")
METHODS = ("moos", "classifier", "idf", "lead", "random")
_BLOCK = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def load(name: str) -> dict[str, Any]:
    """One result file."""
    path = MODEL / "training.json" if name == "training" else HERE / "results" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


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
    """Every set, rate and method of `answer_recall.json`, with the paired difference to the plain classifier."""
    rows = []
    for name, entry in load("answer_recall")["sets"].items():
        for rate in ("0.5", "0.33"):
            cell = entry[rate]
            best = max(cell[method]["answer_recall"] for method in METHODS)
            shown = [percent(cell[method]["answer_recall"], best) for method in METHODS]
            rows.append([name, rate, f"{entry['questions']:,}", *shown, difference(cell["moos - classifier"])])
    return table(["set", "rate", "questions", *METHODS, "moos - classifier [95 %]"], rows)


def percent(value: float, best: float) -> str:
    """A share in percent, bold if it is the best of its row."""
    return f"**{value:.1%}**" if value == best else f"{value:.1%}"


def difference(cell: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    low, high = cell["interval"]
    return f"{100 * cell['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def alpha_sweep() -> str:
    """Mean over the sets, per statistic and alpha."""
    sets = load("alpha_sweep")["sets"]
    rows = []
    for rate in ("0.5", "0.33"):
        cells = [entry[rate] for entry in sets.values()]
        plain = mean([cell["classifier"] for cell in cells])
        for statistic in ("class_diag", "class_dist", "global_diag"):
            alphas = list(cells[0][statistic])
            means = [mean([cell[statistic][alpha] for cell in cells]) for alpha in alphas]
            rows.append([statistic, rate, f"{plain:.1%}", *[f"{value:.1%}" for value in means]])
    return table(["statistic", "rate", "alpha 1", *[f"alpha {alpha}" for alpha in alphas]], rows)


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


# --- training ------------------------------------------------------------------------------------------------------


def training() -> str:
    """What the training run recorded."""
    record = load("training")
    recipe, validation = record["recipe"], record["validation"]
    rows = [
        ["backbone", recipe["backbone_name"]],
        ["training pieces", f"{record['training_pieces']:,}"],
        ["passages", f"{record['passages']:,}"],
        ["beta (weight of the inter-class cosine)", str(recipe["beta"])],
        ["learning rate, epochs, batch", f"{recipe['learning_rate']}, {recipe['epochs']}, {recipe['batch_size']}"],
        ["longest passage in pieces", str(recipe["max_pieces"])],
        ["seed", str(recipe["seed"])],
        ["validation: accuracy, F1 of preserve", f"{validation['accuracy']:.3f}, {validation['f1']:.3f}"],
        ["validation: share labelled preserve", f"{validation['preserve_share']:.3f}"],
        ["validation: inter-class cosine, last layer", f"{validation['inter_class_cosine']:.3f}"],
    ]
    return table(["setting or result", "value"], rows)


BLOCKS = {
    "speed": speed_short,
    "speed_full": speed_full,
    "speed_long": speed_long,
    "recall": recall_full,
    "alpha": alpha_sweep,
    "training": training,
}


def rendered(text: str) -> str:
    """`text` with every block filled anew."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match[2]]()}\n{match[3]}", text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args().check
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
    main()
