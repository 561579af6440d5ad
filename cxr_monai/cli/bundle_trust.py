"""``cxr-monai bundle trust``."""

import argparse

from cxr_monai.cli.shared_arguments import add_trusted

DESCRIPTION = """\
Trust a hospital's public key, under a name of your own: bundles that it signed can then be verified and installed.

Who can give you a wrong key can give you a wrong bundle. Compare its fingerprint with its owner by telephone."""

EPILOG = """\
examples:
  cxr-monai bundle trust hospital-a.pub --name hospital-a --fingerprint 63b9f568d1d0caff...
  cxr-monai bundle trust                 who is trusted

To trust a key no longer, delete its file from the folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle trust``."""
    parser.add_argument("key", metavar="KEY.pub", nargs="?", help="the public key; without it, who is trusted")
    parser.add_argument("--name", help="whose it is: a-z, 0-9 and '-'")
    parser.add_argument("--fingerprint", help="that its owner told you, at least 16 digits; another is refused")
    add_trusted(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle trust`` and return its exit status."""
    from pathlib import Path

    from cxr_monai.errors import Code, SharingError, UsageError
    from cxr_monai.sharing.trust.keys import read_signer, trust_key, trusted_folder, trusted_signers

    if arguments.key is None:
        for signer in trusted_signers(arguments.trusted):
            print(f"{signer.name}  {signer.fingerprint}")
        print(f"the folder: {trusted_folder(arguments.trusted)}")
        return 0
    if not arguments.name:
        raise UsageError(Code.USAGE, "--name: say whose key it is, such as --name hospital-a.")
    fingerprint = read_signer(Path(arguments.key)).fingerprint
    if arguments.fingerprint is not None:
        expected = arguments.fingerprint.lower().rstrip(".")
        if len(expected) < 16:
            raise UsageError(Code.USAGE, f"--fingerprint {expected}: compare at least 16 digits.")
        if not fingerprint.startswith(expected):
            raise SharingError(
                Code.KEY_INVALID,
                f"its fingerprint is {fingerprint}, not {expected}.",
                fix="It is not the key that its owner means: do not trust it.",
                where=arguments.key,
            )
    signer = trust_key(arguments.key, arguments.name, arguments.trusted)
    print(f"{signer.name} is trusted: {signer.path}\nfingerprint: {signer.fingerprint}")
    if arguments.fingerprint is None:
        print("Compare this fingerprint with its owner by telephone before you install anything.")
    return 0
