"""Which bundles a command may run: installed ones, and folders in which an inspection finds nothing against it.

root = open_trusted("cxr-nih14")            # installed: NAME or NAME@VERSION
root = open_trusted("OUT/bundle")           # a folder that a training left

An installed bundle was verified and inspected when it came; here its files are compared with the manifest that was
signed. A folder of one's own has no signature, so it is inspected each time (a tenth of a second). A folder that
carries a manifest or a signature was received, and is installed first. With ``CXR_MONAI_ONLY_INSTALLED=1`` no folder
runs at all; ``trust_folder`` is how a person says that they know better, once.
"""

import os
from pathlib import Path

from cxr_monai.bundle.digest import file_digest
from cxr_monai.errors import Code, SharingError
from cxr_monai.sharing.manifest import MANIFEST, SIGNATURE, read_contents, refuse_altered
from cxr_monai.sharing.pack import refuse_inspected
from cxr_monai.sharing.store import Installed, find, store_folder

ONLY_INSTALLED = "CXR_MONAI_ONLY_INSTALLED"


def open_trusted(bundle: str | Path, trust_folder: bool = False, store: str | Path | None = None) -> Path:
    """Return the folder of a bundle that may be run.

    Args:
        bundle: ``NAME`` or ``NAME@VERSION`` of an installed bundle, or a folder. A folder of that name wins: what a
            person sees in their working directory is what they mean.
        trust_folder: run the folder whatever is in it.
        store: see ``cxr_monai.sharing.store.store_folder``.

    Raises:
        SharingError: ``bundle-altered`` if an installed bundle is no longer what was signed; ``bundle-untrusted`` for a
            folder that was received and not installed, or any folder where only installed ones run; ``bundle-refused``
            for one that the inspection refuses.
        BundleError: ``bundle-invalid`` if nothing of that name is installed.
    """
    path, folder = Path(bundle), store_folder(store).resolve()
    if not path.is_dir():
        return _unchanged(find(folder, str(bundle)))
    resolved = path.resolve()
    if resolved.is_relative_to(folder) and len(parts := resolved.relative_to(folder).parts) == 3:
        return _unchanged(find(folder, f"{parts[0]}@{parts[1]}"))
    if trust_folder:
        return path
    if os.environ.get(ONLY_INSTALLED, "0") not in ("", "0"):
        raise _untrusted(path, f"only installed bundles run here ({ONLY_INSTALLED} is set)")
    received = [name for name in (MANIFEST, SIGNATURE) if (path / name).exists()]
    if received:
        raise _untrusted(path, f"this folder was received ({received[0]}), and is not installed")
    refuse_inspected(path, path)
    return path


def _unchanged(installed: Installed) -> Path:
    root, record = installed.root, installed.record
    if file_digest(root / MANIFEST) != record.manifest:
        raise SharingError(
            Code.BUNDLE_ALTERED,
            f"its manifest is not the one that {record.signer} signed.",
            fix="Delete the version's folder and install the bundle again.",
            where=root,
        )
    refuse_altered(root, read_contents(root / MANIFEST))
    return root


def _untrusted(path: Path, said: str) -> SharingError:
    return SharingError(
        Code.BUNDLE_UNTRUSTED,
        f"{said}.",
        fix="'cxr-monai bundle install' verifies and inspects it; --trust-folder, if you made it yourself.",
        where=path,
    )
