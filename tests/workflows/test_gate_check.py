"""All evidence of a film: in lines, in pictures, in a table; and the index of a training's films."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.errors import Code, CxrError
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.answer import ACCEPTED, Answer, GateVerdict
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.gate.film_evidence import SCORE_WORDS, FilmEvidence, Unusual, evidence_lines
from cxr_monai.gate.fitted_gate import AP_VIEW, GATE_SCORES
from cxr_monai.inference.model import Model
from cxr_monai.report.evidence_picture import evidence_picture
from cxr_monai.workflows.gate_check import check_films
from cxr_monai.workflows.gate_index import index_films
from tests.support.bundle_runs import Phantoms
from tests.support.gates import with_gate
from tests.support.tiny_bundles import tiny_bundle

NEVER = 1e9
"""A limit that no film is beyond."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("plain") / "bundle", 1)


@pytest.fixture(scope="module")
def strict(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose gate refuses every film."""
    return with_gate(Path(shutil.copytree(plain, tmp_path_factory.mktemp("strict") / "bundle")))


@pytest.fixture(scope="module")
def lenient(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose gate refuses none."""
    return with_gate(Path(shutil.copytree(plain, tmp_path_factory.mktemp("lenient") / "bundle")), NEVER)


def check(bundle: Path, *words: object) -> int:
    return main(["gate", "check", str(bundle), *map(str, words), "--workers", "0"])


def test_the_evidence_is_that_of_a_prediction(strict: Path, phantoms: Phantoms) -> None:
    files = phantoms.files("test")[:3]
    found = check_films(strict, files, workers=0)
    predicted = Model.open(strict).predict(files).gate
    assert predicted is not None
    pd.testing.assert_frame_equal(found.table, predicted)
    for film, row in zip(found.films, predicted.to_dict("records"), strict=True):
        assert film.answer.verdict == row["gate"] == "refuse"
        assert film.answer.code == row["code"]
        assert max(film.scores.values()) == pytest.approx(row["score"])
        assert film.likeliest[0][0] == "intact"
        assert sum(share for _, share in film.likeliest) <= 1


def test_the_exit_status_says_whether_a_film_is_refused(
    strict: Path, lenient: Path, plain: Path, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, broken = phantoms.files("test")[0], tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert check(strict, film) == 3
    assert f"{film}: refuse [gate-" in capsys.readouterr().out
    assert check(lenient, film, broken) == 0
    printed = capsys.readouterr()
    assert "1 film: 1 accept, 0 review, 0 refuse" in printed.out
    assert f"{broken}: cannot be read [radiograph-not-an-image]" in printed.err
    assert check(lenient, broken, "--out", tmp_path / "none.png") == 1
    assert "written" not in capsys.readouterr().out
    assert check(plain, film) == 1
    assert "gate-missing" in capsys.readouterr().err
    assert check(lenient, film, broken, "--out", tmp_path / "one.png") == 2


def test_brief_is_a_line_a_film(strict: Path, phantoms: Phantoms, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(strict, phantoms.manifest, "--split", "test", "--brief") == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(phantoms.files("test")) + 1
    assert all(": refuse [gate-" in line for line in lines[:-1])


def test_a_folder_of_pictures_is_whole_or_not_there(
    lenient: Path, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films, out = tmp_path / "films", tmp_path / "checked"
    films.mkdir()
    for name, file in zip(("a.png", "b.png"), phantoms.files("test"), strict=False):
        shutil.copy(file, films / name)
    assert check(lenient, films, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["00001_a.png", "00002_b.png", "gate.csv"]
    table = pd.read_csv(out / "gate.csv")
    assert list(table.columns) == list(GATE_COLUMNS)
    assert list(table["image"]) == ["a.png", "b.png"]
    assert check(lenient, films, "--out", out) == 2
    assert check(lenient, films, "--out", out, "--force") == 0
    assert check(lenient, tmp_path / "none.png", "--out", tmp_path / "other.png") == 1
    assert not (tmp_path / "other.png").exists()


def test_one_picture_of_one_film(lenient: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    film = phantoms.files("test")[0]
    assert check(lenient, film, "--out", tmp_path / "film.png") == 0
    assert check(lenient, film, "--out", tmp_path / "film.png") == 2
    assert (tmp_path / "film.png").read_bytes().startswith(b"\x89PNG")


INVERTED = Answer(
    GateVerdict.REFUSE,
    Code.GATE_INVERTED,
    "alteration",
    "4.21",
    "at most 1.88",
    "The film looks inverted.",
    ("inversion",),
)


def film_of(answer: Answer, likeliest: str, name: str = "a.png") -> FilmEvidence:
    return FilmEvidence(
        name,
        answer,
        {"alteration": 2.24, "thumbnail_distance": 0.5, "network_distance": -0.2, "ap": 0.1},
        0.6,
        ((likeliest, 0.97), ("noisy", 0.03), ("pale", 0.0001)),
        (Unusual("mean", 0.81, 0.2, 0.62),),
        {"view": "AP", "age": "63"},
    )


def test_lines() -> None:
    assert evidence_lines(film_of(INVERTED, "inverted")) == [
        "a.png: refuse [gate-inverted]",
        "  The film looks inverted.",
        "  alteration is 4.21; expected at most 1.88",
        "  'cxr-monai predict --mend inversion' would undo it and predict",
        "  alteration              2.24 #########:#####|##############>",
        "  thumbnail_distance      0.50 ######## :     |",
        "  network_distance       -0.20          :     |",
        "  ap                      0.10 ##       :     |",
        "  looks like: inverted 97%, noisy 3%",
        "  unusual: mean 0.81 (usually 0.2 to 0.62)",
        "  header: view AP, age 63",
    ]


@pytest.mark.parametrize(
    ("answer", "likeliest", "undone"),
    [
        (INVERTED, "inverted", "inverted"),
        (INVERTED, "turned by 90 degrees, inverted", "turned by 90 degrees, inverted"),
        (INVERTED, "noisy", None),  # of another code than the answer's
        (ACCEPTED, "inverted", None),
        (Answer(GateVerdict.REFUSE, Code.GATE_BLURRED), "blurred", None),  # cannot be undone
        (Answer(GateVerdict.REVIEW, Code.GATE_MIRRORED), "mirrored", "mirrored"),
    ],
)
def test_what_is_shown_undone(answer: Answer, likeliest: str, undone: str | None) -> None:
    alteration = film_of(answer, likeliest).alteration
    assert (alteration and alteration.name) == undone


def test_a_picture_shows_the_film_and_the_film_undone() -> None:
    """White where the film is black: the film undone is beside it; an accepted film stands alone."""
    plane = np.zeros((64, 48), dtype=np.float32)
    plane[20:40, 10:30] = 0.3
    pixels = {
        name: np.asarray(Image.open(io.BytesIO(evidence_picture(film, plane))).convert("L"))
        for name, film in {
            "refused": film_of(INVERTED, "inverted", "$a_{b.png"), "accepted": film_of(ACCEPTED, "intact")
        }.items()
    }  # fmt: skip
    assert pixels["refused"].shape[1] > pixels["accepted"].shape[1]
    # 0.3 and its complement 0.7, as 8 bits, each over more than a hundredth of the picture
    shares = {
        name: [(abs(shown.astype(int) - grey) <= 1).mean() for grey in (76, 178)] for name, shown in pixels.items()
    }
    assert min(shares["refused"]) > 0.01
    assert shares["accepted"][0] > 0.01 > shares["accepted"][1]
    again = evidence_picture(film_of(ACCEPTED, "intact"), plane)
    assert again == evidence_picture(film_of(ACCEPTED, "intact"), plane)


def test_every_score_has_words() -> None:
    assert set(SCORE_WORDS) == {*GATE_SCORES, AP_VIEW}


def test_every_alteration_that_can_be_undone_is(phantoms: Phantoms) -> None:
    plane = np.asarray(Image.open(phantoms.files("test")[0]), dtype=np.float32) / 255
    for alteration in ALTERATIONS:
        if alteration.undo is not None:
            np.testing.assert_allclose(alteration.undo(alteration.of(plane)), plane, atol=1e-6)


# the index of a training's films


def test_an_index_tells_training_films_and_is_private(
    lenient: Path, phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "training.index.csv"
    words = ["gate", "index", str(phantoms.manifest), "--bundle", str(lenient), "--out", str(index), "--workers", "0"]
    assert main([*words, "--split", "train"]) == 0
    printed = capsys.readouterr().out
    train = phantoms.table[phantoms.table["split"] == "train"]
    assert f"{len(train)} films" in printed
    assert "stays in the house" in printed
    assert index.stat().st_mode & 0o777 == 0o600
    assert set(pd.read_csv(index)["image"]) == set(train["image"])
    model = Model.open(lenient, training_index=str(index))
    judged = model.predict([*phantoms.files("train")[:2], *phantoms.files("test")[:2]]).gate
    assert judged is not None
    assert list(judged["code"]) == ["gate-duplicate"] * 2 + [""] * 2
    assert main(words) == 2  # never over what is there
    assert main([*words, "--force"]) == 0
    assert len(pd.read_csv(index)) == (phantoms.table["split"] != "test").sum()


def test_an_index_does_not_go_into_the_bundle(lenient: Path, phantoms: Phantoms) -> None:
    with pytest.raises(CxrError) as caught:
        index_films(lenient, phantoms.manifest, lenient / "models" / "index.csv")
    assert caught.value.code == Code.USAGE
    assert not (lenient / "models" / "index.csv").exists()
    assert json.loads((lenient / "models" / "gate.json").read_text())["promise"] == 0.01
