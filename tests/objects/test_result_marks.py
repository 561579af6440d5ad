"""Result objects are known as ours, and films are not, whoever made or processed them."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from cxr_monai.objects import ResultKind, is_result_of_ours, result_objects
from tests.support.film_results import ACCEPTED, HEADER, REFUSED, film_content, film_result


@pytest.mark.parametrize("kind", ResultKind)
def test_every_kind_of_result_is_known(kind: ResultKind) -> None:
    (result_object,) = result_objects(film_result(), [kind])
    assert is_result_of_ours(dcmread(BytesIO(result_object.content), stop_before_pixels=True))


@pytest.mark.parametrize("kind", [ResultKind.REPORT, ResultKind.PICTURE])
def test_results_about_refused_films_are_known(kind: ResultKind) -> None:
    (result_object,) = result_objects(film_result([], gate=REFUSED), [kind])
    assert is_result_of_ours(dcmread(BytesIO(result_object.content), stop_before_pixels=True))


def test_a_result_that_a_router_signed_over_is_still_known() -> None:
    (result_object,) = result_objects(film_result(gate=ACCEPTED), [ResultKind.PICTURE])
    header = dcmread(BytesIO(result_object.content), stop_before_pixels=True)
    header.Manufacturer = "A router"
    assert is_result_of_ours(header)


def equipment(manufacturer: str) -> Dataset:
    item = Dataset()
    item.Manufacturer = manufacturer
    return item


@pytest.mark.parametrize("manufacturer", ["cxr-monai phantom", "Some X-ray maker", "", "CXR-MONAI GmbH"])
def test_films_are_none_whoever_processed_them(manufacturer: str) -> None:
    film = dcmread(BytesIO(film_content()))
    film.Manufacturer = manufacturer
    film.ContributingEquipmentSequence = [equipment("Highdicom open-source contributors"), equipment(manufacturer)]
    assert not is_result_of_ours(film)
    del film.Manufacturer, film.ContributingEquipmentSequence
    assert not is_result_of_ours(film)


@pytest.mark.parametrize("content", [b"junk", b"\xfe\xff\0\xe0\x0b\0\0\0\x08\0\x70\0UL\3\0abc"])
def test_damaged_marks_are_none(content: bytes) -> None:
    element = b"\x18\0\x01\xa0SQ\0\0" + len(content).to_bytes(4, "little") + content
    bare = {name: value for name, value in HEADER.items() if name not in ("Rows", "Columns")}
    assert not is_result_of_ours(dcmread(BytesIO(film_content(bare) + element)))


@pytest.mark.realdata
def test_real_films_are_none(realdata: Path) -> None:
    films = sorted((realdata / "dicom").glob("*.dcm"))
    assert films
    assert not any(is_result_of_ours(dcmread(film, stop_before_pixels=True)) for film in films)
