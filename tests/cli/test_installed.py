"""Every command that takes a bundle takes an installed one's name, with every option that reads from the bundle."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.cli import main
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from tests.sharing.archives import METRICS
from tests.support.bundle_runs import Phantoms
from tests.support.tiny_bundles import LABELS, tiny_bundle

NAME = "cxr-tiny"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a tiny bundle."""
    home = tmp_path_factory.mktemp("store")
    bundle = tiny_bundle(home / "bundle", seed=1)
    points = {label: {"youden": 0.5} for label in LABELS}
    Fitted(dict.fromkeys(LABELS, ()), points, {}, {}).write(bundle / "models" / "calibration.json")
    (bundle / "metrics.json").write_text(json.dumps(METRICS))
    archive = pack_bundle(bundle, home / "share", name=NAME, version="1.0.0").path
    make_key("hospital-a", home / "keys")
    trust_key(home / "keys" / "hospital-a.pub", "hospital-a", home / "trusted")
    sign_archive(archive, home / "keys" / "hospital-a.pem")
    install_bundle(archive, trusted=home / "trusted", store=home / "bundles")
    return home


@pytest.fixture(scope="module")
def predictions(store: Path, phantoms: Phantoms) -> Path:
    out = store / "p.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_MONAI_BUNDLES", str(store / "bundles"))
        assert main(["predict", NAME, str(phantoms.manifest), "--raw", "--out", str(out)]) == 0
    return out


@pytest.fixture
def words(
    store: Path, phantoms: Phantoms, predictions: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What commands are given: the store is where they look; a box is on every image of the test part."""
    monkeypatch.setenv("CXR_MONAI_BUNDLES", str(store / "bundles"))
    monkeypatch.setenv("CXR_MONAI_TRUSTED", str(store / "trusted"))
    test = phantoms.table.query("split == 'test'")["image"]
    boxes = pd.DataFrame({"image": test, "finding": "Mass", "x": 8, "y": 8, "width": 20, "height": 16})
    boxes = boxes.assign(image_width=64, image_height=64)
    boxes.to_csv("boxes.csv", index=False)
    return {"M": str(phantoms.manifest), "P": str(predictions), "T": str(store / "trusted")}


COMMANDS = {
    "explain": "explain {B} {M} --split test --boxes boxes.csv --out maps",
    "faithful": "maps faithful {B} {M} --split test --count 8 --stages 0 --samples 0 --out faithful",
    "calibrate": "calibrate {B} --predictions {P} --manifest {M} --split val --out calibrated",
    "evaluate": "evaluate --predictions {P} --manifest {M} --split test --bundle {B} --replicates 50 --out evaluation",
    "inspect": "bundle inspect {B}",
    "verify": "bundle verify {B}",
    "lineage": "bundle lineage {B}",
    "pack": "bundle pack {B} --name another --version 2.0.0 --out share",
    "study": "study learning_rate.json --bundle {B} --manifest {M} --set image_size=32 --out study --dry-run",
}


@pytest.mark.parametrize(
    ("command", "bundle"), [*((command, NAME) for command in COMMANDS), ("explain", f"{NAME}@1.0.0")]
)
def test_an_installed_bundle_is_meant_by_its_name(words: dict[str, str], command: str, bundle: str) -> None:
    study = {"question": "Which rate?", "baseline": "a", "variants": {"a": {}, "b": {"learning_rate": 0.001}}}
    Path("learning_rate.json").write_text(json.dumps(study))
    assert main(COMMANDS[command].format(B=bundle, **words).split()) == 0
    if command == "explain":
        made = MapStore.open("maps")
        kept = [~np.isnan(made.grid(image)).any((1, 2)) for image in made.images]
        named = [[name for name, there in zip(made.findings, row, strict=True) if there] for row in kept]
        assert named == [["Mass"]] * len(pd.read_csv("boxes.csv"))


def test_a_card_and_a_localisation_of_an_installed_bundle(words: dict[str, str]) -> None:
    commands = [
        "evaluate --predictions {P} --manifest {M} --split test --bundle {B} --replicates 50 --out evaluation",
        "bundle card {B} --evaluation evaluation --out card.md",
        "explain {B} {M} --split test --boxes boxes.csv --out maps",
        "maps localise maps --boxes boxes.csv --manifest {M} --split test --bundle {B} --out local",
    ]
    for command in commands:
        assert main(command.format(B=NAME, **words).split()) == 0, command
