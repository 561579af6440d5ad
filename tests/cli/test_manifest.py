"""``cxr-monai manifest``: what it writes, prints and refuses."""

import argparse
import gzip
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.cli import manifest as manifest_command
from cxr_monai.data import sources
from cxr_monai.data.manifest import read_manifest
from tests.data import test_source_dicom as dicoms
from tests.data import test_source_nih as nih


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "nih"
    nih.write_table(root)
    nih.write_images(root / "images", size=(512, 512))
    (root / "BBox_List_2017.csv").write_text(f"{nih.BOX_HEADER}\n{nih.NAMES[0]},Infiltrate,100,200,300,400,,,\n")
    return root


def run(*words: str | Path) -> int:
    return main(["manifest", *map(str, words)])


def test_nih(root, tmp_path, capsys):
    out = tmp_path / "new" / "m.csv"
    assert run("nih", root, "--out", out) == 0
    manifest = read_manifest(out)
    assert len(manifest) == 4
    assert manifest.root == root
    assert manifest.label_version == "nih-v2020"
    boxes = pd.read_csv(out.parent / "m.boxes.csv")
    assert boxes.iloc[0].tolist() == ["images/00000001_000.png", "Infiltration", 50.0, 100.0, 150.0, 200.0, 512, 512]
    printed = capsys.readouterr().out
    assert printed.startswith("4 images of 3 patients, labels nih-v2020\n")
    assert "Cardiomegaly               2         2         0   50.0%" in printed
    assert "- kept 1 of 1 box, on 1 image" in printed
    assert f"next      cxr-monai split {out}" in printed


def test_two_manifests_in_one_folder_have_boxes_of_their_own(root, tmp_path):
    assert run("nih", root, "--out", tmp_path / "phantoms.csv") == 0
    (root / "BBox_List_2017.csv").write_text(f"{nih.BOX_HEADER}\n{nih.NAMES[1]},Mass,1,2,3,4,,,\n")
    assert run("nih", root, "--out", tmp_path / "M.csv.gz") == 0
    boxed = {name: pd.read_csv(tmp_path / f"{name}.boxes.csv")["finding"].tolist() for name in ("phantoms", "M")}
    assert boxed == {"phantoms": ["Infiltration"], "M": ["Mass"]}


def test_gz_holds_the_same(root, tmp_path):
    assert run("nih", root, "--out", tmp_path / "m.csv") == 0
    assert run("nih", root, "--out", tmp_path / "other" / "m.csv.gz") == 0
    assert gzip.decompress((tmp_path / "other/m.csv.gz").read_bytes()) == (tmp_path / "m.csv").read_bytes()


def test_nothing_is_overwritten_without_force(root, tmp_path, capsys):
    out = tmp_path / "m.csv"
    out.write_text("mine")
    assert run("nih", root, "--out", out) == 2
    assert "error [output-exists]" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run("nih", root, "--out", out, "--force") == 0
    assert run("nih", root, "--out", tmp_path / "other.csv") == 0, "boxes are named after their manifest"
    (tmp_path / "third.boxes.csv").write_text("mine")
    assert run("nih", root, "--out", tmp_path / "third.csv") == 2
    assert "third.boxes.csv" in capsys.readouterr().err
    assert not (tmp_path / "third.csv").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nih", "ROOT", "--out", "m.txt"], 2, "ends in .csv"),
        (["nih", "ROOT/nowhere", "--out", "m.csv"], 1, "there is no such folder"),
        (["nih", "ROOT", "--images", "nowhere", "--out", "m.csv"], 1, "error [source-invalid]"),
        (["folder", "ROOT", "--labels", "none.csv", "--out", "m.csv"], 1, "none.csv"),
        (["dicom", "ROOT/images", "--key-file", "none.key", "--out", "m.csv"], 2, "none.key"),
        (["dicom", "ROOT/images", "--out", "m.csv"], 1, "error [no-images]"),
    ],
)
def test_errors_are_sentences(root, tmp_path, words, status, said, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*(word.replace("ROOT", str(root)) for word in words)) == status
    assert said in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["nih"], "nothing is left behind, no key either"


