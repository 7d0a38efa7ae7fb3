"""Do the tests of core fail when core is wrong?

    python tests/mutation/check_mutants.py                        # the mutants of mutants.py; 30 minutes of one core
    python tests/mutation/check_mutants.py --only selection table # those of some modules
    python tests/mutation/check_mutants.py --survivors            # again, those that survived the last time
    python tests/mutation/check_mutants.py --sample 3 --seed 1    # random ones, 3 per module: pip install cosmic-ray

A mutant is the package with one line of core changed so that it is wrong. It is killed if a test fails: the module's
test file is tried first, then the others of `tests/core`, then `tests/golden`. What survives is a line that no test
looks at, or one that changes nothing that can be seen; for the latter `mutants.py` says why. `result.json` holds what
each run found, `killed_by` is empty for survivors. With `--only`, figures of other modules are those of runs before;
with `--quick`, a survivor may still be killed by another module's tests.

A mutant whose line is no longer in its file stops the run: write it anew for the line that took its place.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.dont_write_bytecode = True

from mutants import MODULES, MUTANTS, Mutant  # noqa: E402  # beside this script

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULT = HERE / "result.json"
SECONDS = 600  # a mutant that takes longer never ends: it counts as killed
EXAMPLES = 25  # of each property test, always the same ones
SLOW = ("test_cache.py::test_processes_share_a_directory",)
UNUSED = ("langsmith_plugin", "anyio")  # plugins of pytest that take seconds to import
# Test files of modules whose tests are not in the file of their name alone.
FIRST = {
    "gaps": ("test_omission",),
    "reasons": ("test_explain", "test_views"),
    "explain": ("test_explain", "test_views"),
    "rendering": ("test_rendering", "test_omission"),
    "redundancy": ("test_redundancy", "test_marginal_gain"),
    "result": ("test_result", "test_citations"),
    "types": ("test_table",),
    "views": ("test_views", "test_explain"),
}


def main() -> None:
    """Run what the command line says and write the result."""
    arguments = _arguments()
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    name = "random" if arguments.sample else "hand-made"
    found: dict[str, Any] = known.get(name, {}) if arguments.survivors or arguments.only else {}
    mutants = _random(arguments.sample, arguments.seed) if arguments.sample else list(MUTANTS)
    sources = {mutant.name: mutant.source(ROOT) for mutant in mutants}  # fails on a line that is gone
    if len(sources) < len(mutants):
        raise SystemExit("Two mutants are the same.")
    alive = {mutant.name: found.get(mutant.name) for mutant in mutants}
    wanted = [
        mutant
        for mutant in mutants
        if (not arguments.only or mutant.module in arguments.only)
        and not (arguments.survivors and (alive[mutant.name] or {}).get("killed_by"))
    ]
    _preload()
    for mutant, row in _run(wanted, sources, arguments.jobs, quick=arguments.quick):
        alive[mutant] = row
        known[name] = {mutant: row for mutant, row in alive.items() if row}
        _write(known)


def _write(known: dict[str, Any]) -> None:
    rows = {kind: known[kind] for kind in known if kind != "summary"}
    known = {"summary": {kind: _summary(rows[kind]) for kind in rows}} | rows
    RESULT.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="MODULE", choices=MODULES, help="modules of core")
    parser.add_argument("--survivors", action="store_true", help="only those that survived the last time")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="random mutants per module")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--quick", action="store_true", help="only the test file of each module")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    return parser.parse_args()


def _summary(rows: dict[str, Any]) -> dict[str, Any]:
    survived = {mutant: row["why"] for mutant, row in rows.items() if not row["killed_by"]}
    killed = len(rows) - len(survived)
    return {
        "modules": sorted({mutant.split(":")[0] for mutant in rows}),
        "modules_tried_with_their_own_tests_only": sorted(
            {mutant.split(":")[0] for mutant, row in rows.items() if row.get("quick")}
        ),
        "mutants": len(rows),
        "killed": killed,
        "share_killed": round(killed / max(len(rows), 1), 3),
        "share_killed_of_those_that_can_be": round(
            killed / max(len(rows) - sum(bool(why) for why in survived.values()), 1), 3
        ),
        "survived": survived,
    }


# --- one run ---------------------------------------------------------------------------------------------------------


def _run(
    mutants: Sequence[Mutant], sources: dict[str, str], jobs: int, *, quick: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Which test killed each mutant, "" for none. The package as it is must pass all tests first."""
    quickly = {"quick": True} if quick else {}
    with tempfile.TemporaryDirectory() as folder:
        trees: Queue[Path] = Queue()
        for job in range(jobs):
            trees.put(_copy(Path(folder) / str(job)))
        if not quick and (failed := _killer(trees, None, "", quick=False)):
            raise SystemExit(f"The package as it is fails: {failed}. No mutant was tried.")
        with ThreadPoolExecutor(jobs) as pool:
            tries = [pool.submit(_killer, trees, mutant, sources[mutant.name], quick=quick) for mutant in mutants]
            for number, (mutant, tried) in enumerate(zip(mutants, tries, strict=True), 1):
                killer = tried.result()
                print(f"{number}/{len(mutants)} {mutant.name}\n    {killer or 'SURVIVED'}", flush=True)
                yield mutant.name, {"killed_by": killer, "why": mutant.equivalent} | quickly


