"""Lung masks: CheXmask's run-lengths by hand, folders of pictures, the simple segmentation and its limits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_monai.data.lung_masks import LungMasks, PictureMask, RunLengthMask, central_ellipse, read_lung_masks
from cxr_monai.data.lung_shapes import resize_mask, segment_lungs
from cxr_monai.data.phantom import draw_phantom, make_cohort
from cxr_monai.errors import Code, CxrError

FILM = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
# 3 rows of 4: the right lung (of the patient) is the first column, the left one the last two of the lower rows
RIGHT, LEFT = "1 1 5 1 9 1", "7 2 11 2"
LUNGS = np.array([[1, 0, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]], dtype=bool)
HEADER = "{key},Dice RCA (Max),Dice RCA (Mean),Landmarks,Left Lung,Right Lung,Heart,Height,Width"


def chexmask(path: Path, key: str, rows: list[tuple[str, str]], header: str = HEADER) -> Path:
    lines = [header.format(key=key)]
    lines += [f'{name},0.9,{dice},"[1, 2]",{LEFT},{RIGHT},2 1,3,4' for name, dice in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_run_lengths_go_along_the_rows_from_1() -> None:
    np.testing.assert_array_equal(RunLengthMask(LEFT, RIGHT, 3, 4).read(), LUNGS)


@pytest.mark.parametrize("wrong", ["12 2", "0 1", "1 2 3", "1 x", "1 -2"])
def test_run_lengths_that_do_not_fit(wrong: str) -> None:
    with pytest.raises(CxrError, match="3 x 4") as caught:
        RunLengthMask(wrong, RIGHT, 3, 4).read()
    assert caught.value.code == Code.SOURCE_INVALID


@pytest.mark.parametrize(
    ("key", "name", "image", "by_name"),
    [
        ("Image Index", "00000001_000.png", "images/00000001_000.png", True),
        (
            "Path",
            "train/patient1/study1/view1_frontal.jpg",
            "CheXpert-v1.0-small/train/patient1/study1/view1_frontal.jpg",
            False,
        ),
        ("dicom_id", "a1-b2", "files/p10/p1/s1/a1-b2.jpg", True),
        ("ImageID", "12_3.png", "0/12_3.png", True),
        ("image_id", "0005e8", "train/0005e8.dicom", False),
    ],
)
def test_each_set_names_its_images_in_its_own_column(
    tmp_path: Path, key: str, name: str, image: str, by_name: bool
) -> None:
    table = chexmask(tmp_path / "masks.csv", key, [("other.png", "0.9"), (name, "0.71")])
    masks = read_lung_masks(table, [image, "gone.png"], by_name=by_name)
    mask = masks.of(image, FILM)
    assert mask.kind == "CheXmask"
    np.testing.assert_array_equal(mask.lungs, LUNGS)
    assert masks.of("gone.png", FILM).kind in ("segmentation", "ellipse")
    assert masks.notes == ("Lung masks of 1 of 2 images are from CheXmask's table; the others are segmented simply.",)


def test_masks_below_a_dice_of_0_7_are_not_used(tmp_path: Path) -> None:
    swapped = HEADER.replace("Dice RCA (Max),Dice RCA (Mean)", "Dice RCA (Mean),Dice RCA (Max)")
    rows = [("a.png", "0.69"), ("b.png", "0.70"), ("c.png", "")]
    masks = read_lung_masks(chexmask(tmp_path / "m.csv", "Image Index", rows), ["a.png", "b.png", "c.png"])
    assert list(masks.stored) == ["b.png"]
    assert "1 mask with a Dice RCA (Mean) below 0.7 not used." in masks.notes
    # the other order: Mean is 0.9 of every row, Max what was Mean before
    masks = read_lung_masks(chexmask(tmp_path / "n.csv", "Image Index", rows, swapped), ["a.png", "b.png", "c.png"])
    assert list(masks.stored) == ["a.png", "b.png", "c.png"]


def test_a_table_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("Image Index,Finding Labels\na.png,Mass\n")
    with pytest.raises(CxrError, match=r"lacks Left Lung, Right Lung, Height, Width, Dice RCA \(Mean\)") as caught:
        read_lung_masks(tmp_path / "labels.csv", ["a.png"])
    assert caught.value.code == Code.SOURCE_INVALID
    table = chexmask(tmp_path / "m.csv", "Image Index", [("a.png", "0.9")])
    with pytest.raises(CxrError, match="no usable lung mask"):
        read_lung_masks(table, ["b.png"])
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(CxrError, match=r"cannot be read|no usable") as caught:
            read_lung_masks(path, ["a.png"])
        assert caught.value.code == Code.SOURCE_INVALID


def test_a_stored_mask_is_scaled_but_not_bent(tmp_path: Path) -> None:
    masks = LungMasks({"a": RunLengthMask(LEFT, RIGHT, 3, 4)})
    large = masks.of("a", np.zeros((300, 400), np.float32)).lungs
    np.testing.assert_array_equal(large[50::100, 50::100], LUNGS)
    with pytest.raises(CxrError, match="3 x 4 pixels, the image 4 x 3") as caught:
        masks.of("a", np.zeros((4, 3), np.float32))
    assert caught.value.code == Code.SOURCE_INVALID


def test_pictures_of_two_lungs_are_united(tmp_path: Path) -> None:
    for side, part in (("leftMask", LUNGS & (np.arange(4) > 1)), ("rightMask", LUNGS & (np.arange(4) < 1))):
        (tmp_path / side).mkdir()
        Image.fromarray(part.astype(np.uint8) * np.uint8(255)).save(tmp_path / side / "MCUCXR_0001_0.png")
    Image.fromarray(LUNGS).save(tmp_path / "CHNCXR_0001_0_mask.png")
    masks = read_lung_masks(tmp_path, ["CXR_png/MCUCXR_0001_0.png", "CXR_png/CHNCXR_0001_0.png", "x/none.png"])
    for image in ("CXR_png/MCUCXR_0001_0.png", "CXR_png/CHNCXR_0001_0.png"):
        mask = masks.of(image, FILM)
        assert mask.kind == "mask files"
        np.testing.assert_array_equal(mask.lungs, LUNGS)
    assert "2 of 3 images" in masks.notes[0]


def test_a_film_is_no_mask_and_a_name_of_two_films_no_identity(tmp_path: Path) -> None:
    Image.fromarray((FILM * 255).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(CxrError, match="no mask: it has greys") as caught:
        PictureMask((tmp_path / "a.png",)).read()
    assert caught.value.code == Code.SOURCE_INVALID
    with pytest.raises(CxrError, match=r"2 images share one: x/a\.png, y/a\.png") as caught:
        read_lung_masks(tmp_path, ["x/a.png", "y/a.png"])
    assert caught.value.code == Code.IMAGES_AMBIGUOUS


def test_the_segmentation_finds_phantoms_lungs() -> None:
    """On cohorts that no constant was chosen on: docs/shortcuts.md has the figures of 300."""
    dice = []
    for study in make_cohort(40, 501):
        phantom = draw_phantom(
            501, 96, study.findings, patient=study.patient, index=study.index, age=study.age, sex=study.sex,
            view=study.view,
        )  # fmt: skip
        lungs, _ = segment_lungs(phantom.pixels)
        dice.append(2 * (lungs & phantom.lungs).sum() / (lungs.sum() + phantom.lungs.sum()))
    assert np.median(dice) > 0.82
    assert np.mean(np.array(dice) < 0.7) < 0.15


def test_the_segmentation_does_not_depend_on_exposure_or_size() -> None:
    phantom = draw_phantom(3, 96)
    lungs, contrast = segment_lungs(phantom.pixels)
    darker, same = segment_lungs(phantom.pixels**2 * np.float32(0.5))
    assert (lungs != darker).mean() < 0.02  # a mean of greys is reduced, not their mean rank
    assert same == pytest.approx(contrast, abs=0.03)
    tall, _ = segment_lungs(np.repeat(phantom.pixels, 2, axis=0))
    assert tall.shape == (192, 96)
    assert (tall[::2] != lungs).mean() < 0.01


def test_without_lungs_to_be_found_an_ellipse_takes_their_place() -> None:
    down, across = np.mgrid[0:50, 0:40].astype(np.float32)
    bright = 1 - np.hypot(down / 50 - 0.5, across / 40 - 0.5)  # brightest in the middle
    mask = LungMasks().of("a.png", bright)
    assert mask.kind == "ellipse"
    np.testing.assert_array_equal(mask.lungs, central_ellipse((50, 40)))
    assert mask.lungs.mean() == pytest.approx(0.43, abs=0.01)
    assert LungMasks().of("b.png", draw_phantom(3, 96).pixels).kind == "segmentation"
    assert read_lung_masks(None, ["a.png"]).notes == ("Lung masks are a simple segmentation of each film.",)


def test_resized_masks_keep_rows_rows() -> None:
    mask = np.zeros((2, 3), dtype=bool)
    mask[0, 2] = True
    large = resize_mask(mask, (20, 30))
    assert large[:8, 22:].all()
    assert not large[12:].any()
    assert not large[:, :18].any()
