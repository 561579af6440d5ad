"""Install a bundle of another hospital: unpacked beside the store, verified, inspected, then there by one rename.

installed = install("cxr-nih14-1.0.0.zip")
installed.root                              # STORE/cxr-nih14/1.0.0/bundle

Nothing of it is imported, evaluated or loaded. A kill leaves the store as it was, or with the new version; what it
leaves half-way lies in a folder of its own, which the next installation removes.
"""

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cxr_monai.bundle.digest import file_digest
from cxr_monai.durable import storage_error, sync_folder
from cxr_monai.environment import without_password
from cxr_monai.errors import BundleError, Code, CxrError, DownloadError, SharingError
from cxr_monai.sharing.archive import unpack
from cxr_monai.sharing.download import fetch
from cxr_monai.sharing.manifest import MANIFEST, read_contents, refuse_altered, walk
from cxr_monai.sharing.pack import refuse_inspected
from cxr_monai.sharing.store import (
    Installed,
    Record,
    find,
    refuse_older,
    set_current,
    store_folder,
    versions,
    write_record,
)
from cxr_monai.sharing.verify import Verified, verify_folder

_INCOMING = ".incoming-"
WAIT = 60.0
"""Seconds to wait for another installation into the same store."""


def install(
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
        sha256: of the archive; an address needs it.
        trusted: folder of public keys, see ``cxr_monai.sharing.keys.trusted_folder``.
        store: see ``cxr_monai.sharing.store.store_folder``.
        allow_downgrade: an older version than the installed one may come, and is then what the name means.

    Returns:
        the installed bundle; also if this very content was installed before.

    Raises:
        SharingError: as ``cxr_monai.sharing.verify.verify``; ``bundle-refused`` by the inspection; ``bundle-older``,
            also for another content under a version that is installed.
        DownloadError: ``download-failed``, ``checksum-mismatch``.
        BundleError: ``bundle-invalid`` if there is nothing.
        StorageError: ``disk-full``, ``write-failed``; ``output-locked`` while another installation is at work.
    """
    folder = store_folder(store).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock", timeout=WAIT):
            for left in folder.glob(f"{_INCOMING}*"):  # of an installation that was killed
                shutil.rmtree(left)
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
            refuse_inspected(root, root)
        except CxrError as error:
            if error.where is not None and error.where.startswith(str(incoming)):
                error.where = without_password(source)
            raise
        return _place(verified, root.parent, store, name, allow_downgrade)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _receive(source: str, sha256: str | None, incoming: Path, root: Path) -> str:
    """Bring the files into ``root``; return what the source is called in the record: no path of this machine."""
    if "://" in source:
        archive = incoming / "archive"
        fetch(source, sha256, archive)
        unpack(archive, root)
        archive.unlink()
        return source
    path = Path(source)
    if not path.exists():
        raise BundleError(Code.BUNDLE_INVALID, "there is no such archive or folder.", where=path)
    if path.is_dir():
        # before the copy: what it may copy is bounded by what the manifest says
        refuse_altered(path, read_contents(path / MANIFEST))
        for name in walk(path):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path / name, root / name, follow_symlinks=False)
        return path.resolve().name
    if sha256 is not None and (found := file_digest(path)) != sha256.lower():
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"its SHA-256 is {found}, not {sha256}: it is another file than the one that was announced.",
            fix="Ask its sender, by another way than the one that the file came.",
            where=path,
        )
    unpack(path, root)
    return path.name


def _place(verified: Verified, folder: Path, store: Path, source: str, allow_downgrade: bool) -> Installed:
    contents = verified.contents
    words = f"{contents.name}@{contents.version}"
    if contents.version in versions(store, contents.name):
        there = find(store, words)
        if there.record.manifest != verified.manifest:
            raise SharingError(
                Code.BUNDLE_OLDER,
                f"{contents.name} {contents.version} is installed with another content: a version is one content.",
                fix="Its sender gives a higher version to what is new: 'cxr-monai bundle pack --version'.",
                where=source,
            )
        if allow_downgrade or contents.version == versions(store, contents.name)[-1]:
            set_current(store, there.record)
        return there
    if not allow_downgrade:
        refuse_older(store, contents.name, contents.version)
    record = Record(
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
    """Bring every file and folder to the disk before a rename says that they are there."""
    for path in [*sorted(folder.rglob("*")), folder]:
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
