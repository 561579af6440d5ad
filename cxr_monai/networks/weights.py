"""Weights in: none, ImageNet's, or a checkpoint; nothing random is scored, nothing is dropped silently.

Files are read with ``weights_only``: a pickle that holds anything but tensors and plain values is refused.
"""

import logging
import os
import re
import urllib.request
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import HTTPError

import torch
from torch import nn

from cxr_monai.errors import Code, DownloadError, WeightsError

logger = logging.getLogger(__name__)

# torchvision's DenseNet121 weights; the file's name carries the first eight digits of its SHA-256
# (the convention of torch.hub.load_state_dict_from_url with check_hash).
IMAGENET_URL = "https://download.pytorch.org/models/densenet121-a639ec97.pth"
IMAGENET_SHA256_PREFIX = "a639ec97"


def load_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file that ``torch.save`` wrote.

    Args:
        path: a state dictionary, or a dictionary that holds one under ``model``, ``state_dict`` or ``network``.

    Raises:
        WeightsError: ``weights-missing`` if there is no such file, ``weights-unsafe`` if it holds pickled objects,
            ``weights-mismatch`` if it holds no tensors or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            Code.WEIGHTS_MISSING,
            "there are no weights here, and a network with random weights is not scored.",
            fix="Train first, or name a file with --weights (or --init_weights for training).",
            where=path,
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            Code.WEIGHTS_UNSAFE,
            "the file holds pickled Python objects or is damaged; loading it could run code.",
            fix="Ask for the state dictionary alone: torch.save(network.state_dict(), file).",
            where=path,
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH, f"not a file of weights, or damaged ({error}).", where=path
        ) from error
    # a training's own checkpoint holds its network within its content
    for key in ("content", "model", "state_dict", "network"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, torch.Tensor) for v in content.values())
    ):
        raise WeightsError(Code.WEIGHTS_MISMATCH, "the file holds no state dictionary of tensors.", where=path)
    return dict(content)


def load_weights(network: nn.Module, path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """Give ``network`` exactly the weights in ``path`` and return it on ``device``.

    Raises:
        WeightsError: as :func:`load_state_dict`; ``weights-mismatch`` where a name or shape differs, listing them.
    """
    state = load_state_dict(path)
    differences = _differences(network.state_dict(), state)
    if differences:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            "the weights belong to another network: "
            + "; ".join(differences[:5])
            + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
            + ".",
            fix="Check labels, in_channels and network_def against the bundle that the weights come from.",
            where=path,
        )
    network.load_state_dict(state)
    return place(network, device)


