"""Other people's weights as a bundle of ours, with their preprocessing and their order of findings.

    record = import_bundle("m-25012018-123527.pth.tar", "chexnet")      # a folder that predict, evaluate, explain take

The bundle is ``cxr_nih14`` with another network, other labels and another input. ``docs/import.json`` tells which file
it came from (SHA-256), what it was taken for, and what became of each tensor.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from cxr_monai.bundle.bundle_folder import METADATA, read_json, write_json
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.shipped import shipped
from cxr_monai.bundle.trained import plain_state, save_weights, write_meaning
from cxr_monai.bundle.writing import CONFIGURATION, check_new_bundle, new_bundle
from cxr_monai.errors import Code, UsageError, WeightsError
from cxr_monai.labels import parse_labels
from cxr_monai.networks.foreign import OUT, Foreign, NamingKind, recognise
from cxr_monai.networks.state_fitting import Account, load_into
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.plurals import agreeing, counted

IMAGE_SIZE = 224


@dataclass(frozen=True)
class _Origin:
    """The input of a kind of network, and where it comes from.

    Attributes:
        channels: of its input.
        normalisation: of ``cxr_monai.transforms``.
        margin: by how much the resampled image is larger than the crop.
        name, reference: for the metadata.
    """

    channels: int
    normalisation: str
    margin: float
    name: str
    reference: str


_ORIGINS = {
    NamingKind.CHEXNET: _Origin(
        3, "imagenet", 8 / 7, "A CheXNet reproduction", "Rajpurkar P. et al.: CheXNet. arXiv 1711.05225"
    ),
    NamingKind.TORCHXRAYVISION: _Origin(
        1,
        "xray_1024",
        1.0,
        "A network of TorchXRayVision",
        "Cohen J. P. et al.: TorchXRayVision. MIDL 2022. arXiv 2111.00595",
    ),
}


def import_bundle(
    file: str | Path,
    out: str | Path,
    kind: str = "auto",
    labels: str | Sequence[str] | None = None,
    rows: str | Sequence[str] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Make a bundle of a state dictionary.

    Args:
        file: what ``torch.save`` wrote.
        out: a folder that does not exist yet.
        kind: ``chexnet`` or ``torchxrayvision``, where the names leave it open.
        labels: the findings that the bundle has, in this order; all that the network was trained for where None.
        rows: the names of the classifier's outputs, in their order; where None those of the kind (NIH's 14, or
            TorchXRayVision's 18).
        force: an earlier bundle at ``out`` may be replaced.

    Returns:
        what ``docs/import.json`` says.

    Raises:
        UsageError: ``output-exists``, or ``usage`` for findings that the classifier does not have.
        WeightsError: ``weights-missing``, ``weights-unsafe``, or ``weights-mismatch`` for another architecture,
            ImageNet's classes, a network of another input than its kind has, shapes that no such network has, or
            numbers that are not finite. Nothing is written.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    file, out = Path(file), Path(out)
    check_new_bundle(out, force=force, room=file.stat().st_size if file.is_file() else 0)
    recognised = recognise(load_state_dict(file), file, kind)
    origin = _origin(recognised, file)
    outputs = _rows(recognised, rows, file)
    findings = _labels(outputs, labels, file)
    network_def = {**recognised.definition, "in_channels": origin.channels, "out_channels": len(findings)}
    parser = ConfigParser({"network_def": network_def})
    network = parser.get_parsed_content("network_def")
    account = load_into(network, recognised.state, file, outputs, findings)
    _check_finite(network, file)
    account.left_out[:0] = recognised.left_out
    record = _record(file, recognised, findings, account)
    with new_bundle(out, shipped("cxr_nih14"), force, CONFIGURATION) as folder:
        inference = read_json(folder / "configs" / "inference.json")
        meaning = {key: inference[key] for key in MEANING if key in inference}
        meaning |= {"labels": findings, "image_size": IMAGE_SIZE, "margin": origin.margin}
        meaning |= {"normalisation": origin.normalisation}
        write_meaning(folder, {**meaning, "network_def": network_def}, origin.channels)
        _describe(folder, origin, record)
        save_weights(folder / "models" / "model.pt", plain_state(network))
    return record


def _check_finite(network: torch.nn.Module, file: Path) -> None:
    bad = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"{counted(len(bad), 'tensor')} {agreeing(len(bad), 'hold')} NaN or infinite numbers, "
            f"such as {bad[0]}: the network would say nothing.",
            fix="The file is damaged, or its training went wrong: get another one.",
            where=file,
        )


def _origin(recognised: Foreign, file: Path) -> _Origin:
    if recognised.kind not in _ORIGINS:
        classes = recognised.state.get(f"{OUT}.weight")
        reasons = {
            NamingKind.MONAI: "these are weights of MONAI's own names, whose input and findings the file does "
            "not tell.",
            NamingKind.TORCHVISION: "this is a DenseNet of torchvision"
            + (" for ImageNet's 1000 classes" if classes is not None and len(classes) == 1000 else "")
            + ": it is no network for radiographs.",
        }
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            reasons[recognised.kind],
            fix=f"Start a training from it: --init_weights {file.name}. If it was trained on radiographs, say how it "
            "was fed: --kind chexnet or torchxrayvision, and what its outputs are: --rows.",
            where=file,
        )
    origin = _ORIGINS[recognised.kind]
    if recognised.in_channels != origin.channels:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"the network takes {counted(recognised.in_channels, 'channel')}; one of the "
            f"kind {recognised.kind} takes {origin.channels}.",
            fix="Choose another --kind, or start a training from it with --init_weights.",
            where=file,
        )
    return origin


def _rows(recognised: Foreign, rows: str | Sequence[str] | None, file: Path) -> list[str | None]:
    """Return the findings of the classifier's outputs."""
    weight = recognised.state.get(f"{OUT}.weight")
    if weight is None:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            "its classifier is not one linear layer, so the bundle would have none.",
            fix="Start a training from it: --init_weights.",
            where=file,
        )
    outputs = recognised.rows if rows is None else parse_labels(rows)
    if outputs is None or len(outputs) != len(weight):
        problem = "nothing tells what they stand for" if outputs is None else f"--rows names {len(outputs)}"
        raise UsageError(
            Code.USAGE,
            f"the classifier has {counted(len(weight), 'output')}, and {problem}.",
            fix="Name them all in their order: --rows Atelectasis,Cardiomegaly,...",
            where=file,
        )
    return list(outputs)


