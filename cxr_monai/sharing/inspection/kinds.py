"""The kinds of files that a bundle may hold, by their path; any other file is refused.

MONAI puts the bundle's folder on the import path, and other programs look for their own files there (``*.pth``,
``*.dist-info``, ``sitecustomize``, ``.git``). So places are listed, not dangers.
"""

import re
from enum import StrEnum
from pathlib import PurePosixPath

from cxr_monai.sharing.inspection.logging_file import LOGGING_FILE as LOGGING_FILE


class FileKind(StrEnum):
    """Kind of a file by its path, which determines what its content must be."""

    CONFIGURATION = "configuration"
    LOGGING = "logging"
    DATA = "data"
    """JSON that is not configuration: metrics, records."""
    GATE = "gate"
    """The gate's numbers and names; its tensors are weights beside it."""
    MARKDOWN = "markdown"
    TEXT = "text"
    PNG = "png"
    JPEG = "jpeg"
    WEIGHTS = "weights"
    ONNX = "onnx"


_FOLDER = re.compile(r"configs|models|docs(?:/[^/]+)*")
# The first match counts: files that commands of this package write or read, and those of MONAI's model zoo.
_PLACES: tuple[tuple[re.Pattern[str], FileKind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (re.escape(LOGGING_FILE), FileKind.LOGGING),
        (r"configs/[^/]+\.json", FileKind.CONFIGURATION),
        (r"models/[^/]+\.(?:pt|ts|safetensors)", FileKind.WEIGHTS),
        (r"models/[^/]+\.onnx", FileKind.ONNX),
        (r"models/gate\.json", FileKind.GATE),
        (r"models/(?:calibration|contract)\.json|docs/import\.json", FileKind.DATA),
        (r"(?:lineage|metrics|bundle\.manifest)\.json", FileKind.DATA),
        (r"README\.md|docs/(?:.+/)?[^/]+\.md", FileKind.MARKDOWN),
        (r"LICEN[SC]E|NOTICE|large_files\.yml|bundle\.sig|docs/(?:.+/)?(?:[^/]+\.txt|LICEN[SC]E)", FileKind.TEXT),
        (r"docs/(?:.+/)?[^/]+\.png", FileKind.PNG),
        (r"docs/(?:.+/)?[^/]+\.jpe?g", FileKind.JPEG),
    )
)
_CODE = (
    "py", "pyc", "pyd", "pyi", "pyw", "pyz", "so", "dll", "dylib", "pth", "egg", "egg-link", "zip", "whl", "sh", "bat",
)  # fmt: skip


def kind_of(name: str) -> FileKind | None:
    """Return the kind of file that a name (``/`` between folders) may have; None where no file may have it."""
    return next((kind for pattern, kind in _PLACES if pattern.fullmatch(name)), None)


def is_place(folder: str) -> bool:
    """Return whether a bundle may have this folder."""
    return _FOLDER.fullmatch(folder) is not None


def why_no_place(name: str) -> str:
    """Return why a file has no place in a bundle, as a sentence."""
    path = PurePosixPath(name)
    if name.startswith("configs/") and path.suffix in (".yaml", ".yml"):
        return "YAML has more ways to say things than an inspection should follow; JSON says the same."
    if path.suffix == ".py":
        return (
            "Python of the bundle's own, which a person must read: MONAI puts the bundle's folder on the import path, "
            f"and it would be taken for {_module(name)!r}."
        )
    if path.suffix.lstrip(".").lower() in _CODE or "__pycache__" in path.parts:
        return f"code: MONAI puts the bundle's folder on the import path, and it would be taken for {_module(name)!r}."
    if re.search(r"\.(?:dist-info|egg-info)(?:/|$)", name, re.IGNORECASE):
        return "a record of an installed package: programs load what its entry points name."
    if path.suffix.lower() in (".svg", ".html", ".htm", ".xml", ".pdf"):
        return "a kind of file that can hold a program; pictures of a bundle are PNG or JPEG, in docs."
    return (
        "a bundle has configs/*.json, docs (Markdown, text, PNG, JPEG), models/*.pt, .ts, .onnx, .safetensors, "
        "LICENSE and README.md; this is something else, or stands elsewhere."
    )


def _module(name: str) -> str:
    return PurePosixPath(name).parts[0].partition(".")[0]
