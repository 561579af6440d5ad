"""Radiologists' labels over NIH's images: RSNA's, Google's four findings, Google's fourteen; synthetic and real."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.manifest import Manifest, build_manifest, file_names, read_manifest
from cxr_monai.data.overlaps import overlap_of, patient_keys
from cxr_monai.data.phantom.mark import write_mark
from cxr_monai.data.sources import SourceTable, nih
from cxr_monai.data.splits import official
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14

NAMES = [f"0000000{number}_000.png" for number in range(1, 6)]
HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
BOXES = "patientId,x,y,width,height,Target\na,,,,,0\nb,100.0,200.0,50.0,60.0,1\nb,1,2,3,4,1\nc,,,,,0\n"
CLASSES = "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\nc,No Lung Opacity / Not Normal\n"
MAPPING = [
    {
        "subset_img_id": film,
        "img_id": name,
        "orig_labels": [],
        "SOPInstanceUID": f"1.{film}",
        "StudyInstanceUID": f"2.{film}",
    }
    for film, name in zip("abc", NAMES, strict=False)
]
FOUR = f"{HEADER},Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id\n"
FOURTEEN = [finding.replace("_", " ") for finding in NIH14]
MEMBERS = ["Infiltration", "Pneumonia", "Consolidation"]
OPACITY = "Pneumonia-like Opacity"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images of NIH's, three of them on disk, with 512x256 pixels."""
    folder = tmp_path / "nih"
    (folder / "images").mkdir(parents=True)
    rows = [f"{name},Mass,0,{number},50,M,PA" for number, name in enumerate(NAMES, 1)]
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "BBox_List_2017.csv").write_text(
        f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{NAMES[0]},Mass,1,2,3,4,,,\n"
    )
    for name in NAMES[:3]:
        Image.new("L", (512, 256)).save(folder / "images" / name)
    return folder


def write(folder: Path, **contents: str) -> list[Path]:
    paths = []
    for stem, content in contents.items():
        path = folder / f"{stem}.{'json' if content.startswith(('[', '{')) else 'csv'}"
        path.write_text(content)
        paths.append(path)
    return paths


def read(root: Path, reference: str, files: list[Path], **options) -> SourceTable:
    source = nih.read(root, reference=reference, reference_files=files, **options)
    build_manifest(source.table, source.root, source.label_version, key=source.key)
    return source


def values(source: SourceTable, *findings: str) -> list[list[float | None]]:
    cells = source.table[list(findings)]
    return cells.astype(object).where(cells.notna(), None).to_numpy().tolist()


def test_rsna_replaces_what_it_says_and_leaves_the_rest_unknown(root, tmp_path):
    source = read(root, "rsna", write(tmp_path, boxes=BOXES, classes=CLASSES, mapping=json.dumps(MAPPING)))
    assert source.table["image"].tolist() == [f"images/{name}" for name in NAMES[:3]]
    assert source.table["patient_id"].tolist() == ["1", "2", "3"]
    assert source.table["source"].unique().tolist() == ["rsna"]
    assert source.label_version == "rsna-2018"
    assert list(source.table.columns[8:]) == [*NIH14, OPACITY]
    assert values(source, OPACITY, *MEMBERS, "Mass") == [
        [0, 0, 0, 0, 0],  # Normal
        [1, None, None, None, None],
        [0, 0, 0, 0, None],  # Not Normal: a mass may well be there
    ]
    assert source.boxes is not None
    assert source.boxes.to_numpy().tolist() == [
        [f"images/{NAMES[1]}", OPACITY, 50.0, 50.0, 25.0, 15.0, 512, 256],
        [f"images/{NAMES[1]}", OPACITY, 0.5, 0.5, 1.5, 1.0, 512, 256],
    ]
    assert "radiologists (rsna-2018) read 3 of 5 images; the others are left out" in source.notes
    record = source.labels_record
    assert record is not None
    assert record.unknown["Mass"] == {"unmentioned": 2}
    assert record.unknown["Pneumonia"] == {"uncertain": 1}, "which of the three it is"
    assert OPACITY not in record.unknown
    assert "Infiltration" in record.rules[OPACITY]
    assert overlap_of("rsna", "nih") is not None
    assert patient_keys(source.table)[0] == "nih\t1"


