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
MOST_DIFFERING = 20
"""Bits that the hashes of two copies of one film may differ by."""


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


def are_alike(one: str, other: str) -> bool:
    """Return whether two hashes are of copies of one film."""
    return (int(one, 16) ^ int(other, 16)).bit_count() <= MOST_DIFFERING
