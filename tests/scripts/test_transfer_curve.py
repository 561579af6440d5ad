"""The curve over the number of positive patients: what is drawn, that it goes on, what it writes."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.manifest import build_manifest
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import Phantoms, process_as_it_was, rewrite
from tests.support.tiny_bundles import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("transfer_curve", ROOT / "scripts" / "transfer_curve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["transfer_curve"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["transfer_curve"]


def test_draws_hold_so_many_patients_and_all_negatives(script) -> None:
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(400)]})
    table["patient_id"] = [str(at // 2) for at in range(400)]
    table["split"] = ["train"] * 200 + ["val"] * 100 + ["test"] * 100
    table[list(NIH14)] = 0.0
    table.loc[table.index % 4 < 2, "Pneumonia"] = 1.0  # every second patient
    manifest = build_manifest(table, Path("nowhere"), "local")
    drawn = [script.draw(manifest, "Pneumonia", 10, seed).table for seed in (0, 0, 1)]
    for one in drawn:
        ill = one[one["Pneumonia"] == 1].groupby("split")["patient_id"].nunique()
        assert ill.to_dict() == {"train": 10, "val": 5, "test": 25}
        healthy = one[one["Pneumonia"] == 0].groupby("split")["patient_id"].nunique()
        assert healthy.to_dict() == {"train": 50, "val": 25, "test": 25}
    assert drawn[0].equals(drawn[1])
    assert not drawn[0].equals(drawn[2])
    assert script.draw(manifest, "Pneumonia", None, 0) is manifest


def test_curve_of_heads_goes_on_and_is_written(
    script,
    phantoms: Phantoms,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(script, "step_seconds", lambda size: 0.1)  # each command measures DenseNet121 anew

    def ill(table: pd.DataFrame) -> None:
        table["patient_id"] = [f"patient-{at}" for at in range(len(table))]
        table[list(NIH14)] = "0"
        table.loc[table.index % 2 == 0, "Pneumonia"] = "1"

    manifest, parent = rewrite(phantoms.manifest, tmp_path / "m.csv", ill), tiny_bundle(tmp_path / "parent", 1)
    words = ["--manifest", str(manifest), "--out", str(tmp_path / "curve"), "--parent", str(parent), "--draws", "2"]
    words += ["--counts", "5,all", "--image-size", "32"]
    with process_as_it_was():
        assert script.main(words) == 0
        assert "4 draws to do" in capsys.readouterr().out
        table = pd.read_csv(tmp_path / "curve" / "curve.csv")
        assert list(table["positives"]) == ["5", "all"]
        assert (table["draws"] == 2).all()
        assert table["auroc"].between(table["low"], table["high"]).all()
        (tmp_path / "curve" / "predictions" / "head-5-1.csv").unlink()
        assert script.main(words) == 0
        assert "1 draw to do" in capsys.readouterr().out
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "curve" / "curve.csv"), table)
        assert script.main([*words, "--epochs", "3"]) == 0  # of the other ways: classifiers have none
        capsys.readouterr()
        other = rewrite(manifest, tmp_path / "other.csv", lambda table: table.insert(0, "more", ""))
        for more, differing in (
            (["--against", "others"], "against"),
            (["--parent", str(tiny_bundle(tmp_path / "other", 2))], "bundle"),
            (["--manifest", str(other)], "manifest"),
        ):
            with pytest.raises(SystemExit):
                script.main([*words, *more])
            assert f"was made with another {differing}; choose another --out" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "curve" / "curve.csv").equals(table)
    assert (tmp_path / "curve" / "curve.png").stat().st_size > 1000


def test_parent_that_knows_the_disease_is_refused(script, phantoms: Phantoms, tmp_path: Path) -> None:
    parent = tiny_bundle(tmp_path / "parent", 1)
    words = ["--manifest", str(phantoms.manifest), "--out", str(tmp_path / "curve"), "--parent", str(parent)]
    with pytest.raises(SystemExit), process_as_it_was():
        script.main([*words, "--disease", "Effusion", "--counts", "all", "--image-size", "32"])
