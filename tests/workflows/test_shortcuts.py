"""Shortcuts: a network that reads a planted marker is flagged, one that reads the lungs is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import Compose
from torch import nn

from cxr_monai.data.film_changes import CHANGES
from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.data.phantom import Hospital, make_phantoms
from cxr_monai.data.sources import load
from cxr_monai.errors import Code, CxrError
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.workflows.shortcuts import beside, judge_shortcuts, lesion_baseline, shortcut_table

SIZE = 64
QUICK = Intervals(replicates=200)


class CornerNetwork(nn.Module):
    """The contrast within the lower left corner: whether there is a letter."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        corner = images[:, 0, int(0.88 * SIZE) :, : int(0.12 * SIZE)].flatten(1)
        return ((corner.std(dim=1) - 0.2) * 20)[:, None]


class LungNetwork(nn.Module):
    """How bright both lungs' middles are, against the film: an edema makes them bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        film = images[:, 0]
        lungs = torch.cat([film[:, 18:42, 12:25], film[:, 18:42, 41:54]], dim=2)
        return ((lungs.mean((1, 2)) - film.mean((1, 2))) * 10)[:, None]


def model_of(network: nn.Module, labels: tuple[str, ...] = ("Edema",)) -> Model:
    settings = ModelSettings(device="cpu", amp=False, num_workers=0)
    return Model(network, Compose([LoadRadiographd(keys="image")]), labels, (1, SIZE, SIZE), settings=settings)


def hospital_manifest(root: Path, marker: tuple[str, float] | None) -> Manifest:
    shares = dict.fromkeys(("Infiltration", "Effusion", "Pneumonia", "Consolidation"), 0.0)
    hospital = Hospital({**shares, "Edema": 0.4}, marker=marker)
    make_phantoms(root, 90, SIZE, seed=4, workers=1, masks=False, lungs=True, hospital=hospital, progress=False)
    source = load("nih").read(root)
    return build_manifest(source.table, source.root, source.label_version)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return hospital_manifest(tmp_path_factory.mktemp("plain") / "out", None)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return hospital_manifest(tmp_path_factory.mktemp("marked") / "out", ("Edema", 0.95))


def verdict(network: nn.Module, manifest: Manifest) -> tuple[pd.DataFrame, bool, str]:
    result = shortcut_table(model_of(network), manifest, manifest.root / "masks" / "lungs", intervals=QUICK)
    (row,) = result.verdicts.to_dict("records")
    assert row["finding"] == "Edema"
    assert result.masks == {"mask files": len(manifest)}
    return result.effects[result.effects["finding"] == "Edema"].set_index("change"), row["flagged"], row["sentence"]


def test_a_network_that_reads_a_planted_marker_is_flagged(marked: Manifest) -> None:
    effects, flagged, sentence = verdict(CornerNetwork(), marked)
    assert list(effects.index) == list(CHANGES)
    assert flagged
    assert "told without the lungs" in sentence
    assert "told from the border alone" in sentence
    assert "Without the corners it loses 0.3" in sentence
    assert effects.loc["without the lungs", "auroc_changed_low"] > 0.6
    # of a blanked corner nothing is left: every film gets the same answer
    assert effects.loc["without the corners", "auroc_changed"] == 0.5
    assert effects.loc["without the corners", "difference_high"] < -0.2


@pytest.mark.parametrize("network", [CornerNetwork(), LungNetwork()])
def test_without_a_marker_nothing_is_flagged(network: nn.Module, plain: Manifest) -> None:
    _, flagged, sentence = verdict(network, plain)
    assert not flagged
    assert sentence.endswith("No shortcut is seen.")


def test_a_network_that_does_not_read_the_marker_is_not_flagged(marked: Manifest, plain: Manifest) -> None:
    effects, flagged, _ = verdict(LungNetwork(), marked)
    assert not flagged
    assert abs(effects.loc["without the corners", "difference"]) < 0.05
    assert effects.loc["only the lungs", "auroc_changed"] > 0.65


def test_the_films_as_they_are_have_the_model_s_own_probabilities(plain: Manifest) -> None:
    model = model_of(LungNetwork())
    predicted = model.predict(plain.paths(), list(plain.table["image"])).table["Edema"].to_numpy()
    effects = shortcut_table(model, plain, intervals=QUICK, batch_size=7).effects
    expected = auroc(predicted, plain.labels(["Edema"])[:, 0])
    assert effects["auroc"].to_numpy() == pytest.approx(expected, abs=1e-12)


def test_each_film_is_read_once_and_bad_files_are_left_out(
    plain: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = LoadRadiographd.__call__

    def counting(step: LoadRadiographd, data: dict) -> dict:
        reads.append(data["image"])
        return read(step, data)

    monkeypatch.setattr(LoadRadiographd, "__call__", counting)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    table = plain.table.head(12).copy()
    table["image"] = [str(plain.root / image) for image in table["image"]]
    table.loc[3, "image"] = str(tmp_path / "bad.png")
    result = shortcut_table(model_of(LungNetwork()), replace(plain, table=table), intervals=QUICK)
    assert sorted(reads) == sorted(table["image"])
    assert [(name, code) for name, code, _ in result.errors] == [(table["image"][3], "radiograph-not-an-image")]
    assert result.settings["images"] == 11
    assert sum(result.masks.values()) == 11
    assert set(result.masks) <= {"segmentation", "ellipse"}


def test_nothing_in_common_and_nothing_readable(plain: Manifest, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="Scoliosis") as caught:
        shortcut_table(model_of(LungNetwork(), ("Scoliosis",)), plain)
    assert caught.value.code == Code.EVALUATION_INVALID
    with pytest.raises(CxrError, match="no film could be read") as caught:
        shortcut_table(model_of(LungNetwork()), replace(plain, root=tmp_path))
    assert caught.value.code == Code.EVALUATION_INVALID
    with pytest.raises(CxrError, match="none of them is drawn") as caught:
        lesion_baseline(model_of(LungNetwork(), ("Scoliosis",)))
    assert caught.value.code == Code.EVALUATION_INVALID


def test_on_phantoms_whose_only_cue_is_the_lesion_the_lungs_are_all() -> None:
    baseline = lesion_baseline(model_of(LungNetwork()), 30, SIZE, intervals=QUICK)
    effects = baseline.effects[baseline.effects["finding"] == "Edema"].set_index("change")
    assert list(effects["images"].unique()) == [60]
    assert effects.loc["without the lungs", "auroc"] > 0.6
    assert effects.loc["without the lungs", "difference_high"] < -0.03
    assert abs(effects.loc["without the corners", "difference"]) < 0.05
    assert baseline.masks == {"truth": 60}
    corner = lesion_baseline(model_of(CornerNetwork()), 5, SIZE, intervals=QUICK)
    assert corner.effects["auroc"].tolist() == [0.5] * len(corner.effects)  # a patient's two films are alike there
    table = beside(corner, baseline)
    assert table["baseline_auroc"].tolist() == baseline.effects["auroc"].tolist()


def effects_of(finding: str, lungs: float, border: float) -> pd.DataFrame:
    """Effects with an interval of 0.05 to either side."""
    after = {"without the lungs": lungs, "only the border": border, "without the corners": 0.8}
    return pd.DataFrame(
        [
            {
                "change": change, "finding": name, "auroc": 0.8, "auroc_changed": value,
                "auroc_changed_low": value - 0.05, "auroc_changed_high": value + 0.05,
                "difference": value - 0.8, "difference_high": value - 0.75,
            }
            for change, value in after.items() for name in (finding, MEAN)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "lungs", "border", "flagged", "words"),
    [
        ("Mass", 0.66, 0.5, True, "told without the lungs in which it lies"),
        ("Mass", 0.64, 0.5, False, "No shortcut is seen"),
        ("Mass", 0.5, 0.66, True, "from the border alone, where nobody reads it"),
        ("Lung Opacity", 0.7, 0.5, True, "told without the lungs in which it lies"),
        ("Cardiomegaly", 0.78, 0.5, False, "does not lie in the lungs"),
        ("Hernia", 0.78, 0.7, True, "from the border alone"),
        ("Scoliosis", 0.78, 0.5, False, "Where it lies is not known here"),
    ],
)
def test_rules_follow_the_anatomy(finding: str, lungs: float, border: float, flagged: bool, words: str) -> None:
    (row,) = judge_shortcuts(effects_of(finding, lungs, border)).to_dict("records")
    assert (row["finding"], row["flagged"]) == (finding, flagged)
    assert words in row["sentence"]


def test_too_few_films_are_no_verdict() -> None:
    (row,) = judge_shortcuts(effects_of("Mass", np.nan, 0.5)).to_dict("records")
    assert pd.isna(row["flagged"])
    assert "too few" in row["sentence"]
