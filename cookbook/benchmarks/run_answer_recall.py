"""Which share of the answers survives query-free compression, beside baselines; and the sweep behind `alpha`.

    python cookbook/benchmarks/run_answer_recall.py --data DIR

The same as `python -m moos_benchmarks.run MODEL --data DIR --output results --parts recall,sweep`; what is
measured, and how, stands in `moos_benchmarks/recall.py`.
"""

from __future__ import annotations

from typing import Annotated

import typer
from common import RESULTS
from moos_benchmarks import command_line
from moos_benchmarks.run import Options, evaluate

from moos_integrations.core.config import BUNDLED_MODEL

PARTS = ("recall", "sweep")


def main(
    data: command_line.Data,
    model: command_line.Model = BUNDLED_MODEL,
    limit: Annotated[int | None, typer.Option(help="Passages per set. Default: all, fewer of the long ones.")] = None,
) -> None:
    """Measure query-free answer recall, and the sweep behind `alpha`."""
    for path in evaluate(model, RESULTS, Options(data=data, limit=limit), parts=PARTS):
        print(path.name)


if __name__ == "__main__":
    command_line.start(main)