@pytest.mark.parametrize("words", [[], ["atlas", "x", "--out", "m.csv"], ["nih", "x"], ["folder", "x", "--out", "m"]])
def test_wrong_words_are_wrong_use(words, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_missing_images_and_available_only(root, tmp_path, capsys):
    (root / "images" / nih.NAMES[3]).unlink()
    assert run("nih", root, "--out", tmp_path / "m.csv") == 1
    printed = capsys.readouterr().err
    assert "error [images-missing]" in printed
    assert "1 of the 4 images" in printed
    assert run("nih", root, "--out", tmp_path / "m.csv", "--available-only") == 0
    assert "kept 3 images that are here, left out 1 that are not" in capsys.readouterr().out


def test_folder(root, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file;patient;Mass;Rib fracture\n{nih.NAMES[0]};7;1;0\n{nih.NAMES[1]};7;;1\n")
    out = tmp_path / "m.csv"
    assert run("folder", root, "--labels", labels, "--out", out, "--findings", "Mass, Rib fracture") == 0
    manifest = read_manifest(out)
    assert manifest.findings == ("Mass", "Rib fracture")
    assert manifest.table["patient_id"].tolist() == ["7", "7"]
    assert "took 'file' as the image, 'patient' as the patient" in capsys.readouterr().out
    assert not list(tmp_path.glob("*boxes.csv"))


@pytest.mark.parametrize("source", ["folder", "dicom"])
def test_words_for_present_and_absent(source, tmp_path):
    dicoms.write(tmp_path / "root/a.dcm")
    (tmp_path / "labels.csv").write_text("image,patient_id,Mass,Edema\na.dcm,7,yes,No\n")
    words = [source, tmp_path / "root", "--labels", tmp_path / "labels.csv", "--out", tmp_path / "m.csv"]
    assert run(*words) == 1
    assert not (tmp_path / "m.csv").exists()
    assert run(*words, "--positive", "yes,ja", "--negative", "no") == 0
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.table[["Mass", "Edema"]].iloc[0].tolist() == [1, 0]


ALIKE = "2 patient identifiers differ from another by zeros, blanks or capitals alone"


@pytest.mark.parametrize("pair", [("7", "07"), ("7", "7.0"), ("p 1", "P1")])
def test_identifiers_that_may_be_one_patients_are_said_from_the_table_to_the_split(pair, tmp_path, capsys):
    images = tmp_path / "root"
    nih.write_images(images, ["a.png", "b.png", "c.png", "d.png"])
    rows = "".join(f"{name}.png,{who},1\n" for name, who in zip("abcd", (*pair, "8", "9"), strict=True))
    (tmp_path / "labels.csv").write_text(f"image,patient_id,Mass\n{rows}")
    out = tmp_path / "m.csv"
    assert run("folder", images, "--labels", tmp_path / "labels.csv", "--out", out) == 0
    said = f"{ALIKE} ({pair[0]!r} and {pair[1]!r}): a split takes them for different people"
    assert f"- {said}" in capsys.readouterr().out
    assert main(["check", str(out)]) == 0
    assert said in capsys.readouterr().out
    for scheme in (["random", "--fractions", "0.5,0.25,0.25"], ["kfold", "--k", "2"]):
        assert main(["split", str(out), "--scheme", *scheme]) == 0
        assert f"note: {said}" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text(f"image,patient_id,Mass\n{rows.replace(pair[1], '70')}")
    assert run("folder", images, "--labels", tmp_path / "labels.csv", "--out", out, "--force") == 0
    assert main(["split", str(out), "--scheme", "random", "--fractions", "0.5,0.25,0.25"]) == 0
    assert "patient identifiers differ" not in capsys.readouterr().out


def test_identifiers_that_may_be_one_patients_in_nihs_layout_and_in_headers(root, tmp_path, capsys):
    nih.write_table(root, [row.replace(",0,3,", ",0,02,") for row in nih.ROWS])
    assert run("nih", root, "--out", tmp_path / "m.csv") == 0
    assert f"- {ALIKE} ('2' and '02')" in capsys.readouterr().out
    for number, who in enumerate(("P7", "p07")):
        dicoms.write(tmp_path / f"pacs/{number}.dcm", PatientID=who)
    assert run("dicom", tmp_path / "pacs", "--out", tmp_path / "d.csv") == 0
    hashed = capsys.readouterr().out
    assert f"- {ALIKE}: a split" in hashed  # before they are hashed, without naming them
    assert run("dicom", tmp_path / "pacs", "--out", tmp_path / "k.csv", "--keep-identifiers") == 0
    assert f"- {ALIKE} ('P7' and 'p07')" in capsys.readouterr().out


def test_nihs_own_table_as_labels_of_a_folder_says_what_the_source_nih_says(root, tmp_path):
    table = root / "Data_Entry_2017_v2020.csv"
    assert run("folder", root, "--labels", table, "--out", tmp_path / "folder.csv") == 0
    assert run("nih", root, "--out", tmp_path / "nih.csv") == 0
    ours, nihs = (read_manifest(tmp_path / f"{name}.csv") for name in ("folder", "nih"))
    assert ours.findings == nihs.findings
    columns = ["image", "patient_id", "view", "sex", *nihs.findings]
    pd.testing.assert_frame_equal(ours.table[columns], nihs.table[columns])


def test_every_option_of_a_source_reaches_it():
    """An option that the parser knows and the reader never sees would be ignored in silence."""
    for source, taken in manifest_command._OPTIONS.items():
        parser = argparse.ArgumentParser()
        manifest_command.add_arguments(parser)
        required = ["--labels", "l.csv"] if source == "folder" else []
        known = set(vars(parser.parse_args([source, "ROOT", "--out", "m.csv", *required])))
        own = {"source", "root", "out", "force"}
        assert known - own == set(taken)
        accepted = {
            **inspect.signature(sources.load(source).read).parameters,
            "key_file": None,
            "keep_identifiers": None,
        }
        assert set(taken) <= set(accepted)


def test_dicom_makes_a_key_keeps_it_and_reports_errors(tmp_path, capsys):
    root, out = tmp_path / "pacs", tmp_path / "m.csv"
    dicoms.write(root / "a.dcm")
    (root / "empty.dcm").write_bytes(b"")
    assert run("dicom", root, "--out", out) == 0
    printed = capsys.readouterr().out
    key = (tmp_path / "m.csv.key").read_text().strip()
    patient = read_manifest(out).table["patient_id"][0]
    assert "never share it" in printed
    assert key not in printed
    assert key not in out.read_text() + (tmp_path / "m.csv.json").read_text()
    assert "file names stay as they are" in printed
    errors = pd.read_csv(tmp_path / "m.csv.errors.csv")
    assert errors.to_numpy().tolist() == [["empty.dcm", "radiograph-empty", "the file is empty"]]
    (root / "empty.dcm").unlink()
    assert run("dicom", root, "--out", out, "--force") == 0
    assert read_manifest(out).table["patient_id"][0] == patient, "the same key, the same pseudonyms"
    assert not (tmp_path / "m.csv.errors.csv").exists()
    other = tmp_path / "other.csv"
    assert run("dicom", root, "--out", other, "--key-file", tmp_path / "m.csv.key") == 0
    assert read_manifest(other).table["patient_id"][0] == patient
    assert not (tmp_path / "other.csv.key").exists()
    plain = tmp_path / "plain.csv"
    assert run("dicom", root, "--out", plain, "--keep-identifiers") == 0
    assert read_manifest(plain).table["patient_id"][0] == "Q17"
    assert "personal data" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from cxr_monai.cli import build_parser; build_parser('manifest').format_help();"
        "print([name for name in ('pandas', 'numpy', 'torch', 'pydicom') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


MEASURED = """
import os, re, sys
from pathlib import Path
from cxr_monai.cli import main
status = main(sys.argv[1:])
used = os.times()
# not ru_maxrss: that of a child starts with what its parent held
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
import pandas
for _ in range(3):
    pandas.read_csv(sys.argv[3] + "/Data_Entry_2017_v2020.csv.gz", dtype=str)
read = os.times()
print(used.user + used.system, (read.user + read.system - used.user - used.system) / 3, peak, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.realdata
def test_the_whole_table_in_a_few_readings_and_half_a_gigabyte(realdata, tmp_path):
    words = ["manifest", "nih", str(realdata / "nih"), "--table-only", "--out", str(tmp_path / "m.csv")]
    child = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=True)
    seconds, reading, peak = map(float, child.stderr.split())
    assert seconds < 50 * reading, "what pandas needs to read the table is another time on every machine"
    assert peak < 500e6
    done = child.stdout
    assert done.startswith("112,120 images of 30,805 patients, labels nih-v2020\n")
    assert "Hernia                   227   111,893         0    0.2%" in done
    assert len(read_manifest(tmp_path / "m.csv", check_files=False)) == 112_120
