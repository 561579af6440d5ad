"""``cxr-monai maps localise``, as a user types it, and its section in the report of ``evaluate``."""

from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main
from tests.report.synthetic_evaluation import make_sample
from tests.workflows.test_localise import made, usual


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    splits = {f"i/{number}.png": ("train", "test", "val")[number % 3] for number in range(36)}
    return made(tmp_path, usual(36), splits)


def localise(*words: str) -> int:
    few = ("--replicates", "50", "--draws", "1")
    return main(
        ["maps", "localise", "maps", "--boxes", "boxes.csv", "--manifest", "manifest.csv", "--out", "out", *few, *words]
    )


def test_tables_a_page_and_what_came_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise("--split", "test") == 0
    told = capsys.readouterr().out
    table = pd.read_csv(folder / "out" / "localisation.csv")
    assert table["map"].unique().tolist() == ["cam", "random", "centre"]
    assert "gain of the map, paired" in told
    assert "map thresholds from one half of the patients" in told
    assert "note: There is no sheet of cases" in told
    assert "the page: out/localisation.html" in told
    assert (folder / "out" / "localisation.html").is_file()


def test_findings_are_spelled_as_one_likes(folder: Path) -> None:
    assert localise("--split", "test", "--finding", "mass", "--tolerance", "15", "--seed", "2", "--level", "0.9") == 0
    table = pd.read_csv(folder / "out" / "localisation.csv")
    assert table["finding"].unique().tolist() == ["Mass", "mean"]
    page = (folder / "out" / "localisation.html").read_text()
    assert "or at most 15 pixels of 1,024 from one" in page
    assert "90\u00a0% interval" in page


def test_thresholds_from_another_part(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise("--split", "test", "--choose-split", "val") == 0
    assert "map thresholds from the split 'val', 18 cases of 12 patients" in capsys.readouterr().out


def test_thresholds_from_phantoms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(folder / "phantom", {(f"z/z{n}.png", "Mass"): (1, n % 5) for n in range(12)})
    others = ("--choose-on", "phantom/maps", "--choose-boxes", "phantom/boxes.csv")
    assert localise("--split", "test", *others, "--choose-manifest", "phantom/manifest.csv", "--other-hospital") == 0
    assert "other maps (maps), 12 cases of 12 patients" in capsys.readouterr().out


def test_the_training_part_is_refused_skipped_or_allowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise() == 1
    told = capsys.readouterr().err
    assert "error [images-seen]: 12 of the 36 boxed images (12 of 36 patients)" in told
    assert not (folder / "out").exists()
    assert localise("--seen", "skip") == 0
    assert set(pd.read_csv(folder / "out" / "cases.csv")["split"]) == {"test", "val"}
    assert localise("--seen", "allow", "--force") == 0
    assert set(pd.read_csv(folder / "out" / "cases.csv")["split"]) == {"train", "test", "val"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--draws", "0"), "--draws 0"),
        (("--replicates", "0"), "--replicates 0"),
        (("--tolerance", "-1"), "--tolerance -1"),
        (("--seed", "-1"), "--seed -1"),
        (("--choose-on", "maps"), "--choose-boxes B2.csv go together"),
        (("--choose-boxes", "b.csv"), "go together"),
        (("--other-hospital",), "--other-hospital are about --choose-on"),
        (("--choose-manifest", "m.csv"), "are about --choose-on"),
        (("--choose-on", "maps", "--choose-boxes", "boxes.csv", "--choose-split", "val"), "not from both"),
        (("--split", "val", "--choose-split", "val"), "the same images"),
        (("--out", "boxes.csv"), "it is a file"),
    ],
)
def test_wrong_use(folder: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise(*words) == 2
    told = capsys.readouterr().err
    assert "[usage]" in told
    assert said in told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--finding", "Edema"), "maps-invalid"),
        (("--manifest", "absent.csv"), "manifest-not-found"),
        (("--boxes", "absent.csv"), "source-invalid"),
        (("--level", "2"), "evaluation-invalid"),
        (("--bundle", "absent"), "bundle-invalid"),
    ],
)
def test_errors_have_names(folder: Path, words: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise("--split", "test", *words) == 1
    assert f"error [{code}]" in capsys.readouterr().err


def test_maps_of_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--boxes", "boxes.csv", "--manifest", "manifest.csv", "--out", "out"]
    assert main(["maps", "localise", "absent", *words]) == 1
    assert "error [maps-invalid]" in capsys.readouterr().err


def test_the_report_of_the_model_has_it_as_a_section(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert localise("--split", "test") == 0
    sample = make_sample(40, ("Mass", "Nodule"))
    table = sample.table.assign(**dict(zip(sample.findings, sample.labels.T, strict=True)))
    table.to_csv("labels.csv", index=False)
    scores = dict(zip(sample.findings, sample.scores.T, strict=True))
    pd.DataFrame({"image": sample.table["image"], **scores}).to_csv("p.csv", index=False)
    words = ["evaluate", "--predictions", "p.csv", "--manifest", "labels.csv", "--replicates", "50"]
    assert main([*words, "--localisation", "out", "--out", "judged"]) == 0
    assert 'id="localisation"' in (folder / "judged" / "report.html").read_text()
    assert main([*words, "--localisation", "judged", "--out", "again"]) == 1
    assert "error [evaluation-invalid]" in capsys.readouterr().err
