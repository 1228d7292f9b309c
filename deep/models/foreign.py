"""Networks and weights that were made elsewhere.

`read_weights` reads a checkpoint without unpickling anything, `map_weights` gives its tensors the
names they have here and checks every shape, `adapt` makes any module of torch a `Network`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deep.models.network import Network, maps
from theory import checks

HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Where checkpoints keep the weights, beside epoch, optimizer and the like."""
WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "backbone")
"""What wrappers put before all names: DataParallel, torch.compile, and containers."""
DEEP = 2
SHOWN = 4
COUNTER = "num_batches_tracked"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name in a safetensors file or a file of ``torch.save``, on the CPU.

    The tensors may stand in the file alone, or under one of the names in `HOLDERS`. What wrappers
    put before the names is taken off: ``module.`` (DataParallel), ``_orig_mod.`` (torch.compile,
    anywhere), and the name of a container that all share.

    Raises:
        ValueError: If the file is absent, damaged, holds other objects than tensors and numbers (it
            is not unpickled, which could run any code), or no weights.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        msg = f"weights must be a file of safetensors or torch.save, but {file} {what}"
        raise ValueError(msg)
    loaded = _safetensors(file) if _is_safetensors(file) else _saved(file)
    state = _state(loaded, file)
    return _bare({name: value.detach() for name, value in state.items()}, file)


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as read:  # its length in 8 bytes, then a header in JSON
        return file.suffix == ".safetensors" or read.read(9)[8:] == b"{"


def _safetensors(file: Path) -> object:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        msg = f"{file} must be a safetensors file, but it can not be read: {error}"
        raise ValueError(msg) from error


def _saved(file: Path) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file shows as almost any of them
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            msg = (
                f"{file} must hold tensors, numbers and text only, but it has {refused[1]} and is "
                "not unpickled, since that could run any code. Where it is trusted, save its "
                'weights alone once: torch.save(torch.load(file, weights_only=False)["model"], '
                '"weights.pt"), with the key that it uses'
            )
        else:
            msg = f"{file} must be a file of torch.save or safetensors; it is of another kind, "
            msg += "truncated or damaged"
        raise ValueError(msg) from error


def _state(loaded: object, file: Path) -> dict[str, Tensor]:
    """The dictionary of tensors in what a file holds."""
    if not isinstance(loaded, Mapping):
        msg = f"{file} must hold a dictionary of tensors, got {type(loaded).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    for _ in range(DEEP):
        held = (loaded[holder] for holder in HOLDERS if isinstance(loaded.get(holder), Mapping))
        loaded = next(held, loaded)
    others = [name for name, value in loaded.items() if not isinstance(value, Tensor)]
    if others or not loaded:
        listed = ", ".join(map(repr, list(loaded)[:SHOWN])) or "nothing"
        msg = (
            f"{file} must hold a dictionary of tensors, alone or under one of "
            f"{', '.join(map(repr, HOLDERS))}, got {listed}"
        )
        raise ValueError(msg)
    return {str(name): value for name, value in loaded.items()}


