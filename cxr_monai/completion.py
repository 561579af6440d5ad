"""The mark of a complete result: the SHA-256 of each of its files, in its JSON, which is written last.

    seal(content, folder, ["metrics.csv", "plots/roc.png"])     # before metrics.json is written
    require_complete(content, "evaluation/metrics.json", "cxr-monai evaluate")

Readers refuse what has no mark (it was interrupted), lacks a file, or has one that was cut or exchanged afterwards, the
JSON itself included. A list of names is the mark of results before there were digests: their files have to be there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cxr_monai.errors import Code, EvaluationError

COMPLETE = "complete"
"""The key of a result's JSON that holds the mark."""
OWN_JSON = "this file"
"""The name under which the mark has the digest of the JSON, without the mark."""


def seal(content: dict[str, Any], folder: Path, names: Iterable[str]) -> None:
    """Put the mark into a result's JSON.

    Args:
        content: of the JSON, as JSON can say it.
        folder: of the result.
        names: its other files, below the folder, with ``/`` between parts.
    """
    content[COMPLETE] = {**{name: digest_of(folder / name) for name in names}, OWN_JSON: _own_digest(content)}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(content: Mapping[str, Any]) -> str:
    # as it is read again: JSON's keys are text, which sorts otherwise than numbers
    rest = json.loads(json.dumps({key: value for key, value in content.items() if key != COMPLETE}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _own_altered(content: Any) -> bool:
    mark = content.get(COMPLETE) if isinstance(content, Mapping) else None
    return isinstance(mark, Mapping) and mark.get(OWN_JSON) not in (None, _own_digest(content))


def listed_files(content: Any) -> list[str] | None:
    """Return the files that a result says it has, those below its folder; None where it has no mark."""
    mark = content.get(COMPLETE) if isinstance(content, Mapping) else None
    if not isinstance(mark, list | Mapping):
        return None
    names = [str(name) for name in mark if name != OWN_JSON]
    return [name for name in names if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts]


def missing_files(content: Any, folder: Path) -> list[str] | None:
    """Return the listed files that do not exist.

    Args:
        content: of the result's JSON.
        folder: the result's.

    Returns:
        their names; None where the JSON has no mark of completion.
    """
    names = listed_files(content)
    return None if names is None else [name for name in names if not (folder / name).is_file()]


def altered_files(content: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the listed files whose content has changed since they were written.

    Args:
        content: of the result's JSON.
        folder: the result's.

    Returns:
        their names, :data:`OWN_JSON` for the JSON itself; files that do not exist are left out.
    """
    mark = content.get(COMPLETE)
    if not isinstance(mark, Mapping):
        return []
    present = [name for name in listed_files(content) or [] if (folder / name).is_file()]
    changed = [name for name in present if digest_of(folder / name) != mark[name]]
    return [*changed, *([OWN_JSON] if _own_altered(content) else [])]


def require_complete(content: Any, main: str | Path, again: str) -> None:
    """Refuse a result that was not written to its end, lacks files, or was changed since.

    Args:
        content: of ``main``.
        main: the path of its JSON.
        again: the command that makes it.

    Raises:
        EvaluationError: ``result-incomplete``.
    """
    main = Path(main)
    missing = missing_files(content, main.parent)
    if missing is None:
        reason = "it does not say that it was written to its end: it was interrupted, or an older version wrote it."
    elif missing:
        reason = f"files of this result are missing: {_some(missing)}."
    elif changed := [main.name if name == OWN_JSON else name for name in altered_files(content, main.parent)]:
        reason = f"cut or changed since it was written: {_some(changed)}."
    else:
        return
    raise EvaluationError(Code.RESULT_INCOMPLETE, reason, fix=f"Make it again: {again}.", where=main)


def require_own(content: Any, main: str | Path, again: str) -> None:
    """Refuse a result's JSON that was changed since it was written; the files beside it are not looked at.

    Args:
        content: of ``main``.
        main: the path of the JSON, for the error.
        again: the command that makes it.

    Raises:
        EvaluationError: ``result-incomplete``.
    """
    if _own_altered(content):
        raise EvaluationError(
            Code.RESULT_INCOMPLETE, "it was changed since it was written.", fix=f"Make it again: {again}.", where=main
        )


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
