"""JSON of a stranger: bounded in size and depth, no key twice, before anything looks at what it says.

Python's parser keeps the last of two equal keys (another reader may keep the first, and so sees another bundle) and
runs out of stack on a file of 100,000 brackets.
"""

import json
import re
from typing import Any

from cxr_monai.budget import check_time
from cxr_monai.plurals import counted

LARGEST_JSON = 4 << 20
"""Bytes of a configuration."""
DEEPEST_JSON = 64
"""Levels of nesting."""
LONGEST_KEY = 1000
"""Characters of a key."""

# A string, whose brackets don't count, or a bracket. Possessive: no string is tried twice, not even one without an end.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)


def parse_strictly(content: bytes) -> Any:
    """Return the content of a JSON file.

    Args:
        content: of the file, UTF-8.

    Raises:
        ValueError: for more than 4 MB, more than 64 levels, a key of more than 1,000 characters, one that stands twice
            in an object, or no JSON; the message is a sentence for a person.

    >>> parse_strictly(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it has {counted(len(content), 'byte')}; a configuration has at most {LARGEST_JSON:,}.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is no UTF-8 text.") from error
    depth = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count % 4096 == 0:
            check_time()
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth > DEEPEST_JSON:
            raise ValueError(f"it is nested more than {DEEPEST_JSON} levels deep.")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deep.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error}).") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in pairs:
        if len(key) > LONGEST_KEY:
            raise ValueError(f"a key has {counted(len(key), 'character')}; it has at most {LONGEST_KEY:,}.")
        same = key.replace("::", "#")  # MONAI takes '#' and '::' in a key for the same
        if same in seen:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object.")
        seen.add(same)
    return dict(pairs)
