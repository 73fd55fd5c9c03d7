"""Foreign weights into a backbone: all of them, in the right shapes, or one clear error."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_exact(module: nn.Module, weights: Mapping[str, object], source: str) -> None:
    """Copy ``weights`` into ``module``; names that the module does not have are ignored.

    Args:
        module: receives the values; unchanged when anything is wrong.
        weights: tensors by the names of ``module.state_dict()``.
        source: what to call the weights in an error.

    Raises:
        ValueError: a name is missing, or a tensor has another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    if missing:
        raise ValueError(f"{source} lacks {_listed(missing)}")
    taken = {name: torch.as_tensor(weights[name]) for name in own}
    wrong = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
        for name, tensor in taken.items()
        if tensor.shape != own[name].shape
    ]
    if wrong:
        raise ValueError(f"{source} has other shapes: {_listed(wrong)}")
    module.load_state_dict(taken)


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


class Normalize(nn.Module):
    """``(images - mean) / std`` by channel; its constants are not part of the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> the same shape."""
        return (images - self.mean) / self.std
