"""VinDr-CXR in PhysioNet's form and in Kaggle's; and the exact counts of the real table by each rule."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.formats.dicom_library import Dataset, FileMetaDataset
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.sources import vindr
from cxr_monai.errors import Code, ManifestError, RadiographError, UsageError

LOCAL = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,"
    "Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion"
)
LABELS = f"{LOCAL},COPD,Lung tumor,Pneumonia,Tuberculosis,Other diseases,No finding".split(",")
KAGGLE = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
KAGGLE_ROWS = [
    "bbb,Cardiomegaly,3,R9,10,20,50.5,40",
    "bbb,Cardiomegaly,3,R10,12,20,52,40",
    "bbb,Nodule/Mass,8,R10,1,1,3,4",
    "bbb,No finding,14,R8,,,,",
    "aaa,No finding,14,R8,,,,",
    "aaa,Pleural effusion,10,R9,0,0,5,5",
    "aaa,Pleural effusion,10,R9,6,6,9,9",
    "aaa,Pleural effusion,10,R10,0,0,5,5",
    "aaa,Pleural effusion,10,R2,0,0,200,5",
]


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(*present: str) -> str:
    return ",".join(str(int(name in present)) for name in LABELS)


def write_physionet(root: Path):
    header = f"image_id,rad_id, {','.join(LABELS)}"
    rows = [
        f"aaa,R9,{row('Pleural effusion', 'Edema', 'Other diseases')}",
        f"aaa,R10,{row('Pleural effusion', 'Nodule/Mass')}",
        f"aaa,R2,{row('No finding')}",
    ]
    write(root / "annotations/image_labels_train.csv", header, rows)
    test = f"image_id,{','.join(LABELS)}".replace("Other diseases", "Other disease")
    write(root / "annotations/image_labels_test.csv", test, [f"ccc,{row('Other diseases', 'Pneumonia')}"])
    boxes = ["aaa,R9,Pleural effusion,1,2,4,6", "aaa,R10,Nodule/Mass,1,2,4,6", "aaa,R2,No finding,,,,"]
    write(root / "annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max", boxes)
    write(root / "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max",
          ["ccc,Other lesion,1,1,2,2"])  # fmt: skip


def write_dicom(path: Path, rows: int = 40, columns: int = 48, **attributes: str):
    """A file as VinDr-CXR's are: no Modality, no view, no identifiers."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME1"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = np.linspace(0, 255, rows * columns).astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def test_kaggles_table_by_hand(tmp_path):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    source = vindr.read(tmp_path, table_only=True)
    table = source.table
    assert table["image"].tolist() == ["train/bbb.dicom", "train/aaa.dicom"]
    assert table["patient_id"].tolist() == ["bbb", "aaa"]
    assert (table[["view", "sex", "split", "source"]].drop_duplicates().to_numpy() == ["PA", "", "", "vindr"]).all()
    assert source.patients == "unknown"
    assert source.label_version == "vindr-majority"
    assert table["Cardiomegaly"].tolist() == [1, 0]  # two of three
    assert table["Mass or Nodule"].tolist() == [0, 0]  # one of three
    assert table["Effusion"].tolist() == [0, 1]  # three of four
    assert table["Mass"].tolist() == table["Nodule"].tolist() == [0, 0]
    assert not {"Hernia", "Edema", "Emphysema", "Pneumonia"} & {*table}
    assert list(table)[8:17] == [
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax", "Consolidation",
        "Fibrosis",
    ]  # fmt: skip
    assert source.boxes is None
    assert any("left out 6 boxes: nothing tells the size" in note for note in source.notes)
    build_manifest(table, source.root, source.label_version, key=source.key, patients=source.patients)


@pytest.mark.parametrize(
    ("rule", "cardiomegaly", "mass_or_nodule", "mass", "unknown"),
    [
        ("any", 1, 1, np.nan, {"uncertain": 1}),
        ("majority", 1, 0, 0, None),
        ("all", np.nan, np.nan, np.nan, {"readers disagree": 1}),
    ],
)
def test_readers_become_one_label_by_a_rule(tmp_path, rule, cardiomegaly, mass_or_nodule, mass, unknown):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    source = vindr.read(tmp_path, table_only=True, readers=rule)
    labels = source.table.loc[0, ["Cardiomegaly", "Mass or Nodule", "Mass"]].astype(float)
    np.testing.assert_array_equal(labels, [cardiomegaly, mass_or_nodule, mass])
    assert source.labels_record.unknown.get("Nodule") == unknown
    assert source.labels_record.settings == {"readers": rule}
    assert source.labels_record.dataset == "vindr kaggle"


