"""Which share of the answers survives query-free compression, beside baselines; and the sweep behind `alpha`.

    python cookbook/benchmarks/run_answer_recall.py --data DIR

The same as `python -m moos_benchmarks.run MODEL --data DIR --output results --parts recall,sweep`; what is
measured, and how, stands in `moos_benchmarks/recall.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import RESULTS
from moos_benchmarks.run import Options, evaluate

from moos_integrations.core.config import BUNDLED_MODEL

PARTS = ("recall", "sweep")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the JSONL data sets")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="bundled name, folder or hub id")
    parser.add_argument("--limit", type=int, help="passages per set (default: all, fewer of the long ones)")
    options = parser.parse_args()
    for path in evaluate(options.model, RESULTS, Options(data=options.data, limit=options.limit), parts=PARTS):
        print(path.name)


if __name__ == "__main__":
    main()
