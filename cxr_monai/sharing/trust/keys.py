"""Keys for signatures: the user's own pairs, and the public keys of trusted signers; a file is named after its signer.

make_key("hospital-a")                    # keys/hospital-a.pem stays here; keys/hospital-a.pub is for everybody
trust_key("received/hospital-b.pub", "hospital-b")
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.durable import make_folder, write_durably, write_together
from cxr_monai.errors import BundleError, Code, SharingError
from cxr_monai.outputs import check_output
from cxr_monai.sharing.package.file_list import check_bundle_name
from cxr_monai.sharing.trust.installed import data_folder

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
LARGEST_KEY = 1 << 16


@dataclass(frozen=True)
class Signer:
    """A public key that is trusted: the signer's name, the file, and the key's SHA-256."""

    name: str
    path: Path
    fingerprint: str


def keys_folder() -> Path:
    """Return the folder of the user's own keys."""
    return data_folder() / "keys"


def trusted_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of trusted public keys: ``folder`` if given, else ``CXR_MONAI_TRUSTED``, else the user's."""
    return Path(folder or os.environ.get("CXR_MONAI_TRUSTED") or data_folder() / "trusted")


def make_key(name: str, folder: str | Path | None = None, password: str | None = None) -> Signer:
    """Make a pair of keys (ECDSA over NIST P-256): ``NAME.pem``, which only its owner may read, and ``NAME.pub``.

    Args:
        name: of the signer: a-z, 0-9 and hyphens.
        folder: that they are written to; :func:`keys_folder` where None.
        password: of the private key's file.

    Raises:
        BundleError: ``output-exists``; a key is never overwritten.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    check_bundle_name(name)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = Path(folder or keys_folder())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists():
            raise BundleError(
                Code.OUTPUT_EXISTS, "there is a key of this name, and keys are not overwritten.", where=path
            )
        check_output(path)
    make_folder(folder, 0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    hidden: Any = serialization.NoEncryption()
    if password:
        hidden = serialization.BestAvailableEncryption(password.encode())
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    write_together(public, _pem(key.public_key()), {private: content}, private=[private])
    return read_signer(public)


def trust_key(public: str | Path, name: str, folder: str | Path | None = None) -> Signer:
    """Add a public key to the trusted ones, under a name that the user chooses.

    Args:
        public: file of the public key.
        name: of its signer: a-z, 0-9 and hyphens.
        folder: of trusted keys, see :func:`trusted_folder`.

    Raises:
        SharingError: ``key-invalid`` if the file holds no such key, or the key is trusted under another name.
        BundleError: ``output-exists`` if the name has another key.
    """
    check_bundle_name(name)
    candidate, target = read_signer(Path(public)), trusted_folder(folder) / f"{name}.pub"
    for signer in trusted_signers(folder):
        if signer.fingerprint == candidate.fingerprint and signer.name != name:
            raise _invalid(Path(public), f"this key is trusted already, as {signer.name!r}.")
        if signer.name == name and signer.fingerprint != candidate.fingerprint:
            raise BundleError(
                Code.OUTPUT_EXISTS,
                f"{name!r} has another key, {signer.fingerprint[:16]}...",
                fix="If the signer has a new key, trust it under a new name, or delete the old file yourself.",
                where=target,
            )
    write_durably(target, candidate.path.read_bytes())
    return read_signer(target)


def trusted_signers(folder: str | Path | None = None) -> list[Signer]:
    """Return the trusted signers, sorted by name; empty where there is no such folder.

    Raises:
        SharingError: ``key-invalid`` if a file of the folder is no public key, or two are the same.
    """
    signers = [read_signer(path) for path in sorted(trusted_folder(folder).glob("*.pub"))]
    by_fingerprint: dict[str, Signer] = {}
    for signer in signers:
        first = by_fingerprint.setdefault(signer.fingerprint, signer)
        if first is not signer:
            raise _invalid(signer.path, f"it is the same key as {first.name!r}: one signer has one name.")
    return signers


def read_signer(path: Path) -> Signer:
    """Read a public key (PEM, ECDSA over a NIST curve) and return its signer, named after the file.

    Raises:
        SharingError: ``key-invalid``.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_KEY + 1)
    except OSError as error:
        raise _invalid(path, f"it cannot be read ({error.strerror}).") from error
    if len(content) > LARGEST_KEY or b"PRIVATE" in content:
        raise _invalid(path, "it is no public key: a private one, or too large a file.")
    try:
        key = serialization.load_pem_public_key(content)
    except Exception as error:  # the library may raise anything for a file that is no key
        raise _invalid(path, f"it is no public key ({error}).") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _invalid(path, f"it is no key of an elliptic curve ({', '.join(_CURVES)}).")
    return Signer(path.stem, path, hashlib.sha256(_pem(key)).hexdigest())


def find_key(name_or_path: str | None) -> Path:
    """Return the file of a private key.

    Args:
        name_or_path: path of the file, or name of one of the user's own keys; None for the only one that there is.

    Raises:
        SharingError: ``key-invalid`` if there is none, or several to choose from, naming the user's own.
    """
    own_keys = sorted(keys_folder().glob("*.pem"))
    if name_or_path is None and len(own_keys) == 1:
        return own_keys[0]
    path = Path(name_or_path or "")
    if name_or_path is not None and not path.is_file() and keys_folder() / f"{name_or_path}.pem" in own_keys:
        return keys_folder() / f"{name_or_path}.pem"
    if name_or_path is None or not path.is_file():
        names = ", ".join(key.stem for key in own_keys) or "none yet; 'cxr-monai bundle keys NAME' makes one"
        raise _invalid(
            Path(name_or_path or keys_folder()), f"say which private key: --key FILE, or one of yours: {names}."
        )
    return path


def is_encrypted(path: Path) -> bool:
    """Return whether a private key's file needs a password."""
    return b"ENCRYPTED" in check_private(path)


def check_private(path: Path) -> bytes:
    """Return the content of a private key's file if its owner alone can read it.

    Raises:
        SharingError: ``key-invalid``.
    """
    if not path.is_file():
        raise _invalid(path, "there is no such private key.", "'cxr-monai bundle keys NAME' makes one.")
    mode = path.stat().st_mode & 0o077
    if os.name == "posix" and mode:
        raise _invalid(
            path, "others can read this private key.", f"chmod 600 {path}; or make a new one, if others did."
        )
    return path.read_bytes()


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _invalid(path: Path, reason: str, fix: str | None = None) -> SharingError:
    return SharingError(Code.KEY_INVALID, reason, fix=fix, where=path)
