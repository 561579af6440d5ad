"""State dictionaries of other people's DenseNets, told apart by their names and renamed to MONAI's.

    from cxr_monai.networks.weight_loading import load_state_dict

    foreign = recognise(load_state_dict("m-25012018-123527.pth.tar"), path="m-25012018-123527.pth.tar")
    foreign.kind, foreign.rows, foreign.definition      # chexnet, the 14 findings, {"_target_": "DenseNet121", ...}

MONAI's DenseNet has the tensors of torchvision's, in the same order, under other names:

| whose | names |
|---|---|
| MONAI | ``features.denseblock1.denselayer1.layers.norm1.weight``, ``class_layers.out.weight`` |
| torchvision | ``features.denseblock1.denselayer1.norm1.weight`` (``norm.1`` until 2018), ``classifier.weight`` |
| zoogzog/chexnet, arnoweng/CheXNet | ``module.densenet121.`` and torchvision's; ``...classifier.0.weight`` |
| TorchXRayVision | torchvision's for one channel and 18 targets; ``op_threshs`` beside them |

What is no part of a DenseNet is left out and listed: every tensor of a file is accounted for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch

from cxr_monai.errors import Code, WeightsError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted

XRV_TARGETS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
"""TorchXRayVision's 18 targets, in its outputs' order (``default_pathologies``; Cohen et al., arXiv 2111.00595)."""

STEM = "features.conv0.weight"
OUT = "class_layers.out"
_BLOCKS = {(6, 12, 24, 16): "DenseNet121", (6, 12, 32, 32): "DenseNet169", (6, 12, 48, 32): "DenseNet201"}


class NamingKind(StrEnum):
    """Whose names a state dictionary has."""

    TORCHVISION = "torchvision"
    CHEXNET = "chexnet"
    TORCHXRAYVISION = "torchxrayvision"
    MONAI = "monai"


@dataclass(frozen=True)
class Foreign:
    """A DenseNet's weights under MONAI's names.

    Attributes:
        kind: whose they are.
        state: by MONAI's names; without ``class_layers.out`` where the classifier is not one linear layer.
        definition: MONAI's class and arguments for the features, without the numbers of inputs and outputs.
        in_channels: of the first convolution.
        rows: what the classifier's outputs stand for, in their order; None where the file does not tell, and None in
            the place of an output that was never trained.
        left_out: what is no part of the network, each with its shape and the reason.
    """

    kind: NamingKind
    state: dict[str, torch.Tensor]
    definition: dict[str, Any]
    in_channels: int
    rows: tuple[str | None, ...] | None
    left_out: tuple[str, ...]


def recognise(state: Mapping[str, torch.Tensor], path: str | Path, kind: str = "auto") -> Foreign:
    """Recognise a DenseNet's state dictionary and rename its tensors to MONAI's names.

    Args:
        state: tensors by name, of a DenseNet.
        path: the file, for errors.
        kind: a :class:`NamingKind` where the names leave it open; they decide where ``auto``.

    Raises:
        WeightsError: ``weights-mismatch`` for another architecture, saying what it looks like, or for several networks
            in one file.
    """
    stems = [name for name in state if name == STEM or name.endswith("." + STEM)]
    if len(stems) != 1:
        several = f"the file holds {counted(len(stems), 'network')} ({', '.join(stems)})." if stems else _unknown(state)
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            several,
            fix="Give the state dictionary of one DenseNet (torchvision's, CheXNet's, TorchXRayVision's or MONAI's).",
            where=path,
        )
    prefix = stems[0].removesuffix(STEM)
    tensors = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    left_out = [_told(name, state[name], "outside of the network") for name in state if not name.startswith(prefix)]
    classifier = [
        name for name in tensors if re.fullmatch(r"(classifier(\.\d+)?|class_layers\.out)\.(weight|bias)", name)
    ]
    single = len({name.rpartition(".")[0] for name in classifier}) == 1
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("features."):
            renamed[_renamed(name)] = tensor
        elif name in classifier and single:
            renamed[f"{OUT}.{name.rpartition('.')[2]}"] = tensor
        else:
            left_out.append(_told(name, tensor, _reason(name, name in classifier)))
    _check_shapes(renamed, path)
    channels = renamed[STEM].shape[1]
    outputs = len(renamed[f"{OUT}.weight"]) if f"{OUT}.weight" in renamed else None
    if kind == "auto":
        kind = _kind(prefix, tensors, channels, outputs)
    return Foreign(
        NamingKind(kind),
        renamed,
        _definition(renamed, path),
        channels,
        _rows(kind, outputs, tensors, path),
        tuple(left_out),
    )


def _check_shapes(state: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Refuse tensors that are no weights of a DenseNet, whatever its size: the rest reads sizes from their shapes."""
    dimensions = {name: 4 for name in state if re.search(r"\.conv\d?\.weight$", name)}
    dimensions |= {STEM: 4, f"{OUT}.weight": 2, f"{OUT}.bias": 1}
    for name, expected in dimensions.items():
        tensor = state.get(name)
        if tensor is not None and (tensor.dim() != expected or not tensor.numel()):
            raise WeightsError(
                Code.WEIGHTS_MISMATCH,
                f"{name} has the shape {list(tensor.shape)}; a DenseNet's has "
                f"{counted(expected, 'dimension')}, none of them 0.",
                fix="The file is damaged, or of another network: get it again.",
                where=path,
            )


