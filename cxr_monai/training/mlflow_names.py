"""Names and values as MLflow takes them: every label a user may have gets one name there, and no two get the same.

MLflow refuses names with other characters than letters, digits, ``_ - . /`` and blanks (a colon too on Windows), names
over 250 characters, and such as ``a/../b``. A name that it takes stays as it is. Of any other, what is refused becomes
``_`` and ``-`` with eight digits of the name's own SHA-256 follows: ``auroc_Opacity (left)`` is
``auroc_Opacity _left_-5b0b9d5e``. A name that ends so by itself is treated alike, so no plain name meets a changed one.
The run keeps the original in a tag, ``cxr_monai.name.`` and the name in MLflow.
"""

import posixpath
import re
from collections.abc import Iterable
from hashlib import sha256

NAME_TAG = "cxr_monai.name."
"""Begins the tag that holds the original of a changed name."""
LONGEST_MLFLOW_NAME = 230
"""Characters; MLflow's limit is 250, and a tag's name holds `NAME_TAG` besides."""
LONGEST_VALUE = {"param": 6000, "tag": 5000, "run": 250, "experiment": 500}
"""Characters of values and titles that every server since MLflow 2.8 keeps."""

_REFUSED = re.compile(r"[^\w./ -]")
_CHANGED = re.compile(r"-[0-9a-f]{8}$")


def mlflow_name(name: str) -> str:
    """Return the name under which MLflow keeps a metric, a parameter or a tag; the name itself wherever it can."""
    plain = _REFUSED.sub("_", name)
    if not _is_plain_path(plain):
        plain = plain.replace("/", "_").replace(".", "_") or "_"
    if plain == name and len(name) <= LONGEST_MLFLOW_NAME and not _CHANGED.search(name):
        return name
    return f"{plain[: LONGEST_MLFLOW_NAME - 9]}-{_digest(name)}"


def mlflow_value(text: str, kind: str) -> str:
    """Return a value as long as MLflow keeps it; of a longer one the beginning, with what it lost said at its end.

    Args:
        text: the value.
        kind: see `LONGEST_VALUE`.
    """
    most = LONGEST_VALUE[kind]
    if len(text) <= most:
        return text
    end = f"... ({len(text)} characters, {_digest(text)})"
    return text[: most - len(end)] + end


def original_names(names: Iterable[str]) -> dict[str, str]:
    """Return the tags that tell the originals of changed names; of names that did not change there are none."""
    return {NAME_TAG + mlflow_name(name): mlflow_value(name, "tag") for name in names if mlflow_name(name) != name}


def _is_plain_path(name: str) -> bool:
    return bool(name.strip()) and posixpath.normpath(name) == name and not name.startswith(("/", "..")) and name != "."


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
