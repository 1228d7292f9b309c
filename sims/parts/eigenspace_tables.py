"""Arrays of the eigenspace experiment, of what its cases measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from sims.parts.eigenspace_case import STUDENTS, Case
from sims.parts.eigenspace_findings import over_seeds
from sims.parts.eigenspace_layers import draw_pairs, pad
from theory.ntk.trajectories import final_log_ratio

CONTROLS = ("null", "soft", "labels_tau")
Measured = Sequence[Sequence[Mapping[str, NDArray[Any]]]]
"""What each setting and seed measured."""


def values(settings: Sequence[Case], measured: Measured) -> dict[str, NDArray[Any]]:
    """Statistics and accuracies with t intervals over seeds, and differences from the controls.

    ``values`` (M, S, students, statistics), ``values_interval`` (3, M, students, statistics) with
    mean, low, high first; ``difference`` (3, M, controls, statistics): student less control, paired
    by seed; ``raw_share`` (M, S, students): S1's share of the raw norms; ``accuracy`` (M, S, 1 +
    students, splits), the teacher first; ``null_share`` alike.
    """
    raw, accuracy, null_share, statistics = [], [], [], []
    for case, seeds in zip(settings, measured, strict=True):
        columns, members = _columns(case)
        size = len(STUDENTS)
        statistics.append([_spread(each["statistics"], columns, size) for each in seeds])
        raw.append([_spread(each["raw_share"], columns, size) for each in seeds])
        accuracy.append([_spread(each["accuracy"], members, size + 1) for each in seeds])
        null_share.append([_spread(each["null_share"], members, size + 1) for each in seeds])
    table = np.array(statistics)
    flow = np.array([[each["flow_statistics"] for each in seeds] for seeds in measured])
    exponent = np.array([[each["flow_exponent"] for each in seeds] for seeds in measured])
    slopes = np.array([[each["slope"] for each in seeds] for seeds in measured])
    return {
        "values": table,
        "values_interval": over_seeds(table),
        "difference": _less_controls(table),
        "raw_share": np.array(raw),
        "raw_share_interval": over_seeds(raw),
        "node_share": np.array([[each["node_share"] for each in seeds] for seeds in measured]),
        "accuracy": np.array(accuracy),
        "null_share": np.array(null_share),
        "flow": flow,
        "flow_interval": over_seeds(flow),
        "flow_exponent": exponent,
        "slope": slopes,
        "slope_interval": over_seeds(slopes),
    }


def later(settings: Sequence[Case], measured: Measured) -> dict[str, NDArray[Any]]:
    """The same of every layer after the first, L rows: settings that have some, layer by layer.

    ``layer_setting`` (L,): its place among the settings; ``layer_name`` (L,) in the network;
    ``layer_number`` (L,), from 2; ``layer_title`` (L,): in words; ``layer_values``,
    ``layer_values_interval``, ``layer_difference``, ``layer_raw_share``,
    ``layer_raw_share_interval``, ``layer_null_share``, ``layer_flow``, ``layer_flow_interval``,
    ``layer_eigenvalues``, ``layer_final_log_ratio`` as of the first layer, with L for M; of seed 0
    ``layer_pair_index`` (L, P, 2) and ``layer_pairs`` (L, 1 + students, P, 2, T), the teacher
    first. Nothing where all networks have one layer.
    """
    rows: dict[str, list[Any]] = {}
    for setting, (case, seeds) in enumerate(zip(settings, measured, strict=True)):
        columns, members = _columns(case)
        size = len(STUDENTS)
        names = seeds[0]["later_names"].tolist() if "later_names" in seeds[0] else []
        for place, name in enumerate(names):
            of = {
                key.removeprefix("later_"): [each[key][place] for each in seeds]
                for key in seeds[0]
                if key.startswith("later_")
            }
            row = {
                "setting": setting,
                "name": name,
                "number": place + 2,
                "title": _title(case.model, place + 2, last=place == len(names) - 1),
                "values": [_spread(each, columns, size) for each in of["statistics"]],
                "raw_share": [_spread(each, columns, size) for each in of["raw_share"]],
                "null_share": [_spread(each, members, size + 1) for each in of["null_share"]],
                "flow": of["flow"],
                "eigenvalues": of["eigenvalues"],
                "final_log_ratio": of["final_log_ratio"],
                "pair_index": of["pair_index"][0],
                "pairs": _spread(of["pairs"][0], members, size + 1),
            }
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
    if not rows:
        return {}
    for key in ("eigenvalues", "final_log_ratio", "pairs"):
        longest = max(np.shape(value)[-1] for value in rows[key])
        rows[key] = [pad(np.asarray(value), longest) for value in rows[key]]
    arrays = {f"layer_{key}": np.array(value) for key, value in rows.items()}
    for key in ("values", "raw_share", "flow"):
        arrays[f"layer_{key}_interval"] = over_seeds(arrays[f"layer_{key}"])
    return arrays | {"layer_difference": _less_controls(arrays["layer_values"])}


def paths(count: int, settings: Sequence[Case], measured: Measured) -> dict[str, NDArray[Any]]:
    """What S4 and the pictures of paths are made of, seed 0 for the paths of ``count`` pairs.

    ``eigenvalues`` (M, S, r); ``final_log_ratio`` (M, S, r), nan below the rank; ``pair_index`` (M,
    P, 2); ``pair_teacher``, ``pair_student``, ``pair_null``: displacements along both directions
    (M, P, 2, T); ``pair_steps`` (M, T); ``pair_flow`` (M, 2, P, 2, T') of the exact flow.
    """
    directions = max(each["eigenvalues"].shape[-1] for seeds in measured for each in seeds)
    records = max(len(each["steps"]) for seeds in measured for each in seeds)
    parts: dict[str, list[Any]] = {
        name: []
        for name in (
            "eigenvalues",
            "final_log_ratio",
            "pair_index",
            "pair_steps",
            "pair_teacher",
            "pair_student",
            "pair_null",
            "pair_flow",
        )
    }
    for case, seeds in zip(settings, measured, strict=True):
        ratios = [_final(each) for each in seeds]
        parts["eigenvalues"].append([pad(each["eigenvalues"], directions) for each in seeds])
        parts["final_log_ratio"].append([pad(ratio, directions) for ratio in ratios])
        first = seeds[0]
        rng = stream("pairs", case.model)
        pairs = draw_pairs(count, rng, first["eigenvalues"], first["kept"])
        parts["pair_index"].append(pairs)
        parts["pair_steps"].append(pad(first["steps"].astype(np.float64), records))
        null = case.students.index("null") + 1 if "null" in case.students else None
        for name, member in (("pair_teacher", 0), ("pair_student", 1), ("pair_null", null)):
            path = first["displacements"][member or 0]
            drawn = pad(path.T[pairs], records)
            parts[name].append(drawn if member is not None else np.full_like(drawn, np.nan))
        parts["pair_flow"].append(np.stack([path.T[pairs] for path in first["flow_displacements"]]))
    return {name: np.array(rows) for name, rows in parts.items()}


def pictures(model: str, seeds: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Figures 17 and 18 of the paper for one network at the first length.

    ``scatter_train_<model>``, ``scatter_test_<model>`` (2, n): log-odds of the teacher's top class
    for teacher and student, seed 0; ``mislabeled_<model>`` (n,); ``confidence_gap_<model>`` (S, 2):
    mean of student less teacher over clean and mislabeled training samples, nan over none;
    ``kept_counts`` (G,) (the last, 0, is the whole head), ``kept_by_seed`` (S, 2, splits, G) for
    teacher and student, and ``kept_accuracy`` (3, 2, splits, G): its mean, low and high.
    """
    gaps = []
    for each in seeds:
        gap, wrong = np.diff(each["confidence_train"], axis=0)[0], each["mislabeled"]
        gaps.append([gap[part].mean() if part.any() else np.nan for part in (~wrong, wrong)])
    arrays = {
        f"scatter_train_{model}": seeds[0]["confidence_train"],
        f"scatter_test_{model}": seeds[0]["confidence_test"],
        f"mislabeled_{model}": seeds[0]["mislabeled"],
        f"confidence_gap_{model}": np.array(gaps),
    }
    if "kept_accuracy" in seeds[0]:
        by_seed = np.array([each["kept_accuracy"] for each in seeds])
        arrays["kept_counts"] = seeds[0]["kept_counts"]
        arrays["kept_by_seed"] = by_seed
        arrays["kept_accuracy"] = over_seeds(by_seed[None])[:, 0]
    return arrays


def _title(model: str, number: int, *, last: bool) -> str:
    """A later layer in words.

    >>> _title("cnn", 3, last=False), _title("mlp", 3, last=True)
    ('convolution 3', 'last layer')
    """
    if last:
        return "last layer"
    return f"{'convolution' if model == 'cnn' else 'hidden layer'} {number}"


def _columns(case: Case) -> tuple[list[int], list[int]]:
    """Places of the case's students among all, and of its members among teacher and all."""
    columns = [STUDENTS.index(name) for name in case.students]
    return columns, [0, *(1 + column for column in columns)]


def _less_controls(table: NDArray[Any]) -> NDArray[np.float64]:
    """Student less each control, paired by seed, with intervals: (3, M, controls, statistics)."""
    controls = table[:, :, [STUDENTS.index(name) for name in CONTROLS]]
    return over_seeds(table[:, :, :1] - controls)


def _spread(rows: NDArray[Any], places: list[int], size: int) -> NDArray[np.float64]:
    """Rows at their places among ``size``, nan elsewhere."""
    spread = np.full((size, *rows.shape[1:]), np.nan)
    spread[places] = rows
    return spread


def _final(measured: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    ratio = final_log_ratio(*measured["displacements"][:2])
    return np.where(measured["kept"], ratio, np.nan)
