"""Bundles of every head, what is exported of them, how it is run, and films."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from monai.bundle import ConfigParser
from monai.data import load_net_with_metadata
from onnxruntime import InferenceSession
from PIL import Image
from scipy.special import expit

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.inference.model import Model
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from tests.sharing.archives import METRICS
from tests.support.tiny_bundles import HEADED, tiny_bundle

CASES = (*HEADED, "ensemble")
NEAR = 1e-4
"""The most that a probability of an exported thing may differ from ``predict --raw``."""


@dataclass(frozen=True)
class Exported:
    """One bundle of hospital A, and what hospital B exports of it once it is installed there.

    Attributes:
        bundle: the bundle, as A has it.
        files: ``model.ts``, ``model.onnx`` and ``contract.json``.
        zoo: the bundle in the zoo's layout, its weights where the zoo's runner would put them.
        raw: what A has by ``predict --raw`` in float32 of `films`, by label.
    """

    bundle: Path
    files: Path
    zoo: Path
    raw: Mapping[str, np.ndarray]


def make_films(folder: Path) -> list[Path]:
    """Write three grey 8-bit PNG files: one as the network takes it, one wide, one tall."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)
    paths = []
    for number, (height, width) in enumerate(((37, 37), (40, 75), (90, 50))):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), dtype=float)
        noisy = np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255)
        paths.append(folder / f"film{number}.png")
        Image.fromarray(noisy.astype(np.uint8)).save(paths[-1])
    return paths


def headed_bundle(case: str, folder: Path) -> Path:
    """Write a bundle of one head, or an ensemble of two with the softmax head; they compute in float32."""
    if case == "ensemble":
        members = [tiny_bundle(folder / str(seed), seed, amp=False, **HEADED["softmax"]) for seed in (0, 1)]
        return ensemble_bundle(members, folder / "bundle").root
    return tiny_bundle(folder / "bundle", 3, amp=False, **HEADED[case])


def probabilities(bundle: Path, films: list[Path], raw: bool = True) -> dict[str, np.ndarray]:
    """Return what ``predict`` gives in float32, by label."""
    table = Model.open(bundle, device="cpu", amp=False, raw=raw).predict(films, num_workers=0).table
    return {str(label): table[label].to_numpy(float) for label in table.columns[1:]}


def exchanged(bundle: Path, home: Path) -> Path:
    """Pack, sign, trust and install a bundle; return the installed one."""
    (bundle / "metrics.json").write_text(json.dumps(METRICS))
    archive = pack_bundle(bundle, home / "share", name="cxr-a", version="1.0.0").path
    make_key("hospital-a", home / "keys")
    sign_archive(archive, home / "keys" / "hospital-a.pem")
    trust_key(home / "keys" / "hospital-a.pub", "hospital-a", home / "trusted")
    return install_bundle(archive, trusted=home / "trusted", store=home / "store").root


def opened(file: Path) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the network of a TorchScript file, its metadata, configuration and contract."""
    network, metadata, extra = load_net_with_metadata(str(file), more_extra_files=("inference.json", "contract.json"))
    return network, metadata, json.loads(extra["inference.json"]), json.loads(extra["contract.json"])


def through(config: Any, network: Any, films: list[Path], **settings: Any) -> dict[str, np.ndarray]:
    """Run films through a configuration's preprocessing, inferer and postprocessing, as MONAI's clients do."""
    parser = ConfigParser(config)
    parser.update({"device": "$torch.device('cpu')", "amp": False, **settings})
    preprocessing, inferer, after = (
        parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "postprocessing")
    )
    rows = []
    for film in films:
        image = preprocessing({"image": str(film)})["image"]
        with torch.no_grad():
            rows.append(after({"pred": inferer(inputs=image[None], network=network)[0]})["pred"].numpy())
    return dict(zip(parser.get_parsed_content("findings"), np.stack(rows).T, strict=True))


def through_onnx(file: Path, bundle: Path, films: list[Path]) -> dict[str, np.ndarray]:
    """Run films through a bundle's preprocessing and an ONNX file, by the labels that stand in it."""
    preprocessing = Bundle.open(bundle).parser().get_parsed_content("preprocessing")
    images = np.stack([preprocessing({"image": film})["image"] for film in films])
    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"image": images})
    said = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
    return dict(zip(json.loads(said["labels"]), expit(values).T, strict=True))


def assert_near(given: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> None:
    assert list(given) == list(right)
    for label, values in right.items():
        assert np.allclose(given[label], values, rtol=0, atol=NEAR), label
