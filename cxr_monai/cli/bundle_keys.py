"""``cxr-monai bundle keys``."""

import argparse

from cxr_monai.cli.shared_arguments import add_trusted

DESCRIPTION = """\
Make a pair of keys to sign bundles with: NAME.pem, which stays with you and which nobody else can read, and NAME.pub,
which everybody may have. Your own bundles are trusted on this machine from then on.

Hospitals that receive your bundles need NAME.pub once. Tell them its fingerprint by telephone, not by mail."""

EPILOG = """\
examples:
  cxr-monai bundle keys hospital-a
  cxr-monai bundle keys hospital-a --password

The password is asked for, or taken from $CXR_MONAI_KEY_PASSWORD."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle keys``."""
    parser.add_argument("name", metavar="NAME", help="of the signer: a-z, 0-9 and '-'")
    parser.add_argument("--out", metavar="DIR", help="where the keys go (default: 'keys' in your own data folder)")
    parser.add_argument("--password", action="store_true", help="encrypt the private key's file")
    add_trusted(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle keys`` and return its exit status."""
    from cxr_monai.cli.bundle_sign import password_for
    from cxr_monai.sharing.trust.keys import make_key, trust_key

    password = password_for("a new private key") if arguments.password else None
    signer = make_key(arguments.name, arguments.out, password)
    trust_key(signer.path, signer.name, arguments.trusted)
    print(f"private key: {signer.path.with_suffix('.pem')}  (never send it; keep a copy in a safe)")
    print(f"public key:  {signer.path}  (send it)\nfingerprint: {signer.fingerprint}  (tell it by telephone)")
    return 0
