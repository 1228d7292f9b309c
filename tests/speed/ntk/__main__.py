"""The empirical kernel beside its peers: ``python -m tests.speed.ntk [WORDS...] [options]``.

Engines take turns in processes of their own, on one pinned core by CPU seconds and on two threads
by wall time; medians are compared. neural-tangents runs under jit, by the faster of the modes that
fit, in ``.venv-ntk``, which is made if need be. The way of PyTorch's tutorial (Jacobians of all
samples by ``vmap(jacrev)``, then a contraction) does not fit in memory: it is timed on one block of
samples with another and multiplied by the number of blocks, marked ``*``; its product is timed
whole. The status is 1 if a goal on the pinned core is missed.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from deep.records.provenance import provenance
from tests.speed.ntk import cases, measure, peers, table
from tests.speed.ntk.processes import DEVICE, PINNED, THREADS, Failed


def main(arguments=None):
    parser = _parser()
    given = parser.parse_args(arguments)
    names = [one.name for one in (*cases.CASES, cases.TINY, *cases.GROWTH)]
    for word in given.words:
        if not any(word in name for name in (*names, "growth 4096")):
            parser.error(f"no case holds {word!r}; the cases are: {', '.join(names)}")
    chosen = [one for one in cases.CASES if _wanted(one.name, given.words)]
    if given.list:
        print(*names, sep="\n")
        return 0
    peer = None if given.skip_peers else _peer(given.peer_python)
    places = [place for place in (PINNED, THREADS) if given.cores in (None, place.cores)]
    places += [DEVICE] if torch.cuda.is_available() else []
    rows, speeds = [], {}
    for place in places if chosen else ():
        table.heading(place)
        speeds[place.name] = measure.peaks(place, peer)
        for case in chosen:
            rows.append(_shown(case, place, peer, given, speeds[place.name]))
    tiny = measure.tiny(given.repeats) if _wanted(cases.TINY.name, given.words) else None
    growth = measure.growth() if _wanted("growth 4096", given.words) else None
    rows = [row for row in rows if row]
    table.summary(rows, speeds, tiny, growth)
    if given.out:
        _write(given.out, rows, speeds, tiny, growth)
    missed = [row for row in rows if row.place == PINNED.name and not row.met]
    return 1 if missed or (tiny and not tiny.met) else 0


def _parser():
    parser = argparse.ArgumentParser("python -m tests.speed.ntk", description="Measure speed.")
    parser.add_argument("words", nargs="*", help="keep cases whose name holds one of these")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each engine (default: 7)")
    parser.add_argument("--cores", type=int, choices=(1, 2), help="only one core, or two threads")
    parser.add_argument("--skip-peers", action="store_true", help="without neural-tangents")
    parser.add_argument("--skip-tutorial", action="store_true", help="without torch.func's way")
    parser.add_argument("--peer-python", type=Path, help="a Python that has neural-tangents")
    parser.add_argument("--out", type=Path, help="also write all numbers here, as JSON")
    parser.add_argument("--list", action="store_true", help="list the cases and measure none")
    return parser


def _wanted(name, words):
    return not words or any(word in name for word in words)


def _peer(python):
    if python is not None:
        return python
    try:
        return peers.environment()
    except peers.Missing as why:
        print(f"without neural-tangents: {why}", flush=True)
        return None


def _shown(case, place, peer, given, speeds):
    try:
        row = measure.row(
            case,
            place,
            peer=peer,
            tutorial=not given.skip_tutorial and place is not THREADS,
            repeats=given.repeats,
            speed=speeds[case.dtype],
        )
    except Failed as why:
        print(f"{case.name:<22}  failed: {why}", flush=True)
        return None
    table.line(row)
    return row


def _write(path, rows, speeds, tiny, growth):
    """Write all numbers with the machine they were measured on, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "provenance": provenance(),
        "peers": [*peers.ALONE, *peers.WITH_DEPENDENCIES],
        "speed_of_matrix_products": speeds,
        "rows": [asdict(row) for row in rows],
        "tiny": tiny and asdict(tiny),
        "growth": growth and [asdict(one) for one in growth],
    }
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
