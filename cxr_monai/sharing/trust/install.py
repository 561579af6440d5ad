"""Install a bundle of another hospital: unpacked beside the store, verified, inspected, then moved in by one rename.

installed = install_bundle("cxr-nih14-1.0.0.zip")
installed.root                              # STORE/cxr-nih14/1.0.0/bundle

Nothing of it is imported, evaluated or loaded. A kill leaves the store as it was, or with the new version; what it
leaves half-way lies in a folder of its own, which the next installation removes.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cxr_monai.bundle.digest import file_digest
from cxr_monai.durable import storage_error, sync_folder
from cxr_monai.environment import without_password
from cxr_monai.errors import BundleError, Code, CxrError, DownloadError, SharingError, UsageError
from cxr_monai.outputs import check_folder
from cxr_monai.sharing.inspection.bundle_inspection import Inspection
from cxr_monai.sharing.inspection.remarks import Remark, Verdict
from cxr_monai.sharing.package.archive import unpack
from cxr_monai.sharing.package.download import fetch_file
from cxr_monai.sharing.package.file_list import FILE_LIST, SIGNATURE, read_contents, refuse_altered_files
from cxr_monai.sharing.package.pack import refuse_inspected
from cxr_monai.sharing.trust.installed import (
    Installed,
    InstallRecord,
    find_installed,
    installed_versions,
    refuse_older,
    set_current,
    store_folder,
    write_record,
)
from cxr_monai.sharing.trust.verify import Verified, verify_folder
from cxr_monai.strict_json import LARGEST_JSON as LARGEST_JSON

_INCOMING = ".incoming-"
WAIT = 60.0
"""Seconds to wait for another installation into the same store."""


def install_bundle(
    source: str | Path,
    *,
    sha256: str | None = None,
    trusted: str | Path | None = None,
    store: str | Path | None = None,
    allow_downgrade: bool = False,
) -> Installed:
    """Install a bundle.

    Args:
        source: an archive, an unpacked folder, or an address (``https://...``).
        sha256: of the archive; an address needs it, and a folder has none.
        trusted: folder of public keys, see ``cxr_monai.sharing.trust.keys.trusted_folder``.
        store: see ``cxr_monai.sharing.trust.installed.store_folder``.
        allow_downgrade: an older version than the installed one may come, and is then what the name means.

    Returns:
        the installed bundle; also if this very content was installed before. Its ``attention`` lists the remarks that
        a person should read: what it may write or connect to, and a signer other than the previous version's.

    Raises:
        SharingError: as ``verify.verify_bundle``; ``bundle-refused`` by the inspection; ``bundle-older``,
            also for another content under a version that is installed.
        DownloadError: ``download-failed``, ``checksum-mismatch``.
        UsageError: ``usage`` for an address without a digest, or a folder with one.
        BundleError: ``bundle-invalid`` if there is nothing.
        StorageError: ``disk-full``, ``write-failed``; ``output-locked`` while another installation is at work.
    """
    folder = store_folder(store).resolve()
    check_folder(store_folder(store), (), room=Path(source).stat().st_size if Path(source).is_file() else 0)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock", timeout=WAIT):
            for leftover in folder.glob(f"{_INCOMING}*"):  # of an installation that was killed
                shutil.rmtree(leftover)
            return _install(str(source), sha256, trusted, folder, allow_downgrade)
    except Timeout as error:
        raise BundleError(Code.OUTPUT_LOCKED, "another installation is at work here.", where=folder) from error
    except OSError as error:
        raise storage_error(error, folder) from error


def _install(
    source: str, sha256: str | None, trusted: str | Path | None, store: Path, allow_downgrade: bool
) -> Installed:
    incoming = Path(tempfile.mkdtemp(dir=store, prefix=_INCOMING))
    try:
        root = incoming / "version" / "bundle"
        root.mkdir(parents=True)
        try:
            name = _receive(source, sha256, incoming, root)
            verified = verify_folder(root, trusted)
            inspection = refuse_inspected(root, root)
        except CxrError as error:
            if error.where is not None and error.where.startswith(str(incoming)):
                error.where = without_password(source)
            raise
        attention = tuple(_attention(inspection, verified, store))
        return replace(_place(verified, root.parent, store, name, allow_downgrade), attention=attention)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _receive(source: str, sha256: str | None, incoming: Path, root: Path) -> str:
    """Copy or unpack the files into ``root``; return the source's name for the record, no path of this machine."""
    if "://" in source:
        archive = incoming / "archive"
        fetch_file(source, sha256, archive)
        unpack(archive, root)
        archive.unlink()
        return source
    path = Path(source)
    if not path.is_dir() and not path.is_file():
        raise BundleError(Code.BUNDLE_INVALID, "there is no such archive or folder.", where=path)
    if path.is_dir():
        if sha256 is not None:
            raise UsageError(Code.USAGE, f"{path}: --sha256 is of an archive, and this is a folder.")
        _copy(path, root)
        return path.resolve().name
    if sha256 is not None and (actual := file_digest(path)) != sha256.lower():
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"its SHA-256 is {actual}, not {sha256}: it is another file than the one that was announced.",
            fix="Ask its sender, by another way than the one that the file came.",
            where=path,
        )
    unpack(path, root)
    return path.name


