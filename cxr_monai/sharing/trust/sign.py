"""Sign a packed bundle with a key of one's own, offline, by OpenSSF's model signing; ``bundle.sig`` goes into it.

signed = sign_archive("share/cxr-nih14-1.0.0.zip", "hospital-a.pem")

The signature is a Sigstore bundle over an in-toto statement of every file's SHA-256, the manifest included
(https://github.com/sigstore/model-transparency). It lies in the archive, so one file is sent, and an installed
bundle can be verified at any later time.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr_monai.bundle.digest import file_digest
from cxr_monai.durable import durable_file, storage_error
from cxr_monai.errors import BundleError, Code, SettingError, SharingError
from cxr_monai.outputs import check_output
from cxr_monai.sharing.package.archive import unpack, write_archive
from cxr_monai.sharing.package.file_list import (
    FILE_LIST,
    SIGNATURE,
    PackedContents,
    read_contents,
    refuse_altered_files,
)
from cxr_monai.sharing.trust.keys import check_private


@dataclass(frozen=True)
class Signed:
    """A signed archive: its path, its manifest, its SHA-256."""

    path: Path
    contents: PackedContents
    digest: str


def sign_archive(archive: str | Path, key: str | Path, password: str | None = None) -> Signed:
    """Sign an archive; it is replaced by the signed one, whole or not at all.

    Args:
        archive: of ``cxr_monai.sharing.package.pack``.
        key: the private key's file.
        password: of that file, if it has one.

    Raises:
        SharingError: ``archive-invalid`` or ``bundle-altered`` if it is not as it was packed; ``key-invalid`` for a key
            that is none, that others can read, or whose password this is not.
        BundleError: ``bundle-invalid`` if there is no such file, ``output-exists`` if it is signed already.
        SettingError: ``runtime-missing`` without the library.
    """
    archive, key = Path(archive).resolve(), Path(key)
    if not archive.is_file():
        raise BundleError(Code.BUNDLE_INVALID, "there is no such archive.", where=archive)
    check_private(key)
    check_output(archive, force=True, room=2 * archive.stat().st_size)
    with signing_library():
        from model_signing import hashing, signing
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".signing-") as temporary:
            root = Path(temporary) / "bundle"
            root.mkdir()
            unpack(archive, root)
            contents = read_contents(root / FILE_LIST)
            if (root / SIGNATURE).exists():
                raise BundleError(
                    Code.OUTPUT_EXISTS, "it is signed already.", fix="Pack it again to sign it yourself.", where=archive
                )
            refuse_altered_files(root, contents)
            # the signature contains the folder's name
            root = root.rename(root.with_name(contents.name))
            settings = signing.Config().set_hashing_config(
                hashing.Config()
                .use_file_serialization(max_workers=1)
                .set_ignored_paths(paths=[], ignore_git_paths=False)
            )
            try:
                settings.use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)  # type: ignore[arg-type]
            except (ValueError, TypeError) as error:
                raise SharingError(Code.KEY_INVALID, f"this private key cannot be used: {error}", where=key) from error
            signature = Path(temporary) / SIGNATURE
            settings.sign(root, signature)
            signature.rename(root / SIGNATURE)
            with durable_file(archive) as file:
                write_archive(root, file)
    except OSError as error:
        raise storage_error(error, archive) from error
    return Signed(archive, contents, file_digest(archive))


@contextlib.contextmanager
def signing_library() -> Iterator[None]:
    """Import the signing library within this context: its absence is a `SettingError` that names what to install."""
    try:
        yield
    except ImportError as error:
        raise SettingError(
            Code.RUNTIME_MISSING,
            f"signatures need a library that is not installed ({error.name}).",
            fix="pip install cxr-monai[sharing]",
        ) from error
