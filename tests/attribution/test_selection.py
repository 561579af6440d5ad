"""Which images are explained, and with which labels and boxes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.selection import Example, images_to_explain
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import Code, EvaluationError, ManifestError, SettingError, SplitError
from cxr_monai.schemes import label_scheme

FINDINGS = ["Mass", "Edema"]


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def named(images: object, **settings: object) -> list[Example]:
    return images_to_explain(images, None, None, "test", 8, FINDINGS, **settings)  # type: ignore[arg-type]


def test_named_files_in_their_order(tmp_path: Path) -> None:
    b, a = files(tmp_path, "b.png", "a.dcm")
    assert named([str(b), str(a)]) == [Example(b, "b.png"), Example(a, "a.dcm")]
    assert named(f"{b},{a}") == [Example(b, "b.png"), Example(a, "a.dcm")]
    assert all(example.present is None and example.boxes == [] for example in named([str(b)]))


def test_a_folder_gives_its_images_sorted(tmp_path: Path) -> None:
    files(tmp_path, "x/b.png", "x/sub/a.nii.gz", "x/notes.txt", "x/A.JPG")
    assert [example.name for example in named(str(tmp_path / "x"))] == ["A.JPG", "b.png", "a.nii.gz"]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    files(tmp_path, "notes.txt")
    with pytest.raises(ManifestError) as caught:
        named([str(tmp_path)])
    assert (caught.value.code, caught.value.where) == (Code.NO_IMAGES, str(tmp_path))


def test_nothing_named_is_an_error_that_says_what_to_add() -> None:
    with pytest.raises(SettingError, match=r"--images.*--manifest") as caught:
        named(None)
    assert caught.value.code == Code.SETTING_INVALID


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Eight images, six of them in test: Mass in 1, 2 and 5, Edema in 3, 5 and 7 (of train); 4 is boxed as Edema."""
    names = [f"{n}.png" for n in range(8)]
    files(tmp_path / "images", *names)
    table = pd.DataFrame({"image": names, "patient_id": range(8)})
    table["split"] = ["test"] * 6 + ["val", "train"]
    table["Mass"] = [0, 1, 1, 0, 0, 1, 0, 0]
    table["Edema"] = [0, 0, np.nan, 1, 1, 1, 0, 1]
    write_manifest(build_manifest(table, tmp_path / "images", "local"), tmp_path / "m.csv")
    return tmp_path / "m.csv"


def chosen(manifest: Path, count: int, split: str = "test", findings: list[str] = FINDINGS) -> list[str]:
    return [example.name for example in images_to_explain(None, str(manifest), None, split, count, findings)]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, ["1.png"]),
        (2, ["1.png", "3.png"]),
        (3, ["1.png", "3.png", "2.png"]),
        (5, ["1.png", "3.png", "2.png", "4.png", "5.png"]),
        (99, ["1.png", "3.png", "2.png", "4.png", "5.png"]),  # 0 has neither finding
    ],
)
def test_a_manifests_findings_take_turns(manifest: Path, count: int, names: list[str]) -> None:
    assert chosen(manifest, count) == names


def test_boxed_images_come_first_and_bring_their_boxes(manifest: Path) -> None:
    (manifest.parent / "boxes.csv").write_text(
        "image,finding,x,y,width,height,image_width,image_height\n4.png,Edema,1.5,2,3,4,64,64\n4.png,Mass,5,6,7,8,64,64\n"
    )
    examples = images_to_explain(None, str(manifest), None, "test", 2, FINDINGS)
    assert [example.name for example in examples] == ["1.png", "4.png"]
    assert examples[0].boxes == []
    assert examples[1].boxes == [("Edema", 1.5 / 64, 2 / 64, 3 / 64, 4 / 64), ("Mass", 5 / 64, 6 / 64, 7 / 64, 8 / 64)]


HEADER = "image,finding,x,y,width,height,image_width,image_height\n"


