"""``cxr-monai external``: two tiny networks at two places, and what may not be called external."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.cli.external import named_paths
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import EvaluationError, UsageError
from cxr_monai.evaluation.fitted import fit_calibration
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.evaluation.sample import Sample
from cxr_monai.workflows.evaluation_provenance import learned_warnings
from cxr_monai.workflows.external import validate_external
from cxr_monai.workflows.shortcuts import lesion_baseline
from tests.support.gates import with_gate
from tests.support.tiny_bundles import LABELS, tiny_bundle

QUICK = ("--replicates", "40", "--workers", "0")


def place(folder: Path, source: str, seed: int, **columns: object) -> Path:
    """Write 24 films of 12 patients, half of them for testing, and their manifest."""
    random, folder = np.random.default_rng(seed), folder / source
    folder.mkdir()
    table = pd.DataFrame({"image": [f"{source}{at}.png" for at in range(24)]})
    for image in table["image"]:
        Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / image)
    table = table.assign(
        patient_id=[str(seed * 100 + at // 2) for at in range(24)], source=source, view=["PA", "AP"] * 12,
        split=["train"] * 12 + ["test"] * 12, Effusion=[0.0, 1.0] * 12, Mass=([0.0] * 4 + [1.0] * 2) * 4,
    ).assign(**columns)  # fmt: skip
    write_manifest(build_manifest(table, folder, "local"), folder.with_suffix(".csv"))
    return folder.with_suffix(".csv")


def learned_from(bundle: Path, *sources: str) -> Path:
    """Write into a bundle's metadata what it learned from."""
    file = bundle / "configs" / "metadata.json"
    record = {"label_version": "local", "images": 24, "synthetic_images": 0, "sources": list(sources)}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"trained_on": record}))
    return bundle


def calibrate(bundle: Path, trained_on: list[str] | None = None) -> Path:
    """Give a bundle a calibration, and a list of patients beside it."""
    random, labels = np.random.default_rng(1), np.array([[0.0, 1.0], [1.0, 0.0]] * 40)
    patients = [f"calibrated-{at}" for at in range(80)]
    scores = np.clip(0.3 * labels + random.random(labels.shape) * 0.6, 0, 1)
    sample = Sample.of(pd.DataFrame({"image": patients, "patient_id": patients}), LABELS, scores, labels)
    fitted = fit_calibration(sample, fitted_on={"patients_digest": "of this calibration"})
    fitted.write(bundle / "models" / "calibration.json")
    if trained_on is not None:
        remember_patients(fitted, sample, bundle, trained_on)
    return bundle


@pytest.fixture
def places(elsewhere: Path) -> dict[str, Path]:
    return {source: place(elsewhere, source, seed) for seed, source in enumerate(("nih", "padchest", "rsna"), 1)}


@pytest.fixture
def bundles(elsewhere: Path) -> dict[str, Path]:
    """Network A learned from NIH and is calibrated; B learned from PadChest and is not."""
    a, b = tiny_bundle(elsewhere / "A", 1), tiny_bundle(elsewhere / "B", 2)
    return {"A": calibrate(learned_from(a, "nih"), ["100"]), "B": learned_from(b, "padchest")}


def external(*words: str | Path) -> int:
    return main(["external", *map(str, words), *QUICK])


