"""Pooled features of two depths of a network, from the forward pass that predicts.

    layers = pooled_layers(network, shape)                  # ("features.denseblock2", "features.norm5")
    outputs, pooled = WithPooledFeatures(network, layers)(images)       # [B, K], [B, D]

Each layer's output is averaged over its grid. A copy of the network that is fused for prediction
(``cxr_monai.networks.fusion``), or traced for another runtime, has the same layers.
"""

from collections.abc import Sequence
from threading import get_ident
from typing import Any

import torch
from torch import nn

from cxr_monai.networks.class_maps import evaluating

_MIDDLE_STRIDE = 8
"""Pixels of the input behind one place of the grid of the first of the two depths."""


def pooled_layers(network: nn.Module, shape: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the layers whose pooled outputs describe an image: halfway, and the last with a grid.

    Args:
        network: in evaluation mode.
        shape: ``[C, H, W]`` of an image.

    Returns:
        empty for a network without convolutional grids, or one that is a TorchScript program.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return ()
    grids: list[tuple[str, int]] = []

    def note(name: str) -> Any:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
                grids.append((name, int(output.shape[-1])))

        return record

    # containers keep their place in a fused copy, single steps in them do not
    parts = [(name, part) for name, part in network.named_modules() if name and any(True for _ in part.children())]
    handles = [part.register_forward_hook(note(name)) for name, part in parts]
    try:
        with torch.inference_mode(), evaluating(network):
            network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    if not grids:
        return ()
    middle = [name for name, side in grids if side * _MIDDLE_STRIDE >= shape[-1]]
    return tuple(dict.fromkeys([*middle[-1:], grids[-1][0]]))


class WithPooledFeatures(nn.Module):
    """A network that also gives the pooled outputs of some of its layers.

    Args:
        network: gives ``[B, K]`` of images ``[B, C, H, W]``.
        layers: names of its modules, or of those of the network that it is a copy of.

    Raises:
        AttributeError: for a layer that the network does not have.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.network, self.layers = network, tuple(layers)
        # by thread, since several may predict with one model; a thread that is not within forward keeps nothing
        self._pooled: dict[int, dict[str, torch.Tensor]] = {}
        names = {name for name, _ in network.named_modules()}
        for layer in self.layers:
            name = layer if layer in names else f"network.{layer}"  # a fused copy lies one deeper
            network.get_submodule(name).register_forward_hook(self._keep(layer))
        self.train(network.training)

    def _keep(self, layer: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            pooled = self._pooled.get(get_ident())
            if pooled is not None:
                pooled[layer] = _pooled(output)

        return keep

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs ``[B, K]`` and the features, float32 ``[B, D]``, of the layers one after the other."""
        pooled = self._pooled.setdefault(get_ident(), {})
        try:
            outputs = self.network(images)
            return outputs, torch.cat([pooled[layer] for layer in self.layers], dim=1)
        finally:
            del self._pooled[get_ident()]


class PooledOutputs:
    """The features of the images that somebody else gives to a network, as an engine does; for one thread.

    Args:
        network: runs elsewhere; perhaps within a distributed wrapper.
        layers: names of its modules; none gives no features.

    Raises:
        AttributeError: for a layer that the network does not have.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self._outputs: dict[str, torch.Tensor] = {}
        plain = getattr(network, "module", network)
        self._handles = [plain.get_submodule(name).register_forward_hook(self._keep(name)) for name in self.layers]

    def _keep(self, layer: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self._outputs[layer] = _pooled(output)

        return keep

    def take(self, images: int) -> torch.Tensor | None:
        """Return the features of the last forward pass, float32 ``[B, D]`` on the CPU; None without layers.

        Args:
            images: B; where the network was given several crops of each, one image after the other, their mean counts.
        """
        if not self.layers:
            return None
        pooled = torch.cat([self._outputs.pop(layer) for layer in self.layers], dim=1)
        return pooled.unflatten(0, (images, -1)).mean(1).cpu()

    def close(self) -> None:
        """Look at the network no longer."""
        for handle in self._handles:
            handle.remove()


def _pooled(output: torch.Tensor) -> torch.Tensor:
    return output.float().mean((-2, -1))
