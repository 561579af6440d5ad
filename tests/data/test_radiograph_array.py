"""A film in memory has the numbers of its file, or is refused: axes, ranges, and what MONAI's readers tell."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, NibabelReader, PILReader
from monai.transforms import CenterSpatialCropd, Compose, LoadImage
from PIL import Image

from cxr_monai.data.dataset import RadiographDataset
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.radiograph_array import radiograph_of_array
from cxr_monai.data.radiograph_reader import RadiographReader
from cxr_monai.errors import Code, RadiographError
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

LEVELS = np.random.default_rng(5).integers(0, 256, (40, 61), dtype=np.uint8)
SIXTEEN = np.random.default_rng(6).integers(0, 65536, (40, 61), dtype=np.uint16)
X_FIRST = {"original_channel_dim": "no_channel"}

FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "H W": lambda grey: grey,
    "1 H W": lambda grey: grey[None],
    "H W 1": lambda grey: grey[..., None],
    "1 1 H W": lambda grey: grey[None, None],
    "H W 3": lambda grey: np.repeat(grey[..., None], 3, axis=2),
    "3 H W": lambda grey: np.repeat(grey[None], 3, axis=0),
    "tensor": lambda grey: torch.from_numpy(grey)[None],
    "tensor without metadata": lambda grey: MetaTensor(torch.from_numpy(grey)[None]),
    "W H 1 of a reader": lambda grey: MetaTensor(torch.from_numpy(grey.T.copy())[..., None], meta=dict(X_FIRST)),
    "W H of a reader": lambda grey: MetaTensor(torch.from_numpy(grey.T.copy()), meta={"spatial_shape": (61, 40)}),
    "1 W H of a reader": lambda grey: MetaTensor(torch.from_numpy(grey.T.copy())[None], meta=dict(X_FIRST)),
    "H W of a reader, stated": lambda grey: MetaTensor(torch.from_numpy(grey), meta=X_FIRST | {"axes": "HW"}),
    "Fortran's order": lambda grey: np.asfortranarray(grey),
    "a view from the end": lambda grey: grey[::-1][::-1],
}


def path_of(tmp_path: Path, grey: np.ndarray) -> Path:
    Image.fromarray(grey).save(tmp_path / "film.png")
    return tmp_path / "film.png"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grey", [LEVELS, SIXTEEN], ids=["8 bits", "16 bits"])
def test_every_shape_is_the_file(tmp_path: Path, grey: np.ndarray, form: str) -> None:
    file = read_radiograph(path_of(tmp_path, grey))
    film = radiograph_of_array(FORMS[form](grey.copy()))
    assert film.pixels.dtype == np.float32
    assert np.array_equal(film.pixels, file.pixels)
    assert film.provenance["bits_stored"] == file.provenance["bits_stored"]


@pytest.mark.parametrize(
    ("array", "stated"),
    [
        (LEVELS / 255, {}),
        ((LEVELS / 255).astype(np.float32), {}),
        (torch.from_numpy(LEVELS / np.float32(255)), {}),
        (LEVELS.astype(np.int16), {"bits": 8}),
        (LEVELS.astype(np.float64), {"bits": 8}),
        (LEVELS.astype(np.float32), {"value_range": [0, 255]}),
        (LEVELS.astype(np.int64) * 3 - 1024, {"value_range": (-1024, -259)}),
        (255.0 - LEVELS.T, {"value_range": None, "bits": 8, "axes": "WH"}),
    ],
)
def test_every_range_is_the_file(tmp_path: Path, array: Any, stated: dict[str, Any]) -> None:
    grey = 255 - LEVELS if "axes" in stated else LEVELS
    film, file = radiograph_of_array(array, **stated), read_radiograph(path_of(tmp_path, grey))
    assert np.allclose(film.pixels, file.pixels, rtol=0, atol=2**-24)
    assert film.provenance["bits_stored"] == 8  # so that it is rounded to the levels that the file's is


def nifti(tmp_path: Path, data: np.ndarray, display: tuple[float, float] | None = None) -> Path:
    image = nibabel.Nifti1Image(data, np.diag([-1.0, -1.0, 1.0, 1.0]))
    if display is not None:
        image.header["cal_min"], image.header["cal_max"] = display
    nibabel.save(image, tmp_path / "film.nii.gz")
    return tmp_path / "film.nii.gz"


SAVED: dict[str, Callable[[Path], Path]] = {
    "PNG": lambda at: path_of(at, LEVELS),
    "PNG of 16 bits": lambda at: path_of(at, SIXTEEN),
    "PNG in colours that agree": lambda at: path_of(at, np.repeat(LEVELS[..., None], 3, axis=2)),
    "NIfTI of bytes": lambda at: nifti(at, LEVELS.T.copy()),
    "NIfTI of bytes, dim": lambda at: nifti(at, np.clip(LEVELS.T, 20, 200)),
    "NIfTI of one slice": lambda at: nifti(at, LEVELS.T[..., None].copy()),
    "NIfTI of 12 bits": lambda at: nifti(at, (SIXTEEN.T >> 4).astype(np.int16) - 1000),
    "NIfTI with a display range": lambda at: nifti(at, SIXTEEN.T.astype(np.float32), (2000.0, 50000.0)),
    "NIfTI within 0 and 1": lambda at: nifti(at, SIXTEEN.T / np.float32(70000)),
}


@pytest.mark.parametrize("kind", SAVED)
def test_what_monais_readers_load_is_the_file(tmp_path: Path, kind: str) -> None:
    """Their arrays are floats, x first; their metadata say what was in the file."""
    path, steps = SAVED[kind](tmp_path), [ResizeShortestd("image", 32), QuantiseRadiographd("image")]
    reader = NibabelReader() if path.suffix == ".gz" else PILReader()
    pipeline = Compose([LoadRadiographd("image"), *steps])
    from_file = pipeline({"image": str(path)})
    for name, loaded in (
        ("MONAI", LoadImage(reader=reader, image_only=True)(path)),
        ("channel first", LoadImage(reader=reader, image_only=True, ensure_channel_first=True)(path)),
        ("ours", LoadImage(reader=RadiographReader(), image_only=True)(path)),
    ):
        in_memory = pipeline({"image": loaded})
        assert in_memory["image_bits"] == from_file["image_bits"], name
        assert torch.equal(in_memory["image"], from_file["image"]), name


def test_what_was_loaded_may_go_through_again(tmp_path: Path) -> None:
    first = LoadRadiographd("image")({"image": path_of(tmp_path, LEVELS)})
    again = LoadRadiographd("image")(first)
    assert torch.equal(again["image"], first["image"])
    assert again["image_bits"] == 8


MODE_P = {"format": "PNG", "mode": "P", "width": 61, "height": 40, **X_FIRST}
REFUSED: dict[str, tuple[Any, dict[str, Any], Code]] = {
    "floats up to 255": (LEVELS.astype(np.float32), {}, Code.RADIOGRAPH_AMBIGUOUS),
    "12 bits in 16": (SIXTEEN >> 4, {}, Code.RADIOGRAPH_AMBIGUOUS),
    "signed": (LEVELS.astype(np.int16), {}, Code.RADIOGRAPH_AMBIGUOUS),
    "hounsfield": (LEVELS.astype(np.int32) - 1000, {}, Code.RADIOGRAPH_AMBIGUOUS),
    "more than the bits": (LEVELS, {"bits": 7}, Code.RADIOGRAPH_AMBIGUOUS),
    "not whole": (LEVELS / 2, {"bits": 8}, Code.RADIOGRAPH_AMBIGUOUS),
    "no bits": (LEVELS, {"bits": 0}, Code.RADIOGRAPH_AMBIGUOUS),
    "no range": (LEVELS, {"value_range": [5, 5]}, Code.RADIOGRAPH_AMBIGUOUS),
    "three ends": (LEVELS, {"value_range": [0, 1, 2]}, Code.RADIOGRAPH_AMBIGUOUS),
    "no axes": (LEVELS, {"axes": "xy"}, Code.RADIOGRAPH_AMBIGUOUS),
    "palette": (MetaTensor(torch.from_numpy(LEVELS.T.copy()), meta=MODE_P), {}, Code.RADIOGRAPH_AMBIGUOUS),
    "not transposed": (
        MetaTensor(torch.from_numpy(LEVELS), meta=MODE_P | {"mode": "L"}),
        {},
        Code.RADIOGRAPH_AMBIGUOUS,
    ),
    "slices": (np.stack([LEVELS] * 5), {}, Code.RADIOGRAPH_SEVERAL_FRAMES),
    "a batch": (np.stack([LEVELS[None]] * 2), {}, Code.RADIOGRAPH_SEVERAL_FRAMES),
    "slices of colours": (np.zeros((2, 40, 61, 3)), {}, Code.RADIOGRAPH_DIMENSIONS),
    "one axis": (LEVELS[0], {}, Code.RADIOGRAPH_DIMENSIONS),
    "an icon": (LEVELS[:8], {}, Code.RADIOGRAPH_DIMENSIONS),
    "colours": (np.stack([LEVELS, 255 - LEVELS, LEVELS], axis=2), {}, Code.RADIOGRAPH_COLOUR),
    "colours as floats": (np.stack([LEVELS, 255 - LEVELS, LEVELS]) / 255, {}, Code.RADIOGRAPH_COLOUR),
    "nan": (np.where(LEVELS > 9, LEVELS / 255, np.nan), {}, Code.RADIOGRAPH_NAN),
    "constant": (np.full((40, 61), 9, np.uint8), {}, Code.RADIOGRAPH_CONSTANT),
    "outside its range": (LEVELS, {"value_range": [300, 400]}, Code.RADIOGRAPH_CONSTANT),
    "truth values": (LEVELS > 9, {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "complex": (LEVELS * 1j, {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "objects": (LEVELS.astype(object), {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "a list": (LEVELS.tolist(), {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "nothing": (None, {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "bytes": (b"chest.png", {}, Code.RADIOGRAPH_NOT_AN_IMAGE),
    "an empty array": (np.zeros((0, 40)), {}, Code.RADIOGRAPH_DIMENSIONS),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_open_or_unfit_is_refused_with_a_code(what: str) -> None:
    array, stated, code = REFUSED[what]
    with pytest.raises(RadiographError) as caught:
        LoadRadiographd("image")({"image": array, **{f"image_{name}": value for name, value in stated.items()}})
    assert caught.value.code == code
    assert json.dumps(str(caught.value))


NONSENSE: dict[str, list[Any]] = {
    "value_range": [5, "ab", ["a", "b"], ["0", "255"], [0, None], [255, 0], [0, np.nan], [0, np.inf], [-np.inf, 0],
                    [[0, 255]], [[0], [1, 2]], {"low": 0}, 1j, [True, False], object()],
    "bits": ["x", [8], np.nan, np.inf, -8, 8.5, 17, 0, True, None, {}, 10**400, object(), torch.ones(2), 1j],
    "axes": [5, ["HW"], np.array(["HW", "WH"]), b"HW", "hw", ""],
}  # fmt: skip
MISTAKEN = [
    {"cal_min": "x", "cal_max": 9, "datatype": 2},
    {"cal_min": 0, "cal_max": 0, "datatype": None},
    {"width": "x", "height": 61},
    {"width": [40], "height": 61},
]


@pytest.mark.parametrize(
    ("name", "stated"), [(name, value) for name in NONSENSE for value in NONSENSE[name] if value is not None]
)
def test_malformed_statements_are_refused_with_a_code(name: str, stated: Any) -> None:
    by_item = {"image": LEVELS, f"image_{name}": stated}
    by_metadata = {
        "image": MetaTensor(torch.from_numpy(LEVELS), meta={"bits_stored" if name == "bits" else name: stated})
    }
    for item in (by_item, by_metadata):
        with pytest.raises(RadiographError, match=r"bits are|value_range is|axes are") as caught:
            LoadRadiographd("image")(item)
        assert caught.value.code == Code.RADIOGRAPH_AMBIGUOUS
        assert len(caught.value.message) < 300


@pytest.mark.parametrize("meta", MISTAKEN)
def test_metadata_that_hold_no_numbers_are_refused_with_a_code(meta: dict[str, Any]) -> None:
    with pytest.raises(RadiographError, match="which is no number") as caught:
        radiograph_of_array(MetaTensor(torch.from_numpy(LEVELS), meta=meta))
    assert caught.value.code == Code.RADIOGRAPH_AMBIGUOUS


@pytest.mark.parametrize("numbers", [list, tuple, np.array, torch.tensor])
def test_statements_may_be_lists_arrays_and_tensors(numbers: Callable[[list[int]], Any]) -> None:
    right = radiograph_of_array(LEVELS).pixels
    for stated in ({"value_range": numbers([0, 255])}, {"bits": np.uint8(8)}, {"bits": torch.tensor(8)}, {"bits": 8.0}):
        assert np.allclose(radiograph_of_array(LEVELS, **stated).pixels, right, rtol=0, atol=2**-24)


@pytest.mark.parametrize("end", [np.nan, np.inf])
def test_a_display_range_that_is_none_is_passed_over(end: float) -> None:
    meta = {
        "cal_min": np.float32(-5),
        "cal_max": end,
        "datatype": np.array(2, np.int16),
        "width": np.nan,
        "height": end,
    }
    film = radiograph_of_array(MetaTensor(torch.from_numpy(LEVELS), meta=meta))
    assert np.array_equal(film.pixels, radiograph_of_array(LEVELS).pixels)


def test_one_malformed_item_is_left_out_of_a_run() -> None:
    item = {"image": LEVELS, "label": [1.0]}
    items = [item | {"name": "good"}, item | {"name": "bad", "image_value_range": 5}, item | {"name": "last"}]
    steps = [ResizeShortestd("image", 40), CenterSpatialCropd("image", (40, 40)), QuantiseRadiographd("image")]
    pipeline = Compose([LoadRadiographd("image"), *steps])
    films = RadiographDataset(items, pipeline, (1, 40, 40))
    errors = [films[at]["error"] for at in range(3)]
    assert (errors[0], errors[2]) == ("", "")
    assert errors[1].startswith("radiograph-ambiguous: its value_range is 5")


def test_a_refusal_says_what_to_state() -> None:
    with pytest.raises(RadiographError, match=r"uint16 from \d+ to 4[0-9]+, and nothing says .*image_value_range"):
        radiograph_of_array(SIXTEEN >> 4)
    film = radiograph_of_array(SIXTEEN >> 4, bits=12)
    assert film.pixels.max() == pytest.approx((SIXTEEN >> 4).max() / 4095, abs=2**-24)