def _labels(outputs: Sequence[str | None], labels: str | Sequence[str] | None, file: Path) -> list[str]:
    trained = [row for row in outputs if row is not None]
    if not trained:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            "by its op_threshs, which are all NaN, the network was trained for none of its targets.",
            fix="If it was, say what its outputs are: --rows.",
            where=file,
        )
    selected = trained if labels is None else parse_labels(labels)
    missing = [label for label in selected if label not in trained]
    if missing:
        raise UsageError(
            Code.USAGE,
            f"--labels: the network has no output for {', '.join(missing)}; it has {', '.join(trained)}.",
            fix="Choose among these; --rows says what the outputs stand for.",
            where=file,
        )
    return selected


def _record(file: Path, recognised: Foreign, labels: Sequence[str], account: Account) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": sha256(file.read_bytes()).hexdigest(),
        "kind": str(recognised.kind),
        "labels": list(labels),
        **asdict(account),
    }


def _describe(root: Path, origin: _Origin, record: dict[str, Any]) -> None:
    """Write the name and the origin of the weights into the bundle's metadata."""
    path = root / METADATA
    metadata = read_json(path)
    metadata |= {
        "name": f"{origin.name}, {counted(len(record['labels']), 'finding')}",
        "description": f"{origin.name} as a bundle of cxr-monai: a probability for each of "
        f"{counted(len(record['labels']), 'finding')}. docs/import.json tells where the weights come from.",
        "data_source": "what the authors of the weights trained on",
        "label_classes": "1 present, 0 absent; whose labels they learned from, the authors of the weights know",
        "copyright": "The weights belong to their authors, under their licence; LICENSE covers the configuration",
        "references": [origin.reference, metadata["references"][-1]],
    }
    write_json(path, metadata)
    write_json(root / "docs" / "import.json", record)