def test_the_small_table_of_rsna_says_the_same_as_kaggles(root, tmp_path):
    small = (
        f"image,rsna_class,x,y,width,height\n{NAMES[0]},Normal,,,,\n{NAMES[1]},Lung Opacity,100,200,50,60\n"
        f"{NAMES[1]},Lung Opacity,1,2,3,4\n{NAMES[2]},No Lung Opacity / Not Normal,,,,\n"
    )
    whole = read(root, "rsna", write(tmp_path, b=BOXES, c=CLASSES, m=json.dumps(MAPPING)))
    named = read(root, "rsna", write(tmp_path, small=small))
    pd.testing.assert_frame_equal(whole.table, named.table)
    pd.testing.assert_frame_equal(whole.boxes, named.boxes)


def test_the_adjudicated_json_is_read_by_its_group_of_the_truth(root, tmp_path):
    """Single readers' labels and remarks, which fill most of the file, are left."""
    groups = [
        {"name": "Radiologists", "labels": [{"id": "L_1", "name": "Lung Opacity (High Prob)"}]},
        {"name": "Calculated", "labels": [{"id": "n", "name": "Normal"}, {"id": "o", "name": "Lung Opacity"},
                                          {"id": "x", "name": "No Lung Opacity / Not Normal"}]},
    ]  # fmt: skip
    entries = [
        {"SOPInstanceUID": "1.a", "labelId": "n", "data": None},
        {"SOPInstanceUID": "1.a", "labelId": "L_1", "data": {"x": 1, "y": 1, "width": 1, "height": 1}},
        {"SOPInstanceUID": "1.b", "labelId": "o", "data": {"x": 100, "y": 200, "width": 50, "height": 60}},
        {"SOPInstanceUID": "1.b", "labelId": "o", "data": {"x": 1, "y": 2, "width": 3, "height": 4}},
        {"SOPInstanceUID": None, "StudyInstanceUID": "2.c", "labelId": "x", "data": None},
    ]
    content = {"labelGroups": groups, "datasets": [{"annotations": entries}]}
    adjudicated = read(root, "rsna", write(tmp_path, j=json.dumps(content), m=json.dumps(MAPPING)))
    kaggle = read(root, "rsna", write(tmp_path, b=BOXES, c=CLASSES, m=json.dumps(MAPPING)))
    pd.testing.assert_frame_equal(adjudicated.table, kaggle.table)
    pd.testing.assert_frame_equal(adjudicated.boxes, kaggle.boxes)
    for broken, words in (({"labelGroups": [], "datasets": []}, "no label of the group 'Calculated'"),
                          ({"labelGroups": groups, "datasets": [{}]}, "not laid out as RSNA's")):  # fmt: skip
        with pytest.raises(ManifestError, match=words):
            read(root, "rsna", write(tmp_path, j=json.dumps(broken), m=json.dumps(MAPPING)))


def test_boxes_alone_tell_no_normal_films(root, tmp_path):
    source = read(root, "rsna", write(tmp_path, boxes=BOXES, mapping=json.dumps(MAPPING)))
    assert values(source, OPACITY, "Pneumonia", "Mass") == [[0, 0, None], [1, None, None], [0, 0, None]]
    assert any("2 films have no class" in note for note in source.notes)
    classes = read(root, "rsna", write(tmp_path, classes=CLASSES, mapping=json.dumps(MAPPING)))
    assert values(classes, OPACITY, "Mass") == [[0, 0], [1, None], [0, None]]
    assert any("no boxes" in note for note in classes.notes)
    assert classes.boxes is not None
    assert classes.boxes.empty


def test_films_that_the_mapping_does_not_tell_apart_are_left_out(root, tmp_path):
    """Two of RSNA's films with one name of NIH's: whose are the labels?"""
    twice = [*MAPPING[:2], {**MAPPING[2], "img_id": NAMES[1]}]
    source = read(root, "rsna", write(tmp_path, b=BOXES, c=CLASSES, m=json.dumps(twice)))
    assert source.table["image"].tolist() == [f"images/{NAMES[0]}"]
    assert any(note.startswith("2 films are not clearly in the mapping") for note in source.notes)
    assert source.boxes is not None
    assert source.boxes.empty


