"""``cxr-monai bundle sign``."""

import argparse

DESCRIPTION = """\
Sign an archive that 'cxr-monai bundle pack' made, with a key of your own, offline (OpenSSF model signing). The
signature goes into the archive, and covers its manifest and every file."""

EPILOG = """\
example:
  cxr-monai bundle sign share/cxr-nih14-1.0.0.zip --key hospital-a

It needs: pip install cxr-monai[sharing]. A password of the key is asked for, or taken from $CXR_MONAI_KEY_PASSWORD."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle sign``."""
    parser.add_argument("archive", metavar="ARCHIVE", help="it is replaced by the signed one, whole or not at all")
    parser.add_argument(
        "--key", metavar="KEY", help="a private key's file, or the name of one of yours (default: the only one)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle sign`` and return its exit status."""
    from cxr_monai.sharing.trust.keys import find_key, is_encrypted
    from cxr_monai.sharing.trust.sign import sign_archive

    key = find_key(arguments.key)
    signed = sign_archive(arguments.archive, key, password_for(str(key)) if is_encrypted(key) else None)
    print(f"{signed.contents.name} {signed.contents.version}, signed with {key.name}: {signed.path}")
    print(f"SHA-256: {signed.digest}  (tell it by another way than you send the archive)")
    return 0


def password_for(key: str) -> str:
    """Return the password of a private key, from the environment or the terminal."""
    import getpass
    import os

    return os.environ.get("CXR_MONAI_KEY_PASSWORD") or getpass.getpass(f"password of {key}: ")
