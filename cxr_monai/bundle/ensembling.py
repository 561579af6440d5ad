"""Several trained bundles as one: a bundle whose network is the mean of theirs.

    ensemble_bundle(["a/bundle", "b/bundle"], "OUT/bundle")

Everything that works on a bundle works on it; it is not trained, so it has no ``train.json``. It comes without a
calibration: those of its members are not its own, and where they had any, its predictions say that it lacks one. Nor
has it a gate, which knows a network's own features: ``cxr-monai gate fit`` fits one.
"""

import json
import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from cxr_monai.bundle.bundle_folder import CONFIGS, Bundle, write_json
from cxr_monai.bundle.calibrated import carries, carry_calibration
from cxr_monai.bundle.carried_gate import carry_gate
from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.intended_films import INTENDED_FILMS, IntendedFilms
from cxr_monai.bundle.origin import of_members
from cxr_monai.bundle.trained import save_weights
from cxr_monai.bundle.writing import CONFIGURATION, check_new_bundle, new_bundle
from cxr_monai.durable import write_durably
from cxr_monai.errors import BundleError, Code
from cxr_monai.networks.ensemble import ensemble_definition, joined_states
from cxr_monai.networks.weight_loading import load_state_dict, load_weights
from cxr_monai.plurals import counted
from cxr_monai.strict_json import parse_strictly

_README = """
## An ensemble

The network of this bundle is the mean of {count} that were trained apart (`cxr_monai.components.Ensemble`; their
weights are `members.0. ...` in `models/model.pt`). Their outputs are averaged: log-odds, or what goes into the head. It
costs {count} times as much to predict. `configs/metadata.json` has the digests of the bundles that it was made of. It
is evaluated, run and explained like any other. It is not trained and has no `train.json`: train its members.
"""


def ensemble_bundle(bundles: Sequence[str | Path], out: str | Path, replace: bool = False) -> Bundle:
    """Make a bundle of several, whole or not at all.

    Args:
        bundles: trained, of one meaning (labels, image size, normalisation, network, preprocessing).
        out: the new bundle's folder.
        replace: what is there goes; else it must not exist.

    Returns:
        the bundle; its metadata tells the members' digests (``ensemble``).

    Raises:
        BundleError: ``bundle-disagrees`` if they do not mean the same, naming both sides; ``bundle-invalid`` for fewer
            than two.
        UsageError: ``output-exists``.
        WeightsError: a bundle has no weights, or those of another network.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    opened = [Bundle.open(bundle) for bundle in bundles]
    if len(opened) < 2:
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"an ensemble of {counted(len(opened), 'bundle')}: it takes two.",
            fix="Name at least two.",
        )
    check_new_bundle(out, [bundle.root for bundle in opened], replace)
    first = opened[0]
    for other in opened[1:]:
        _check_same(first, other)
    with new_bundle(out, first.root, replace, CONFIGURATION) as folder:
        _write(opened, folder)
        bundle = Bundle.open(folder)
        load_weights(bundle.parser().get_parsed_content("network_def"), bundle.weights)
    return Bundle.open(out)


def members_of(bundle: str | Path) -> list[str]:
    """Return the digests of the bundles that an ensemble was made of; none for another bundle or none at all."""
    try:
        metadata = parse_strictly((Path(bundle) / "configs" / "metadata.json").read_bytes())
        return [str(member["bundle"]) for member in metadata["ensemble"]["members"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_same(first: Bundle, other: Bundle) -> None:
    expected, settings = (_inference(bundle) for bundle in (first, other))
    for key in (*MEANING, "preprocessing"):
        if not same(expected.get(key), settings.get(key)):
            raise BundleError(
                Code.BUNDLE_DISAGREES,
                f"{key} is {settings.get(key)!r}, but {expected.get(key)!r} in {first.root}: "
                "their mean would mean nothing.",
                fix="Average networks that were trained with the same settings; seeds and patients may differ.",
                where=other.root,
            )


def _inference(bundle: Bundle) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle.root / "configs" / "inference.json").read_text(encoding="utf-8"))
    return content


def _write(opened: Sequence[Bundle], folder: Path) -> None:
    first, count = opened[0], len(opened)
    network_def = ensemble_definition(count, _inference(first)["network_def"])
    settings = set(_inference(first))
    for path in sorted((folder / "configs").glob("*.json")):
        # references to the network's settings lead one level deeper
        text = re.sub(r"@network_def(#|::)", r"@network_def\1network\1", path.read_text(encoding="utf-8"))
        config = json.loads(text)
        if path.name == "train.json" or (
            path.name not in (*CONFIGS, "metadata.json") and not _overlays(config, settings)
        ):
            path.unlink()
        elif path.name == "metadata.json":
            write_json(path, _metadata(config, opened))
        else:
            write_json(path, config | ({"network_def": network_def} if "network_def" in config else {}))
    lost = "it is the mean of networks that were calibrated one by one; 'cxr-monai calibrate' fits one for the mean"
    carry_calibration(folder, None, lost if any(carries(bundle.root) for bundle in opened) else None)
    carry_gate(folder, None, "those of its members know other networks")
    readme = folder / "docs" / "README.md"
    if readme.is_file():
        write_durably(readme, (readme.read_text(encoding="utf-8") + _README.format(count=count)).encode())
    save_weights(folder / "models" / "model.pt", joined_states([load_state_dict(bundle.weights) for bundle in opened]))


def _overlays(config: dict[str, Any], settings: set[str]) -> bool:
    """Return whether an overlay changes nothing but what inference has: one of a training is of no use here."""
    return all(re.split("#|::", key)[0] in settings for key in config)


def _metadata(metadata: dict[str, Any], opened: Sequence[Bundle]) -> dict[str, Any]:
    count = len(opened)
    return (
        metadata
        | of_members([bundle.metadata for bundle in opened])
        | _intended_films(opened)
        | {
            "name": f"{metadata.get('name', 'network')}, mean of {counted(count, 'network')}",
            "description": f"{metadata.get('description', '')} The mean of the outputs "
            f"of {counted(count, 'network')}.".strip(),
            "ensemble": {
                "mean_of": "outputs",
                "members": [
                    {"bundle": bundle.digest, "name": str(bundle.metadata.get("name", ""))} for bundle in opened
                ],
            },
        }
    )


def _intended_films(opened: Sequence[Bundle]) -> dict[str, Any]:
    """Return the entry of the films that all members are meant for; empty where none of them says."""
    stated = [bundle.intended_films for bundle in opened]
    if not any(stated):
        return {}
    every = [intended or IntendedFilms() for intended in stated]
    return {INTENDED_FILMS: reduce(IntendedFilms.common_with, every).to_json()}
