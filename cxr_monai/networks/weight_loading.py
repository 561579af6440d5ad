"""Weights in: none, ImageNet's, or a checkpoint; nothing random is scored, nothing is dropped silently.

Files are examined before they are loaded (``cxr_monai.networks.weights_files``), and loaded with ``weights_only``: a
pickle that holds anything but tensors and plain values is refused, and so is a tensor that claims more than there is.
"""

import logging
import urllib.request
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import HTTPError

import torch
from monai.networks.nets import ViT
from torch import nn

from cxr_monai.durable import make_folder, write_durably
from cxr_monai.errors import Code, DownloadError, SettingError, WeightsError
from cxr_monai.networks.foreign import STEM, NamingKind, recognise
from cxr_monai.networks.state_fitting import load_into, state_differences
from cxr_monai.networks.weights_files import Danger, examine_weights, read_safetensors_header
from cxr_monai.outputs import check_output
from cxr_monai.strict_json import parse_strictly

logger = logging.getLogger(__name__)

# torchvision's DenseNets; a file's name carries the first eight digits of its SHA-256
# (the convention of torch.hub.load_state_dict_from_url with check_hash)
_TORCHVISION = "https://download.pytorch.org/models"
IMAGENET = {
    "DenseNet121": (f"{_TORCHVISION}/densenet121-a639ec97.pth", "a639ec97"),
    "DenseNet169": (f"{_TORCHVISION}/densenet169-b2777c0a.pth", "b2777c0a"),
    "DenseNet201": (f"{_TORCHVISION}/densenet201-c1103571.pth", "c1103571"),
}
IMAGENET_URL, IMAGENET_SHA256_PREFIX = IMAGENET["DenseNet121"]


_SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def load_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file that ``torch.save`` wrote, or from ``.safetensors``.

    Args:
        path: a state dictionary, or a dictionary that holds one under ``model``, ``state_dict`` or ``network``.

    Raises:
        WeightsError: ``weights-missing`` if there is no such file; ``weights-unsafe`` if it holds pickled objects, or
            tensors that claim more numbers than the file has; ``weights-mismatch`` if it holds no tensors or is
            damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            Code.WEIGHTS_MISSING,
            "there are no weights here, and a network with random weights is not scored.",
            fix="Train first, or name a file with --weights (or --init_weights for training).",
            where=path,
        )
    _refuse_examined(path)
    try:
        if path.suffix == ".safetensors":
            content: Any = _load_safetensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise _unsafe(path, str(error).partition("\n")[0][:200]) from error
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
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items())
    ):
        raise WeightsError(Code.WEIGHTS_MISMATCH, "the file holds no state dictionary of tensors.", where=path)
    return dict(content)


def _refuse_examined(path: Path) -> None:
    """Refuse a file of weights that holds anything but tensors; nothing in it is loaded."""
    examined = examine_weights(path, old=True)
    for danger, text, reason in examined.objections:
        if danger == Danger.OBJECT:
            raise _unsafe(path, repr(text))
        if danger == Danger.SIZE:
            raise WeightsError(
                Code.WEIGHTS_UNSAFE,
                f"a tensor of the file is not what it says, {text!r}: {reason}",
                fix="Get the file again; one that was made so would fill the memory.",
                where=path,
            )
        raise WeightsError(Code.WEIGHTS_MISMATCH, f"not a file of weights, or damaged: {reason}", where=path)
    if examined.program:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            "this is a TorchScript program, not a file of weights.",
            fix="Where it comes from: torch.save(torch.jit.load(FILE).state_dict(), 'state.pt').",
            where=path,
        )


def _unsafe(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        Code.WEIGHTS_UNSAFE,
        f"the file holds pickled Python objects or is damaged ({reason}); loading it could run code.",
        fix="Ask for the state dictionary alone, or, if you trust the file, make it where its own package is "
        "installed: torch.save(torch.load(FILE, weights_only=False).state_dict(), 'state.pt').",
        where=path,
    )


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    state = {}
    with path.open("rb") as file:
        for name, part in read_safetensors_header(file).items():
            file.seek(part.begin)
            numbers = bytearray(file.read(part.end - part.begin))
            kind = _SAFETENSORS[part.dtype]
            state[name] = (
                torch.frombuffer(numbers, dtype=kind).reshape(part.shape)
                if numbers
                else torch.empty(part.shape, dtype=kind)
            )
    return state


