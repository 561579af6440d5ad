"""The same film twice: a digest of its pixels, and a hash that a recompressed or resized copy keeps.

digest, looks = pixel_digest(plane), picture_hash(plane)
are_alike(looks, other)                                     # few of 256 bits differ

The hash is the difference hash (Krawetz 2013), on a finer grid than its usual 8x8, since chest radiographs look alike.
"""

from hashlib import sha256

import numpy as np

from cxr_monai.transforms.resize_shortest import resize

HASH_SIDE = 16
"""Rows and columns of the hash's grid: 256 bits."""
MOST_DIFFERING = 8
"""Bits that the hashes of two copies of one film may differ by. Of 164 real films, copies as JPEG of quality 40, at
half the size, or brightened differed by at most 7 but for two; of 851,480 pairs of films of different patients none did
by 8 or fewer, 46 by 20 or fewer."""


def pixel_digest(plane: np.ndarray) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a plane's grey levels.

    Args:
        plane: float32 ``[H, W]`` in [0, 1].
    """
    levels = np.rint(plane * 65535).astype("<u2")
    return sha256(str(plane.shape).encode() + levels.tobytes()).hexdigest()[:16]


def picture_hash(plane: np.ndarray) -> str:
    """Return the difference hash of a plane, 64 hexadecimal digits: whether each cell is brighter than its left one.

    Args:
        plane: float32 ``[H, W]`` in [0, 1].
    """
    cells = resize(np.ascontiguousarray(plane, dtype=np.float32), HASH_SIDE, HASH_SIDE + 1)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def hash_words(looks: str) -> np.ndarray:
    """Return a :func:`picture_hash` as four words, uint64 ``[4]``."""
    return np.frombuffer(bytes.fromhex(looks), dtype=np.uint64)


def differing_bits(words: np.ndarray, looks: str) -> np.ndarray:
    """Return by how many bits each of N hashes differs from one, uint16 ``[N]``.

    Args:
        words: of :func:`hash_words`, uint64 ``[4, N]``.
        looks: the one.
    """
    total = np.zeros(words.shape[1], dtype=np.uint16)
    for row, word in zip(words, hash_words(looks), strict=True):
        total += np.bitwise_count(row ^ word)
    return total


def are_alike(one: str, other: str) -> bool:
    """Return whether two hashes are of copies of one film."""
    return int(differing_bits(hash_words(one)[:, None], other)[0]) <= MOST_DIFFERING
