"""A function of parameters and a batch, with its Jacobian rows and products, sample by sample."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from theory.ntk.inputs import check_inputs, require_finite

Tree = Any


def tree_leaves(tree: Tree, path: str = "params") -> dict[str, Tensor]:
    """Tensors of nested dicts, lists and tuples by their path.

    Raises:
        ValueError: At anything else in the tree.

    >>> list(tree_leaves({"a": torch.zeros(1), "b": [torch.zeros(2)]}))
    ["params['a']", "params['b'][0]"]
    """
    if isinstance(tree, Tensor):
        return {path: tree}
    if isinstance(tree, Mapping):
        items = [(f"{path}[{key!r}]", value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(f"{path}[{index}]", value) for index, value in enumerate(tree)]
    else:
        msg = (
            "params must be a tensor, or dicts, lists and tuples of tensors, got "
            f"{type(tree).__name__} at {path}"
        )
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return {
        name: leaf for where, value in items for name, leaf in tree_leaves(value, where).items()
    }


def tree_of(tree: Tree, leaves: Iterator[Tensor]) -> Tree:
    """The tree with other leaves, in the order of `tree_leaves`."""
    if isinstance(tree, Tensor):
        return next(leaves)
    if isinstance(tree, Mapping):
        return {key: tree_of(value, leaves) for key, value in tree.items()}
    values = [tree_of(value, leaves) for value in tree]
    if isinstance(tree, list):
        return values
    return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function with the parameters at which it is differentiated. Made by `as_function`."""

    f: Callable[[Tree, Tensor], Tensor]
    """``f(params, x)``."""
    tree: Tree
    """The parameters, whose structure is kept."""
    leaves: dict[str, Tensor]
    """All leaves by path; complex ones as they are."""
    free: dict[str, Tensor]
    """Those differentiated; complex ones as real numbers with a last axis of two."""
    like: Tensor
    """Outputs of one sample, shape (1, K)."""
    vectorizes: bool
    """Derivatives can be vectorized over samples."""
    saved: int
    """Numbers that the forward pass of one sample keeps for its derivative, outputs included."""
    operations: int
    """Floating point operations in products of that pass, as PyTorch counts them."""

    @property
    def outputs(self) -> int:
        """Number K of outputs."""
        return int(self.like.shape[1])

    @property
    def itemsize(self) -> int:
        """Bytes of the widest number that takes part."""
        return max(value.element_size() for value in (self.like, *self.free.values()))

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers in each parameter."""
        return {name: leaf.numel() for name, leaf in self.free.items()}

    def inputs(self, x: Tensor) -> Tensor:
        """A batch without history."""
        return x.detach().clone() if x.is_inference() else x.detach()

    def __call__(self, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The function with some of its parameters replaced, complex ones given as real numbers."""
        return _called(self.f, self.tree, self.leaves, values, x)

    def pushes(self, x: Tensor) -> bool:
        """Whether forward-mode derivatives exist and vectorize over tangents, tried on a sample."""
        tangent = [leaf.reshape(1, 1, -1).to(self.like.dtype) for leaf in self.free.values()]
        return self.vectorizes and _works(lambda: self.pushed(tuple(self.free), x[:1], tangent))

    def jacobian(self, names: tuple[str, ...], x: Tensor, cotangents: Tensor) -> list[Tensor]:
        """Rows of the Jacobian of each sample, (samples, cotangents, size) for each name.

        ``cotangents`` has shape (rows, K); every sample is differentiated as a batch of one.
        """
        primals = {name: self.free[name] for name in names}
        rows = self._vectorized if self.vectorizes else self._looped
        pulled = rows(primals, x, cotangents)
        return [
            pulled[name].reshape(len(x), len(cotangents), -1).to(self.like.dtype) for name in names
        ]

    def _vectorized(
        self, primals: dict[str, Tensor], x: Tensor, cotangents: Tensor
    ) -> dict[str, Tensor]:
        def rows(sample: Tensor) -> dict[str, Tensor]:
            pull = torch.func.vjp(lambda values: self(values, sample[None])[0], primals)[1]
            pulled: dict[str, Tensor] = torch.func.vmap(lambda row: pull(row)[0])(cotangents)
            return pulled

        with quiet():
            result: dict[str, Tensor] = torch.func.vmap(rows)(x)
        return result

    def _looped(
        self, primals: dict[str, Tensor], x: Tensor, cotangents: Tensor
    ) -> dict[str, Tensor]:
        shape = (len(x), len(cotangents))
        pulled = {name: leaf.new_zeros(*shape, *leaf.shape) for name, leaf in primals.items()}
        for n in range(len(x)):
            for name, rows in _autograd(self, primals, x[n : n + 1], cotangents).items():
                pulled[name][n] = rows
        return pulled

    def pushed(self, names: tuple[str, ...], x: Tensor, pulled: list[Tensor]) -> Tensor:
        """J(x) v for tangents of the shape that `jacobian` gives, (samples, rows, len(x), K)."""
        primals = {name: self.free[name] for name in names}
        count = pulled[0].shape[:2]
        tangents = {
            name: rows.reshape(-1, *leaf.shape).to(leaf.dtype)
            for (name, leaf), rows in zip(primals.items(), pulled, strict=True)
        }

        def push(tangent: dict[str, Tensor]) -> Tensor:
            moved: Tensor = torch.func.jvp(lambda v: self(v, x), (primals,), (tangent,))[1]
            return moved

        with quiet():
            result: Tensor = torch.func.vmap(push)(tangents)
        return result.view(*count, len(x), self.outputs)


