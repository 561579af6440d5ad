"""Arguments that several commands share, and the checks of their values."""

import argparse
from pathlib import Path

from cxr_monai.errors import Code, UsageError

MATCH_NAMES_HELP = "a file name alone tells which image it is: join even where the folders differ"


def add_trusted(parser: argparse.ArgumentParser) -> None:
    """Add ``--trusted``, the folder of trusted public keys."""
    parser.add_argument("--trusted", metavar="DIR", help="of trusted keys (default: $CXR_MONAI_TRUSTED, or your own)")


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """Add ``BUNDLE`` and ``--trust-folder``, for a command that runs a bundle."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="an installed bundle's NAME or NAME@VERSION, or a folder, such as OUT/bundle"
    )
    add_trust_folder(parser)


def add_trust_folder(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-folder``, which runs a folder that was not installed, whatever an inspection finds in it."""
    parser.add_argument(
        "--trust-folder", action="store_true", help="run the folder although it was not installed, whatever is in it"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``, for a command that writes a result."""
    parser.add_argument("--force", action="store_true", help="write over an earlier result")


def add_any_modality(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Add ``--any-modality``, for a command that reads radiographs.

    Args:
        parser: the command's.
        when: the beginning of the help text, where the option depends on another one.
    """
    parser.add_argument(
        "--any-modality", action="store_true", help=f"{when}read DICOM files whatever their headers say they show"
    )


def add_match_names(parser: argparse.ArgumentParser) -> None:
    """Add ``--match-names``, for a command that joins tables image by image."""
    parser.add_argument("--match-names", action="store_true", help=MATCH_NAMES_HELP)


def add_read_bundle(parser: argparse.ArgumentParser, alternative: str = "a folder, such as OUT/bundle") -> None:
    """Add ``BUNDLE``, for a command that only reads one.

    Args:
        parser: the command's.
        alternative: what may be given instead of an installed bundle's name, for the help text.
    """
    parser.add_argument(
        "bundle", metavar="BUNDLE", help=f"an installed bundle's NAME or NAME@VERSION, or {alternative}"
    )


def add_intervals(parser: argparse._ActionsContainer, draws: str = "the draws") -> None:
    """Add ``--replicates``, ``--level`` and ``--seed``: how confidence intervals over patients are computed.

    Args:
        parser: the command's, or a group of its arguments.
        draws: what the seed is of, for the help text.
    """
    parser.add_argument("--replicates", type=int, default=1000, help="draws of all patients (default: %(default)s)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help=f"of {draws} (default: %(default)s)")


def check_at_least(arguments: argparse.Namespace, **lowest: int) -> None:
    """Refuse arguments below their lowest values; one that was not given (None) passes.

    Raises:
        UsageError: ``usage``, naming the first of them.
    """
    for name, least in lowest.items():
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(Code.USAGE, f"--{name.replace('_', '-')} {value}: it must be at least {least}.")


def check_result_folder(out: Path) -> None:
    """Refuse a file where a command writes its results.

    Raises:
        UsageError: ``usage``.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(Code.USAGE, f"--out {out}: it is a file; name a folder.")


def open_bundle(arguments: argparse.Namespace) -> Path:
    """Return the folder of the bundle that may be run (``cxr_monai.sharing.trust.open_trusted``)."""
    from cxr_monai.sharing.trust.open_trusted import open_trusted

    return open_trusted(arguments.bundle, arguments.trust_folder)


def read_bundle(bundle: str | None) -> Path | None:
    """Return the folder of a bundle that is only read, such as for its thresholds: nothing of it runs."""
    return None if bundle is None else folder_of(bundle)


def folder_of(bundle: str) -> Path:
    """Return the folder of a bundle that is only read, whether it is installed or not.

    Raises:
        BundleError: ``bundle-invalid`` if nothing of that name is installed.
        SharingError: ``bundle-altered`` if an installed bundle is no longer what was signed.
    """
    from cxr_monai.sharing.trust.open_trusted import open_trusted

    return open_trusted(bundle, trust_folder=True)