def load_weights(network: nn.Module, path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """Load exactly the weights in ``path`` into ``network``, and return it on ``device``.

    A TorchScript program holds its weights, and keeps them; the log says so where they are not seen to be those.

    Raises:
        WeightsError: as :func:`load_state_dict`; ``weights-mismatch`` where a name or shape differs, listing them, or
            where a program holds other weights under the same names.
    """
    state = load_state_dict(path)
    differences = state_differences(network.state_dict(), state)
    if isinstance(network, torch.jit.ScriptModule):
        _compare_program(network, state, bool(differences), path)
        return place(network, device)
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


def initialise_network(
    network: nn.Module,
    init_weights: str | Path,
    device: torch.device | str = "cpu",
    prevalences: Sequence[float] | None = None,
    findings: Sequence[str] | None = None,
    cache_dir: str | Path | None = None,
    compile: bool = False,
    head: str = "sigmoid",
) -> nn.Module:
    """Load the weights that training starts from into a network.

    Args:
        network: any for ``none`` and a checkpoint of the same network; one of MONAI's DenseNets for ``imagenet`` and
            for the files that :mod:`cxr_monai.networks.foreign` knows.
        init_weights: ``none`` (random, said in the log), ``imagenet`` (downloaded once, with a checksum), or a path to
            a checkpoint, or to a state dictionary of torchvision, CheXNet or TorchXRayVision.
        device: where the network goes, its weights channels-last (convolutions in bfloat16 are fastest that way).
        prevalences: of the findings in the training part; a classifier that starts anew predicts them from the first
            step, instead of spending the first hundreds of steps on learning that findings are rare (the prior of
            Lin et al. 2017, arXiv 1708.02002).
        findings: what the network's outputs stand for. Where the outputs of the file are known too (a bundle's weights,
            a training's checkpoint, CheXNet, TorchXRayVision), each finding gets its own; those that the file lacks
            start anew, and so does the classifier where they are not known.
        cache_dir: where downloads are kept; torch.hub's folder by default.
        compile: True lets ``torch.compile`` translate it at the first step (names of weights stay). It needs a C++
            compiler on a CPU; docs/performance.md tells what it gives.
        head: of the network (``cxr_monai.networks.heads``). Under another one an output of the same finding means
            something else, so of weights with another head the features alone are taken.

    Returns:
        the same network, on the device. The log tells what was loaded, adapted, left out and starts anew.

    Raises:
        WeightsError: ``weights-missing``, ``weights-unsafe``, or ``weights-mismatch`` if anything but the classifier
            (whose findings may differ) or the input channels does not fit.
        SettingError: ``setting-invalid`` for ``imagenet`` and a network that there are no such weights for.
        DownloadError: ``download-failed`` or ``checksum-mismatch``.
    """
    set_prior(network, prevalences)
    if str(init_weights) == "none":
        logger.info(
            "init_weights none: training starts from random weights. With few images, pre-trained weights matter more "
            "than anything else: --init_weights imagenet (needs internet once) or a file."
        )
        return _compiled(place(network, device), compile)
    path = _imagenet_for(network, cache_dir) if str(init_weights) == "imagenet" else Path(init_weights)
    rows: Sequence[str | None] | None
    rows, source_head = _outputs_beside(path)
    state, left_out = load_state_dict(path), list[str]()
    target = network.state_dict()
    if STEM in target and any(name not in state for name in target):
        foreign = recognise(state, path)
        state, rows, left_out = foreign.state, foreign.rows or rows, list(foreign.left_out)
        if foreign.kind == NamingKind.TORCHXRAYVISION:
            logger.info("init_weights: TorchXRayVision's networks have seen --normalisation xray_1024")
    other = "" if source_head == head else f"its outputs are those of the head {source_head}, this network's of {head}"
    account = load_into(network, state, path, rows, findings, other)
    account.left_out[:0] = left_out
    for line in account.lines():
        logger.info("init_weights: %s", line)
    return _compiled(place(network, device), compile)


def _imagenet_for(network: nn.Module, cache_dir: str | Path | None) -> Path:
    name = type(network).__name__
    if name not in IMAGENET:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--init_weights imagenet: there are weights for {', '.join(IMAGENET)}, the network is {name}.",
            fix="Choose one of these with --network_def, or --init_weights none or a file.",
        )
    return download_imagenet(cache_dir, *IMAGENET[name])


