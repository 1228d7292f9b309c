"""In which numbers products are formed: float32 means float32, on a GPU too."""

import contextlib
from collections.abc import Iterator

import torch

from deep.training.config import RunConfig


@contextlib.contextmanager
def products(precision: str, device: str) -> Iterator[None]:
    """Let a GPU round the factors of products to TF32 if, and only if, the precision is ``"tf32"``.

    torch by itself rounds those of convolutions. What was set before is set again afterwards.

    Args:
        precision: One of `deep.training.config.PRECISIONS`.
        device: Where products are formed; a CPU does not round.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    allowed = precision == "tf32"
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    cudnn = torch.backends.cudnn
    try:
        with cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=True,  # the fastest of its ways for shapes that repeat
            deterministic=cudnn.deterministic,
            allow_tf32=allowed,
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def mixed(precision: str, device: str) -> contextlib.AbstractContextManager[object]:
    """Where ``"bf16"`` computes a network's layers in bfloat16, weights and losses in float32."""
    if precision == "bf16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def require_precision(config: RunConfig, device: str) -> None:
    """Check that the device computes in the precision of the run.

    Raises:
        ValueError: For tf32 or bf16 without a GPU.
    """
    if config.precision != "float32" and torch.device(device).type != "cuda":
        msg = f"precision must be 'float32' on {device!r}, got {config.precision!r}: it needs a GPU"
        raise ValueError(msg)


def require_device(device: str) -> None:
    """Check that a device is there.

    Raises:
        ValueError: If it is not, or is not of a kind that is known.
    """
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        msg = f"device must be 'cpu' or 'cuda', perhaps with a number, got {device!r}"
        raise ValueError(msg) from error
    if kind.type == "cuda" and not torch.cuda.is_available():
        msg = f"device {device!r} must be there, and torch finds no GPU; use 'cpu'"
        raise ValueError(msg)
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        msg = f"device {device!r} must be one of the {torch.cuda.device_count()} GPUs there are"
        raise ValueError(msg)
    if kind.type not in ("cpu", "cuda"):
        msg = f"device must be 'cpu' or 'cuda', got {device!r}"
        raise ValueError(msg)


def device_name(device: str) -> str:
    """The device, with the name of its card."""
    if torch.device(device).type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device
