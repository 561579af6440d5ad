"""Open-i's reports in NLM's XML and in Kaggle's tables, its films under three kinds of names; the real counts."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.formats.dicom_library import Dataset, FileMetaDataset
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.sources import openi
from cxr_monai.data.sources._openi_reports import read_reports
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14

# uid: headings, films
REPORTS = {
    "CXR1": (["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]),
    "CXR2": (["Cardiomegaly/mild", "Thickening/pleura/apex/left"], ["CXR2_IM-0652-1001"]),
    "CXR3": (["technical quality of image unsatisfactory ", "Pleural Effusion/left"], ["CXR3_IM-1384-1001"]),
    "CXR4": (["no indexing"], ["CXR4_IM-2050-1001"]),
    "CXR5": (["Thickening/bronchi", "Emphysema", "Hernia, Hiatal/large"], ["CXR5_IM-2117-0001-0001"]),
    "CXR6": (["normal"], []),
}
FILMS = [film for _, films in REPORTS.values() for film in films]


def xml(uid: str, headings: list[str], films: list[str], start: str = '<?xml version="1.0" encoding="utf-8"?>') -> str:
    majors = "".join(f"<major>{heading}</major>" for heading in headings)
    images = "".join(f'<parentImage id="{film}"><caption>PA</caption></parentImage>' for film in films)
    return f'{start}<eCitation><uId id="{uid}"/><MeSH>{majors}<automatic>opacity</automatic></MeSH>{images}</eCitation>'


def write_xml(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for uid, (headings, films) in REPORTS.items():
        (folder / f"{uid[3:]}.xml").write_text(xml(uid, headings, films))
    return folder


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_kaggle(root: Path):
    rows = [f'{uid[3:]},"{";".join(headings)}",x,y' for uid, (headings, _) in REPORTS.items()]
    (root / "indiana_reports.csv").write_text("\n".join(["uid,MeSH,Problems,image", *rows]) + "\n")
    films = [
        (film.removeprefix("CXR").replace("1_1_", "1_"), uid[3:])
        for uid, (_, names) in REPORTS.items()
        for film in names
    ]
    sides = ["Frontal", "Lateral", "Frontal", "Frontal", "Lateral", "Frontal"]
    rows = [f"{uid},{film}.dcm.png,{side}" for (film, uid), side in zip(films, sides, strict=True)]
    (root / "indiana_projections.csv").write_text("\n".join(["uid,filename,projection", *rows]) + "\n")


def write_dicom(path: Path, view: str):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.ViewPosition, dataset.Rows, dataset.Columns = "CR", view, 40, 40
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def expected_labels() -> np.ndarray:
    expected = np.zeros((6, 14))
    expected[3:5] = np.nan
    for row, finding in (
        (2, "Cardiomegaly"), (2, "Pleural_Thickening"), (3, "Effusion"), (5, "Emphysema"), (5, "Hernia"),
    ):  # fmt: skip
        expected[row, NIH14.index(finding)] = 1
    return expected


@pytest.mark.parametrize("packed", [True, False])
def test_nlms_reports_by_hand(tmp_path, packed):
    folder = write_xml(tmp_path / "other" if packed else tmp_path / "root/ecgen-radiology")
    if packed:
        files = {f"ecgen-radiology/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}
        write_archive(
            tmp_path / "root/NLMCXR_reports.tgz", {**files, "../evil.xml": b"<", "ecgen-radiology/x.xml": b"<"}
        )
    source = openi.read(tmp_path / "root", table_only=True)
    table = source.table
    assert table["image"].tolist() == [f"NLMCXR_png/{film}.png" for film in FILMS]
    assert table["patient_id"].tolist() == ["CXR1", "CXR1", "CXR2", "CXR3", "CXR4", "CXR5"]
    assert (table["study_id"] == table["patient_id"]).all()
    np.testing.assert_array_equal(table[list(NIH14)], expected_labels())
    assert source.labels_record.unknown["Mass"] == {"study excluded": 2}
    assert source.labels_record.unknown["Effusion"] == {"study excluded": 1}
    assert source.notes[0] == "left out 1 report without an image"
    build_manifest(table, source.root, source.label_version, key=source.key)


def test_kaggles_tables_by_hand(tmp_path):
    write_kaggle(tmp_path)
    source = openi.read(tmp_path, table_only=True)
    np.testing.assert_array_equal(source.table[list(NIH14)], expected_labels())
    assert source.table["view"].tolist() == ["", "LATERAL", "", "", "LATERAL", ""], "Frontal tells not PA from AP"
    assert "4 films are of no known view (Kaggle's Frontal does not tell PA from AP)" in source.notes
    assert source.table["image"][0] == "NLMCXR_png/1_IM-0001-3001.png"
    assert source.labels_record.dataset == "openi kaggle"
    folder = tmp_path / "images/images_normalized"
    folder.mkdir(parents=True)
    for film in FILMS:
        Image.new("RGB", (4, 4)).save(folder / f"{film.removeprefix('CXR').replace('1_1_', '1_')}.dcm.png")
    assert openi.read(tmp_path).table["image"][0] == "images/images_normalized/1_IM-0001-3001.dcm.png"


def test_views_of_a_table_of_headers_and_of_clusters(tmp_path):
    write_xml(tmp_path)
    views = ["PA", "LL", "", "LARGE LATERAL", "AP", ""]
    names = [film.replace("CXR1_1_", "CXR1_") for film in FILMS]
    rows = [f"{name},{view}" for name, view in zip(names, views, strict=True)]
    (tmp_path / "nlmcxr_dicom_metadata.csv").write_text("\n".join(["imageid,View Position", *rows]) + "\n")
    assert openi.read(tmp_path, table_only=True).table["view"].tolist() == ["PA", "LATERAL", "", "LATERAL", "AP", ""]
    clusters = [f"{FILMS[0]},L", f"{FILMS[2]},PA", f"{FILMS[3]},L"]
    (tmp_path / "nlmcxr_tsne_pa.csv").write_text("\n".join(["imageid,tsne-view", *clusters]) + "\n")
    source = openi.read(tmp_path, table_only=True)
    assert source.table["view"].tolist() == ["", "LATERAL", "PA", "LATERAL", "AP", ""]
    assert source.notes[1:] == (
        "1 view is by clustering (nlmcxr_tsne_pa.csv)",
        "1 view was emptied: header, projection or nlmcxr_tsne_pa.csv disagree on whether it is lateral",
        "2 films are of no known view",
    )


def test_kaggles_projections_beside_headers_and_clusters(tmp_path):
    write_kaggle(tmp_path)  # Frontal, Lateral, Frontal, Frontal, Lateral, Frontal
    names = [film.replace("CXR1_1_", "CXR1_") for film in FILMS]
    rows = [f"{name},{view}" for name, view in zip(names, ["AP", "", "LL", "", "PA", ""], strict=True)]
    (tmp_path / "nlmcxr_dicom_metadata.csv").write_text("\n".join(["imageid,View Position", *rows]) + "\n")
    clusters = [f"{FILMS[1]},PA", f"{FILMS[3]},PA", f"{FILMS[5]},L"]
    (tmp_path / "nlmcxr_tsne_pa.csv").write_text("\n".join(["imageid,tsne-view", *clusters]) + "\n")
    source = openi.read(tmp_path, table_only=True)
    assert source.table["view"].tolist() == ["AP", "", "", "PA", "", ""]
    assert source.notes[-2].startswith("4 views were emptied")


def test_dicom_files_tell_their_views_and_two_formats_are_a_choice(tmp_path):
    write_xml(tmp_path)
    for film, view in zip(FILMS, ["PA", "RL", "", "", "AP", "PA"], strict=True):
        name = openi.film_key(film)
        write_dicom(tmp_path / f"NLMCXR_dcm/{name.split('_')[0]}/{name}.dcm", view)
    source = openi.read(tmp_path)
    assert source.table["image"][0] == "NLMCXR_dcm/1/1_IM-0001-3001.dcm"
    assert source.table["view"].tolist() == ["PA", "LATERAL", "", "", "AP", "PA"]
    (tmp_path / "NLMCXR_png").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / f"NLMCXR_png/{FILMS[0]}.png")
    with pytest.raises(ManifestError, match="1 film is here more than once") as caught:
        openi.read(tmp_path)
    assert "--images" in caught.value.fix
    source = openi.read(tmp_path, images="NLMCXR_png", available_only=True)
    assert source.table["image"].tolist() == [f"NLMCXR_png/{FILMS[0]}.png"]
    with pytest.raises(ManifestError) as caught:
        openi.read(tmp_path, images="NLMCXR_png")
    assert caught.value.code == Code.IMAGES_MISSING
    with pytest.raises(ManifestError, match="not a folder inside ROOT"):
        openi.read(tmp_path, images="..")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError) as caught:
        openi.read(tmp_path, images="empty", available_only=True)
    assert caught.value.code == Code.NO_IMAGES


BOMB = '<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;">]>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (xml("CXR1", ["&m;"], [], BOMB).encode(), "document type"),
        (xml("CXR1", ["&m;"], [], BOMB).encode("utf-16"), "document type"),
        (xml("CXR1", [], [], '<!DOCTYPE a SYSTEM "file:///etc/passwd">').encode(), "document type"),
        (b"<eCitation>", "no report of Open-i"),
        (b"\xff\xfe\x00", "no report of Open-i"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "no report of Open-i"),
        (b"<eCitation/>", "it has no uId"),
        (b"<a>" + b" " * (1 << 20) + b"</a>", "larger than 1024 KiB"),
    ],
)
def test_hostile_and_broken_reports_are_named(tmp_path, content, words):
    (tmp_path / "1.xml").write_bytes(content)
    with pytest.raises(ManifestError, match=words) as caught:
        openi.read(tmp_path, table_only=True)
    assert caught.value.code == Code.SOURCE_INVALID
    assert "1.xml" in str(caught.value)


def test_other_wrong_input_is_named(tmp_path):
    def refused(words: str, **options):
        with pytest.raises(ManifestError, match=words) as caught:
            openi.read(tmp_path, table_only=True, **options)
        assert caught.value.code == Code.SOURCE_INVALID

    refused("no reports of Open-i are here")
    damaged = tmp_path / "reports.tgz"
    damaged.write_bytes(b"\x1f\x8b\x08 no archive")
    refused("cannot be read", table=damaged)
    refused("no report .1.xml. is in it", table=write_archive(damaged, {"readme.txt": b"x"}))
    one = xml("CXR1", ["normal"], ["CXR1_IM-1"]).encode()
    refused("a second report is CXR1", table=write_archive(damaged, {"1.xml": one, "2.xml": one}))
    other = xml("CXR2", ["normal"], ["CXR1_IM-1"]).encode()
    refused("the image 'CXR1_IM-1' stands twice", table=write_archive(damaged, {"1.xml": one, "2.xml": other}))
    refused("no report names an image", table=write_archive(damaged, {"1.xml": xml("CXR1", ["normal"], []).encode()}))
    table = tmp_path / "indiana_reports.csv"
    table.write_text("uid,MeSH\n1,normal\n")
    refused(r"indiana_projections\.csv is not beside the reports")
    films = tmp_path / "indiana_projections.csv"
    films.write_text("uid,filename,projection\n2,2_IM-1.dcm.png,Frontal\n")
    refused("no report is '2'")
    table.write_text("uid,MeSH\n1,normal\n1,normal\n")
    refused("a second report is 1")
    table.write_text("Image Index,Finding Labels\na.png,Mass\n")
    refused("It looks like NIH ChestX-ray14's")


def test_a_report_without_a_heading_is_unmentioned(tmp_path):
    (tmp_path / "1.xml").write_text(xml("CXR1", [], ["CXR1_IM-1"]))
    source = openi.read(tmp_path, table_only=True)
    assert source.labels_record.unknown["Mass"] == {"unmentioned": 1}


def test_the_command_writes_a_manifest(tmp_path):
    write_xml(tmp_path / "root/reports")
    for film in FILMS[:2]:
        Image.new("RGB", (4, 4)).save(tmp_path / f"root/{film}.png")
    out = tmp_path / "m.csv"
    assert main(["manifest", "openi", str(tmp_path / "root"), "--available-only", "--out", str(out)]) == 0
    manifest = read_manifest(out)
    assert manifest.table["image"].tolist() == [f"{film}.png" for film in FILMS[:2]]
    assert manifest.label_version == "openi-mesh"


# headings before their qualifiers: reports that have them
HEADINGS = {
    "pulmonary atelectasis": 332, "cardiomegaly": 375, "pleural effusion": 161, "infiltrate": 65, "mass": 17,
    "nodule": 111, "pneumonia": 42, "pneumothorax": 23, "consolidation": 30, "pulmonary edema": 46, "emphysema": 62,
    "pulmonary emphysema": 36, "pulmonary fibrosis": 19, "hernia, hiatal": 48, "no indexing": 95, "normal": 1391,
    "technical quality of image unsatisfactory": 86,
}  # fmt: skip


@pytest.mark.publictables
def test_the_real_reports_counts(public_tables):
    reports = read_reports(public_tables / "NLMCXR_reports.tgz")
    assert (len(reports.headings), len(reports.images)) == (3_955, 7_470)
    assert len(set(reports.headings) - set(reports.images["uid"])) == 104
    heads = pd.Series(
        [head for words in reports.headings.values() for head in {word.split("/")[0].strip().lower() for word in words}]
    ).value_counts()
    assert heads[list(HEADINGS)].to_dict() == HEADINGS
    uids = pd.Series(list(reports.headings))
    labels, excluded, silent = openi.read_headings(reports, uids)
    assert (excluded.sum(), silent.sum()) == (95 + 86, 0)
    simple = {
        finding: words[0] for finding, words in openi.OPENI_HEADINGS.items() if len(words) == 1 and "/" not in words[0]
    }
    assert {finding: int((labels[finding] == 1).sum()) for finding in simple} == {
        finding: HEADINGS[word] for finding, word in simple.items()
    }


@pytest.mark.publictables
def test_the_real_manifest_and_its_views(public_tables):
    raw = pd.read_csv(public_tables / "nlmcxr_dicom_metadata.csv.gz", dtype=str, keep_default_na=False)
    assert len(raw) == 7_469
    assert raw["View Position"].value_counts().drop("LARGE LATERAL").to_dict() == {
        "PA": 3_593, "": 2_586, "LL": 717, "AP": 423, "LATERAL": 119, "RL": 29,
    }  # fmt: skip
    assert raw["Photometric Interpretation"].value_counts().to_dict() == {"MONOCHROME2": 3_885, "MONOCHROME1": 3_584}
    assert (raw["Presentation LUT Shape"] == "INVERSE").sum() == 572
    source = openi.read(public_tables, table_only=True)
    table = source.table
    assert (len(table), table["patient_id"].nunique()) == (7_470, 3_955 - 104)
    assert "left out 104 reports without an image" in source.notes
    clusters = pd.read_csv(public_tables / "nlmcxr_tsne_pa.csv.gz")
    assert clusters["tsne-view"].value_counts().to_dict() == {"PA": 3_267, "L": 584}
    known = dict(zip(clusters["imageid"], clusters["tsne-view"], strict=True))
    views = raw.set_index(raw["imageid"].map(openi.film_key))["View Position"]
    for image, view in zip(table["image"], table["view"], strict=True):
        name = image.removeprefix("NLMCXR_png/").removesuffix(".png")
        header, cluster = views.get(openi.film_key(name), ""), known.get(name, "")
        lateral = {"": None, "PA": False, "AP": False}.get(header, True)
        if lateral is None:
            assert view == {"": "", "PA": "PA", "L": "LATERAL"}[cluster]
        elif cluster and lateral is not (cluster == "L"):
            assert view == ""
        else:
            assert view == ("LATERAL" if lateral else header)
