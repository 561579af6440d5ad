"""What the receiver reads of a film's header: damage is the film's, and only a disk that fails is the node's."""

import errno
from pathlib import Path

import pytest

from apps.node import reception
from apps.node.reception import NOT_UNDERSTOOD, read_film_header, refusal_of
from tests.support.film_results import HEADER, film_content


def damaged_film(folder: Path) -> Path:
    """A film whose sequence of equipment holds something else; pydicom raises an OSError over it."""
    junk = b"junk"
    element = b"\x18\0\x01\xa0SQ\0\0" + len(junk).to_bytes(4, "little") + junk
    bare = {name: value for name, value in HEADER.items() if name not in ("Rows", "Columns")}
    (folder / "film.dcm").write_bytes(film_content(bare) + element)
    return folder / "film.dcm"


def test_a_damaged_sequence_is_the_films_fault_and_its_sender_is_told_so(tmp_path: Path) -> None:
    path = damaged_film(tmp_path)
    with pytest.raises(ValueError, match=r"the header cannot be read \(OSError\)"):
        read_film_header(path)
    refusal = refusal_of(path, "1.2", "1.2.3")
    assert refusal is not None
    assert refusal.status == NOT_UNDERSTOOD


def test_a_disk_that_fails_is_not_the_films_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(reception, "dcmread", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_film_header(damaged_film(tmp_path))
