r"""The empirical neural tangent kernel of a network, exact, in bounded memory.

.. math:: \Theta_{ij}(x, x') = \sum_\theta
          \frac{\partial f_i(x)}{\partial \theta} \frac{\partial f_j(x')}{\partial \theta}

[Jacot 2018]. Layer by layer from inputs and cotangents (`theory.ntk.engine`), never from whole
Jacobians; what no rule covers goes by `torch.func` (`theory.ntk.functional.jacobian`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from theory import checks
from theory.ntk.engine.choices import (
    CoupledError,
    chosen_parameters,
    ready_inputs,
    refuse_weights,
)
from theory.ntk.engine.contraction import Mode, contract, shape_of
from theory.ntk.engine.coupled import coupled_kernel
from theory.ntk.engine.factors import Factor
from theory.ntk.engine.model import Engine, Group
from theory.ntk.engine.planning import some_of_both, until_settled
from theory.ntk.functional.jacobian import jacobian_contraction
from theory.ntk.inputs import is_finite
from theory.ntk.outputs import OutputChoice, output_choice

Outputs = Literal["full", "trace", "diagonal", "pseudo"] | Sequence[int]
Parameters = Sequence[str] | Callable[[str], bool] | None
MEMORY = 1 << 30
"""Bytes that temporaries may take unless said otherwise."""
_SMALL = 1 << 16
"""Numbers of a block that are all looked at."""


@torch.inference_mode(mode=False)
def empirical_ntk(
    model: nn.Module | Callable[[Any, Tensor], Tensor],
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "full",
    parameters: Any = None,  # noqa: ANN401 - names, a predicate, or any tree of tensors
    by_layer: bool = False,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    out: Tensor | NDArray[Any] | None = None,
    contiguous: bool = False,
    allow_train: bool = False,
) -> Tensor | dict[str, Tensor]:
    r"""Inner products of the gradients of a network's outputs at two sets of inputs.

    Args:
        model: The network, in eval mode, with outputs of shape (N, K); nothing of it is changed.
            Or a function of parameters and inputs, with its ``parameters``.
        x1: Inputs of the rows, N of them along the first axis.
        x2: Inputs of the columns, M of them; by default those of the rows, and each pair is
            computed once.
        outputs: ``"full"``: all pairs of outputs, shape (N, M, K, K); ``"trace"``: their sum over
            i = j, shape (N, M) (divide by K for the mean that others call so); ``"diagonal"``: each
            output with itself, shape (N, M, K); ``"pseudo"``: the kernel of the sum of the outputs
            over the root of K, the mean over i of the sum over j, shape (N, M) [Mohamadi 2023]; or
            a list of k outputs, shape (N, M, k, k).
        parameters: Names of parameters or of modules, or a predicate of names; by default all that
            require a gradient. For a function: a dict or any tree of tensors.
        by_layer: Return a dict of kernels by name of the module whose parameters make them; they
            add up to the kernel.
        memory: Bytes that temporaries may take beside the result; blocks of samples follow from it.
        dtype: Compute in this precision instead of the model's.
        out: Where to write: a tensor or array, perhaps memory-mapped, of the shape of the result.
        contiguous: Return a tensor that is contiguous. By default the full kernel is a view of one
            laid out (K, N, K, M), which `kernel_matrix` turns into a matrix without a copy.
        allow_train: Take a model whose outputs are random or depend on the batch, as in train mode:
            the kernel is then that of the two batches as they are, each passed once.

    Raises:
        ValueError: If inputs are empty, outputs are no finite (N, K) numbers, are random or depend
            on other samples, no parameter is left, or the memory does not suffice for one sample.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> empirical_ntk(model, torch.tensor([[1.0, 2.0], [0.0, 1.0]]))[:, :, 0, 0]
        tensor([[6., 3.],
                [3., 2.]])
    """
    budget = checks.count("memory", memory, minimum=1)
    if not isinstance(model, nn.Module):
        if by_layer or dtype is not None:
            msg = "by_layer and dtype must be left out for a function of parameters"
            raise ValueError(msg)
        found = _of_function(model, parameters, x1, x2, outputs, budget)
        return _kept(found, out)
    if by_layer and out is not None:
        msg = "out must be None where there is a kernel for each layer, got an array"
        raise ValueError(msg)
    rows, columns = ready_inputs(model, x1, x2, dtype)
    names = chosen_parameters(model, parameters)

    def computed(general: frozenset[str]) -> dict[str, Tensor]:
        first = rows if columns is None else some_of_both(rows, columns)
        engine = Engine(model, names, first, dtype, general, memory=budget)
        choice = output_choice(outputs, engine.plan.outputs)
        task = _Task(engine, choice, rows, columns, budget)
        kernels = {
            name: (group, task.new(out, contiguous=contiguous))
            for name, group in engine.groups(by_layer=by_layer).items()
        }
        task.run(list(kernels.values()))
        return {name: _public(block, choice) for name, (_, block) in kernels.items()}

    if not (allow_train and any(module.training for module in model.modules())):
        try:
            results = until_settled(model, computed)
        except CoupledError as error:
            if not allow_train:
                msg = f"{error} Or pass allow_train=True for the kernel of the batches as they are"
                raise ValueError(msg) from error.__cause__
        else:
            return results if by_layer else results[""]
    if by_layer:
        msg = "by_layer must be False where samples depend on each other, got True"
        raise ValueError(msg)
    found = coupled_kernel(model, names, rows, columns, outputs, dtype=dtype, memory=budget)
    return _kept(found, out)


def kernel_matrix(kernel: Tensor) -> Tensor:
    r"""A kernel as a matrix, output by output: row i N + n is output i of sample n.

    For values in that order take ``y.T.reshape(-1)`` of y with shape (N, K). No copy is made of
    what `empirical_ntk` returns by default.

    Args:
        kernel: Shape (N, M, K, K), or (N, M) which is returned as it is.

    Returns:
        Shape (K N, K M).

    Raises:
        ValueError: If the kernel has another number of axes.

    Example:
        >>> kernel_matrix(torch.arange(4.0).view(1, 1, 2, 2))
        tensor([[0., 1.],
                [2., 3.]])
    """
    given: object = kernel
    if not isinstance(given, Tensor) or given.ndim not in (2, 4) or len({*given.shape[2:]}) > 1:
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        msg = f"kernel must be a tensor of shape (N, M, K, K) or (N, M), got {got}"
        raise ValueError(msg)
    if kernel.ndim == 2:
        return kernel
    rows, columns, outputs, _ = kernel.shape
    return kernel.permute(2, 0, 3, 1).reshape(outputs * rows, outputs * columns)


@dataclass(slots=True)
class _Task:
    """One kernel between two sets of samples, block by block."""

    engine: Engine
    choice: OutputChoice
    x1: Tensor
    x2: Tensor | None
    memory: int

    @property
    def mode(self) -> Mode:
        """How outputs meet; the sum of outputs is one output."""
        kind = self.choice.kind
        return "full" if kind in ("full", "pseudo") else cast("Mode", kind)

    def new(self, out: Tensor | NDArray[Any] | None, *, contiguous: bool) -> Tensor:
        """Where the kernel goes, laid out as blocks are."""
        columns = self.x1 if self.x2 is None else self.x2
        like = self.engine.like
        shape = self.choice.shape(len(self.x1), len(columns))
        if out is not None:
            return _as_block(_target(out, shape, like), self.choice)
        if contiguous:
            return _as_block(like.new_empty(shape), self.choice)
        return like.new_empty(shape_of(self.mode, self.choice.rows, len(self.x1), len(columns)))

    def run(self, kernels: Sequence[tuple[Group, Tensor]]) -> None:
        """Compute all blocks; of a symmetric kernel those on and above the diagonal."""
        seeds = self.choice.cotangents(self.engine.like)
        symmetric = self.x2 is None
        columns = self.x1 if self.x2 is None else self.x2
        step = self._step(max(len(self.x1), len(columns)))
        for start in range(0, len(self.x1), step):
            rows = slice(start, start + step)
            left = self.engine.factors(self.x1[rows], seeds)
            for begin in range(start if symmetric else 0, len(columns), step):
                part = slice(begin, begin + step)
                own = symmetric and begin == start
                right = left if own else self.engine.factors(columns[part], seeds)
                for group, kernel in kernels:
                    tile = _tile(kernel, rows, part)
                    self._one(group, left, right, tile, own=own)
                    self._add_general(group, tile, self.x1[rows], None if own else columns[part])
                    self._refuse_infinite(tile, own=own)
                    if symmetric and not own:
                        _tile(kernel, part, rows).copy_(_turned(tile))

    def _one(
        self,
        group: Group,
        left: dict[str, list[Factor]],
        right: dict[str, list[Factor]],
        tile: Tensor,
        *,
        own: bool,
    ) -> None:
        names = [name for name in group.layers if name in left and name in right]
        contract(
            [factor for name in names for factor in left[name]],
            [factor for name in names for factor in right[name]],
            tile,
            self.mode,
            symmetric=own,
            memory=self.memory // 4,
        )

    def _refuse_infinite(self, tile: Tensor, *, own: bool) -> None:
        """Raise ValueError if an entry is not finite.

        Of a large block on the diagonal only that is looked at: no entry is larger.
        """
        large = own and tile.numel() > _SMALL
        if not is_finite(_diagonal_of(tile) if large else tile):
            refuse_weights(self.engine.subject.model)
            msg = (
                "the kernel must be finite, got nan or inf: the gradient is infinite or overflows "
                "for some sample. Move the inputs, or pass dtype=torch.float64"
            )
            raise ValueError(msg)

    def _add_general(
        self, group: Group, tile: Tensor, rows: Tensor, columns: Tensor | None
    ) -> None:
        if not group.general:
            return
        function, parameters = self.engine.subject.function_of(group.general)
        kind = self.choice.kind
        found = jacobian_contraction(
            function,
            parameters,
            rows,
            columns,
            outputs=list(self.choice.indices) if kind == "full" else kind,
            memory=self.memory,
        )
        tile += _as_block(found, self.choice)

    def _step(self, samples: int) -> int:
        """Samples of a block, as many as the memory allows."""
        plan, k = self.engine.plan, self.choice.rows
        size = self.engine.like.element_size()
        each = plan.bytes_of_a_sample(size, k)
        square = size * k * k if plan.spread and self.mode == "full" else size
        strip = size * 2 * k * min(256, samples)

        def needed(count: int, sides: int) -> int:
            return count * (sides * each + strip) + count**2 * square

        if needed(samples, 1 if self.x2 is None else 2) <= 0.75 * self.memory:
            return samples
        if (least := needed(1, 2)) > self.memory:
            msg = (
                f"memory must be at least {least} bytes for a block of one sample, got "
                f"{self.memory}"
            )
            raise ValueError(msg)
        # needed(n, 2) = three quarters of the memory
        linear = 2 * each + strip
        root = (linear**2 + 3 * square * self.memory) ** 0.5
        most = max(1, int((root - linear) / (2 * square)))
        return -(-samples // -(-samples // most))


def _as_block(kernel: Tensor, choice: OutputChoice) -> Tensor:
    """The layout in which blocks are computed, a view."""
    if choice.kind == "pseudo":
        return kernel[None, :, None, :]
    if choice.kind == "full":
        return kernel.permute(2, 0, 3, 1)
    return kernel.permute(2, 0, 1) if choice.kind == "diagonal" else kernel


def _public(block: Tensor, choice: OutputChoice) -> Tensor:
    """The inverse of `_as_block`."""
    if choice.kind == "pseudo":
        return block[0, :, 0]
    if choice.kind == "full":
        return block.permute(1, 3, 0, 2)
    return block.permute(1, 2, 0) if choice.kind == "diagonal" else block


def _tile(kernel: Tensor, rows: slice, columns: slice) -> Tensor:
    return kernel[:, rows, :, columns] if kernel.ndim == 4 else kernel[..., rows, columns]


def _diagonal_of(tile: Tensor) -> Tensor:
    """Each output of each sample with itself."""
    if tile.ndim == 4:
        return tile.diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1)
    return tile.diagonal(dim1=-2, dim2=-1)


def _turned(tile: Tensor) -> Tensor:
    return tile.permute(2, 3, 0, 1) if tile.ndim == 4 else tile.mT


def _target(out: Tensor | NDArray[Any], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """``out`` as a tensor that shares its memory.

    Raises:
        ValueError: If it has another shape or type, or cannot be written to.
    """
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        msg = "out must be writable, got a read-only array; open a memory map with mode 'r+'"
        raise ValueError(msg)
    target: object = torch.from_numpy(out) if isinstance(out, np.ndarray) else out
    if not isinstance(target, Tensor):
        msg = f"out must be a tensor or an array of shape {shape}, got {type(out).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
    if target.requires_grad or target.is_inference() or 0 in target.stride():
        msg = (
            "out must be a plain tensor with a place for each entry, got one that requires a "
            "gradient, was made in inference mode, or is expanded"
        )
        raise ValueError(msg)
    if tuple(target.shape) != shape or target.dtype != like.dtype or target.device != like.device:
        msg = (
            f"out must have shape {shape}, {like.dtype} on {like.device}, got "
            f"{tuple(target.shape)}, {target.dtype} on {target.device}"
        )
        raise ValueError(msg)
    return target


def _kept(kernel: Tensor, out: Tensor | NDArray[Any] | None) -> Tensor:
    """The kernel, in ``out`` if there is one."""
    if out is None:
        return kernel
    return _target(out, tuple(kernel.shape), kernel).copy_(kernel)


def _of_function(
    function: Callable[[Any, Tensor], Tensor],
    parameters: Any,  # noqa: ANN401
    x1: Tensor,
    x2: Tensor | None,
    outputs: Outputs,
    memory: int,
) -> Tensor:
    """The kernel of a function of parameters and inputs."""
    given: object = function
    if not callable(given) or parameters is None:
        msg = (
            "model must be a torch.nn.Module, or a function f(params, x) with parameters=params, "
            f"got {type(given).__name__} with parameters={parameters!r}"
        )
        raise ValueError(msg)
    return jacobian_contraction(function, parameters, x1, x2, outputs=outputs, memory=memory)
