"""Run-lengths of regions against masks that were drawn by hand."""

import numpy as np
import pytest

from cxr_monai.data.run_lengths import box_of_run_lengths, decode_run_lengths, read_runs


def encode(mask: np.ndarray) -> str:
    """Write a mask pixel by pixel: down the columns, the gap since the run before, the length."""
    numbers, gap, length = [], 0, 0
    for value in mask.T.ravel():
        if value:
            length += 1
        elif length:
            numbers += [gap, length]
            gap, length = 1, 0
        else:
            gap += 1
    return " ".join(map(str, numbers + [gap, length] * bool(length)))


def drawn(rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows.split()])


SHAPES = [
    ".... ..#. .##. ....",
    "#... .... .... ...#",
    ".##. .##. .##. .##.",  # a run goes on in the next column
    "#",
    ".#...... ........ #.....#.",
    "#..# #..# ##.#",
]


@pytest.mark.parametrize("rows", SHAPES)
def test_a_mask_and_its_box(rows):
    mask = drawn(rows)
    height, width = mask.shape
    text = encode(mask)
    np.testing.assert_array_equal(decode_run_lengths(text, width, height), mask)
    ys, xs = np.nonzero(mask)
    expected = (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
    assert box_of_run_lengths(text, width, height) == expected


def test_an_image_is_the_union_of_all_its_regions():
    first, second = drawn("#... .... ...."), drawn("#... ...# ...#")
    both = decode_run_lengths([encode(first), encode(second)], 4, 3)
    np.testing.assert_array_equal(both, first | second)
    assert not decode_run_lengths([], 4, 3).any()


def test_the_challenges_own_decoding():
    """Its loop: the position grows by the gap, is filled for the length, and grows by that; then it is transposed."""
    text, width, height = "5 3 1 2 4 1", 5, 7
    flat, position = np.zeros(width * height, dtype=int), 0
    numbers = [int(word) for word in text.split()]
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        position += gap
        flat[position : position + length] = 1
        position += length
    np.testing.assert_array_equal(decode_run_lengths(text, width, height), flat.reshape(width, height).T == 1)


@pytest.mark.parametrize("text", ["", "1", "1 2 3", "-1 2", "1 0", "1 -2", "10 3", "a b", "1.5 2"])
def test_what_is_no_region(text):
    with pytest.raises(ValueError, match=r"no pairs|a run ends|invalid literal"):
        read_runs(text, 12)
