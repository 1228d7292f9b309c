"""Scales and shifts of normalization layers: their Jacobians have few columns and are formed."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theory.ntk.engine.factors import Factor, Rows


class _Affine:
    """Layers that compute ``weight * normalized(x) + bias``."""

    def applies(self, module: nn.Module) -> bool:
        """Always."""
        del module
        return True

    def normalized(self, module: Any, seen: Tensor) -> Tensor:  # noqa: ANN401
        """What the weights multiply."""
        raise NotImplementedError

    def summed(self, module: Any, terms: Tensor) -> Tensor:  # noqa: ANN401
        """Terms of shape (K, N, …) summed over what shares a parameter, shape (K, N, P)."""
        del module
        return terms.flatten(3).sum(-1) if terms.ndim > 3 else terms

    def factors(
        self,
        module: nn.Module,
        seen: Tensor,
        cotangents: Tensor,
        names: frozenset[str],
        *,
        shared: bool,
    ) -> list[Factor]:
        """The Jacobians of scales and shifts."""
        del shared
        found: list[Factor] = []
        if "weight" in names:
            found.append(Rows(self.summed(module, cotangents * self.normalized(module, seen))))
        if "bias" in names:
            shifts = cotangents.expand(-1, len(seen), *cotangents.shape[2:])
            found.append(Rows(self.summed(module, shifts)))
        return found


class Batch(_Affine):
    """Rule of batch normalization by its running statistics."""

    def applies(self, module: nn.Module) -> bool:
        """Where there are running statistics, and they are used."""
        return not module.training and getattr(module, "running_mean", None) is not None

    def normalized(self, module: Any, seen: Tensor) -> Tensor:  # noqa: ANN401
        """Centered and scaled by the running statistics."""
        shape = (1, -1, *(1,) * (seen.ndim - 2))
        mean: Tensor = module.running_mean.to(seen.dtype).view(shape)
        scale = torch.rsqrt(module.running_var.to(seen.dtype) + module.eps).view(shape)
        return (seen - mean) * scale


class Group(_Affine):
    """Rule of `nn.GroupNorm`."""

    def normalized(self, module: Any, seen: Tensor) -> Tensor:  # noqa: ANN401
        """Normalized over each group of channels."""
        return F.group_norm(seen, module.num_groups, eps=module.eps)


class Layer(_Affine):
    """Rule of `nn.LayerNorm`."""

    def normalized(self, module: Any, seen: Tensor) -> Tensor:  # noqa: ANN401
        """Normalized over the last axes."""
        return F.layer_norm(seen, module.normalized_shape, eps=module.eps)

    def summed(self, module: Any, terms: Tensor) -> Tensor:  # noqa: ANN401
        """Summed over the axes before the normalized ones."""
        size = terms.shape[-len(module.normalized_shape) :].numel()
        return terms.reshape(*terms.shape[:2], -1, size).sum(2)


class Rms(Layer):
    """Rule of `nn.RMSNorm`."""

    def normalized(self, module: Any, seen: Tensor) -> Tensor:  # noqa: ANN401
        """Divided by the root mean square over the last axes."""
        return F.rms_norm(seen, module.normalized_shape, eps=module.eps)