@pytest.mark.parametrize("name", ["boxes.csv", "m.boxes.csv"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,finding,x,y\n4.png,Edema,1,2\n", "columns are missing: width, height, image_width, image_height"),
        ("x,y,width,height,image_width,image_height\n1,2,3,4,64,64\n", "columns are missing: image, finding"),
        (HEADER + "4.png,Edema,1,2,3,4,64,64\n4.png,Edema,one,2,3,4,64,64\n", "line 3: no box: one, 2, 3, 4, 64, 64"),
        (HEADER + "4.png,Edema,1,2,,4,64,64\n", "line 2: no box: 1, 2, , 4, 64, 64"),
        (HEADER + "4.png,Edema,1,2,3,4,0,64\n", "line 2: no box: 1, 2, 3, 4, 0, 64"),
        (HEADER + "4.png,Edema,1,inf,3,4,64,64\n", "line 2: no box: 1, inf, 3, 4, 64, 64"),
    ],
)
def test_a_table_beside_the_manifest_that_is_none_of_boxes(name: str, content: str, said: str, manifest: Path) -> None:
    path = manifest.parent / name
    path.write_text(content)
    with pytest.raises(EvaluationError) as caught:
        chosen(manifest, 2)
    assert (caught.value.code, caught.value.where) == (Code.BOXES_INVALID, str(path))
    assert said in caught.value.message


def test_a_header_without_a_box_is_no_error(manifest: Path) -> None:
    (manifest.parent / "m.boxes.csv").write_text(HEADER)
    assert all(example.boxes == [] for example in images_to_explain(None, str(manifest), None, "test", 2, FINDINGS))


def test_a_category_has_the_labels_and_boxes_of_its_findings(manifest: Path) -> None:
    (manifest.parent / "boxes.csv").write_text(
        "image,finding,x,y,width,height,image_width,image_height\n4.png,Edema,16,2,3,4,64,64\n"
    )
    both = label_scheme({"groups": {"Any": FINDINGS, "Normal": []}, "findings": FINDINGS})
    examples = images_to_explain(None, str(manifest), None, "test", 2, ["Any", "Normal"], both)
    assert [(example.name, example.present) for example in examples] == [("4.png", ("Any",)), ("0.png", ("Normal",))]
    assert examples[0].boxes == [("Any", 0.25, 2 / 64, 3 / 64, 4 / 64)]


def test_examples_carry_their_file_and_the_findings_that_are_present(manifest: Path) -> None:
    examples = {example.name: example for example in images_to_explain(None, str(manifest), None, "test", 9, FINDINGS)}
    assert examples["5.png"].present == ("Mass", "Edema")
    assert examples["2.png"].present == ("Mass",)  # Edema is unknown
    assert examples["3.png"].path == manifest.parent / "images" / "3.png"


def test_without_positives_the_first_images_are_taken(manifest: Path) -> None:
    assert chosen(manifest, 3, split="val") == ["6.png"]


def test_the_findings_asked_for_and_the_split_decide(manifest: Path) -> None:
    assert chosen(manifest, 9, findings=["Edema"]) == ["3.png", "4.png", "5.png"]
    assert chosen(manifest, 9, split="train") == ["7.png"]
    with pytest.raises(SplitError):
        chosen(manifest, 1, split="nowhere")


def test_named_images_go_before_a_manifest(manifest: Path, tmp_path: Path) -> None:
    (other,) = files(tmp_path, "other.png")
    assert [example.name for example in images_to_explain(str(other), str(manifest), None, "test", 3, FINDINGS)] == [
        "other.png"
    ]


def test_another_root_moves_the_files(manifest: Path, tmp_path: Path) -> None:
    files(tmp_path / "moved", *(f"{n}.png" for n in range(8)))
    (example,) = images_to_explain(None, str(manifest), str(tmp_path / "moved"), "test", 1, FINDINGS)
    assert example.path == tmp_path / "moved" / "1.png"
