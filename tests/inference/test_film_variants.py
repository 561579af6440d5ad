"""Films and their changed copies: the change comes before the preprocessing, rows stay rows."""

import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCropd, Compose, ScaleIntensityd

from cxr_monai.errors import Code, CxrError, ManifestError
from cxr_monai.inference.film_variants import read_variants
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.transforms.load_radiograph import LoadRadiographd


def model_of(*steps: object) -> Model:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    settings = ModelSettings(device="cpu", amp=False, num_workers=0, batch_size=2)
    return Model(network, Compose(list(steps)), ("Mass",), (1, 4, 4), settings=settings)


FILM = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80).astype(np.uint8)
READ, CROP = LoadRadiographd(keys="image"), CenterSpatialCropd(keys="image", roi_size=(4, 4))


def test_the_change_sees_the_stored_film_with_rows_first() -> None:
    seen: dict[str, tuple[int, ...]] = {}

    def upside_down(name: str, pixels: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
        seen[name] = pixels.shape
        return {"turned": pixels[::-1], "other": pixels}, f"of {name}"

    batches = list(
        read_variants(model_of(READ, CROP), [FILM, b"none", FILM.T], ["a", "b", "c"], ["turned"], upside_down)
    )
    assert seen == {"a": (60, 80), "c": (80, 60)}
    assert [batch.names for batch in batches] == [["a", "b"], ["c"]]
    assert [batch.readable for batch in batches] == [[0], [0]]
    assert batches[0].remarks == ["of a", ""]
    assert [(name, code) for name, code, _ in batches[0].errors] == [("b", "radiograph-not-an-image")]
    images = batches[0].images
    assert images.shape == (2, 2, 1, 4, 4)
    np.testing.assert_allclose(images[0, 0, 0], FILM[28:32, 38:42] / 255, atol=1e-7)
    np.testing.assert_allclose(images[0, 1, 0], FILM[::-1][28:32, 38:42] / 255, atol=1e-7)
    assert not images[1].any()


def test_each_copy_is_normalised_by_itself() -> None:
    def halved(name: str, pixels: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
        return {"half": pixels / 2}, ""

    model = model_of(READ, ScaleIntensityd(keys="image"), CROP)
    (batch,) = read_variants(model, [FILM], ["a"], ["half"], halved)
    torch.testing.assert_close(batch.images[0, 0], batch.images[0, 1])


def test_an_error_of_the_change_ends_the_reading() -> None:
    def wrong(name: str, pixels: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
        raise ManifestError(Code.SOURCE_INVALID, "no such mask.")

    with pytest.raises(CxrError, match="no such mask"):
        list(read_variants(model_of(READ, CROP), [FILM], ["a"], [], wrong))


def test_a_preprocessing_that_does_not_begin_with_the_film() -> None:
    with pytest.raises(CxrError, match="CenterSpatialCropd") as caught:
        list(read_variants(model_of(CROP, READ), [FILM], ["a"], [], lambda name, pixels: ({}, "")))
    assert caught.value.code == Code.SETTING_INVALID