def _copy(folder: Path, root: Path) -> None:
    """Copy a folder's bundle, and never more bytes than its manifest lists, even if it changes meanwhile."""
    contents = read_contents(folder / FILE_LIST)
    sizes = {file.name: file.size for file in contents.files} | {FILE_LIST: LARGEST_JSON}
    if (folder / SIGNATURE).is_file():
        sizes[SIGNATURE] = LARGEST_JSON
        if (folder / SIGNATURE).stat().st_size > LARGEST_JSON:
            raise SharingError(
                Code.SIGNATURE_INVALID, f"its {SIGNATURE} has more than {LARGEST_JSON:,} bytes.", where=folder
            )
    refuse_altered_files(folder, contents)
    for name, remaining in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        # what has become a link or a pipe by now is neither followed nor waited for
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(folder / name, flags), "rb") as source, (root / name).open("xb") as target:
            while block := source.read(min(remaining, 1 << 20)):
                remaining -= target.write(block)


def _attention(inspection: Inspection, verified: Verified, store: Path) -> Iterator[Remark]:
    """Yield the remarks that a person should read, each callable, address and so on once."""
    contents, signer = verified.contents, verified.signer
    for version in installed_versions(store, contents.name)[-1:]:
        before = find_installed(store, f"{contents.name}@{version}").record
        if before.fingerprint != signer.fingerprint:
            reason = f"{contents.name} {version}, which is installed, was signed by {before.signer}."
            yield Remark(SIGNATURE, "", "signer", signer.name, Verdict.ATTENTION, reason)
    reported = set()
    for remark in inspection.remarks:
        if remark.verdict == Verdict.ATTENTION and (remark.kind, remark.text) not in reported:
            reported.add((remark.kind, remark.text))
            yield remark


def _place(verified: Verified, folder: Path, store: Path, source: str, allow_downgrade: bool) -> Installed:
    contents = verified.contents
    reference = f"{contents.name}@{contents.version}"
    if contents.version in installed_versions(store, contents.name):
        installed = find_installed(store, reference)
        if installed.record.manifest != verified.manifest:
            raise SharingError(
                Code.BUNDLE_OLDER,
                f"{contents.name} {contents.version} is installed with another content: a version is one content.",
                fix="Its sender gives a higher version to what is new: 'cxr-monai bundle pack --version'.",
                where=source,
            )
        if allow_downgrade or contents.version == installed_versions(store, contents.name)[-1]:
            set_current(store, installed.record)
        return installed
    if not allow_downgrade:
        refuse_older(store, contents.name, contents.version)
    record = InstallRecord(
        contents.name, contents.version, verified.digest, verified.manifest, verified.signer.name,
        verified.signer.fingerprint, source, datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    write_record(folder, record)
    _sync(folder)
    target = store / contents.name / contents.version
    target.parent.mkdir(exist_ok=True)
    os.rename(folder, target)
    sync_folder(target.parent)
    sync_folder(store)
    set_current(store, record)
    return Installed(target / "bundle", record)


def _sync(folder: Path) -> None:
    """Flush every file and folder to the disk, so that the rename that follows never exposes partial files."""
    for path in [*sorted(folder.rglob("*")), folder]:
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
