"""The validators of others say something: an object with a fault has an error."""

from pathlib import Path

import pytest

from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.film_results import film_content


@pytest.mark.hospital
def test_dciodvfy_finds_the_faults_of_a_film_without_pixels(tmp_path: Path) -> None:
    errors = errors_of_dciodvfy(film_content(), tmp_path)
    assert any("PixelRepresentation" in line for line in errors)
