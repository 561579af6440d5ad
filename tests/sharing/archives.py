"""A small bundle that may be sent, two hospitals' keys, and archives of every form."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxr_monai.bundle.digest import content_digest
from cxr_monai.sharing.package.file_list import FILE_LIST, PackedContents
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.sign import sign_archive
from tests.support.bundle_runs import SHIPPED

METRICS = {"findings": [{"finding": "mean", "auroc": 0.7}], "book": {"split": {"parts": {"test": 24}}}}


@dataclass(frozen=True)
class Hospital:
    """A signed archive of hospital A, and who trusts whom."""

    bundle: Path
    archive: Path
    keys: Path
    trusted: Path

    @property
    def key(self) -> Path:
        """The private key that signed."""
        return self.keys / "hospital-a.pem"


def make_bundle(root: Path, **metadata: Any) -> Path:
    """The packaged bundle with weights of three numbers, and with metrics."""
    shutil.copytree(SHIPPED, root)
    (root / "models").mkdir()
    torch.save({"weight": torch.arange(3.0)}, root / "models" / "model.pt")
    (root / "metrics.json").write_text(json.dumps(METRICS))
    edit_metadata(root, **metadata)
    return root


def edit_metadata(root: Path, **changes: Any) -> None:
    path = root / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))


def content_of(archive: Path) -> dict[str, bytes]:
    """Return an archive's files."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rewritten(archive: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write an archive as ``pack_bundle`` does, after ``change`` of its files."""
    files = content_of(archive)
    change(files)
    return plain_zip(target, files)


def plain_zip(target: Path, files: Mapping[str, bytes]) -> Path:
    """Write files as ``pack_bundle`` does."""
    with zipfile.ZipFile(target, "w") as opened:
        for name in sorted(files):
            opened.writestr(entry(name), files[name])
    return target


def entry(name: str, mode: int = 0o100644, **more: Any) -> zipfile.ZipInfo:
    """Return an entry as ``pack_bundle`` writes it."""
    made = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    made.create_system, made.external_attr = 3, mode << 16
    for key, value in more.items():
        setattr(made, key, value)
    return made


def manifest_again(files: dict[str, bytes], folder: Path) -> None:
    """Make the manifest fit changed files, as somebody would who changes them."""
    root = folder / "again"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    before = json.loads(files[FILE_LIST])
    made = PackedContents.of(root, before["name"], before["version"], content_digest(root))
    files[FILE_LIST] = made.to_bytes()


def signed_version(
    hospital: Hospital, folder: Path, version: str, change: Callable[[Path], None] | None = None
) -> Path:
    """Return another signed version of the hospital's bundle."""
    bundle = Path(shutil.copytree(hospital.bundle, folder / f"bundle-{version}"))
    if change is not None:
        change(bundle)
    archive = pack_bundle(bundle, folder / f"share-{version}", name="cxr-a", version=version).path
    sign_archive(archive, hospital.key)
    return archive