def _differences(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    found = [f"{name} is missing" for name in own if name not in given]
    found += [f"{name} is not part of the network" for name in given if name not in own]
    found += [
        f"{name} is {list(given[name].shape)}, the network's is {list(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    return found


def initialise(
    network: nn.Module,
    init_weights: str | Path,
    device: torch.device | str = "cpu",
    prevalences: Sequence[float] | None = None,
    cache_dir: str | Path | None = None,
    compile: bool = False,
) -> nn.Module:
    """Give a network the weights that training starts from.

    Args:
        network: MONAI's DenseNet121 for ``imagenet``; any for ``none`` and a checkpoint of the same network.
        init_weights: ``none`` (random, said in the log), ``imagenet`` (downloaded once, with a checksum), or a path to
            a checkpoint or to a local copy of torchvision's file (for hospitals without internet).
        device: where the network goes, its weights channels-last (convolutions in bfloat16 are fastest that way).
        prevalences: of the findings in the training part; a classifier that starts anew predicts them from the first
            step, instead of spending the first hundreds of steps on learning that findings are rare (the prior of
            Lin et al. 2017, arXiv 1708.02002).
        cache_dir: where downloads are kept; torch.hub's folder by default.
        compile: True lets ``torch.compile`` translate it at the first step (names of weights stay). It needs a C++
            compiler on a CPU; docs/performance.md tells what it gives.

    Returns:
        the same network, on the device.

    Raises:
        WeightsError: ``weights-missing``, ``weights-unsafe``, or ``weights-mismatch`` if anything but the classifier
            (whose findings may differ) or the input channels does not fit.
        DownloadError: ``download-failed`` or ``checksum-mismatch``.
    """
    if str(init_weights) == "none":
        logger.info(
            "init_weights none: training starts from random weights. With few images, pre-trained weights matter more "
            "than anything else: --init_weights imagenet (needs internet once) or a file."
        )
        set_prior(network, prevalences)
        return _compiled(place(network, device), compile)
    path = download_imagenet(cache_dir) if str(init_weights) == "imagenet" else Path(init_weights)
    state = from_torchvision(load_state_dict(path))
    loaded, adapted, left_out = _load_adapted(network, state, path)
    if left_out:
        set_prior(network, prevalences)
    _report(loaded, adapted, left_out)
    return _compiled(place(network, device), compile)


def _compiled(network: nn.Module, compile: bool) -> nn.Module:
    if compile:
        network.compile()  # in place: a wrapper would rename every weight
    return network


def set_prior(network: nn.Module, prevalences: Sequence[float] | None) -> None:
    """Set the bias of the last linear layer to the log-odds of the prevalences (within 0.001 and 0.999).

    A network without a linear layer of that many outputs keeps its bias.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
    if prevalences is None or not layers or layers[-1].out_features != len(prevalences):
        return
    prior = torch.as_tensor(prevalences, dtype=torch.float32).nan_to_num(0.5).clamp(0.001, 0.999)
    with torch.no_grad():
        layers[-1].bias.copy_(torch.logit(prior))


def place(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to a device, its weights channels-last."""
    return network.to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]


def from_torchvision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename torchvision's DenseNet keys (old ``norm.1`` and new ``norm1``) to MONAI's; others pass unchanged.

    MONAI's DenseNet has the same tensors in the same order: ``features.denseblockB.denselayerL.layers.norm1`` for
    torchvision's ``features.denseblockB.denselayerL.norm1``, and ``class_layers.out`` for ``classifier``.
    """
    layer = re.compile(r"^(features\.denseblock\d+\.denselayer\d+\.)((?:norm|conv)[12]|(?:norm|conv)\.[12])\.(.+)$")
    renamed = {}
    for name, tensor in state.items():
        found = layer.match(name)
        if found:
            name = f"{found[1]}layers.{found[2].replace('.', '')}.{found[3]}"
        renamed[re.sub(r"^classifier\.", "class_layers.out.", name)] = tensor
    return renamed


def adapt_first_convolution(weight: torch.Tensor, in_channels: int) -> torch.Tensor:
    """Fit a first convolution ``[O, 3, h, w]`` to another number of channels.

    One channel gets the sum over RGB: a grey image fed to it gives what the same image, repeated three times, gives
    the original. Other combinations are refused by the caller.
    """
    if weight.shape[1] == 3 and in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight


def _load_adapted(
    network: nn.Module, state: dict[str, torch.Tensor], path: Path
) -> tuple[list[str], list[str], list[str]]:
    own = network.state_dict()
    adapted, left_out = [], []
    # torchvision's old files lack the batch counters; they only matter to a momentum of None
    for name in [n for n in own if n.endswith("num_batches_tracked") and n not in state]:
        state[name] = own[name]
    for name in [n for n in state if n.startswith("class_layers.out.") and n in own]:
        if state[name].shape != own[name].shape:
            left_out.append(f"{name} {list(state[name].shape)}: the classifier is for other findings, it starts anew")
            state[name] = own[name]
    first = "features.conv0.weight"
    if first in own and first in state and state[first].shape[1] != own[first].shape[1]:
        state[first] = adapt_first_convolution(state[first], own[first].shape[1])
        adapted.append(f"{first}: summed over RGB for one grey channel")
    differences = _differences(own, state)
    if differences:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"the weights do not fit this network: {'; '.join(differences[:5])} ({len(differences)} in all).",
            fix="ImageNet's weights fit MONAI's DenseNet121; a checkpoint must come from the same network_def.",
            where=path,
        )
    network.load_state_dict(state)
    return [name for name in own if name in state], adapted, left_out


def _report(loaded: list[str], adapted: list[str], left_out: list[str]) -> None:
    logger.info(
        "init_weights: %d tensors loaded, %d adapted, %d left out",
        len(loaded) - len(left_out),
        len(adapted),
        len(left_out),
    )
    for line in adapted + left_out:
        logger.info("  %s", line)


def download_imagenet(
    cache_dir: str | Path | None = None, url: str = IMAGENET_URL, sha256_prefix: str = IMAGENET_SHA256_PREFIX
) -> Path:
    """Fetch torchvision's DenseNet121 weights once and return their path.

    The file is written under another name and renamed once its checksum is right, so a broken download is never used.

    Raises:
        DownloadError: ``download-failed`` (with what to do without internet) or ``checksum-mismatch``.
    """
    folder = Path(cache_dir) if cache_dir else Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / url.rsplit("/", 1)[-1]
    if target.is_file():
        _verify(target, sha256_prefix, target)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        logger.info("downloading %s", url)
        with urllib.request.urlopen(url, timeout=30) as answer, part.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        _verify(part, sha256_prefix, target)
        part.replace(target)
    except OSError as error:
        if isinstance(error, HTTPError):
            error.close()
        raise DownloadError(
            Code.DOWNLOAD_FAILED,
            f"ImageNet's weights could not be fetched ({error}).",
            fix=f"Without internet, fetch the file elsewhere and give its path: --init_weights {target.name}; "
            "or start from random weights: --init_weights none.",
            where=url,
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _verify(file: Path, prefix: str, name: Path) -> None:
    digest = sha256(file.read_bytes()).hexdigest()
    if not digest.startswith(prefix):
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"the SHA-256 begins {digest[:8]}, it must begin {prefix}: the file is damaged or another one.",
            fix="Delete it and fetch it again.",
            where=name,
        )
