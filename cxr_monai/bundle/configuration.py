"""Comparison and search of pieces of MONAI's configurations."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Compare two pieces of configuration; MONAI rewrites ``#`` to ``::`` in what it runs.

    What a program put there (arrays, a network) is the same as itself alone.

    Args:
        one, other: as JSON holds them.

    Returns:
        True if they are equal.
    """
    return as_sorted_text(one) == as_sorted_text(other)


def as_sorted_text(config: Any) -> str:
    """Return a piece of configuration as text; equal pieces have equal texts, and see :func:`same`."""
    return json.dumps(config, sort_keys=True, default=lambda thing: f"object {id(thing)}").replace("#", "::")


def strings(config: Any) -> Iterator[str]:
    """Yield every text of a configuration, at any depth."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from strings(value)
