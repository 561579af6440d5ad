"""Maps behind a gate: refused films get none, the evidence of all stands beside, an interruption loses none of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet
from monai.transforms import CenterSpatialCropd, Compose
from PIL import Image

from cxr_monai.attribution import map_store as stores
from cxr_monai.attribution.explainer import Explainer
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.errors import CxrError
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.answer import GateMode
from cxr_monai.gate.bundle_gate import GATE_COLUMNS, Gate
from cxr_monai.gate.distance import Distance
from cxr_monai.gate.fitted_gate import (
    ALTERATION,
    INTACT,
    STATISTICS_DISTANCE,
    THUMBNAIL_DISTANCE,
    FittedGate,
    Scale,
    head_inputs,
)
from cxr_monai.gate.linear_head import LinearHead
from cxr_monai.gate.observation import OBSERVED, parts_of
from cxr_monai.gate.picture_statistics import STATISTICS
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.normalisation import NormaliseRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd

SIZE = 64
BRIGHT = 0.7


def gate_of_bright_films(layers: tuple[str, ...] = ()) -> FittedGate:
    """A gate that refuses films whose mean grey is over 0.7, and nothing else."""

    def along(size: int, position: int | None) -> Distance:
        zeros, component = np.zeros(size, np.float32), np.zeros((size, 1), np.float32)
        if position is not None:
            component[position] = 1
        return Distance(zeros, zeros + 1, component, np.zeros(1, np.float32), np.eye(1, dtype=np.float32))

    names = (INTACT, *(alteration.name for alteration in ALTERATIONS))
    inputs = head_inputs(parts_of(np.zeros((1, OBSERVED), np.float32))).shape[1]
    head = LinearHead(names, np.zeros((len(names), inputs), np.float32), np.full(len(names), -9, np.float32))
    head.intercepts[0] = 0
    return FittedGate(
        {THUMBNAIL_DISTANCE: along(256, None), STATISTICS_DISTANCE: along(len(STATISTICS), STATISTICS.index("mean"))},
        {ALTERATION: head},
        dict.fromkeys((THUMBNAIL_DISTANCE, STATISTICS_DISTANCE, ALTERATION), Scale(0.0, 1.0)),
        {"refuse": BRIGHT, "review": BRIGHT, "far": 9.0},
        0.01,
        layers,
        np.zeros((len(STATISTICS), 2), np.float32),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight films: the second and fifth are too bright, the fourth cannot be read, the last is a copy of the first."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(7):
        low, high = (190, 256) if number in (1, 4) else (0, 256)
        Image.fromarray(random.integers(low, high, (73, 73), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "7.png").write_bytes((folder / "0.png").read_bytes())
    return sorted(folder.iterdir())


def explainer_of(mode: str = "refuse", method: str = "cam", kind: type[Explainer] = Explainer) -> Explainer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DenseNet(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)).eval()
    preprocessing = Compose([
        LoadRadiographd("image"), ResizeShortestd("image", SIZE, 8 / 7), QuantiseRadiographd("image"),
        CenterSpatialCropd("image", (SIZE, SIZE)), NormaliseRadiographd("image", "imagenet"),
    ])  # fmt: skip
    fitted = None if mode == "off" else gate_of_bright_films()
    model = Model(
        network, preprocessing, ("Mass", "Effusion"), (1, SIZE, SIZE),
        settings=ModelSettings(device="cpu", amp=False, batch_size=3, num_workers=0),
        gate=Gate(fitted, mode=GateMode(mode), digest="" if mode == "off" else "a" * 64),
    )  # fmt: skip
    return kind(model, method)


def write(explainer: Explainer, files: list[Path], out: Path) -> MapStore:
    return explainer.write_maps(files, [file.name for file in files], out)


def evidence_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(f"{out}.gate.csv", keep_default_na=False)


@pytest.mark.parametrize("method", ["cam", "gradcam"])
def test_refused_films_get_no_map_and_stand_among_the_errors(files: list[Path], tmp_path: Path, method: str) -> None:
    explainer, out = explainer_of(method=method), tmp_path / "maps"
    store = write(explainer, files, out)
    assert store.images == ["0.png", "2.png", "5.png", "6.png", "7.png"]
    errors = pd.read_csv(f"{out}.errors.csv")
    assert list(errors["image"]) == ["1.png", "3.png", "4.png"]
    assert list(errors["code"]) == ["gate-unlike-training", "radiograph-not-an-image", "gate-unlike-training"]
    assert "statistics_distance" in errors["reason"][0]
    evidence = evidence_of(out)
    assert list(evidence) == list(GATE_COLUMNS)
    assert list(evidence["image"]) == [f"{number}.png" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert list(evidence["gate"]) == ["accept", "refuse", "accept", "refuse", "accept", "accept", "review"]
    assert list(evidence["duplicate_of"]) == [""] * 6 + ["0.png"]
    np.testing.assert_allclose(evidence["score"], evidence["mean"] / BRIGHT, rtol=1e-5)
    assert explainer.left_out == 3
    # and the maps are those without a gate
    plain = write(explainer_of("off", method), files, tmp_path / "plain")
    for name in store.images:
        np.testing.assert_allclose(store.grid(name), plain.grid(name), rtol=1e-3, atol=1e-6)


def test_review_maps_all_and_off_judges_none(files: list[Path], tmp_path: Path) -> None:
    readable = [f"{number}.png" for number in (0, 1, 2, 4, 5, 6, 7)]
    assert write(explainer_of("review"), files, tmp_path / "reviewed").images == readable
    verdicts = evidence_of(tmp_path / "reviewed").set_index("image")["gate"]
    assert list(verdicts[verdicts == "refuse"].index) == ["1.png", "4.png"]  # its own verdict, though they have maps
    (tmp_path / "off.gate.csv").write_text("of an earlier run")
    assert write(explainer_of("off"), files, tmp_path / "off").images == readable
    assert not (tmp_path / "off.gate.csv").exists()


def test_the_store_says_mode_and_digest_and_is_not_continued_in_another_mode(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "maps"
    write(explainer_of(), files, out)
    about = json.loads((out / "maps.json").read_text())["gate"]
    assert about == {"mode": "refuse", "digest": "a" * 64, "promise": 0.01}
    with pytest.raises(CxrError, match="their gate is") as refused:
        write(explainer_of("off"), files, out)
    assert refused.value.code == "output-exists"


def test_interrupted_it_loses_no_evidence(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_IMAGES_PER_FILE", 2)
    write(explainer_of(), files, tmp_path / "whole")
    calls = 0

    class Killed(Explainer):
        def __call__(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            return super().__call__(*arguments)

    with pytest.raises(KeyboardInterrupt):
        write(explainer_of(kind=Killed), files, tmp_path / "part")
    assert MapStore.open(tmp_path / "part", unfinished=True).images == ["0.png", "2.png"]
    store = write(explainer_of(), files, tmp_path / "part")
    for kind in ("gate", "errors"):
        assert (tmp_path / f"part.{kind}.csv").read_bytes() == (tmp_path / f"whole.{kind}.csv").read_bytes()
    # given once more it has nothing to do, and the evidence stays
    write(explainer_of(), files, tmp_path / "part")
    assert (tmp_path / "part.gate.csv").read_bytes() == (tmp_path / "whole.gate.csv").read_bytes()
    assert set(store.evidence) == set(store.images)


def test_two_methods_judge_alike(files: list[Path], tmp_path: Path) -> None:
    # one model, whose gate remembers films: the second method must not take them for copies
    first = explainer_of()
    write(first, files, tmp_path / "one")
    write(Explainer(first.model, "gradcam"), files, tmp_path / "two")
    assert (tmp_path / "one.gate.csv").read_bytes() == (tmp_path / "two.gate.csv").read_bytes()


def test_all_refused_is_the_first_films_error_and_the_evidence_is_there(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CxrError) as refused:
        write(explainer_of(), [files[1]], tmp_path / "maps")
    assert refused.value.code == "gate-unlike-training"
    assert list(evidence_of(tmp_path / "maps")["gate"]) == ["refuse"]


def test_maps_of_before_there_was_a_gate_are_continued_without_one(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "maps"
    write(explainer_of("off"), files, out)
    about = json.loads((out / "maps.json").read_text())
    (out / "maps.json").write_text(json.dumps({key: about[key] for key in about if key not in ("gate", "complete")}))
    assert write(explainer_of("off"), files, out).images[0] == "0.png"
    (out / "maps.json").write_text(json.dumps({key: about[key] for key in about if key not in ("gate", "complete")}))
    with pytest.raises(CxrError, match="their gate is None"):
        write(explainer_of("refuse"), files, out)
