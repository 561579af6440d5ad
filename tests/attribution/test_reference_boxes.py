"""Tables of boxes: both forms, what is kept, and everything wrong in one error."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.reference_boxes import boxed_findings, in_shares, read_boxes
from cxr_monai.errors import Code, CxrError, EvaluationError, ManifestError
from cxr_monai.schemes import SCHEMES

FINDINGS = ("Mass", "Nodule", "Infiltration")
STORED = pd.DataFrame({"image": ["a/2.png", "a/1.png"], "height": [100, 512], "width": [200, 256], "Mass": [0.1, 0.2]})
HEADER = "image,finding,x,y,width,height,image_width,image_height\n"
NIH = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def written(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "boxes.csv"
    path.write_text(header + rows)
    return path


def refused(path: Path, findings: tuple[str, ...] = FINDINGS, stored: pd.DataFrame = STORED) -> str:
    with pytest.raises(EvaluationError) as raised:
        read_boxes(path, stored, findings)
    assert raised.value.code is Code.BOXES_INVALID
    return str(raised.value)


def test_boxes_are_of_the_stored_images_in_their_order(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a/1.png,nodule,1,2,3,4,256,512\na/2.png,Mass,0,0,200,100,200,100\na/1.png,Mass,5,6,7,8,256,512"
    )
    table, notes = read_boxes(path, STORED, FINDINGS)
    assert notes == ()
    assert table["image"].tolist() == ["a/2.png", "a/1.png", "a/1.png"]
    assert table["finding"].tolist() == ["Mass", "Nodule", "Mass"]
    assert table.loc[1, ["x", "y", "width", "height"]].tolist() == [1, 2, 3, 4]


def test_file_names_do_where_they_are_identities(tmp_path: Path) -> None:
    path = written(tmp_path, "elsewhere/1.png,Mass,1,2,3,4,256,512")
    with pytest.raises(ManifestError, match=r"'elsewhere/1\.png' is not 'a/1\.png': the folders differ"):
        read_boxes(path, STORED, FINDINGS)
    with pytest.raises(ManifestError, match="no image in common"):
        boxed_findings(path, STORED["image"])
    table, _ = read_boxes(path, STORED, FINDINGS, by_name=True)
    assert table["image"].tolist() == ["a/1.png"]
    assert boxed_findings(path, STORED["image"], by_name=True) == ({"a/1.png": {"Mass"}}, [])


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize(
    ("header", "row"), [(HEADER, "1.png,Mass,1,2,3,4,256,512\n"), (NIH, "1.png,Mass,4,4,12,8,,,\n")]
)
def test_as_a_spreadsheet_saves_it(tmp_path: Path, header: str, row: str, delimiter: str) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes((header + row).replace(",", delimiter).encode("utf-16"))
    table, _ = read_boxes(path, STORED, FINDINGS)
    assert table[["image", "finding", "x", "y", "width", "height"]].to_numpy().tolist() == [
        ["a/1.png", "Mass", 1, 2, 3, 4]
    ]
    assert boxed_findings(path, STORED["image"]) == ({"a/1.png": {"Mass"}}, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (HEADER.encode(), "a header and no box"),
        (b"image,label\na/1.png,Mass\n", "columns are missing: finding, x"),
        (b"image,finding,finding\na/1.png,Mass,1\n", "'finding' appears twice"),
        ("image,finding\na/1.png,\u00fc\n".encode("cp1252"), "it is not UTF-8"),
    ],
)
def test_what_is_no_table_of_boxes_is_so_for_whoever_reads_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes(content)
    for read in (lambda: read_boxes(path, STORED, FINDINGS), lambda: boxed_findings(path, STORED["image"])):
        with pytest.raises(EvaluationError) as caught:
            read()
        assert caught.value.code == Code.BOXES_INVALID
        assert said in str(caught.value)


def test_what_has_no_map_is_left_out_and_said(tmp_path: Path) -> None:
    rows = "a/1.png,Mass,1,2,3,4,256,512\na/1.png,Hernia,1,2,3,4,256,512\na/9.png,Mass,1,2,3,4,999,999"
    table, notes = read_boxes(written(tmp_path, rows), STORED, FINDINGS)
    assert len(table) == 1
    assert notes == (
        "1 of 3 boxes are of images without maps, and left out.",
        "1 box of findings without maps is left out: Hernia.",
    )


def test_nihs_own_list_is_scaled_to_the_stored_size(tmp_path: Path) -> None:
    rows = "1.png,Infiltrate,512,256,128,64,,,\n9.png,Mass,1,1,1,1,,,\n"
    path = tmp_path / "BBox_List_2017.csv.gz"
    path.write_bytes(gzip.compress((NIH + rows).encode()))
    table, notes = read_boxes(path, STORED, FINDINGS)
    assert table.iloc[0].tolist() == ["a/1.png", "Infiltration", 128, 128, 32, 32, 256, 512]
    assert notes == ("Boxes: kept 1 of 2 boxes, on 1 image.",)


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    rows = [
        "a/1.png,Mass,1,2,3,4,256,512",  # right
        "a/1.png,Mas,1,2,3,4,256,512",
        "a/1.png,Mass,250,2,7,4,256,512",
        "a/1.png,Mass,1,-1,3,4,256,512",
        "a/1.png,Nodule,1,2,3,4,512,512",
        "a/1.png,Mass,1,2,3,4,256,512",
        "a/1.png,Mass,1,2,0,4,256,512",
        "a/1.png,Mass,one,2,3,4,256,512",
        "a/2.png,Mass,1,2,3,99,200,100",
    ]
    told = refused(written(tmp_path, "\n".join(rows)))
    assert "8 boxes are wrong" in told
    assert "line 2:" not in told
    assert "line 3: there is no finding 'Mas'; the findings are Mass, Nodule, Infiltration, Atelectasis," in told
    assert "line 4: the box 250, 2, 7, 4 (x, y, width, height) leaves a/1.png, 256x512" in told
    assert "line 5: the box 1, -1, 3, 4" in told
    assert "line 6: a/1.png is 512x512 here; the maps are of an image of 256x512" in told
    assert "line 7: the same box of Mass in a/1.png a second time" in told
    assert "line 8: no box: 1, 2, 0, 4, 256, 512" in told
    assert "line 9: no box: one, 2, 3, 4, 256, 512" in told
    assert "line 10: the box 1, 2, 3, 99" in told


def test_a_long_list_of_errors_is_cut(tmp_path: Path) -> None:
    told = refused(written(tmp_path, "\n".join(f"a/1.png,Mass,{x},2,300,4,256,512" for x in range(14))))
    assert "and 4 more" in told
    assert told.count("line ") == 10


def test_a_box_may_end_at_the_edge_and_be_rounded(tmp_path: Path) -> None:
    table, _ = read_boxes(written(tmp_path, "a/1.png,Mass,0,0,256.0049,512,256,512"), STORED, FINDINGS)
    np.testing.assert_array_equal(in_shares(table)["a/1.png", "Mass"], [[0, 0, 1, 1]])


def test_nihs_list_outside_the_image(tmp_path: Path) -> None:
    told = refused(written(tmp_path, "1.png,Mass,1000,0,100,10,,,\n", NIH))
    assert "leaves a/1.png, 256x512" in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,finding,x\na,Mass,1\n", "columns are missing: y, width, height, image_width, image_height"),
        ("", "the file is empty"),
        (HEADER, "a header and no box"),
        (HEADER + "a/1.png,Hernia,1,2,3,4,256,512\n", "no box is of a finding that there are maps of"),
        (NIH + "9.png,Mass,1,1,1,1,,,\n", "no box is of an image that there are maps of (2, such as 'a/2.png')"),
    ],
)
def test_no_boxes_at_all(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(content)
    assert said in refused(path)


def test_nihs_list_needs_file_names_that_tell_images_apart(tmp_path: Path) -> None:
    twice = pd.DataFrame({"image": ["a/1.png", "b/1.png"], "height": 4, "width": 4})
    assert "several maps are of 1.png" in refused(written(tmp_path, "1.png,Mass,1,1,1,1,,,\n", NIH), stored=twice)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: folder / "absent.csv", Code.SOURCE_INVALID),
        (lambda folder: written(folder, "z.png,Mass,1,2,3,4,256,512"), Code.MANIFEST_INVALID),
        (lambda folder: written(folder, "1.png,Masss,1,1,1,1,,,", NIH), Code.UNKNOWN_FINDING),
    ],
)
def test_errors_of_others_keep_their_codes(tmp_path: Path, make, code: Code) -> None:
    with pytest.raises(CxrError) as raised:
        read_boxes(make(tmp_path), STORED, FINDINGS)
    assert raised.value.code is code


def test_shares_by_case(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a/1.png,Mass,64,128,64,256,256,512\na/2.png,Mass,0,0,20,50,200,100\na/1.png,Mass,0,0,1,1,256,512"
    )
    shares = in_shares(read_boxes(path, STORED, FINDINGS)[0])
    assert list(shares) == [("a/2.png", "Mass"), ("a/1.png", "Mass")]
    np.testing.assert_allclose(shares["a/1.png", "Mass"], [[0.25, 0.25, 0.5, 0.75], [0, 0, 1 / 256, 1 / 512]])
    np.testing.assert_allclose(shares["a/2.png", "Mass"], [[0, 0, 0.1, 0.5]])


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (HEADER, "b/a/1.png,nodule,1,2,3,4,256,512\nb/a/1.png,Mass,1,2,3,4,256,512\nb/7.png,Mass,1,2,3,4,9,9\n"),
        (NIH, "1.png,Nodule,1,2,3,4,,,\n1.png,Mass,1,2,3,4,,,\n7.png,Mass,1,2,3,4,,,\n"),
    ],
)
def test_which_findings_are_boxed_where(tmp_path: Path, header: str, rows: str) -> None:
    boxed, notes = boxed_findings(written(tmp_path, rows, header), ["a/2.png", "a/1.png"])
    assert boxed == {"a/1.png": {"Nodule", "Mass"}}
    assert notes == ["1 of 2 boxed images are not in the images to be explained and are left out."]


def test_boxes_of_findings_are_boxes_of_their_category(tmp_path: Path) -> None:
    rows = "a/1.png,Mass,1,2,3,4,256,512\na/1.png,Nodule,1,2,3,4,256,512\na/2.png,Effusion,5,6,7,8,200,100\n"
    path, categories = written(tmp_path, rows + "a/2.png,Hernia,1,1,1,1,200,100\n"), SCHEMES["categories"]
    table, notes = read_boxes(path, STORED, ("Lung", "Pleural"), categories)
    assert table[["image", "finding", "x"]].values.tolist() == [["a/2.png", "Pleural", 5], ["a/1.png", "Lung", 1]]
    assert notes == ("1 box of findings without maps is left out: Hernia.",)
    boxed, _ = boxed_findings(path, ["a/1.png", "a/2.png"], categories)
    assert boxed == {"a/1.png": {"Lung"}, "a/2.png": {"Pleural", "Hernia"}}
