"""Two sources of labels on the same images: counts by hand, rules of composites, one model by each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.errors import EvaluationError, ManifestError
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.label_agreement import (
    MEMBER,
    SAME,
    UNION,
    LabelPair,
    agreement_of_labels,
    aurocs_by_source,
    compared_findings,
    join_sources,
    label_pairs,
    union_label,
)
from cxr_monai.evaluation.predictions import predictions_of

IMAGES = [f"{number}.png" for number in range(8)]
FEW = Intervals(200)


def source(folder: str = "", **labels: list[float]) -> Manifest:
    table = pd.DataFrame({
        "image": [f"{folder}{name}" for name in IMAGES], "patient_id": [0, 0, 1, 2, 3, 4, 5, 6], **labels,
    })  # fmt: skip
    return build_manifest(table, ".", "local")


NAN = np.nan
FIRST = source(Mass=[1, 1, 0, 0, 1, 0, NAN, 0], Nodule=[0, 0, 0, 1, 0, 0, 1, NAN], Edema=[0] * 8)
SECOND = source("a/", Mass=[1, 0, 0, 1, 1, NAN, 1, 0], **{"Mass or Nodule": [1, 0, 0, 0, 1, 1, 1, 0]})


def test_counts_and_shares_by_hand() -> None:
    row = agreement_of_labels(join_sources(FIRST, SECOND), [LabelPair("Mass", ("Mass",), ("Mass",), SAME)], FEW).iloc[0]
    counts = ["images", "patients", "both", "first_only", "second_only", "neither"]
    assert row[counts].tolist() == [6, 5, 2, 1, 1, 2]  # of image 6 the first says nothing, of image 5 the second
    assert row["sensitivity"] == pytest.approx(2 / 3)
    assert row["ppv"] == pytest.approx(2 / 3)
    assert row["specificity"] == pytest.approx(2 / 3)
    assert row["kappa"] == pytest.approx((4 / 6 - 0.5) / 0.5)
    assert row["sensitivity_patient_low"] < 2 / 3 < row["sensitivity_patient_high"]


def test_the_second_is_the_reference() -> None:
    pairs = [LabelPair("Mass or Nodule", ("Mass", "Nodule"), ("Mass or Nodule",), UNION)]
    row = agreement_of_labels(join_sources(FIRST, SECOND), pairs, FEW).iloc[0]
    # the union is 1 1 0 1 1 0 1 unknown
    assert row[["both", "first_only", "second_only", "neither"]].tolist() == [3, 2, 1, 1]
    assert row["sensitivity"] == pytest.approx(3 / 4)
    assert row["ppv"] == pytest.approx(3 / 5)
    assert row["specificity"] == pytest.approx(1 / 3)
    turned = agreement_of_labels(
        join_sources(SECOND, FIRST), label_pairs(SECOND.findings, FIRST.findings, ["Mass or Nodule"]), FEW
    ).iloc[0]
    assert turned["sensitivity"] == pytest.approx(3 / 5)
    assert turned["ppv"] == pytest.approx(3 / 4)
    assert turned["kappa"] == pytest.approx(row["kappa"])


def test_which_labels_are_compared() -> None:
    pairs = label_pairs(FIRST.findings, SECOND.findings)
    union = "Mass or Nodule"
    assert pairs == [
        LabelPair("Mass", ("Mass",), ("Mass",), SAME),
        LabelPair(union, ("Mass", "Nodule"), (union,), UNION),
        LabelPair(union, ("Mass",), (union,), MEMBER),
        LabelPair(union, ("Nodule",), (union,), MEMBER),
    ]
    assert label_pairs(["Mass", union], ["Nodule", union]) == [LabelPair(union, (union,), (union,), SAME)]
    without = label_pairs(["Mass"], [union])
    assert [pair.rule for pair in without] == [MEMBER]  # no union of half of the members
    with pytest.raises(EvaluationError, match="no label Edema that can be compared; they have Mass, Mass or Nodule"):
        label_pairs(FIRST.findings, SECOND.findings, ["Edema"])
    with pytest.raises(EvaluationError, match="no label at all"):
        label_pairs(["Mass"], ["Hernia"])


def test_a_union_is_unknown_where_nothing_decides_it() -> None:
    labels = pd.DataFrame({"Mass": [1, 0, 0, NAN, NAN], "Nodule": [NAN, 0, NAN, 1, NAN]})
    assert union_label(labels, ["Mass", "Nodule"]).tolist() == pytest.approx([1, 0, NAN, 1, NAN], nan_ok=True)


def test_one_model_by_each_source_on_the_same_images() -> None:
    scores = pd.DataFrame({
        "image": IMAGES[::-1], "Mass": [0.1, 0.9, 0.2, 0.8, 0.6, 0.3, 0.4, 0.7],
        "Nodule": [0.2, 0.8, 0.3, 0.1, 0.7, 0.2, 0.1, 0.3],
    })  # fmt: skip
    sources = join_sources(FIRST, SECOND)
    table, notes = aurocs_by_source(sources, predictions_of(scores), label_pairs(FIRST.findings, SECOND.findings), FEW)
    assert table["score"].tolist() == ["Mass", "Mass or Nodule", "Mass", "Nodule"]
    mass = scores["Mass"].to_numpy()[::-1]
    known = [0, 1, 2, 3, 4, 7]
    first, second = (manifest.labels(["Mass"])[known, 0] for manifest in (FIRST, SECOND))
    row = table.iloc[0]
    assert row["images"] == 6
    assert row["first_auroc"] == pytest.approx(auroc(mass[known], first))
    assert row["second_auroc"] == pytest.approx(auroc(mass[known], second))
    assert row["difference"] == pytest.approx(row["second_auroc"] - row["first_auroc"])
    nodule = scores["Nodule"].to_numpy()[::-1]
    union = 1 - (1 - mass) * (1 - nodule)
    assert table.iloc[1]["second_auroc"] == pytest.approx(auroc(union[:7], SECOND.labels(["Mass or Nodule"])[:7, 0]))
    assert sum("ranking of films" in note for note in notes) == 1
    fewer, notes = aurocs_by_source(sources, predictions_of(scores.iloc[:5]), label_pairs(["Mass"], ["Mass"]), FEW)
    assert fewer["images"].tolist() == [3]
    assert "3 of 8 images of both sources have no prediction and are left out." in notes
    with pytest.raises(EvaluationError, match="score no label that both sources have; they have Hernia"):
        aurocs_by_source(
            sources,
            predictions_of(pd.DataFrame({"image": IMAGES, "Hernia": 0.5})),
            label_pairs(["Mass"], ["Mass"]),
            FEW,
        )


def test_labels_that_are_the_same_agree_and_rank_alike() -> None:
    images = [f"{number}.png" for number in range(40)]
    table = pd.DataFrame({"image": images, "patient_id": range(40), "Mass": [0.0, 0.0, 1.0, 0.0] * 10})
    manifest = build_manifest(table, ".", "local")
    sources, pairs = join_sources(manifest, manifest), label_pairs(["Mass"], ["Mass"])
    assert agreement_of_labels(sources, pairs, FEW)["kappa"].tolist() == [1.0]
    scores = predictions_of(pd.DataFrame({"image": images, "Mass": np.linspace(0, 1, 40)}))
    row = aurocs_by_source(sources, scores, pairs, FEW)[0].iloc[0]
    assert row[["difference", "patient_low", "patient_high", "patient_p"]].tolist() == [0, 0, 0, 1]


def test_patients_are_those_of_the_source_that_knows_them() -> None:
    nobody = replace(FIRST, table=FIRST.table.assign(patient_id=IMAGES), patients="unknown")
    assert join_sources(nobody, SECOND).patients.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert join_sources(SECOND, nobody).patients.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    guessed = replace(nobody, patients="assumed")
    assert join_sources(guessed, SECOND).patients.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]  # not the eight of the guess
    assert len(set(join_sources(nobody, guessed).patients)) == 8
    both = join_sources(nobody, replace(SECOND, patients="unknown"))
    assert any("may be too narrow" in note for note in both.notes)


def test_a_member_that_is_known_through_its_union_alone_is_not_compared() -> None:
    union = source(**{"Mass or Nodule": [1, 0, 0, 0, 1, 1, 1, 0]}, Mass=[NAN, 0, 0, 0, NAN, NAN, NAN, 0])
    assert compared_findings(union) == ["Mass or Nodule"]
    assert compared_findings(SECOND) == ["Mass", "Mass or Nodule"]


def test_images_of_which_one_source_says_nothing_are_no_part() -> None:
    silent = SECOND.table.assign(**dict.fromkeys(SECOND.findings, np.nan))
    part = pd.concat([SECOND.table.iloc[:5], silent.iloc[5:]], ignore_index=True)
    sources = join_sources(FIRST, replace(SECOND, table=part))
    assert len(sources.table) == len(sources.first) == len(sources.patients) == 5
    assert sources.notes == ("3 images of both, on which one of them says nothing, are left out.",)


def test_images_that_have_no_label_in_both_sources_are_an_error() -> None:
    first, second = source(Mass=[1, *[NAN] * 7]), source(Mass=[NAN, 1, *[NAN] * 6])
    with pytest.raises(ManifestError, match="of the 8 images that both manifests have, none has a label in both"):
        join_sources(first, second)


def test_predictions_may_spell_a_finding_in_other_capitals_and_name_whole_paths(tmp_path: Path) -> None:
    manifest = replace(source(Fracture=[1, 0] * 4), root=tmp_path)
    scores = pd.DataFrame({"image": [str(tmp_path / name) for name in IMAGES], "fracture": np.linspace(0, 1, 8)})
    sources, pairs = join_sources(manifest, manifest), label_pairs(["Fracture"], ["Fracture"])
    assert aurocs_by_source(sources, predictions_of(scores), pairs, FEW)[0]["images"].tolist() == [8]


def test_images_of_one_source_alone_are_told() -> None:
    part = replace(SECOND, table=SECOND.table.iloc[:3])
    sources = join_sources(FIRST, part)
    assert len(sources.table) == 3
    assert sources.notes == ("5 of 8 images of the first source have no label by the second and are left out.",)
