"""The contract of an exported network: its input, preprocessing, outputs and calibration, for use without this package.

    contract(bundle, shape, files)      # contract.json

With another preprocessing, another order of labels or without its calibration a network gives numbers that look right
and are wrong; so the contract holds all three, in words and in numbers.
"""

from collections.abc import Mapping
from typing import Any

import torch

from cxr_monai.bundle.bundle_folder import Bundle, head_of, read_json
from cxr_monai.bundle.calibrated import calibration_item
from cxr_monai.gate.storage import has_gate
from cxr_monai.networks.heads import SoftmaxHead
from cxr_monai.transforms.normalisation import Normalisation, normalise

_FORMAT = 2
INPUT, OUTPUT = "image", "log_odds"
BARE = "outputs"
"""Name of the outputs of a file without the head."""

NO_GATE = (
    "An export holds the network alone and no gate: it answers about every picture. Whether a film is one for this "
    "network (a lateral, a child's, turned, inverted, no radiograph) is for whoever runs it to find out; the bundle's "
    "own gate does so in 'cxr-monai predict'."
)
"""What an export says of the gate."""

_STEPS = {
    "LoadRadiographd": "One grey picture in [0, 1], bright = dense. PNG and JPEG: stored value / 255, at 16 bits / "
    "65535. DICOM: modality transform, then VOI LUT or window (without one the full range of Bits Stored), then "
    "inverted where MONOCHROME1. Rows are rows of the picture.",
    "ResizeShortestd": "Resampled without aliasing so that the shorter side has {shorter} pixels, the aspect ratio "
    "kept: means of whole blocks of pixels, then a triangle filter.",
    "QuantiseRadiographd": "Rounded to 256 grey levels, 65,536 where the file has more than 8 bits a pixel; still in "
    "[0, 1].",
    "CenterSpatialCropd": "The middle {size} x {size} pixels.",
    "NormaliseRadiographd": "Each channel is the grey value times scale plus shift, see 'normalisation'.",
}
_METHODS = {
    "temperature": "p becomes sigmoid(logit(p) / temperature)",
    "platt": "p becomes sigmoid(slope * logit(p) + intercept)",
    "isotonic": "p becomes the linear interpolation of y over x at p",
    "none": "p stays",
}


def gives(bundle: Bundle, head_included: bool) -> dict[str, Any]:
    """Describe the outputs of one exported file: logits in either case, of the labels or before the head.

    Args:
        bundle: that was exported.
        head_included: True if the file gives the labels' log-odds; False if it gives the network's outputs, from which
            the head computes them.
    """
    head = head_of(bundle.parser())
    return {
        "outputs": OUTPUT if head_included else BARE,
        "kind": "logits",
        "head": head.name,
        "head_included": head_included,
        "labels": list(bundle.labels),
        "never_more_probable_than": dict(head.within),
        "probabilities": "sigmoid(output) of each label's own output" if head_included else head.probabilities,
        "calibrated": False,
    }


def contract(bundle: Bundle, shape: tuple[int, ...], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the contract of an exported network.

    Args:
        bundle: that was exported.
        shape: of one image, ``[C, S, S]``.
        files: description of each exported file by its name, with the entry ``gives`` of :func:`gives`.

    Returns:
        plain JSON: input, preprocessing step by step, output, labels in their order, calibration with its formulas,
        and that there is no gate.
    """
    head = head_of(bundle.parser())
    return {
        "_desc_": "What the exported network takes and gives. Research and education; not a medical device.",
        "format": _FORMAT,
        "bundle": {
            "digest": bundle.digest,
            "name": bundle.metadata.get("name"),
            "version": bundle.metadata.get("version"),
        },
        "files": dict(files),
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": ["batch", *shape],
            "value_range": bundle.metadata["network_data_format"]["inputs"]["image"]["value_range"],
        },
        "preprocessing": _preprocessing(bundle),
        "normalisation": _normalisation(bundle, shape[0]),
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", len(bundle.labels)],
            "labels": list(bundle.labels),
            "label_scheme": bundle.scheme.to_json(),
            "means": "log-odds of each label; sigmoid of them is its probability before calibration. A file whose "
            "'gives' says head_included has them as its outputs; of another file the head makes them, see its "
            "'probabilities'.",
            "probabilities_add_up_to_1": isinstance(head, SoftmaxHead),
            "never_more_probable_than": dict(head.within),
        },
        "calibration": _calibration(bundle),
        "gate": {"included": False, "bundle_has_one": has_gate(bundle.root), "means": NO_GATE},
    }


def _preprocessing(bundle: Bundle) -> list[dict[str, Any]]:
    steps = bundle.parser().get_parsed_content("preprocessing").transforms
    described = []
    for step in steps:
        name = type(step).__name__
        description = _STEPS.get(name, "See configs/inference.json of the bundle.")
        described.append(
            {"step": name, "does": description.format(shorter=getattr(step, "size", ""), size=bundle.image_size)}
        )
    return described


def _normalisation(bundle: Bundle, channels: int) -> dict[str, Any]:
    """Return scale and shift of each channel, computed from the transform's values for 0 and 1."""
    name = str(read_json(bundle.root / "configs" / "inference.json").get("normalisation", Normalisation.ZERO_ONE))
    ends = [normalise(torch.full((1, 1, 1), end), name, channels).flatten() for end in (0.0, 1.0)]
    return {"name": name, "scale": (ends[1] - ends[0]).tolist(), "shift": ends[0].tolist()}


def _calibration(bundle: Bundle) -> dict[str, Any] | None:
    content = read_json(bundle.calibration) if bundle.calibration.is_file() else _carried_calibration(bundle)
    if content is None:
        return None
    rows: Mapping[str, Any] = content["findings"]
    used = {step["method"] for row in rows.values() for step in row["calibration"]}
    return {
        "how": "Steps of a label apply to its probability one after the other; none leaves it. Thresholds of operating "
        "points are of calibrated probabilities.",
        "methods": {name: text for name, text in _METHODS.items() if name in used},
        "labels": {
            name: {"steps": row["calibration"], "operating_points": row["operating_points"]}
            for name, row in rows.items()
        },
        "at_most": content.get("within", {}),
        "fitted_on": content["fitted_on"],
    }


def _carried_calibration(bundle: Bundle) -> dict[str, Any] | None:
    """Return the calibration in a bundle's configuration, in the form of ``calibration.json``; None if it has none."""
    values = calibration_item(bundle.root).get("values")
    if values is None:
        return None
    rows = {name: {"calibration": steps, "operating_points": {}} for name, steps in values["findings"].items()}
    return {"findings": rows, "within": values.get("within", {}), "fitted_on": {}}