def test_a_tie_of_the_majority_is_unknown(tmp_path):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS[:3])
    source = vindr.read(tmp_path, table_only=True)
    assert source.table["Mass or Nodule"].isna().all()
    assert source.labels_record.unknown["Mass"] == {"readers disagree": 1}


def test_single_readers_come_along(tmp_path):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    readers = vindr.read(tmp_path, table_only=True, readers="all").readers
    assert list(readers)[:3] == ["image", "reader", "in_truth"]
    assert set(zip(readers["image"], readers["reader"], strict=True)) == {
        *((f"train/{name}.dicom", reader) for name in ("aaa", "bbb") for reader in ("R8", "R9", "R10")),
        ("train/aaa.dicom", "R2"),
    }
    by_reader = readers[readers["image"] == "train/bbb.dicom"].set_index("reader")
    assert by_reader["Cardiomegaly"].to_dict() == {"R9": 1, "R10": 1, "R8": 0}
    assert by_reader["Mass or Nodule"].to_dict() == {"R9": 0, "R10": 1, "R8": 0}
    assert by_reader["Mass"].isna().to_dict() == {"R9": False, "R10": True, "R8": False}


def test_boxes_are_scaled_to_copies_of_another_size(tmp_path):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    write(tmp_path / "train_meta.csv", "image_id,dim0,dim1", ["aaa,50,100", "bbb,50,100"])
    for name in ("aaa", "bbb"):
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.new("L", (20, 25)).save(tmp_path / f"train/{name}.png")
    source = vindr.read(tmp_path)
    boxes = source.boxes
    assert list(boxes)[:8] == ["image", "finding", "x", "y", "width", "height", "image_width", "image_height"]
    assert boxes.iloc[0].to_dict() == {
        "image": "train/bbb.png", "finding": "Cardiomegaly", "x": 2.0, "y": 10.0, "width": 8.1, "height": 10.0,
        "image_width": 20, "image_height": 25, "reader": "R9",
    }  # fmt: skip
    assert set(boxes["finding"]) == {"Cardiomegaly", "Effusion"}
    assert boxes["width"].max() == 20  # the box that reaches beyond the image ends with it
    assert {"kept 6 of 7 boxes, on 2 images", "left out 1 box of findings that the readers together do not see"} <= {
        *source.notes
    }
    by_table = vindr.read(tmp_path, table_only=True).boxes
    assert by_table["image_width"].tolist() == [100] * 6
    (tmp_path / "train_meta.csv").unlink()
    assert vindr.read(tmp_path).boxes is None


def test_physionets_tables_and_dicom_files(tmp_path):
    write_physionet(tmp_path)
    write_dicom(tmp_path / "train/aaa.dicom", PatientAge="058Y", PatientSex="F")
    write_dicom(tmp_path / "test/ccc.dicom", PatientAge="000Y")
    source = vindr.read(tmp_path)
    table = source.table
    assert table["image"].tolist() == ["train/aaa.dicom", "test/ccc.dicom"]
    assert table["split"].tolist() == ["train", "test"]
    np.testing.assert_array_equal(table["age"], [58, np.nan])
    assert "1 age of 0 years taken for unknown" in source.notes
    assert table["sex"].tolist() == ["F", ""]
    assert table["Effusion"].tolist() == [1, 0]
    assert table["Edema"].tolist() == [0, 0]
    assert table["Pneumonia"].tolist() == [0, 1]
    assert table["Other disease"].tolist() == [0, 1]
    assert "Other diseases" not in table
    assert source.boxes.to_dict("records") == [
        {"image": "train/aaa.dicom", "finding": "Effusion", "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0,
         "image_width": 48, "image_height": 40, "reader": "R9"},
    ]  # fmt: skip
    assert set(source.readers["reader"]) == {"R9", "R10", "R2"}
    assert source.labels_record.dataset == "vindr physionet"


