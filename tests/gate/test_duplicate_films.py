"""Films that came before: the same pixels always, look-alikes among the last films."""

import io

import numpy as np
import pytest
from PIL import Image

from cxr_monai.gate.duplicate_films import DuplicateFilms
from cxr_monai.gate.duplicates import MOST_DIFFERING, are_alike, differing_bits, hash_words, picture_hash, pixel_digest
from tests.support.geometry_gates import film


def with_bits_changed(looks: str, count: int) -> str:
    return f"{int(looks, 16) ^ ((1 << count) - 1):064x}"


def test_hashes_differ_by_the_bits_that_were_changed() -> None:
    looks = picture_hash(film(0) / np.float32(255))
    others = [with_bits_changed(looks, count) for count in (0, 1, MOST_DIFFERING, MOST_DIFFERING + 1, 256)]
    words = np.stack([hash_words(other) for other in others], axis=1)
    assert differing_bits(words, looks).tolist() == [0, 1, MOST_DIFFERING, MOST_DIFFERING + 1, 256]
    assert [are_alike(looks, other) for other in others] == [True, True, True, False, False]


def test_a_recompressed_or_smaller_copy_looks_alike_and_another_film_does_not() -> None:
    levels = film(0)
    jpeg = io.BytesIO()
    Image.fromarray(levels).save(jpeg, "JPEG", quality=60)
    copies = [Image.open(jpeg), Image.fromarray(levels).resize((63, 45), Image.Resampling.BILINEAR)]
    looks = picture_hash(levels / np.float32(255))
    for copy in copies:
        plane = np.asarray(copy, dtype=np.float32) / 255
        assert are_alike(looks, picture_hash(plane))
        assert pixel_digest(plane) != pixel_digest(levels / np.float32(255))
    assert not are_alike(looks, picture_hash(film(1) / np.float32(255)))


def test_of_many_films_the_same_pixels_are_noticed_always_and_look_alikes_among_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxr_monai.gate.duplicate_films.LAST_FILMS", 1000)
    random = np.random.default_rng(0)
    films = DuplicateFilms()
    hashes = [random.bytes(32).hex() for _ in range(1500)]
    for number, looks in enumerate(hashes):
        assert films.of(f"{number}", f"{number:016x}", looks).name == ""
    last, forgotten = len(hashes) - 1, 10
    assert films.of("same pixels", f"{forgotten:016x}", "0" * 64).name == f"{forgotten}"
    assert films.of("alike, long ago", "f" * 16, with_bits_changed(hashes[forgotten], 3)).name == ""
    for number in (last, last - 900):
        alike = films.of(f"alike {number}", f"{random.bytes(8).hex()}", with_bits_changed(hashes[number], 3))
        assert alike.name == f"{number}"
        assert alike.answer.code == "gate-duplicate"
        assert alike.answer.verdict == "review"


@pytest.mark.parametrize("digest", ["0" * 16, "f" * 16])
def test_a_film_is_no_copy_of_itself(digest: str) -> None:
    films = DuplicateFilms()
    films.remember("a.png", digest, "0" * 64)  # judged before an interruption
    assert films.of("a.png", digest, "0" * 64).name == ""
    assert films.of("b.png", digest, "0" * 64).name == "a.png"
