"""Speed as ratios: ``python -m tests.speed [WORDS…] [--out FILE] [--repeats N] [--list]``.

Every ``bench_*.py`` in this folder is read; WORDS keep the rows whose title or file holds one of
them. The status is 1 if a goal is missed. A row is a function that prepares the work::

    from tests.speed.register import Skip, bench


    @bench("weights at 200 times against the SVD alone", at_most=1.6)
    def weights():
        X = ...  # not timed
        return {"SVD": lambda: np.linalg.svd(X), "stillroom": lambda: teacher_weights(...)}

The work to judge is called ``stillroom``; the other name is that of the baseline. The goal is one
of ``at_most`` (our time / baseline's), ``at_least`` (baseline's time / ours, a speed-up),
``seconds`` (no baseline) and ``peak_bytes`` (no baseline; NumPy's memory by tracemalloc). Both are
run in turn ``repeats`` times in this one process, and medians are compared. ``raise Skip("why")``
where it cannot be measured.
"""

import argparse
import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from deep.records.provenance import provenance
from tests.speed import register

HERE = Path(__file__).parent


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m tests.speed", description="Measure speed.")
    parser.add_argument("words", nargs="*", help="keep rows whose title or file holds one of these")
    parser.add_argument("--out", type=Path, help="also write the rows here, as JSON")
    parser.add_argument("--repeats", type=int, help="repeats of each row (default: the row's)")
    parser.add_argument("--list", action="store_true", help="list the rows and measure none")
    given = parser.parse_args(arguments)
    chosen = select(discover(), given.words)
    if given.list:
        print(*(f"{one.module.rpartition('.')[2]}: {one.title}" for one in chosen), sep="\n")
        return 0
    rows, skipped = run(chosen, given.repeats)
    if given.out:
        write(given.out, rows, skipped)
    missed = [row for row in rows if not row.passed]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} goals met, {len(skipped)} skipped")
    return 1 if missed or not chosen else 0


def discover():
    """All registered rows."""
    for path in sorted(HERE.glob("bench_*.py")):
        importlib.import_module(f"tests.speed.{path.stem}")
    return list(register.benches)


def select(benches, words):
    """The rows whose title or file holds one of ``words``; all without words."""
    return [one for one in benches if not words or any(w in one.title + one.module for w in words)]


def run(chosen, repeats):
    """Measure the rows, printing each as it is done."""
    rows, skipped = [], {}
    width = max((len(one.title) for one in chosen), default=0)
    for one in chosen:
        try:
            row = register.measure(one, repeats)
        except register.Skip as why:
            skipped[one.title] = str(why)
            print(f"{one.title:<{width}}  skipped: {why}", flush=True)
            continue
        rows.append(row)
        print(f"{one.title:<{width}}  {described(row)}", flush=True)
    return rows, skipped


def described(row):
    """A row in words."""
    verdict = "met   " if row.passed else "MISSED"
    times = "  ".join(f"{name} {seconds:.4g} s" for name, seconds in row.seconds.items())
    if row.kind == "bytes":
        return f"{verdict}  {row.value / 1e6:.4g} MB (goal: at most {row.goal / 1e6:.4g})"
    if row.kind == "seconds":
        return f"{verdict}  {row.value:.3g} s (goal: at most {row.goal:g})"
    relation = f"of {row.baseline}" if row.kind == "at most" else f"faster than {row.baseline}"
    return f"{verdict}  {row.value:.3g} x {relation} (goal: {row.kind} {row.goal:g})  {times}"


def write(path, rows, skipped):
    """Write the rows with the machine they were measured on, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "provenance": {**provenance(), "threads": os.environ.get("OMP_NUM_THREADS")},
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