def _outputs_beside(path: Path) -> tuple[tuple[str, ...] | None, str]:
    """Return the findings and the head of a bundle's or a training's weights, which the files beside them tell; no
    findings and ``sigmoid``, as everybody else's weights have, for other files."""
    places = {"models": path.parent.parent, "checkpoints": path.parent.parent / "bundle"}
    configs = places.get(path.parent.name, path.parent) / "configs"
    file, inference = configs / "metadata.json", configs / "inference.json"
    if not file.is_file():
        return None, "sigmoid"
    try:
        channels = parse_strictly(file.read_bytes())["network_data_format"]["outputs"]["pred"]["channel_def"]
        findings = tuple(channels[key] for key in sorted(channels, key=int))
        if not inference.is_file():
            return findings, "sigmoid"
        file = inference
        return findings, str(parse_strictly(file.read_bytes()).get("head", "sigmoid"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            Code.BUNDLE_INVALID,
            f"the file beside the weights does not tell their findings or their head ({error!r}).",
            fix="Repair it, or copy the weights to a folder of their own, where nothing tells it and the classifier "
            "starts anew.",
            where=file,
        ) from error


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


def _compare_program(
    program: torch.jit.ScriptModule, state: Mapping[str, torch.Tensor], renamed: bool, path: str | Path
) -> None:
    if renamed:
        logger.warning("the TorchScript network keeps its own weights, which cannot be compared with those of %s", path)
    elif any(not torch.equal(tensor.cpu(), state[name]) for name, tensor in program.state_dict().items()):
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            "the TorchScript network holds other weights than this file, to which labels and calibration belong.",
            fix="Export it anew from this bundle, or name its weights with --weights.",
            where=path,
        )


def place(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to a device, its weights channels-last; a ViT returns its logits alone from then on."""
    for part in network.modules():
        if isinstance(part, ViT):
            part.register_forward_hook(_logits_alone)
    return network.to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]


def _logits_alone(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """MONAI's ViT gives its logits and every block's states; the hook changes neither its class nor its names."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def download_imagenet(
    cache_dir: str | Path | None = None, url: str = IMAGENET_URL, sha256_prefix: str = IMAGENET_SHA256_PREFIX
) -> Path:
    """Fetch torchvision's weights of a DenseNet once and return their path.

    The file is written under another name and renamed once its checksum is right, so a broken download is never used.

    Args:
        cache_dir: folder of the file; torch.hub's where None.
        url: of the file.
        sha256_prefix: the first hexadecimal digits of its SHA-256.

    Raises:
        DownloadError: ``download-failed`` (with what to do without internet) or ``checksum-mismatch``.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(cache_dir) if cache_dir else Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / url.rsplit("/", 1)[-1]
    if target.is_file():
        _verify(target.read_bytes(), sha256_prefix, target)
        return target
    check_output(target)
    make_folder(folder)
    try:
        logger.info("downloading %s", url)
        with urllib.request.urlopen(url, timeout=30) as answer:
            content = b"".join(iter(lambda: answer.read(1 << 20), b""))
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
    _verify(content, sha256_prefix, target)
    write_durably(target, content)
    return target


def _verify(content: bytes, prefix: str, name: Path) -> None:
    digest = sha256(content).hexdigest()
    if not digest.startswith(prefix):
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"the SHA-256 begins {digest[:8]}, it must begin {prefix}: the file is damaged or another one.",
            fix="Delete it and fetch it again.",
            where=name,
        )
