"""Verify that a bundle is, to the last byte, what a trusted signer has signed: offline, without running any of it.

verified = verify_bundle("cxr-nih14-1.0.0.zip")
verified.signer.name                       # "hospital-a"

The library that checks the signature ignores files of ``.git`` by default, and those that the signature
excludes. Here the files on disk are exactly those of the manifest, and the signed list is exactly the
manifest and its files; anything more or less, hidden or empty, is refused.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.bundle.digest import content_digest, file_digest
from cxr_monai.errors import Code, SharingError
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.package.archive import temporarily_unpacked
from cxr_monai.sharing.package.file_list import (
    FILE_LIST,
    SIGNATURE,
    PackedContents,
    read_contents,
    refuse_altered_files,
)
from cxr_monai.sharing.trust.keys import Signer, trusted_folder, trusted_signers
from cxr_monai.sharing.trust.sign import signing_library
from cxr_monai.strict_json import LARGEST_JSON, parse_strictly

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        contents: the manifest.
        manifest: its SHA-256.
        digest: of the contents, as predictions and children name it.
        signer: of the bundle.
    """

    contents: PackedContents
    manifest: str
    digest: str
    signer: Signer


def verify_bundle(path: str | Path, trusted: str | Path | None = None) -> Verified:
    """Verify an archive or an unpacked folder.

    Args:
        path: unpacked into a temporary folder if it is an archive.
        trusted: folder of public keys, see ``cxr_monai.sharing.trust.keys.trusted_folder``.

    Raises:
        SharingError: ``archive-invalid``, ``bundle-altered``, ``signature-missing``, ``signature-invalid``,
            ``signer-unknown``, or ``key-invalid`` for a trusted key that is none.
        BundleError: ``bundle-invalid`` if there is nothing.
        StorageError: ``disk-full``, ``write-failed``, of the temporary folder.
    """
    path = Path(path)
    if path.is_dir():
        return verify_folder(path, trusted)
    with temporarily_unpacked(path) as root:
        return verify_folder(root, trusted)


def verify_folder(root: Path, trusted: str | Path | None = None) -> Verified:
    """Verify an unpacked bundle.

    Args:
        root: its folder.
        trusted: folder of public keys, as in :func:`verify_bundle`, which also lists the errors.
    """
    contents = read_contents(root / FILE_LIST)
    refuse_altered_files(root, contents)
    expected = {file.name: file.sha256 for file in contents.files} | {FILE_LIST: file_digest(root / FILE_LIST)}
    signer = _signer(root, expected, trusted)
    return Verified(contents, expected[FILE_LIST], content_digest(root), signer)


def _signer(root: Path, expected: Mapping[str, str], trusted: str | Path | None) -> Signer:
    """Return the trusted signer of exactly these files, given by name with their SHA-256."""
    path = root / SIGNATURE
    if not path.is_file():
        raise SharingError(
            Code.SIGNATURE_MISSING,
            f"nobody signed it: there is no {SIGNATURE} in it.",
            fix="Ask its sender for a signed one: 'cxr-monai bundle sign'.",
            where=root,
        )
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON:,} bytes.")
        hint, statement = _key_and_statement(parse_strictly(path.read_bytes()))
        resources = _resources(statement)
    except (ValueError, TypeError) as error:  # base64's errors are of the first kind
        raise _invalid(root, f"its {SIGNATURE} is not one that this package makes: {error}") from error
    if resources != expected:
        name = min(set(resources.items()) ^ set(expected.items()))[0]
        raise _invalid(root, f"what was signed is not what its manifest lists: {shortened(name)} differs.")
    signer = _trusted_signer(root, hint, trusted)
    with signing_library():
        from model_signing import hashing, verifying
    settings = verifying.Config().use_elliptic_key_verifier(public_key=signer.path)
    settings.set_hashing_config(
        hashing.Config()
        .use_file_serialization(max_workers=1)
        .set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    )
    try:
        settings.verify(root, path)
    except Exception as error:  # a stranger's file may break its reader in any way, and then it is not verified
        message = str(error) or type(error).__name__
        raise _invalid(root, f"it is not {signer.name}'s signature of these files: {shortened(message)}") from error
    return signer


def _key_and_statement(content: Any) -> tuple[str, Any]:
    """Return the key's fingerprint and the signed statement; any other form of signature is refused."""
    _require_keys(content, {"mediaType", "verificationMaterial", "dsseEnvelope"}, "the signature")
    material, envelope = content["verificationMaterial"], content["dsseEnvelope"]
    _require_keys(material, {"publicKey", "tlogEntries"}, "verificationMaterial")
    _require_keys(material["publicKey"], {"hint"}, "publicKey")
    _require_keys(envelope, {"payload", "payloadType", "signatures"}, "dsseEnvelope")
    if not isinstance(envelope["signatures"], list) or len(envelope["signatures"]) != 1:
        raise ValueError("it needs one signature.")
    hint = material["publicKey"]["hint"]
    if not isinstance(hint, str) or not isinstance(envelope["payload"], str):
        raise ValueError("hint and payload are texts.")
    return hint, parse_strictly(base64.b64decode(envelope["payload"], validate=True))


def _resources(statement: Any) -> dict[str, str]:
    _require_keys(statement, {"_type", "subject", "predicateType", "predicate"}, "the statement")
    predicate = statement["predicate"]
    _require_keys(predicate, {"serialization", "resources"}, "the predicate")
    if statement["_type"] != _STATEMENT or statement["predicateType"] != _PREDICATE:
        raise ValueError(f"it states {shortened(statement['predicateType'])}, not {_PREDICATE}.")
    serialization = dict(predicate["serialization"])
    if serialization.pop("ignore_paths", [SIGNATURE]) != [SIGNATURE] or serialization != _SERIALIZATION:
        raise ValueError("it leaves files out, or does not use SHA-256 of whole files.")
    signed: dict[str, str] = {}
    for resource in predicate["resources"]:
        _require_keys(resource, {"name", "algorithm", "digest"}, "a resource")
        if resource["algorithm"] != "sha256" or resource["name"] in signed:
            raise ValueError(f"{shortened(resource['name'])} stands twice, or without a SHA-256.")
        signed[str(resource["name"])] = str(resource["digest"])
    return signed


def _require_keys(content: Any, keys: set[str], part: str) -> None:
    if not isinstance(content, Mapping) or set(content) != keys:
        raise ValueError(f"{part} has {', '.join(sorted(keys))}, and nothing else.")


def _trusted_signer(root: Path, hint: str, trusted: str | Path | None) -> Signer:
    signers = trusted_signers(trusted)
    for signer in signers:
        if signer.fingerprint == hint:
            return signer
    names = ", ".join(signer.name for signer in signers) or "nobody yet"
    raise SharingError(
        Code.SIGNER_UNKNOWN,
        f"it is signed with a key that is not trusted here: {shortened(hint)}. Trusted are: {names} "
        f"({trusted_folder(trusted)}).",
        fix="Compare the key with its owner by telephone, then 'cxr-monai bundle trust FILE.pub --name NAME'.",
        where=root,
    )


def _invalid(root: Path, reason: str) -> SharingError:
    return SharingError(
        Code.SIGNATURE_INVALID, reason, fix="Get it again from its sender; do not install it.", where=root
    )
