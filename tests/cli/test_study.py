"""``cxr-monai study``: words and their mistakes; what a study does is tested in ``tests/studies``."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cxr_monai.cli import main
from cxr_monai.cli.study import parse_settings
from tests.studies.fake_studies import study_file
from tests.support.bundle_runs import SHIPPED, Phantoms
from tests.support.tiny_bundles import LABELS, NETWORK


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("epochs=5", {"epochs": 5}),
        ("init_weights=a=b.pt", {"init_weights": "a=b.pt"}),
        ("amp=False", {"amp": False}),
        ("labels=[\"Mass\"]", {"labels": ["Mass"]}),
        ("manifest=None", {"manifest": None}),
        ("run=1e5", {"run": 100000.0}),
    ],
)  # fmt: skip
def test_a_setting_is_json_or_a_text(word: str, expected: dict) -> None:
    assert parse_settings([word]) == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["losses", "--set", "epochs"], "--set 'epochs': it is NAME=VALUE"),
        (["losses", "--seeds", "0;1"], "--seeds '0;1': whole numbers"),
        (["losses", "--folds", "many"], "--folds 'many': a whole number"),
        (["losses", "--folds", "5", "--images", "val"], "with --folds every image is judged"),
        (["losses", "--bundle", "cxr_nih15"], "cxr_nih14"),
    ],
)
def test_wrong_words_are_named(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *words, "--manifest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_may_not_run_trains_no_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    received = Path(shutil.copytree(SHIPPED, tmp_path / "received"))
    (received / "bundle.sig").write_text("{}")
    words = ["study", "losses", "--bundle", str(received), "--manifest", "m.csv", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "error [bundle-untrusted]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_question_lists_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "loses", "--manifest", "m.csv", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "error [study-invalid]" in told
    assert "normalisation, heads, losses, networks, resolution, augmentation, sources, folds" in told


def test_a_dry_run_says_what_is_common_what_differs_how_long_it_takes_and_trains_nothing(
    phantoms: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"image_size": 32, "epochs": 2, "batch_size": 8, "labels": list(LABELS), "network_def": NETWORK}
    study = study_file(tmp_path, {"base": {}, "fast": {"learning_rate": 0.01}}, base=base)
    words = ["study", str(study), "--manifest", str(phantoms.manifest), "--out", str(tmp_path / "out")]
    assert main([*words, "--seeds", "0,1", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert json.loads(told[0].removeprefix("all variants: ")) == base
    assert re.fullmatch(r"base: 2 x about \d+ .*; {}", told[1])
    assert re.fullmatch(r'fast: 2 x about \d+ .*; {"learning_rate": 0.01}', told[2])
    assert told[3].startswith("4 trainings, 1 at a time: about ")
    assert not (tmp_path / "out").exists()
