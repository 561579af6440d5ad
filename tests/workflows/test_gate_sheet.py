"""The picture of what was refused: which films it shows, in which order, and that it finds them."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.report import refused_sheet as drawing
from cxr_monai.report.refused_sheet import SheetFilm, gate_sheet
from cxr_monai.workflows import gate_sheet as workflow
from cxr_monai.workflows.gate_sheet import answered_films, refused_films

ANSWERS = {"a.png": ("accept", ""), "b.png": ("refuse", "gate-inverted"), "c.png": ("review", "gate-duplicate"),
           "d.png": ("accept", ""), "e.png": ("refuse", "gate-rotated")}  # fmt: skip
TILE, TEXT, GAP, HEAD = 150, 80, 16, 42  # pixels


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five films in a folder, a sixth that cannot be read, and what a prediction left beside them."""
    folder, random = tmp_path / "films", np.random.default_rng(0)
    folder.mkdir()
    for name in ANSWERS:
        Image.fromarray(random.integers(0, 256, (60, 80), dtype=np.uint8)).save(folder / name)
    (folder / "f.png").write_bytes(b"no picture")
    rows = [(name, *answer, "a.png" if name == "c.png" else "") for name, answer in ANSWERS.items()]
    evidence = pd.DataFrame(rows, columns=["image", "gate", "code", "duplicate_of"])
    evidence.to_csv(tmp_path / "p.csv.gate.csv", index=False)
    reasons = [
        ("f.png", "radiograph-not-an-image", "it is a text (not a picture); PNG is read."),
        ("b.png", "gate-inverted", "The film looks inverted (alteration: 3.10; expected at most 1.05)."),
        ("e.png", "gate-rotated", "The film looks turned by 90 degrees (alteration: 9.00; expected at most 1.05)."),
    ]
    pd.DataFrame(reasons, columns=["image", "code", "reason"]).to_csv(tmp_path / "p.csv.errors.csv", index=False)
    return tmp_path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[SheetFilm], str]]:
    """What is given to be drawn."""
    calls: list[tuple[list[SheetFilm], str]] = []

    def record(shown: list[SheetFilm], heading: str, columns: int) -> bytes:
        calls.append((shown, heading))
        return gate_sheet(shown, heading, columns)

    monkeypatch.setattr(workflow, "gate_sheet", record)
    return calls


def test_every_film_has_its_answer_and_sentence(films: Path) -> None:
    assert answered_films(films / "p.csv").to_numpy().tolist() == [
        ["a.png", "accept", "", ""],
        ["b.png", "refuse", "gate-inverted", "The film looks inverted."],
        ["c.png", "review", "gate-duplicate", "The same film as a.png."],
        ["d.png", "accept", "", ""],
        ["e.png", "refuse", "gate-rotated", "The film looks turned by 90 degrees."],
        ["f.png", "unreadable", "radiograph-not-an-image", "It is a text."],
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "befc"), ({"accepted": 1}, "befca"), ({"accepted": 9}, "befcad"), ({"most": 3}, "bef")],
)
def test_refused_films_first_then_unread_then_for_review(
    films: Path, drawn: list[tuple[list[SheetFilm], str]], options: dict[str, int], expected: str
) -> None:
    assert refused_films(films / "p.csv", films / "films", films / "out.png", **options) == len(expected)
    [(shown, heading)] = drawn
    assert [film.name for film in shown] == [f"{letter}.png" for letter in expected]
    assert heading == f"6 films: 2 accepted, 1 for review, 2 refused, 1 not read; {len(expected)} shown"
    for film in shown:
        assert (film.plane is None) == (film.name == "f.png")
    with Image.open(films / "films" / "b.png") as picture:
        np.testing.assert_allclose(shown[0].plane, np.asarray(picture) / 255, atol=1e-6)


def test_the_picture_is_as_large_as_its_films_and_the_same_every_time(films: Path) -> None:
    refused_films(films / "p.csv", films / "films", films / "one.png", columns=3)
    refused_films(films / "p.csv", films / "films", films / "two.png", columns=3)
    assert (films / "one.png").read_bytes() == (films / "two.png").read_bytes()
    with Image.open(films / "one.png") as picture:
        assert picture.size == (3 * (TILE + GAP) + GAP, HEAD + 2 * (TILE + TEXT + GAP))


def test_a_films_border_has_its_answers_colour(films: Path) -> None:
    refused_films(films / "p.csv", films / "films", films / "out.png", accepted=1)
    with Image.open(films / "out.png") as picture:
        row = np.asarray(picture.convert("RGB"))[HEAD + TILE // 2].astype(int)
    for place, answer in enumerate(["refuse", "refuse", "unreadable", "review", "accept"]):
        colour = np.array([int(drawing._COLOURS[answer][start : start + 2], 16) for start in (1, 3, 5)])
        edge = row[GAP + place * (TILE + GAP) - 2 : GAP + place * (TILE + GAP) + 3]
        assert np.abs(edge - colour).sum(1).min() < 40, answer


def test_long_words_and_many_lines_stay_inside() -> None:
    film = SheetFilm("x" * 60, "refuse", "gate-unlike-training", "word " * 30, np.eye(40, dtype=np.float32))
    with Image.open(io.BytesIO(gate_sheet([film, film], "heading " * 10))) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert (pixels[-6:] == 255).all()  # nothing runs out of the picture below
    assert (pixels[HEAD + TILE + 4 :, : GAP - 2] == 255).all()


def test_what_cannot_be_drawn(films: Path) -> None:
    for arguments, code in (
        (("p.csv", "films", "out.pdf"), "setting-invalid"),
        (("q.csv", "films", "out.png"), "predictions-invalid"),
        (("p.csv", "films/a.png", "out.png"), "evaluation-invalid"),
    ):
        result, images, out = (films / argument for argument in arguments)
        with pytest.raises(CxrError) as refused:
            refused_films(result, images, out)
        assert refused.value.code == code
        assert not out.exists()
    pd.DataFrame({"image": ["a.png"], "gate": ["accept"], "code": [""]}).to_csv(films / "g.csv.gate.csv", index=False)
    with pytest.raises(CxrError, match="nothing to show"):
        refused_films(films / "g.csv", films / "films", films / "out.png")


def test_the_command(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gate", "sheet", str(films / "p.csv"), str(films / "films"), "--out", str(films / "refused.png")]
    assert main(words) == 0
    assert f"4 films: {films / 'refused.png'}" in capsys.readouterr().out
    assert main(words) == 2  # it is there
    assert main([*words, "--force", "--accepted", "-1"]) == 2
    assert main([*words, "--force"]) == 0