def _bare(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    parts = {tuple(p for p in name.split(".") if p != "_orig_mod"): name for name in state}
    if len(parts) == len(state):
        while all(len(each) > 1 for each in parts):
            first = {each[0] for each in parts}
            if len(first) != 1 or not first <= set(WRAPPERS):
                break
            parts = {each[1:]: name for each, name in parts.items()}
        return {".".join(each): state[name] for each, name in parts.items()}
    msg = f"{file} must hold each weight once, but it has some both with and without '_orig_mod'"
    raise ValueError(msg)


def read_names(path: str | Path) -> dict[str, str | None]:
    """A mapping for `map_weights`: a JSON object of their names and ours, null for what is left.

    Raises:
        ValueError: If the file is absent or is no such object.
    """
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"mapping of names must be a JSON file, but {path} can not be read: {error}"
        raise ValueError(msg) from error
    if not isinstance(read, dict) or not all(isinstance(v, str | None) for v in read.values()):
        msg = (
            f'mapping of names in {path} must be one JSON object, {{"their name": "our name"}}, '
            f"with null for what is left out"
        )
        raise ValueError(msg)
    return read


def map_weights(
    weights: Mapping[str, Tensor],
    network: Network,
    *,
    names: Mapping[str, str | None] | None = None,
) -> dict[str, Tensor]:
    """``weights`` under the names they have in ``network``, ready for ``load_state_dict``.

    ``names`` has their names and ours, of tensors or of modules, and None for what is left out;
    names that it does not have follow the network's ``public_names``, or are ours already. Tensors
    take the type of the network's; counters of batches that are missing are zero.

    Raises:
        ValueError: If a tensor is missing, left over, given twice, of another shape or not finite;
            the message has the first few of each, and tells how to give a mapping.
    """
    given, ours = names or {}, network.state_dict()
    unused = [name for name in given if not _names_something(name, weights)]
    if unused:
        msg = f"names must be those of tensors or modules in the file, got {_few(unused)}"
        raise ValueError(msg)
    found: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    wrong: dict[str, list[str]] = {"left over": [], "given twice": [], "of another shape": []}
    for theirs, value in weights.items():
        name = _ours(theirs, network, ours, given)
        if name is None:
            continue
        if name not in ours:
            wrong["left over"].append(theirs)
        elif name in source:
            wrong["given twice"].append(f"{name} by {source[name]} and {theirs}")
        elif value.shape != ours[name].shape:
            shapes = f"{tuple(value.shape)} for {tuple(ours[name].shape)}"
            wrong["of another shape"].append(f"{theirs} -> {name}: {shapes}")
        found[name] = value
        source.setdefault(name, theirs)
    absent = [name for name in ours if name not in found]
    wrong["missing"] = [name for name in absent if not name.endswith(COUNTER)]
    _require_fit(wrong, ours)
    _require_finite(found)
    return {name: found.get(name, torch.zeros_like(like)).to(like) for name, like in ours.items()}


def _names_something(name: str, weights: Mapping[str, Tensor]) -> bool:
    return name in weights or any(each.rpartition(".")[0] == name for each in weights)


def _ours(
    theirs: str, network: Network, ours: Mapping[str, Tensor], given: Mapping[str, str | None]
) -> str | None:
    """Our name of a tensor; their own where nothing is known of it, None if it is left out."""
    module, _, last = theirs.rpartition(".")
    if theirs in given:
        return given[theirs]
    if module in given:
        mapped = given[module]
        return mapped if mapped is None else f"{mapped}.{last}"
    if theirs in ours:
        return theirs
    for pattern, template in network.public_names:
        match = re.fullmatch(pattern, module)
        if match:
            return f"{match.expand(template)}.{last}"
    return theirs


def _require_fit(wrong: Mapping[str, list[str]], ours: Mapping[str, Tensor]) -> None:
    if not any(wrong.values()):
        return
    listed = "; ".join(f"{len(each)} {kind} ({_few(each)})" for kind, each in wrong.items() if each)
    example = next(iter(wrong["missing"] or ours))
    msg = (
        f"weights must be those of the network, one for one, but there are {listed}. If only their "
        'names differ, give a mapping, a JSON file such as {"their name": "'
        f'{example}"}}, with null for what is to be left out; else choose the network that was '
        "trained"
    )
    raise ValueError(msg)


def _require_finite(found: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in found.items() if not bool(value.isfinite().all())]
    if bad:
        msg = f"weights must be finite, but there are nan or infinite numbers in {_few(bad)}"
        raise ValueError(msg)


def _few(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", …" if len(items) > SHOWN else "")


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of ``state``, names in their order.

    Neither the device nor the order in memory enters, such as ``torch.channels_last``.

    >>> weights_digest({"bias": torch.zeros(2)})[:16]
    'b1eedd7b173b74f9'
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        head = json.dumps([name, str(value.dtype), list(value.shape)])
        digest.update(f"{head}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Adapted(Network):
    """Any module of maps (n, c, h, w) as a network; made by `adapt`."""

    def __init__(
        self, module: nn.Module, image: tuple[int, int, int], tapped: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.module = module
        self.image = image
        self.tapped = dict(tapped)
        self.taps = (*tapped, "logits")  # type: ignore[misc]  # depends on the module

    def frozen(self, inputs: Tensor) -> Tensor:
        """Flattened images (n, d), channels last, as maps (n, channels, height, width): a view."""
        return maps(inputs, self.image)

    def trained(self, frozen: Tensor) -> Tensor:
        """Logits; no hook is in the way."""
        return _logits(self.module(frozen))

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the tapped modules, then the logits.

        Raises:
            ValueError: If a tapped module does not give one tensor, once, or what it gave was
                changed in place afterwards.
        """
        seen: dict[str, Tensor] = {}
        versions: dict[str, int] = {}

        def keep(tap: str, output: object) -> None:
            if not isinstance(output, Tensor) or tap in seen:
                came = "is called twice" if tap in seen else f"gives {type(output).__name__}"
                msg = f"tap {tap!r} must give one tensor, once, but {self.tapped[tap]!r} {came}"
                raise ValueError(msg)
            # inference tensors do not count their changes
            seen[tap] = output.clone() if output.is_inference() else output
            versions[tap] = 0 if output.is_inference() else output._version

        with self._hooks(keep):
            logits = _logits(self.module(frozen))
        for tap, module in self.tapped.items():
            if tap not in seen:
                msg = f"tap {tap!r} must be of a module that is used, but {module!r} is not"
                raise ValueError(msg)
            if not seen[tap].is_inference() and seen[tap]._version != versions[tap]:
                msg = (
                    f"tap {tap!r} must stay as it is, but what {module!r} gave is changed in place "
                    "afterwards: tap the module that changes it, or have it work out of place"
                )
                raise ValueError(msg)
        return (*(seen[tap] for tap in self.tapped), logits)

    @contextmanager
    def _hooks(self, keep: Callable[[str, object], None]) -> Iterator[None]:
        def hook(tap: str) -> Callable[[nn.Module, Any, object], None]:
            return lambda _module, _inputs, output: keep(tap, output)

        held = [
            self.module.get_submodule(module).register_forward_hook(hook(tap))
            for tap, module in self.tapped.items()
        ]
        try:
            yield
        finally:
            for each in held:
                each.remove()


def adapt(module: nn.Module, *, image: tuple[int, int, int], taps: Mapping[str, str]) -> Adapted:
    """``module``, which takes maps (n, c, h, w) and gives logits, as a network.

    Args:
        module: Any module of torch. It is held, not copied.
        image: Height, width and channels.
        taps: Names for the outputs of its submodules, each by its path, in the order of
            computation; ``logits`` is added.

    Raises:
        ValueError: If a submodule does not exist, or the image is not three numbers.

    >>> pool = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 3))
    >>> network = adapt(pool, image=(8, 8, 1), taps={"pooled": "1"})
    >>> [
    ...     (tap, tuple(each.shape))
    ...     for tap, each in zip(network.taps, network.features(network.frozen(torch.ones(2, 64))))
    ... ]
    [('pooled', (2, 4)), ('logits', (2, 3))]
    """
    if len(tuple(image)) != 3:
        msg = f"image must be height, width and channels, got {image!r}"
        raise ValueError(msg)
    height, width, colors = (checks.integer("image", size, minimum=1) for size in image)
    if "logits" in taps:
        msg = "taps must not name 'logits', which is what the module gives"
        raise ValueError(msg)
    submodules = dict(module.named_modules())
    for tap, path in taps.items():
        if path not in submodules:
            listed = _few([name for name in submodules if name])
            msg = f"tap {tap!r} must be a module of the network, such as {listed}; got {path!r}"
            raise ValueError(msg)
    return Adapted(module, (height, width, colors), taps)


def _logits(output: object) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        msg = f"the module must give logits of shape (n, classes), got {shape}"
        raise ValueError(msg)
    return output