def test_two_networks_at_two_places(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--bundles", *bundles.values(), "--manifests", places["nih"], places["padchest"], "--out", "out")
    assert external(*words) == 0
    told = capsys.readouterr()
    matrix = pd.read_csv("out/matrix.csv").set_index(["trained_on", "tested_on", "finding"])
    assert matrix["relation"].groupby(level=[0, 1]).first().to_dict() == {
        ("A", "nih"): "home", ("A", "padchest"): "external", ("B", "nih"): "external", ("B", "padchest"): "home",
    }  # fmt: skip
    assert set(matrix["images"]) == {12}  # the test part alone
    drops = pd.read_csv("out/drops.csv")
    assert drops[["trained_on", "home", "tested_on"]].drop_duplicates().to_numpy().tolist() == [
        ["A", "nih", "padchest"], ["B", "padchest", "nih"],
    ]  # fmt: skip
    points = pd.read_csv("out/operating_points.csv")
    assert set(points["trained_on"]) == {"A"}
    assert "B is not calibrated: its operating points and the shift of prevalence are skipped." in told.out
    offers = pd.read_csv("out/offers.csv").set_index(["trained_on", "offer"])
    assert offers.loc[("A", "prevalence shift"), "why"].isna().all()
    assert offers.loc[("B", "prevalence shift"), "why"].notna().all()
    content = json.loads(Path("out/external.json").read_text())
    assert {row["network"]: row["learned_from"] for row in content["networks"]} == {"A": "nih", "B": "padchest"}
    assert len(content["networks"][0]["digest"]) == 64
    assert content["sites"][0]["views"] == "PA 6, AP 6"
    assert "what is lost between home and there" in told.out


def test_a_gate_that_refuses_everything_leaves_no_film_out(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--manifests", places["nih"], places["padchest"], "--out")
    assert external("--bundles", bundles["A"], *words, "without") == 0
    with_gate(bundles["A"])
    assert external("--bundles", bundles["A"], *words, "with", "--trust-folder") == 0
    assert Path("with/matrix.csv").read_bytes() == Path("without/matrix.csv").read_bytes()
    kept = "predictions/A@nih.csv"
    assert Path("with", kept).read_bytes() == Path("without", kept).read_bytes()
    assert not Path("with", f"{kept}.errors.csv").exists()
    assert not list(Path("without").glob("gate*"))
    assert "No film was judged by a gate of A." in Path("without/report.html").read_text()
    told = pd.read_csv("with/gate_places.csv").set_index("tested_on")
    assert told["refused_share"].to_dict() == {"nih": 1.0, "padchest": 1.0}
    assert "Its gate refuses 100 of 100 (" in Path("with/report.html").read_text().replace("\u00a0", " ")
    assert set(pd.read_csv("with/gated_matrix.csv")["why"]) == {"the gate refuses every film"}


def test_the_matrix_with_the_gate_stands_beside_the_one_without(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    given = []
    for name in ("nih", "padchest"):
        table = pd.read_csv(places[name])
        films = table.loc[table["split"] == "test", ["image", "Effusion", "Mass"]].reset_index(drop=True)
        scores = films[["Effusion", "Mass"]] * 0.3 + random.random((len(films), 2)) * 0.7
        is_refused = (np.arange(len(films)) < 3) & (name == "padchest")
        pd.concat([films[["image"]], scores], axis=1).to_csv(f"{name}-scores.csv", index=False)
        gate = pd.DataFrame({"image": films["image"], "gate": np.where(is_refused, "refuse", "accept")})
        gate.assign(code=np.where(is_refused, "gate-lateral", "")).to_csv(f"{name}-scores.csv.gate.csv", index=False)
        given.append(f"A@{name}={name}-scores.csv")
        if name == "padchest":
            kept = roc_auc_score(films["Effusion"][~is_refused], scores["Effusion"][~is_refused])
    words = ("--manifests", places["nih"], places["padchest"], "--predictions", *given, "--home", "A=nih", "--out", "o")
    assert external(*words) == 0
    told = pd.read_csv("o/gate_places.csv").set_index("tested_on")
    assert told["refused"].to_dict() == {"nih": 0, "padchest": 3}
    assert told.loc["padchest", "reasons"] == "gate-lateral 3"
    without, matrix = (pd.read_csv(f"o/{name}.csv").set_index(["tested_on", "finding"])
                       for name in ("gated_matrix", "matrix"))  # fmt: skip
    assert without.loc[("padchest", "Effusion"), "auroc"] == pytest.approx(kept, abs=1e-5)
    assert without.loc[("padchest", "Effusion"), "images"] == 9
    assert matrix.loc[("padchest", "Effusion"), "images"] == 12
    assert without.loc[("nih", "Effusion"), "auroc"] == matrix.loc[("nih", "Effusion"), "auroc"]
    drops = pd.read_csv("o/gated_drops.csv").set_index("finding")
    assert drops.loc["Effusion", "there_auroc"] == pytest.approx(kept, abs=1e-5)
    page = Path("o/report.html").read_text().replace("\u00a0", " ")
    assert "Its gate refuses 25 of 100 (" in page
    assert "of the films here; at home 0 of 100" in page
    assert "lateral 3" in page


def test_predictions_are_kept_and_not_computed_again(
    bundles: dict[str, Path], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--bundles", bundles["A"], "--manifests", places["nih"], places["padchest"], "--out", "out")
    assert external(*words) == 0
    first = Path("out/matrix.csv").read_bytes()
    assert external(*words) == 2  # a result is there
    monkeypatch.setattr("cxr_monai.workflows.external_networks.predict_into", None)
    assert external(*words, "--force") == 0
    assert Path("out/matrix.csv").read_bytes() == first


def test_predictions_of_another_bundle_are_not_taken(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--manifests", places["nih"], "--out")
    assert external("--bundles", f"X={bundles['A']}", *words, "one") == 0
    kept = Path("one/predictions/X@nih.csv")
    assert external("--bundles", f"X={bundles['B']}", "--predictions", f"X@nih={kept}", *words, "two") == 1
    assert "[evaluation-invalid]" in capsys.readouterr().err
    Path("one/external.json").unlink()
    for table in Path("one").glob("*.csv"):
        table.unlink()
    for page in Path("one").glob("report.*"):
        page.unlink()
    assert external("--bundles", f"X={bundles['B']}", *words, "one") == 2
    assert "X@nih.csv: these are predictions of another bundle" in capsys.readouterr().err


def test_systems_without_a_bundle(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures are those of the bundle that made the predictions; what it learned from is a person's word."""
    given = ("--manifests", places["nih"], places["padchest"])
    assert external("--bundles", bundles["A"], *given, "--out", "run") == 0
    kept = [f"A@{name}=run/predictions/A@{name}.csv" for name in ("nih", "padchest")]
    assert external(*given, "--predictions", *kept, "--home", "A=nih", "--out", "given") == 0
    pd.testing.assert_frame_equal(pd.read_csv("run/matrix.csv"), pd.read_csv("given/matrix.csv"))
    capsys.readouterr()
    assert external(*given, "--predictions", kept[0], "--out", "some") == 0
    matrix = pd.read_csv("some/matrix.csv").set_index(["tested_on", "finding"])
    assert matrix.loc[("padchest", "mean"), "why"] == "there are no predictions"
    assert set(matrix["relation"]) == {"unverified"}
    assert "None of the manifests is the home of A" in capsys.readouterr().out


def test_films_of_the_same_collection_are_no_external_test(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, words = bundles["A"], ("--manifests", places["nih"], places["rsna"], "--out")
    assert external("--bundles", a, *words, "disjoint") == 0  # the list shows that no patient is shared
    relations = pd.read_csv("disjoint/relations.csv").set_index("tested_on")
    assert relations.loc["rsna", "relation"] == "other patients"
    assert "RSNA's films were chosen from NIH" in relations.loc["rsna", "sentence"]
    a.with_name("A.patients.json").unlink()
    capsys.readouterr()
    assert external("--bundles", a, *words, "refused") == 1
    assert not Path("refused").exists()
    told = capsys.readouterr().err
    assert "[overlapping-sources]" in told
    assert "no list of the patients that it learned from lies beside it" in told
    assert external("--bundles", a, *words, "kept", "--overlap", "internal") == 0
    assert pd.read_csv("kept/relations.csv").set_index("tested_on").loc["rsna", "relation"] == "internal"
    assert "This is no external test." in capsys.readouterr().out


def test_patients_of_the_training_are_refused_at_home(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--bundles", bundles["A"], "--manifests", places["nih"], "--out", "out")
    assert external(*words, "--split", "all") == 1
    told = capsys.readouterr().err
    assert "[patients-shared]" in told
    assert "A learned from 1 patient of nih" in told


def test_shortcuts_are_looked_for_where_asked(
    bundles: dict[str, Path], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(lesion_baseline, count=2, size=64)
    monkeypatch.setattr("cxr_monai.workflows.external_shortcuts.lesion_baseline", small)
    words = ("--bundles", bundles["A"], "--manifests", places["nih"], "--out")
    assert external(*words, "plain") == 0
    assert not Path("plain/shortcuts.csv").exists()
    assert external(*words, "looked", "--shortcuts") == 0
    effects = pd.read_csv("looked/shortcuts.csv").set_index(["finding", "change"])
    matrix = pd.read_csv("looked/matrix.csv").set_index("finding")
    assert effects.loc[("Mass", "without the lungs"), "auroc"] == pytest.approx(matrix.loc["Mass", "auroc"], abs=0.03)
    assert effects.loc["Mass"]["baseline_auroc"].notna().all()
    verdicts = pd.read_csv("looked/shortcut_verdicts.csv")
    assert verdicts[["trained_on", "tested_on"]].drop_duplicates().to_numpy().tolist() == [["A", "nih"]]
    probes = pd.read_csv("looked/probes.csv").set_index("attribute")
    assert probes.loc["view", "note"].startswith("too few to say")
    assert "Is it told without what it is told by?" in Path("looked/report.html").read_text()
    assert "Lung masks of nih: " in Path("looked/external.json").read_text()
    assert external(*words, "wrong", "--lung-masks", "nih=masks") == 2  # they are for --shortcuts
    assert external(*words, "wrong", "--shortcuts", "--lung-masks", "other=masks") == 1


def test_nothing_in_common_says_what_there_is(
    bundles: dict[str, Path], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = place(elsewhere, "vindr", 9).read_text().replace("Effusion,Mass", "Hernia,Fibrosis")
    Path("other.csv").write_text(other)
    assert external("--bundles", bundles["A"], "--manifests", "other.csv", "--out", "out") == 1
    told = capsys.readouterr().err
    assert "[predictions-invalid]" in told
    assert "A on other: no finding is known to both" in told


def test_an_evaluation_on_films_of_the_same_collection_says_so(bundles: dict[str, Path]) -> None:
    def warnings(source: str) -> list[str]:
        table = pd.DataFrame({"image": ["a"], "patient_id": ["1"], "source": [source]})
        return learned_warnings(Bundle.open(bundles["A"]), Sample.of(table, ["Mass"], np.ones((1, 1)), np.ones((1, 1))))

    assert warnings("nih") == warnings("folder") == warnings("padchest") == []
    assert [warning.startswith("This is no external test") for warning in warnings("siim")] == [True]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["m.csv", "a/m.csv"], "two are called 'm'"),
        (["x=m.csv", "x=n.csv"], "two are called 'x'"),
    ],
)
def test_two_of_one_name_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        named_paths(words, "--manifests")


def test_the_size_of_films_is_asked_where_they_are(
    bundles: dict[str, Path],
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cxr_monai.evaluation.metadata_only.RARE", 3)
    words = ("--bundles", bundles["A"], "--manifests", places["nih"], places["padchest"])
    for at in range(12, 20):
        film = np.random.default_rng(at).integers(0, 255, (40, 50), dtype=np.uint8)
        Image.fromarray(film).save(places["nih"].with_suffix("") / f"nih{at}.png")
    assert external(*words, "--out", "out") == 0
    assert "image size" not in capsys.readouterr().out
    metadata = pd.read_csv("out/metadata_only.csv")
    sized = metadata[metadata["attribute"] == "image size"]
    assert set(sized["tested_on"]) == {"nih"}  # those of padchest are all of one size
    for at in (12, 13):
        (places["nih"].with_suffix("") / f"nih{at}.png").unlink()
    assert external(*words, "--out", "out", "--force") == 0
    assert "The image size of 2 films of nih is not known" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../A", "A@B", "a\\b", " ", ".hidden", "a\nb"])
def test_names_that_files_cannot_have_are_refused(places: dict[str, Path], name: str) -> None:
    for bundles, manifests in (({name: "A"}, {"nih": places["nih"]}), ({"A": "A"}, {name: places["nih"]})):
        with pytest.raises(EvaluationError, match="can't be the name of a network or manifest"):
            validate_external(bundles, manifests, "out")


def test_names_that_are_not_there_are_refused(
    bundles: dict[str, Path], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--bundles", bundles["A"], "--manifests", places["nih"], "--out", "out")
    for more in (("--home", "C=nih"), ("--home", "A=vindr"), ("--predictions", "A@vindr=p.csv")):
        assert external(*words, *more) == 1
        assert f"{more[0]} names" in capsys.readouterr().err
