"""Arguments that several commands share: the bundle that runs, where installed ones and trusted keys lie."""

import argparse
from pathlib import Path


def add_trusted(parser: argparse.ArgumentParser) -> None:
    """Declare ``--trusted``."""
    parser.add_argument("--trusted", metavar="DIR", help="of trusted keys (default: $CXR_MONAI_TRUSTED, or your own)")


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Declare ``BUNDLE`` and ``--trust-folder`` of a command that runs one."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="an installed bundle's NAME or NAME@VERSION, or a folder, such as OUT/bundle"
    )
    add_trust_folder(parser)


def add_trust_folder(parser: argparse.ArgumentParser) -> None:
    """Declare ``--trust-folder``."""
    parser.add_argument(
        "--trust-folder", action="store_true", help="run the folder although it was not installed, whatever is in it"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Declare ``--force`` of a command that writes a result."""
    parser.add_argument("--force", action="store_true", help="write over an earlier result")


def add_any_modality(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Declare ``--any-modality`` of a command that reads films."""
    parser.add_argument(
        "--any-modality", action="store_true", help=f"{when}read DICOM files whatever their headers say they show"
    )


def add_match_names(parser: argparse.ArgumentParser) -> None:
    """Declare ``--match-names`` of a command that joins tables image by image."""
    parser.add_argument(
        "--match-names",
        action="store_true",
        help="a file name alone tells which image it is: join even where the folders differ",
    )


def add_read_bundle(parser: argparse.ArgumentParser, what: str = "a folder, such as OUT/bundle") -> None:
    """Declare ``BUNDLE`` of a command that only reads one."""
    parser.add_argument("bundle", metavar="BUNDLE", help=f"an installed bundle's NAME or NAME@VERSION, or {what}")


def open_bundle(arguments: argparse.Namespace) -> Path:
    """Return the folder of the bundle that may be run (``cxr_monai.sharing.trust.open_trusted``)."""
    from cxr_monai.sharing.trust.open_trusted import open_trusted

    return open_trusted(arguments.bundle, arguments.trust_folder)


def read_bundle(named: str | None) -> Path | None:
    """Return the folder of a bundle that is only read, such as for its thresholds: nothing of it runs."""
    return None if named is None else folder_of(named)


def folder_of(named: str) -> Path:
    """Return the folder of a bundle that is only read, whether it is installed or not.

    Raises:
        BundleError: ``bundle-invalid`` if nothing of that name is installed.
        SharingError: ``bundle-altered`` if an installed bundle is no longer what was signed.
    """
    from cxr_monai.sharing.trust.open_trusted import open_trusted

    return open_trusted(named, trust_folder=True)