def _called(
    f: Callable[[Tree, Tensor], Tensor],
    tree: Tree,
    leaves: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    x: Tensor,
) -> Tensor:
    def current() -> Iterator[Tensor]:
        for name, leaf in leaves.items():
            if name in values:
                value = values[name]
                yield torch.view_as_complex(value) if leaf.is_complex() else value
            else:
                yield leaf

    return f(tree_of(tree, current()), x)


def _autograd(
    function: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    primals: Mapping[str, Tensor],
    sample: Tensor,
    cotangents: Tensor,
) -> dict[str, Tensor]:
    """Jacobian rows of one sample by reverse passes one after the other."""
    with torch.enable_grad():
        # views: f may write into what it computes, never into a leaf
        values = {name: leaf.detach().requires_grad_() for name, leaf in primals.items()}
        outputs = function(values, sample)[0]
        if not outputs.requires_grad:
            return {
                name: leaf.new_zeros(len(cotangents), *leaf.shape) for name, leaf in primals.items()
            }
        grads = [
            torch.autograd.grad(
                outputs,
                list(values.values()),
                cotangent,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for cotangent in cotangents
        ]
    stacked = (torch.stack(rows) for rows in zip(*grads, strict=True))
    return dict(zip(primals, stacked, strict=True))


@contextmanager
def quiet() -> Iterator[None]:
    """Without PyTorch's remarks on itself: operations vectorized by a loop, deprecated imports.

    The first forward-mode derivative in a process imports decompositions by ``torch.jit.script``,
    which PyTorch 2.13 calls deprecated.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        yield


def as_function(f: Callable[[Tree, Tensor], Tensor], params: Tree, x: Tensor) -> Function:
    """What `jacobian_contraction` needs to know of a function, learned on one or two samples.

    Raises:
        ValueError: As `jacobian_contraction` does.
    """
    check_inputs("x1", x)
    leaves = {
        name: leaf.detach().clone() if leaf.is_inference() else leaf.detach()
        for name, leaf in tree_leaves(params).items()
    }
    free = _free(leaves, x)
    sample, pair = x[:1].detach(), torch.cat([x[:1], x[-1:]]).detach()
    if x.is_inference():
        sample, pair = sample.clone(), pair.clone()

    def call(values: Mapping[str, Tensor], batch: Tensor) -> Tensor:
        return _called(f, params, leaves, values, batch)

    like = _probe(call, sample, pair)
    saved, operations = _measured(call, free, sample, like)
    function = Function(
        f, params, leaves, free, like, vectorizes=True, saved=saved, operations=operations
    )
    if _works(lambda: function.jacobian(tuple(free), pair, torch.ones_like(like))):
        return function
    return replace(function, vectorizes=False)


def _free(leaves: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The leaves to differentiate, checked."""
    for name, leaf in leaves.items():
        if leaf.device != x.device:
            msg = (
                f"x1 must be on the device of the parameters, got x1 on {x.device} and {name} on "
                f"{leaf.device}; move one of them"
            )
            raise ValueError(msg)
        require_finite(name, leaf)
    free = {
        name: torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf
        for name, leaf in leaves.items()
        if (leaf.is_floating_point() or leaf.is_complex()) and leaf.numel()
    }
    if not free:
        msg = (
            "params must hold at least one floating tensor to differentiate, got "
            f"{len(leaves)} tensors and none of them is"
        )
        raise ValueError(msg)
    return free


def _probe(
    call: Callable[[Mapping[str, Tensor], Tensor], Tensor], sample: Tensor, pair: Tensor
) -> Tensor:
    """Outputs of one sample, after a look at their shape and at what they depend on."""
    both = _require_rows(call({}, pair), 2)
    try:
        like = _require_rows(call({}, sample), 1)
    except (RuntimeError, ValueError) as error:
        msg = (
            "f must take a batch of one sample, as each is differentiated alone; it takes two and "
            f"fails at one: {error}. Put batch normalization into evaluation mode"
        )
        raise ValueError(msg) from error
    if not like.is_floating_point() or like.shape[1] == 0:
        msg = (
            "outputs of f must be at least one real floating number for each sample, got "
            f"{like.dtype} of shape {tuple(like.shape)}"
        )
        raise ValueError(msg)
    require_finite("outputs of f", both)
    alone = torch.cat([like, call({}, pair[1:])])
    scale = float(both.abs().max())
    # far above what the order of a sum changes, TF32 included
    slack = float(torch.finfo(like.dtype).eps) ** 0.4 * scale
    difference = float((alone - both).abs().max())
    if difference > slack:
        msg = (
            "each row of the outputs of f must depend on its own sample alone, and not on chance: "
            f"a sample alone and beside another gives outputs that differ by {difference:.3g}. "
            "Put batch normalization and dropout into evaluation mode"
        )
        raise ValueError(msg)
    return like.detach()


def _require_rows(outputs: object, rows: int) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[0] != rows:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        msg = (
            f"outputs of f must have shape (N, K), one row for each of N = {rows} samples, "
            f"got {got}; flatten or select them in f"
        )
        raise ValueError(msg)
    return outputs


def _measured(
    call: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    free: dict[str, Tensor],
    sample: Tensor,
    like: Tensor,
) -> tuple[int, int]:
    """Numbers saved by the forward pass of one sample, and operations in it."""
    own = {leaf.untyped_storage().data_ptr() for leaf in free.values()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = max(kept.get(place, 0), tensor.numel())
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        call({name: leaf.detach().requires_grad_() for name, leaf in free.items()}, sample)
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            call({}, sample)
    except RuntimeError:  # an operation that the counter does not know
        return sum(kept.values()) + like.numel(), 0
    return sum(kept.values()) + like.numel(), int(counter.get_total_flops())


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except RuntimeError:  # no batching rule, or control flow on values
        return False
    return True