def _copy(tree: Path) -> Path:
    """The package and its tests in a folder; what is large and no code is a link."""
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    package = ROOT / "moos_integrations"
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copied = tree / path.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".py":
                shutil.copy(path, copied)
            else:
                copied.symlink_to(path)
    return tree


def _killer(trees: Queue[Path], mutant: Mutant | None, source: str, *, quick: bool) -> str:
    """The first test that fails, "" if all pass: the module's test file, then core's others, then the snapshot."""
    tree = trees.get()
    try:
        files = sorted(path.relative_to(tree) for path in (tree / "tests/core").rglob("test_*.py"))
        names = FIRST.get(mutant.module, (f"test_{mutant.module}",)) if mutant else ()
        own = [path for path in files if path.stem in names]
        with _changed(tree, mutant, source):
            rest = [] if quick else [path for path in files if path not in own]
            golden = [] if quick else [Path("tests/golden/test_golden.py")]
            return next((failed for part in (own, rest, golden) if part and (failed := _failure(tree, part))), "")
    finally:
        trees.put(tree)


def _failure(tree: Path, files: Sequence[Path]) -> str:
    """The first test of these files that fails on this tree, "" if all pass."""
    report = tree / "report.txt"
    process = multiprocessing.get_context("fork").Process(target=_test, args=(tree, files, report))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return f"no end after {SECONDS} s"
    if process.exitcode == 0:
        return ""
    lines = [line for line in report.read_text().splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return lines[0].split(" - ")[0].split(" ", 1)[1] if lines else f"exit status {process.exitcode}"


@contextlib.contextmanager
def _changed(tree: Path, mutant: Mutant | None, source: str) -> Iterator[None]:
    if mutant is None:
        yield
        return
    path = mutant.path(tree)
    before = path.read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def _preload() -> None:
    """What takes long to import and is not ours: each mutant gets a fork of this process."""
    import hypothesis
    import sentencex  # noqa: F401
    import tiktoken  # noqa: F401
    from transformers import (  # noqa: F401
        AutoModelForTokenClassification,
        AutoTokenizer,
        BertForQuestionAnswering,
        BertForTokenClassification,
        LlamaForCausalLM,
    )

    hypothesis.settings.register_profile(
        "mutation",
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=EXAMPLES,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


def _test(tree: Path, files: Sequence[Path], report: Path) -> None:
    """In the fork: run the tests of these files on this tree, up to the first failure."""
    import pytest

    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in (str(HERE), str(ROOT), ""))]
    skipped = [f"--deselect=tests/core/{test}" for test in SLOW]
    with report.open("w") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", "--hypothesis-profile=mutation"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        options += [f"-pno:{plugin}" for plugin in UNUSED]
        status = pytest.main([*options, *skipped, *map(str, files)])
    import moos_integrations

    if Path(moos_integrations.__file__).parent.parent != tree:
        status = 99
    os._exit(int(status))


# --- random mutants --------------------------------------------------------------------------------------------------


def _random(count: int, seed: int) -> list[Mutant]:
    """So many places per module, drawn among all that cosmic-ray can change, and one of the changes for each."""
    draw = random.Random(seed)
    return [mutant for module in MODULES for mutant in _random_of(module, count, draw)]


def _random_of(module: str, count: int, draw: random.Random) -> list[Mutant]:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    path = ROOT / "moos_integrations" / "core" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    lines, places = source.splitlines(), _places(source)
    chosen: list[Mutant] = []
    for start in draw.sample(sorted(places), len(places)):
        name, occurrence = draw.choice(places[start])
        changed = mutate_code(source, get_operator(name)(), occurrence)
        if _works_differently(source, changed):
            line = start[0] - 1
            new = changed.splitlines()[line].strip()
            chosen.append(Mutant(module, f"{line + 1}: {lines[line].strip()}", new, changed=changed))
        if len(chosen) == count:
            break
    return chosen


def _places(source: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Places in a file, and what can be changed there: names of operators, and their how-manieth change it is."""
    from cosmic_ray.ast import get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    nodes = list(_nodes(get_ast(source)))
    for name in operator_names():
        if name.endswith(("NoOp", "VariableReplacer", "VariableInserter", "RemoveDecorator")):
            continue  # the first does nothing; the others need arguments or break at import
        starts = [start for node in nodes for start, _ in get_operator(name)().mutation_positions(node)]
        for occurrence, start in enumerate(starts):
            places.setdefault(start, []).append((name, occurrence))
    return places


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


class _Bare(ast.NodeTransformer):
    """Leaves annotations and decorators out: nothing depends on the former, and all on the latter."""

    def visit(self, node: ast.AST) -> ast.AST:
        for name, nothing in (("annotation", ast.Constant(None)), ("returns", None), ("decorator_list", [])):
            if hasattr(node, name):
                setattr(node, name, nothing)
        return super().visit(node)


def _works_differently(source: str, changed: str) -> bool:
    try:
        return len({ast.dump(_Bare().visit(ast.parse(text))) for text in (source, changed)}) == 2
    except SyntaxError:
        return False


if __name__ == "__main__":
    main()