def test_a_film_without_modality_is_read_only_on_request(tmp_path, capsys):
    write_physionet(tmp_path / "root")
    write_dicom(tmp_path / "root/train/aaa.dicom")
    film = tmp_path / "root/train/aaa.dicom"
    with pytest.raises(RadiographError) as caught:
        read_radiograph(film)
    assert caught.value.code == Code.RADIOGRAPH_WRONG_MODALITY
    assert "--any-modality" in str(caught.value.fix)
    pixels = read_radiograph(film, any_modality=True).pixels
    assert pixels[0, 0, 0] > pixels[0, -1, -1]  # MONOCHROME1: low values are bright
    out = tmp_path / "m.csv"
    assert main(["manifest", "vindr", str(tmp_path / "root"), "--available-only", "--out", str(out)]) == 0
    manifest = read_manifest(out)
    assert manifest.patients == "unknown"
    assert manifest.table["image"].tolist() == ["train/aaa.dicom"]
    assert (tmp_path / "m.readers.csv").read_text().count("\n") == 4
    assert (tmp_path / "m.boxes.csv").read_text().count("\n") == 2
    printed = capsys.readouterr().out
    assert "1 image of unknown patients" in printed
    assert "nobody tells whose films these are" in printed
    assert "need --any-modality" in printed
    assert main(["check", str(out), "--pixels", "--any-modality"]) == 0
    capsys.readouterr()
    assert main(["split", str(out), "--scheme", "random"]) != 0
    assert "patients-unknown" in capsys.readouterr().err


def test_boxes_and_readers_of_an_earlier_manifest_never_stay(tmp_path, capsys):
    write_physionet(tmp_path / "root")
    words = ["manifest", "vindr", str(tmp_path / "root"), "--table-only", "--out", str(tmp_path / "m.csv")]
    write(tmp_path / "root/train_meta.csv", "image_id,dim0,dim1", ["aaa,40,48"])
    assert main(words) == 0
    readers = tmp_path / "m.readers.csv"
    assert readers.exists()
    assert (tmp_path / "m.boxes.csv").exists()
    (tmp_path / "root/annotations/image_labels_train.csv").unlink()  # the test's part is a consensus
    for name in ("m.csv", "m.csv.json", "m.boxes.csv"):
        (tmp_path / name).unlink()
    assert main(words) != 0
    assert "m.readers.csv" in capsys.readouterr().err
    assert readers.exists()
    assert main([*words, "--force"]) == 0
    assert not readers.exists()


def test_boxes_of_one_part_alone(tmp_path):
    write_physionet(tmp_path)
    write(tmp_path / "train_meta.csv", "image_id,dim0,dim1", ["aaa,40,48"])
    (tmp_path / "annotations/annotations_test.csv").unlink()
    boxes = vindr.read(tmp_path, table_only=True).boxes
    assert boxes["image"].tolist() == ["train/aaa.dicom"]
    assert boxes["image_height"].tolist() == [40]


def test_patients_by_image_only_on_request(tmp_path):
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    assert vindr.read(tmp_path, table_only=True, patient_per_image=True).patients == "assumed"


def test_physionets_tables_are_taken_before_kaggles(tmp_path):
    write_physionet(tmp_path)
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    source = vindr.read(tmp_path, table_only=True)
    assert source.labels_record.dataset == "vindr physionet"
    assert "took PhysioNet's tables, not Kaggle's train.csv (--table FILE takes it)" in source.notes
    assert vindr.read(tmp_path, table=tmp_path / "train.csv", table_only=True).labels_record.dataset == "vindr kaggle"