def _renamed(name: str) -> str:
    layer = re.fullmatch(r"(features\.denseblock\d+\.denselayer\d+\.)(norm|conv)\.?([12])\.(.+)", name)
    return f"{layer[1]}layers.{layer[2]}{layer[3]}.{layer[4]}" if layer else name


def _told(name: str, tensor: torch.Tensor, why: str) -> str:
    return f"{name} {list(tensor.shape)}: {why}"


def _reason(name: str, classifies: bool) -> str:
    if classifies:
        return "the classifier has several linear layers, MONAI's DenseNet has one"
    if name == "op_threshs":
        return "TorchXRayVision moves its operating points to 0.5 by these; calibrate instead"
    return "no part of a DenseNet"


def _kind(prefix: str, tensors: Mapping[str, torch.Tensor], channels: int, outputs: int | None) -> NamingKind:
    if any(name.startswith("class_layers.") or ".layers." in name for name in tensors):
        return NamingKind.MONAI
    if "op_threshs" in tensors or (channels == 1 and outputs == len(XRV_TARGETS)):
        return NamingKind.TORCHXRAYVISION
    if "classifier.0.weight" in tensors or re.search(r"densenet\d+\.$", prefix):
        return NamingKind.CHEXNET
    return NamingKind.TORCHVISION


def _rows(
    kind: str, outputs: int | None, tensors: Mapping[str, torch.Tensor], path: str | Path
) -> tuple[str | None, ...] | None:
    if kind == NamingKind.CHEXNET and outputs == len(NIH14):
        return NIH14
    if kind != NamingKind.TORCHXRAYVISION or outputs != len(XRV_TARGETS):
        return None
    # a target without a threshold is one that this model was not trained for
    thresholds = tensors.get("op_threshs", torch.zeros(outputs))
    if thresholds.shape != (outputs,):
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"op_threshs has the shape {list(thresholds.shape)}, and there are {counted(outputs, 'output')}.",
            fix="The file is damaged: get it again.",
            where=path,
        )
    return tuple(
        None if bool(untrained) else name for name, untrained in zip(XRV_TARGETS, thresholds.isnan(), strict=True)
    )


def _definition(state: Mapping[str, torch.Tensor], path: str | Path) -> dict[str, Any]:
    layers: dict[int, int] = {}
    for name in state:
        match = re.match(r"features\.denseblock(\d+)\.denselayer(\d+)\.", name)
        if match:
            layers[int(match[1])] = max(layers.get(int(match[1]), 0), int(match[2]))
    try:
        first = "features.denseblock1.denselayer1.layers."
        wide, growth = (len(state[f"{first}{part}.weight"]) for part in ("conv1", "conv2"))
        blocks = tuple(layers[block] for block in range(1, len(layers) + 1))
        size = {"init_features": len(state[STEM]), "growth_rate": growth, "bn_size": wide // growth}
    except KeyError as error:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH, f"this begins as a DenseNet does, but it has no {error}.", where=path
        ) from error
    definition: dict[str, Any] = {"spatial_dims": 2, "act": ["RELU", {"inplace": False}]}
    if blocks in _BLOCKS and size == {"init_features": 64, "growth_rate": 32, "bn_size": 4}:
        return {"_target_": _BLOCKS[blocks], **definition}
    return {"_target_": "DenseNet", **definition, "block_config": list(blocks), **size}


# parts of the names of other architectures' tensors
_OTHERS = (
    ("a squeeze-and-excitation network", r"se_module|se_layer"),
    ("a ResNet", r"(^|\.)layer1\.0\.conv1\."),
    ("an EfficientNet", r"_conv_stem|(^|\.)features\.\d+\.\d+\.block\.|conv_stem"),
    ("a vision transformer", r"cls_token|pos_embed|encoder\.layers\."),
    ("an Inception network", r"Mixed_\d"),
    ("a VGG or AlexNet", r"(^|\.)features\.0\.weight"),
)


def looks_like(names: Sequence[str]) -> str:
    """Return the architecture that the names of a state dictionary suggest.

    >>> looks_like(["conv1.weight", "layer1.0.conv1.weight", "fc.weight"])
    'a ResNet'
    """
    if any(name.endswith(STEM) for name in names):
        return "a DenseNet"
    return next(
        (architecture for architecture, mark in _OTHERS if any(re.search(mark, name) for name in names)),
        "another network",
    )


def _unknown(state: Mapping[str, torch.Tensor]) -> str:
    names = list(state)
    return (
        f"this looks like {looks_like(names)} (its names begin with {', '.join(names[:3])}), not like a DenseNet: "
        f"{STEM} is missing."
    )
