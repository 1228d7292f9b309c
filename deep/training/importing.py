"""Teachers from elsewhere: weights in a file become a stored run that can teach."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from deep import models
from deep.data.normalization import normalization as normalization_named
from deep.data.prepared import Prepared, prepare
from deep.data.spec import DataSpec
from deep.models import ModelSpec
from deep.models.foreign import map_weights, read_names, read_weights, weights_digest
from deep.models.network import Network
from deep.records.provenance import provenance
from deep.records.runs import Runs
from deep.training import evaluation
from deep.training.checkpoint import weights_bytes
from deep.training.config import ImportedTeacher
from deep.training.finished import Finished
from deep.training.precision import device_name, require_device
from deep.training.runner import imported_key
from deep.training.teaching import plain_logits


def import_teacher(
    path: Path | str,
    *,
    model: ModelSpec,
    data: DataSpec,
    normalization: str,
    out: Path,
    root: Path | str | None = None,
    device: str = "cpu",
    mapping: Path | str | None = None,
    name: str = "",
) -> Finished:
    """Store the weights in a file as a network that can teach, with its test accuracy.

    The entry is named by the network, its weights and its normalization, as `ImportedTeacher` has
    them: the same weights in another file, or under other names, are the same teacher.

    Args:
        path: A file of safetensors or ``torch.save``, read without unpickling anything.
        model: The network whose weights they are.
        data: The image set that it was trained for; its test split is what it is measured on.
        normalization: Of its inputs, by the name in `deep.data.normalization`.
        out: Root of what is made at run time.
        root: Folder of image sets; STILLROOM_DATA if None.
        device: Where its accuracy is measured.
        mapping: A JSON file of their names and ours, where the names are not known.
        name: What to call it.

    Returns:
        The stored network; with the record of an earlier import if there is one.

    Raises:
        ValueError: If the file cannot be read, its tensors are not those of the network, the data
            are not there or the normalization does not fit them, or the name is taken.
        OSError: If there is no space left; nothing is stored then.
    """
    require_device(device)
    style = normalization_named(normalization)
    weights = read_weights(path)
    names = None if mapping is None else read_names(mapping)
    prepared = prepare(data, root=root, cache=Path(out) / "cache", device=device)
    style.check_channels(prepared.test.images.shape[-1])
    network = _network(model, prepared)
    network.load_state_dict(map_weights(weights, network, names=names))
    teacher = ImportedTeacher(model, weights_digest(network.state_dict()), normalization)
    key, runs = imported_key(teacher), Runs(Path(out))
    _require_free(name, key, runs)
    config = {
        "imported": {"name": name, "file": str(path), "sha256": _digest(Path(path))},
        "model": model,
        "weights": teacher.weights,
        "normalization": normalization,
        "data": data,
    }
    with runs.working(key, config) as work:
        if work.finished is not None:
            return Finished.of(work.finished)
        arrays, record = _measured(network, prepared, normalization, device)
        files = {"weights.safetensors": weights_bytes(network.state_dict())}
        return Finished.of(work.finish(arrays, record, files))


def _network(model: ModelSpec, prepared: Prepared) -> Network:
    rng = np.random.default_rng(0)
    return models.build(model, inputs=prepared.image, classes=prepared.classes, rng=rng)


def _measured(
    network: Network, prepared: Prepared, normalization: str, device: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record, as a finished run has them."""
    test, style = prepared.test, normalization_named(normalization)
    logits = plain_logits(network.to(device), test, style, white=prepared.white).numpy()
    labels, truth = test.labels.cpu().numpy(), test.truth_law
    law = None if truth is None else truth.cpu().numpy()
    measures = evaluation.measure(logits, labels, truth=law)
    record = {
        "normalization": normalization,
        "class_names": list(prepared.class_names),
        "parameters": sum(one.numel() for one in network.parameters()),
        "images": list(test.images.shape[1:]),
        "measures": {"last": {"test": measures}},
        "headline": {"test_accuracy": measures["accuracy"]},
        "provenance": provenance(device=device_name(device)),
    }
    return {"test_logits": logits, "test_labels": labels}, record


def _require_free(name: str, key: str, runs: Runs) -> None:
    """Check that a name can be told from those of networks and of other imported weights."""
    if not name:
        return
    if any(mark in name for mark in " :,/") or not name.isprintable():
        msg = f"name must be one word without ':', ',' and '/', got {name!r}"
        raise ValueError(msg)
    if name in models.known():
        msg = f"name must not be that of a network, got {name!r}; say whose weights they are"
        raise ValueError(msg)
    for other in runs.summaries():
        held = other.config.get("imported")
        if isinstance(held, dict) and held.get("name") == name and other.key != key:
            msg = f"name must be new, got {name!r}, which {other.key[:12]} has; choose another"
            raise ValueError(msg)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