@pytest.mark.parametrize(
    ("name", "header", "rows", "words"),
    [
        ("train.csv", KAGGLE, ["a,Scoliosis,3,R9,1,2,3,4"], "line 2.*'Scoliosis' is no label"),
        ("train.csv", KAGGLE, ["a,Edema,3,R9,1,2,3,4"], "'Edema' is no label"),
        ("train.csv", "image_id,class_name,rad_id,x_min,y_min,x_max", ["a,Edema,R9,1,2,3"], "lacks 'y_max'"),
        ("train.csv", "ImageId,EncodedPixels", ["a,-1"], "It looks like SIIM-ACR Pneumothorax's"),
        ("train.csv", KAGGLE, [], "a header and no row"),
        ("image_labels_train.csv", "image_id,rad_id,Edema,COPD", ["a,R1,yes,0"], "'yes' is none of 1"),
        ("image_labels_train.csv", "image_id,rad_id,Edema,COPD", ["a,R1,1,0"] * 2, "second row of the reader R1"),
        ("image_labels_test.csv", "image_id,Edema,COPD", ["a,1,0", "a,0,0"], "'a' has a second row"),
        ("image_labels_train.csv", "image_id,rad_id,Scoliosis", ["a,R1,1"], "no column of a label"),
        ("other.csv", KAGGLE, KAGGLE_ROWS, "no table of VinDr-CXR is here"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong_are_named(tmp_path, name, header, rows, words):
    write(tmp_path / name, header, rows)
    with pytest.raises(ManifestError, match=words) as caught:
        vindr.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID


def test_other_wrong_input_is_named(tmp_path):
    with pytest.raises(UsageError, match="readers is one of any, majority, all"):
        vindr.read(tmp_path, readers="most")
    write(tmp_path / "train.csv", KAGGLE, KAGGLE_ROWS)
    with pytest.raises(ManifestError) as caught:
        vindr.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    write(tmp_path / "train_meta.csv", "image_id,dim0,dim1", ["aaa,0,100"])
    with pytest.raises(ManifestError, match="no size of an image"):
        vindr.read(tmp_path, table_only=True)
    (tmp_path / "train_meta.csv").unlink()
    for name in ("aaa", "bbb"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(ManifestError, match="header cannot be read"):
        vindr.read(tmp_path)
    header = "image_id,Edema,COPD"
    for part in ("train", "test"):
        write(tmp_path / f"image_labels_{part}.csv", header, ["a,1,0"])
    with pytest.raises(ManifestError, match=r"'a' is in image_labels_train\.csv and in image_labels_test\.csv"):
        vindr.read(tmp_path, table_only=True)


# label: films that at least one, at least two, and all three readers call present
POSITIVES = {
    "Atelectasis": (186, 62, 18),
    "Cardiomegaly": (2300, 1817, 1297),
    "Consolidation": (353, 121, 31),
    "Infiltration": (613, 245, 91),
    "Mass or Nodule": (826, 405, 181),
    "Effusion": (1032, 634, 439),
    "Pleural_Thickening": (1981, 882, 365),
    "Pneumothorax": (96, 58, 45),
    "Fibrosis": (1617, 1017, 633),
    "Aortic enlargement": (3067, 2346, 1744),
    "Calcification": (452, 177, 57),
    "ILD": (386, 152, 71),
    "Lung Opacity": (1322, 547, 167),
    "Other lesion": (1134, 362, 127),
}


@pytest.mark.publictables
@pytest.mark.parametrize(("rule", "column"), [("any", 0), ("majority", 1), ("all", 2)])
def test_the_real_tables_counts_by_each_rule(public_tables, rule, column):
    file = public_tables / "vinbigdata-train.csv.gz"
    source = vindr.read(public_tables, table=file, table_only=True, readers=rule)
    table, record = source.table, source.labels_record
    assert len(table) == 15_000
    assert {name: int((table[name] == 1).sum()) for name in POSITIVES} == {
        name: counts[column] for name, counts in POSITIVES.items()
    }
    normal = (table[list(POSITIVES)] == 0).all(axis=1)
    for name, (any_reader, _, all_readers) in POSITIVES.items():
        disagree = any_reader - all_readers if rule == "all" else 0
        assert table[name].isna().sum() == disagree == record.unknown.get(name, {}).get("readers disagree", 0)
    # torchxrayvision's rule: present where any row has the class
    raw = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert (len(raw), raw["rad_id"].nunique(), len(source.readers)) == (67_914, 17, 45_000)
    if rule == "any":
        assert normal.sum() == 10_606
        effusion = raw.loc[raw["class_name"] == "Pleural effusion", "image_id"]
        assert set(table.loc[table["Effusion"] == 1, "patient_id"]) == set(effusion)
        seen = source.readers["reader"].value_counts()
        assert set(seen.index[:3]) == {"R8", "R9", "R10"}
        assert all(6_100 <= seen[name] <= 6_600 for name in ("R8", "R9", "R10"))
        assert seen[3:].between(776, 3_119).all()
        no_finding = raw[raw["class_name"] == "No finding"].groupby("image_id")["rad_id"].nunique()
        assert no_finding.value_counts().to_dict() == {3: 10_606}
