"""The digest of a film: of its data set alone, wherever it came from, and never the same for two films."""

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.filewriter import dcmwrite

from cxr_monai.objects import film_digest
from tests.support.film_results import HEADER, film_content

CONTENT, OTHER = film_content(), film_content({**HEADER, "PatientID": "P2"})


def with_stated_length(content: bytes, length: int) -> bytes:
    """Return a film whose file meta information says that it is so long (0002,0000)."""
    return content[:140] + length.to_bytes(4, "little") + content[144:]


@pytest.mark.parametrize("length", [0, 1, 300, 10_000, 2**32 - 1])
def test_a_stated_length_that_is_a_lie_changes_nothing(length: int) -> None:
    one, other = (film_digest(with_stated_length(content, length)) for content in (CONTENT, OTHER))
    assert one == film_digest(CONTENT) != other == film_digest(OTHER)


def test_what_another_program_wrote_before_the_data_set_does_not_count() -> None:
    film = dcmread(BytesIO(CONTENT))
    film.file_meta.ImplementationVersionName = "ANOTHER"
    film.file_meta.PrivateInformationCreatorUID = "1.2.3"
    film.file_meta.PrivateInformation = bytes(70_000)
    stream = BytesIO()
    dcmwrite(stream, film, enforce_file_format=True)
    assert film_digest(stream.getvalue()) == film_digest(CONTENT)


@pytest.mark.parametrize("damaged", [b"", bytes(132), bytes(128) + b"DICM", CONTENT[:150], CONTENT[:300], b"no film"])
def test_of_what_cannot_be_read_all_bytes_count(damaged: bytes) -> None:
    assert film_digest(damaged) != film_digest(damaged + b"0") != film_digest(damaged + b"1")


def test_a_length_that_goes_beyond_the_file_makes_no_two_films_one() -> None:
    place = CONTENT.index(b"OB") + 4  # of (0002,0001)
    one, other = (content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :] for content in (CONTENT, OTHER))
    assert film_digest(one) != film_digest(other)
