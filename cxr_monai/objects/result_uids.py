"""UIDs of result objects: the same for the same received bytes, bundle, settings and kind, and never for others.

A result that is built twice, since a program was killed between building and sending, is one instance in the archive.
A film that was corrected and sent again under its old UID has other bytes, and so gets a new result. UIDs stand below
2.25, which anybody may use with a UUID (PS3.5 B.2); the UUID is of version 8, "vendor specific" (RFC 9562, 5.8).
"""

import hashlib
import json
import uuid


def derived_uid(*parts: str) -> str:
    """Return a UID that follows from texts.

    >>> derived_uid("film", "bundle", "sr") == derived_uid("film", "bundle", "sr")
    True
    >>> derived_uid("a", "bc") == derived_uid("ab", "c")
    False
    """
    number = bytearray(hashlib.sha256(json.dumps(["cxr-monai", *parts]).encode()).digest()[:16])
    number[6] = number[6] & 0x0F | 0x80
    number[8] = number[8] & 0x3F | 0x80
    return f"2.25.{uuid.UUID(bytes=bytes(number)).int}"


def device_uid(bundle_digest: str, *others: str) -> str:
    """Return the Device UID of a model: it changes with the bundle, as IHE's AI Results profile wants it.

    Args:
        bundle_digest: SHA-256 of the bundle's contents.
        others: what makes another model of it, such as weights that are not its own.
    """
    return derived_uid("device", bundle_digest, *others)