def test_googles_four_findings(root, tmp_path):
    rows = [
        f"{NAMES[0]},Mass,0,1,50,M,PA,NO,YES,NO,NO,val",
        f"{NAMES[1]},Mass,0,2,50,M,PA,YES,NO,YES,YES,test",
        f"{NAMES[2]},Mass,0,3,50,M,PA,,,,,test",  # not in the adjudicated set
    ]
    readers = (
        "Image ID,Reader ID,Fracture,Pneumothorax,Airspace opacity,Nodule/mass\n"
        f"{NAMES[0]},17,NO,HEDGE,NO,NO\n{NAMES[0]},18,NO,YES,NO,HEDGE\n"
    )
    source = read(root, "google", write(tmp_path, labels=FOUR + "\n".join(rows), readers=readers))
    columns = [name for name in source.table if name in (*NIH14, "Mass or Nodule", "Airspace Opacity", "Fracture")]
    members = ["Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Consolidation", "Edema"]
    assert columns == [*members, "Mass or Nodule", "Airspace Opacity", "Fracture"]
    assert values(source, *columns) == [
        [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        [None, None, None, None, None, 0, None, None, 1, 1, 1],
    ]
    assert source.table["split"].tolist() == ["val", "test"]
    assert (source.label_version, source.boxes) == ("google-2020", None)
    assert source.readers is not None
    assert source.readers[["image", "reader", "in_truth"]].to_numpy().tolist() == [
        [f"images/{NAMES[0]}", "17", 1], [f"images/{NAMES[0]}", "18", 1]
    ]  # fmt: skip
    assert source.readers[["Pneumothorax", "Mass or Nodule"]].isna().to_numpy().tolist() == [
        [True, False],
        [False, True],
    ]
    small = "image,set,Fracture,Pneumothorax,Airspace_opacity,Nodule_or_mass\n" + (
        f"{NAMES[0]},val,0,1,0,0\n{NAMES[1]},test,1,0,1,1\n"
    )
    pd.testing.assert_frame_equal(read(root, "google", write(tmp_path, small=small)).table, source.table)


def test_googles_fourteen_findings_with_their_readers(root, tmp_path):
    header = ["Image ID", "Patient ID", "Abnormal", *FOURTEEN, "Other"]
    edema = ["YES" if finding == "Edema" else "NO" for finding in NIH14]
    thick = ["YES" if finding == "Pleural_Thickening" else "NO" for finding in NIH14]
    none = ["NO"] * 14
    truth = "\n".join(",".join(row) for row in (header, [NAMES[1], "2", "YES", *edema, "NO"]))
    readers = "\n".join(
        ",".join(row)
        for row in (
            [*header[:2], "Reader ID", *header[2:]],
            [NAMES[1], "2", "4343882785", "1", *edema, "NO"],
            [NAMES[1], "2", "4343882583", "0", *none, "NO"],
            [NAMES[1], "2", "4343883593", "1", *thick, "YES"],
        )
    )
    out = tmp_path / "m.csv"
    files = [str(path) for path in write(tmp_path, truth=truth, readers=readers)]
    words = ["manifest", "nih", str(root), "--out", str(out), "--reference", "google-14", "--reference-files", *files]
    assert main(words) == 0
    manifest = read_manifest(out)
    assert manifest.label_version == "google-14-2021"
    assert manifest.findings == NIH14
    assert manifest.table["image"].tolist() == [f"images/{NAMES[1]}"]
    assert manifest.table["split"].tolist() == ["test"]
    assert manifest.labels().tolist() == [[float(finding == "Edema") for finding in NIH14]]
    single = pd.read_csv(tmp_path / "m.readers.csv", dtype={"reader": str})
    assert list(single.columns) == ["image", "reader", "in_truth", *NIH14]
    assert single["image"].tolist() == [f"images/{NAMES[1]}"] * 3
    assert single[["reader", "in_truth"]].to_numpy().tolist() == [
        ["4343882785", 1],
        ["4343882583", 0],
        ["4343883593", 1],
    ]
    assert single["Pleural_Thickening"].tolist() == [0, 0, 1]
    assert not (tmp_path / "m.boxes.csv").exists()


TRUTH14 = ",".join(["Image ID", "Patient ID", "Abnormal", *FOURTEEN, "Other"])
READERS14 = TRUTH14.replace("Patient ID,", "Patient ID,Reader ID,")
ANSWER = f"{NAMES[0]},1," + ",".join(["NO"] * 16)


@pytest.mark.parametrize(
    ("reference", "contents", "words"),
    [
        ("rsna", {"a": FOUR + f"{NAMES[0]},Mass,0,1,50,M,PA,NO,YES,NO,NO,val"}, "looks like Google's labels of four"),
        ("google", {"a": BOXES}, "looks like RSNA's boxes"),
        ("google-14", {"a": FOUR + f"{NAMES[0]},Mass,0,1,50,M,PA,NO,YES,NO,NO,val"}, "labels of four findings, which"),
        ("google", {"a": f"{TRUTH14}\n{ANSWER}"}, "labels of 14 findings, which"),
        ("google", {"a": f"{HEADER}\n{NAMES[0]},Mass,0,1,50,M,PA"}, "It looks like NIH ChestX-ray14's"),
        ("rsna", {"a": "name,label\nx,1"}, "no table of radiologists' labels; its columns are 'name', 'label'"),
        ("rsna", {"a": BOXES, "b": CLASSES}, "which film is which of NIH"),
        ("rsna", {"m": json.dumps(MAPPING)}, "what RSNA said of a film"),
        ("rsna", {"a": BOXES, "b": BOXES, "m": json.dumps(MAPPING)}, "several files tell the same"),
        ("rsna", {"a": BOXES, "m": '[{"subset_img_id": "z", "img_id": "z.png"}]'}, "has none of the 3 films"),
        ("rsna", {"a": BOXES, "m": "[1, 2]"}, "no list of objects"),
        ("rsna", {"a": BOXES, "m": "[{]"}, "no JSON"),
        ("rsna", {"a": BOXES.replace("a,,,,,0", "a,,,,,2"), "m": json.dumps(MAPPING)}, "1 row differs: a, , , , , 2"),
        ("rsna", {"a": BOXES.replace("50.0", "0"), "m": json.dumps(MAPPING)}, "has a box in each row"),
        ("rsna", {"a": BOXES + "b,,,,,0\n", "m": json.dumps(MAPPING)}, "film b is Lung Opacity and No Lung Opacity"),
        ("rsna", {"a": CLASSES.replace("Normal\nb", "normal\nb"), "m": json.dumps(MAPPING)}, "'normal' is no class"),
        ("rsna", {"a": BOXES, "b": CLASSES.replace("c,No Lung Opacity / Not Normal", "c,Lung Opacity"),
                  "m": json.dumps(MAPPING)}, "contradict each other in 1 film: c is 'Lung Opacity' and has"),
        ("google-14", {"a": f"{READERS14}\n{NAMES[0]},1,7," + ",".join(["NO"] * 16)}, "only single readers here"),
        ("google-14", {"a": f"{TRUTH14}\n{ANSWER}\n{ANSWER}"}, "1 row of a.csv repeat an image"),
        ("google-14", {"a": f"{TRUTH14}\n{ANSWER.replace('1,NO,NO', '1,NO,MAYBE')}"}, "is 'MAYBE', and is YES, NO"),
        ("google-14", {"a": f"{TRUTH14}\n{ANSWER.replace(NAMES[0], '')}"}, "names no image"),
        ("google-14", {"a": f"{TRUTH14}\n{ANSWER.replace(NAMES[0], 'x.png')}"}, "none of the 1 image"),
    ],
)  # fmt: skip
def test_wrong_reference_files(root, tmp_path, reference, contents, words):
    with pytest.raises(ManifestError, match=words) as caught:
        read(root, reference, write(tmp_path, **contents))
    assert caught.value.code == Code.SOURCE_INVALID


def test_both_options_are_needed_and_phantoms_have_no_radiologists(root, tmp_path):
    files = write(tmp_path, boxes=BOXES, mapping=json.dumps(MAPPING))
    for options in ({"reference": "rsna"}, {"reference_files": files}):
        with pytest.raises(UsageError, match="need both options"):
            nih.read(root, **options)
    write_mark(root)
    with pytest.raises(ManifestError, match="these are phantoms"):
        read(root, "rsna", files)


@pytest.fixture(scope="module")
def real(realdata: Path) -> dict[str, tuple[Manifest, SourceTable]]:
    files = {
        "rsna": ["rsna_on_nih"],
        "google": ["google_four_findings"],
        "google-14": ["google_14_findings", "google_14_readers"],
    }
    read_all = {}
    frame, notes = nih.read_data_entry(realdata / "nih/Data_Entry_2017_v2020.csv.gz")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(nih, "read_data_entry", lambda path: (frame, [*notes]))  # once for the three
    for name, stems in files.items():
        paths = [realdata / "expert" / f"{stem}.csv.gz" for stem in stems]
        source = nih.read(realdata / "nih", table_only=True, reference=name, reference_files=paths)
        manifest = build_manifest(source.table, source.root, source.label_version, key=source.key)
        read_all[name] = manifest, source
    monkeypatch.undo()
    return read_all


@pytest.fixture(scope="module")
def official_test_names(realdata: Path) -> set[str]:
    """The names in NIH's official test list."""
    return set(gzip.decompress((realdata / "nih/official_split/test_list.txt.gz").read_bytes()).decode().split())


@pytest.mark.realdata
def test_real_rsna(real, official_test_names):
    manifest, source = real["rsna"]
    table = manifest.table
    opacity, normal = table[OPACITY] == 1, table["Mass"] == 0
    assert len(table) == 26_462
    assert [int(normal.sum()), int((~normal & ~opacity).sum()), int(opacity.sum())] == [8_769, 11_717, 5_976]
    assert source.boxes is not None
    assert len(source.boxes) == 9_504
    assert set(source.boxes["image"]) == set(table.loc[opacity, "image"])
    assert source.boxes[["x", "y"]].min().min() >= 0
    assert (source.boxes["x"] + source.boxes["width"]).max() <= 1024
    assert source.labels_record is not None
    assert source.labels_record.unknown["Mass"] == {"unmentioned": 11_717 + 5_976}
    # of all 26,684 these are 19,491 (7,908, 8,157, 3,426) and 7,193 (943, 3,664, 2,586); 222 of them are not at hand
    in_test = file_names(table["image"]).isin(official_test_names)
    for here, counts in ((~in_test, [7_836, 8_078, 3_401]), (in_test, [933, 3_639, 2_575])):
        assert [int((here & ~opacity & (normal == which)).sum()) for which in (True, False)] == counts[:2]
        assert int((here & opacity).sum()) == counts[2]
    assert table["patient_id"].nunique() == 11_341
    ap = table["view"] == "AP"
    assert round(0.5 + (ap[opacity].mean() - ap[~opacity].mean()) / 2, 3) == 0.707, "the view alone, as a score"


@pytest.mark.realdata
def test_what_rsna_makes_of_nihs_pneumonia(real, chexnet_manifest):
    """45 % are opacities, and 16 % were called Normal."""
    nihs = read_manifest(chexnet_manifest, check_files=False).table.set_index("image")["Pneumonia"]
    table = real["rsna"][0].table
    reported = nihs[table["image"]].to_numpy() == 1
    opacity, normal = (table[OPACITY] == 1)[reported].mean(), (table["Mass"] == 0)[reported].mean()
    assert round(opacity, 2) == 0.45
    assert round(normal, 2) == 0.16


@pytest.mark.realdata
def test_real_google(real, official_test_names):
    table = real["google"][0].table
    assert len(table) == 4_372
    columns = ["Fracture", "Pneumothorax", "Airspace Opacity", "Mass or Nodule"]
    assert table[columns].sum().tolist() == [186, 238, 2_166, 605]
    assert table[columns].notna().all(axis=None)
    assert table["split"].value_counts().to_dict() == {"val": 2_411, "test": 1_961}
    in_test = file_names(table["image"]).isin(official_test_names)
    assert (in_test == (table["split"] == "test")).all(), "val lies in NIH's train_val list, test in its test list"


@pytest.mark.realdata
def test_real_google_14(real, realdata):
    manifest, source = real["google-14"]
    assert len(manifest) == 447
    assert set(manifest.table["view"]) == {"PA"}
    lists = [realdata / f"nih/official_split/{name}_list.txt.gz" for name in ("train_val", "test")]
    assert set(official(manifest, *lists, val_fraction=0).table["split"]) == {"test"}, "NIH's lists apply as they are"
    readers = source.readers
    assert readers is not None
    assert readers.groupby("reader")["in_truth"].agg(["size", "first"]).to_numpy().tolist() == [
        [447, 0], [447, 0], [447, 1], [447, 1], [447, 1]
    ]  # fmt: skip
    assert sorted(readers.loc[readers["in_truth"] == 0, "reader"].unique()) == ["4343880271", "4343882583"]
    votes = readers[readers["in_truth"] == 1].groupby("image")[list(NIH14)].sum().loc[manifest.table["image"]]
    np.testing.assert_array_equal(manifest.labels(), (votes >= 2).to_numpy(), "the published truth is the majority")


@pytest.mark.realdata
def test_real_pictures_with_the_radiologists_labels(realdata):
    """444 of the 1,306 images: 125 Normal, 178 Not Normal, 141 Opacity, 219 boxes, in pixels of 320x320."""
    source = read(
        realdata / "nih", "rsna", [realdata / "expert/rsna_on_nih.csv.gz"], images="images_320", available_only=True
    )
    table = source.table
    opacity, normal = table[OPACITY] == 1, table["Mass"] == 0
    counts = [len(table), int(normal.sum()), int((~normal & ~opacity).sum()), int(opacity.sum())]
    assert counts == [444, 125, 178, 141]
    assert source.boxes is not None
    assert len(source.boxes) == 219
    assert set(source.boxes["image_width"]) == {320}
    assert (source.boxes["y"] + source.boxes["height"]).max() <= 320


@pytest.mark.realdata
def test_the_447_films_of_five_radiologists(realdata):
    """All are there: the images that nobody read are not missed. 84 of them are of patients of the 1,306 images."""
    files = [realdata / f"expert/google_14_{name}.csv.gz" for name in ("findings", "readers")]
    source = read(realdata / "nih", "google-14", files, images="images_320_expert")
    assert len(source.table) == 447
    assert source.readers is not None
    assert len(source.readers) == 5 * 447
    trained = nih.read(realdata / "nih", images="images_320", available_only=True).table["patient_id"]
    shared = source.table["patient_id"].isin(trained)
    assert (int(shared.sum()), source.table["patient_id"][shared].nunique()) == (84, 45)


@pytest.mark.realdata
@pytest.mark.publictables
def test_googles_table_as_it_is_published(realdata, public_tables, real):
    """It repeats NIH's columns beside its own; four of its images are not at hand in the small table."""
    files = [public_tables / "google2019_nih-chest-xray-labels.csv.gz"]
    table = nih.read(realdata / "nih", table_only=True, reference="google", reference_files=files).table
    assert (len(table), table["patient_id"].nunique()) == (4_376, 1_695)
    assert table["view"].value_counts().to_dict() == {"AP": 3_244, "PA": 1_132}
    columns = ["Fracture", "Pneumothorax", "Airspace Opacity", "Mass or Nodule"]
    assert table[columns].sum().tolist() == [186, 238, 2_166, 605]
    assert table["split"].value_counts().to_dict() == {"val": 2_414, "test": 1_962}
    small = real["google"][0].table.set_index("image")[columns]
    pd.testing.assert_frame_equal(table.set_index("image").loc[small.index, columns], small)
