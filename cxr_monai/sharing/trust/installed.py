"""Where installed bundles live, and which of them a name means.

STORE/NAME/VERSION/bundle/       the files, exactly as they were signed
STORE/NAME/VERSION/record.json   who signed them, their digests, when they came
STORE/NAME/current.json          the version that NAME alone means

A version's folder appears whole, by one rename, and never changes; then ``current.json`` is replaced. So a kill at any
point leaves the old version or the new one.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.durable import write_durably
from cxr_monai.errors import BundleError, Code, SharingError
from cxr_monai.sharing.inspection.remarks import Remark
from cxr_monai.sharing.package.file_list import check_bundle_name, version_numbers
from cxr_monai.strict_json import parse_strictly


@dataclass(frozen=True)
class InstallRecord:
    """What is known of an installed bundle.

    Attributes:
        name, version: of its manifest.
        digest: of its contents, as predictions and children name it (``cxr_monai.bundle.digest``).
        manifest: SHA-256 of its manifest, which covers every file.
        signer: by the name that the key is trusted under.
        fingerprint: SHA-256 of the signer's public key.
        source: file name, folder name or address that it came from.
        installed: UTC, ISO 8601.
    """

    name: str
    version: str
    digest: str
    manifest: str
    signer: str
    fingerprint: str
    source: str
    installed: str


@dataclass(frozen=True)
class Installed:
    """An installed bundle.

    Attributes:
        root: its folder.
        record: what is known of it.
        attention: what an inspection names for a person to know of, such as what it may write; told when it is
            installed.
    """

    root: Path
    record: InstallRecord
    attention: tuple[Remark, ...] = field(default=(), compare=False)


def data_folder() -> Path:
    """Return this package's folder for what a user keeps: keys, trusted signers, installed bundles."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "cxr-monai"


def store_folder(given: str | Path | None = None) -> Path:
    """Return the store: as given, else ``CXR_MONAI_BUNDLES``, else below the user's data."""
    return Path(given or os.environ.get("CXR_MONAI_BUNDLES") or data_folder() / "bundles")


def installed_bundles(store: Path) -> list[Installed]:
    """Return all installed bundles, by name and version.

    Raises:
        SharingError: ``bundle-altered`` for a record that cannot be read.
    """
    # hidden folders are those of an installation that is at work, or was killed
    found = [_read(path.parent) for path in sorted(store.glob("[!.]*/*/record.json"))]
    return sorted(found, key=lambda one: (one.record.name, version_numbers(one.record.version)))


def installed_versions(store: Path, name: str) -> list[str]:
    """Return the installed versions of a name, the lowest first."""
    found = [_read(path.parent).record.version for path in store.glob(f"{check_bundle_name(name)}/*/record.json")]
    return sorted(found, key=version_numbers)


def find_installed(store: Path, words: str) -> Installed:
    """Return the installed bundle that ``NAME`` or ``NAME@VERSION`` means.

    Raises:
        BundleError: ``bundle-invalid``, with those that are installed.
    """
    name, at, version = words.partition("@")
    try:
        check_bundle_name(name)
        version_numbers(version or "0.0")
    except SharingError as error:
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"there is no folder {words!r}, and no bundle is installed under such a name: {error.message}",
            fix="A training leaves its bundle in OUT/bundle; 'cxr-monai bundle list' names what is installed; with "
            f"this package come {', '.join(shipped_bundles())}.",
        ) from error
    if not at:
        version = _current(store / name)
    if not version or not (store / name / version / "record.json").is_file():
        known = ", ".join(f"{one.record.name}@{one.record.version}" for one in installed_bundles(store)) or "none"
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"no bundle {words!r} is installed in {store}; there are: {known}.",
            fix="'cxr-monai bundle install' installs one.",
        )
    return _read(store / name / version)


def is_installed(store: Path, words: str) -> bool:
    """True if ``NAME`` or ``NAME@VERSION`` means a bundle of the store, in whatever version, and no file or folder."""
    return not Path(words).exists() and words.partition("@")[0] in {one.record.name for one in installed_bundles(store)}


def set_current(store: Path, record: InstallRecord) -> None:
    """Let a name mean this version."""
    write_durably(store / record.name / "current.json", _json({"version": record.version}))


def write_record(folder: Path, record: InstallRecord) -> None:
    """Write the record into the folder that holds ``bundle``."""
    write_durably(folder / "record.json", _json(asdict(record)))


def refuse_older(store: Path, name: str, version: str) -> None:
    """Refuse a version that is not above the highest one that is installed, nor that one; 1.0 is not above 1.0.0.

    Raises:
        SharingError: ``bundle-older``.
    """
    there = installed_versions(store, name)
    if there and version != there[-1] and version_numbers(version) <= version_numbers(there[-1]):
        what = "older" if version_numbers(version) < version_numbers(there[-1]) else "no newer"
        raise SharingError(
            Code.BUNDLE_OLDER,
            f"{name} {version} is {what} than {there[-1]}, which is installed: it may have faults that were mended.",
            fix="If it is really wanted: --allow-downgrade.",
        )


def _current(folder: Path) -> str:
    path = folder / "current.json"
    if not path.is_file():
        return ""
    version = str(_object(path).get("version"))
    version_numbers(version)
    return version


def _read(folder: Path) -> Installed:
    path = folder / "record.json"
    content = _object(path)
    if set(content) != set(InstallRecord.__dataclass_fields__) or not all(isinstance(v, str) for v in content.values()):
        raise _damaged(path, f"it needs {', '.join(InstallRecord.__dataclass_fields__)}")
    record = InstallRecord(**content)
    if (record.name, record.version) != (folder.parent.name, folder.name):
        raise _damaged(path, f"it is of {record.name} {record.version}")
    return Installed(folder / "bundle", record)


def _object(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_strictly(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is no JSON object")
    return content


def _damaged(path: Path, said: str) -> SharingError:
    return SharingError(
        Code.BUNDLE_ALTERED,
        f"this file of the store cannot be used: {said}.",
        fix="Delete the version's folder and install the bundle again.",
        where=path,
    )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
