"""Open bundles that a command may run: installed ones, those of this package, folders that pass an inspection.

root = open_trusted("cxr-nih14")            # installed: NAME or NAME@VERSION
root = open_trusted("cxr_nih14")            # comes with this package
root = open_trusted("OUT/bundle")           # a folder that a training left

An installed bundle was verified and inspected when it came; here its files are compared with the manifest that was
signed. Whatever runs is inspected each time (a tenth of a second): a folder of one's own has no signature, and what was
installed by an earlier version of this package was judged by the lists of that version. A folder that carries a
manifest or a signature was received, and is installed first. With ``CXR_MONAI_ONLY_INSTALLED=1`` no folder runs at all;
``trust_folder`` is how a person says that they know better, once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.errors import Code, SharingError
from cxr_monai.sharing.inspection.bundle_inspection import Inspection
from cxr_monai.sharing.package.file_list import FILE_LIST, SIGNATURE, read_contents, refuse_altered_files
from cxr_monai.sharing.package.pack import refuse_inspected
from cxr_monai.sharing.trust.installed import Installed, InstallRecord, find_installed, store_folder

ONLY_INSTALLED = "CXR_MONAI_ONLY_INSTALLED"
TRUST_FOLDER = "--trust-folder, if you made it yourself"


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle that may be run.

    Attributes:
        root: its folder.
        record: of an installed one; None of others.
        shipped: True for one that comes with this package.
        inspection: its result at opening; None where a person trusts the folder whatever is in it.
    """

    root: Path
    record: InstallRecord | None = None
    shipped: bool = False
    inspection: Inspection | None = None


def open_trusted(bundle: str | os.PathLike[str], trust_folder: bool = False, store: str | Path | None = None) -> Path:
    """Return the folder of a bundle that may be run.

    Args:
        bundle, trust_folder, store: see :func:`open_checked`, which also lists the errors.
    """
    return open_checked(bundle, trust_folder, store).root


def open_checked(
    bundle: str | os.PathLike[str],
    trust_folder: bool = False,
    store: str | Path | None = None,
    otherwise: str = TRUST_FOLDER,
) -> OpenedBundle:
    """Return a bundle that may be run.

    Args:
        bundle: ``NAME`` or ``NAME@VERSION`` of an installed bundle, the name of one that comes with this package, or a
            folder. A folder of that name wins: what a person sees in their working directory is what they mean.
        trust_folder: run the folder whatever is in it.
        store: see ``cxr_monai.sharing.trust.installed.store_folder``.
        otherwise: advice in the error for a refused folder, besides installing it.

    Raises:
        SharingError: ``bundle-altered`` if an installed bundle is no longer what was signed; ``bundle-untrusted`` for a
            folder that was received and not installed, or any folder where only installed ones run; ``bundle-refused``
            for one that the inspection refuses.
        BundleError: ``bundle-invalid`` if there is nothing of that name.
    """
    path, folder = Path(bundle), store_folder(store).resolve()
    if not path.is_dir():
        # an installed name has no underscore, and so none that comes with this package is hidden by one
        shipped = shipped_bundles().get(str(bundle))
        if shipped is None:
            return _installed(find_installed(folder, str(bundle)))
        return OpenedBundle(shipped, shipped=True, inspection=refuse_inspected(shipped, shipped))
    resolved = path.resolve()
    if resolved.is_relative_to(folder) and len(parts := resolved.relative_to(folder).parts) == 3:
        return _installed(find_installed(folder, f"{parts[0]}@{parts[1]}"))
    if trust_folder:
        return OpenedBundle(path)
    if os.environ.get(ONLY_INSTALLED, "0") not in ("", "0"):
        raise untrusted_error(path, f"only installed bundles run here ({ONLY_INSTALLED} is set)", otherwise)
    if name := received_record(path):
        raise untrusted_error(path, f"this folder was received ({name}), and is not installed", otherwise)
    return OpenedBundle(path, inspection=refuse_inspected(path, path))


def received_record(folder: Path) -> str | None:
    """Return the name of the manifest or signature that shows a folder was received; None if it has neither."""
    return next((name for name in (FILE_LIST, SIGNATURE) if (folder / name).exists()), None)


def untrusted_error(path: Path, message: str, otherwise: str = TRUST_FOLDER) -> SharingError:
    """Return the error (``bundle-untrusted``) for a folder that may not be run as it is.

    Args:
        path: of the folder.
        message: why, a sentence without its full stop.
        otherwise: see :func:`open_checked`.
    """
    return SharingError(
        Code.BUNDLE_UNTRUSTED,
        f"{message}.",
        fix=f"'cxr-monai bundle install {path}' verifies and inspects it; {otherwise}.",
        where=path,
    )


def _installed(installed: Installed) -> OpenedBundle:
    root, record = installed.root, installed.record
    if file_digest(root / FILE_LIST) != record.manifest:
        raise SharingError(
            Code.BUNDLE_ALTERED,
            f"its manifest is not the one that {record.signer} signed.",
            fix="Delete the version's folder and install the bundle again.",
            where=root,
        )
    refuse_altered_files(root, read_contents(root / FILE_LIST))
    return OpenedBundle(root, record, inspection=refuse_inspected(root, root))
