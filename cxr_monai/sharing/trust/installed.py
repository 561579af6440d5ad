"""The store of installed bundles: where they are, and which version a name refers to.

STORE/NAME/VERSION/bundle/       the files, exactly as they were signed
STORE/NAME/VERSION/record.json   who signed them, their digests, when they came
STORE/NAME/current.json          the version that NAME alone refers to

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
    """The record of an installed bundle.

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
        record: its record.
        attention: remarks of the inspection that a person should read, such as files that it may write; given when
            it is installed.
    """

    root: Path
    record: InstallRecord
    attention: tuple[Remark, ...] = field(default=(), compare=False)


def data_folder() -> Path:
    """Return this package's folder for a user's data: keys, trusted signers, installed bundles."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "cxr-monai"


def store_folder(folder: str | Path | None = None) -> Path:
    """Return the store's folder: ``folder`` if given, else ``CXR_MONAI_BUNDLES``, else below the user's data."""
    return Path(folder or os.environ.get("CXR_MONAI_BUNDLES") or data_folder() / "bundles")


def installed_bundles(store: Path) -> list[Installed]:
    """Return all installed bundles, by name and version.

    Raises:
        SharingError: ``bundle-altered`` for a record that cannot be read.
    """
    # hidden folders are those of an installation that is at work, or was killed
    installed = [_read(path.parent) for path in sorted(store.glob("[!.]*/*/record.json"))]
    return sorted(installed, key=lambda bundle: (bundle.record.name, version_numbers(bundle.record.version)))


def installed_versions(store: Path, name: str) -> list[str]:
    """Return the versions of the bundle ``name`` installed in ``store``, the lowest first."""
    versions = [_read(path.parent).record.version for path in store.glob(f"{check_bundle_name(name)}/*/record.json")]
    return sorted(versions, key=version_numbers)


def find_installed(store: Path, reference: str) -> Installed:
    """Return the installed bundle that ``NAME`` or ``NAME@VERSION`` refers to.

    Args:
        store: the folder of installed bundles.
        reference: ``NAME`` or ``NAME@VERSION``; a name alone refers to its current version.

    Raises:
        BundleError: ``bundle-invalid`` if there is none, naming those that are installed.
    """
    name, separator, version = reference.partition("@")
    try:
        check_bundle_name(name)
        version_numbers(version or "0.0")
    except SharingError as error:
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"there is no folder {reference!r}, and no bundle is installed under such a name: {error.message}",
            fix="A training leaves its bundle in OUT/bundle; 'cxr-monai bundle list' names what is installed; with "
            f"this package come {', '.join(shipped_bundles())}.",
        ) from error
    if not separator:
        version = _current(store / name)
    if not version or not (store / name / version / "record.json").is_file():
        records = [installed.record for installed in installed_bundles(store)]
        names = ", ".join(f"{record.name}@{record.version}" for record in records) or "none"
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"no bundle {reference!r} is installed in {store}; there are: {names}.",
            fix="'cxr-monai bundle install' installs one.",
        )
    return _read(store / name / version)


def is_installed(store: Path, reference: str) -> bool:
    """Return whether ``reference`` (``NAME`` or ``NAME@VERSION``) is a bundle of ``store``, and no file or folder.

    Any installed version of the name counts.
    """
    names = {installed.record.name for installed in installed_bundles(store)}
    return not Path(reference).exists() and reference.partition("@")[0] in names


def set_current(store: Path, record: InstallRecord) -> None:
    """Make the version of ``record`` the current one of its name in ``store``."""
    write_durably(store / record.name / "current.json", _json({"version": record.version}))


def write_record(folder: Path, record: InstallRecord) -> None:
    """Write the record into the folder that holds ``bundle``."""
    write_durably(folder / "record.json", _json(asdict(record)))


def refuse_older(store: Path, name: str, version: str) -> None:
    """Refuse a version that is neither above the highest installed one nor equal to it; 1.0 is not above 1.0.0.

    Args:
        store: the folder of installed bundles.
        name, version: of the bundle to install.

    Raises:
        SharingError: ``bundle-older``.
    """
    versions = installed_versions(store, name)
    if versions and version != versions[-1] and version_numbers(version) <= version_numbers(versions[-1]):
        relation = "older" if version_numbers(version) < version_numbers(versions[-1]) else "no newer"
        raise SharingError(
            Code.BUNDLE_OLDER,
            f"{name} {version} is {relation} than {versions[-1]}, which is installed: it may have faults that were "
            "mended.",
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


def _damaged(path: Path, reason: str) -> SharingError:
    return SharingError(
        Code.BUNDLE_ALTERED,
        f"this file of the store cannot be used: {reason}.",
        fix="Delete the version's folder and install the bundle again.",
        where=path,
    )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
