"""A bundle as MONAI's model zoo takes it: https://github.com/Project-MONAI/model-zoo, its CONTRIBUTING.md and ci/.

    zoo_layout("OUT/bundle", "zoo", "cxr_pneumonia", "https://example.org/weights")
    zoo/cxr_pneumonia/      configs, docs, LICENSE, models, large_files.yml: the pull request
    zoo/upload/             the weights that large_files.yml names, to be put where it says

The zoo takes no file above 25 MB: ``large_files.yml`` says where it is and what its SHA-256 is. ``models/model.ts`` is
the network as ``network_def`` builds it, compared with the bundle as any export (``network_export``).
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from monai.bundle import ConfigParser

from cxr_monai.bundle.bundle_folder import Bundle, write_json
from cxr_monai.bundle.carried_gate import remove_gate
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.writing import copy_parts
from cxr_monai.durable import durable_folder, write_durably
from cxr_monai.errors import BundleError, Code, UsageError
from cxr_monai.outputs import bytes_of, check_new_folder
from cxr_monai.sharing.export.contract import NO_GATE
from cxr_monai.sharing.export.network_export import LOST_GATE, exported_configuration, write_network

ZOO_LIMIT = 25_000_000
"""Bytes of a file in the zoo's repository (its README)."""
LARGE_FILES = "large_files.yml"

_DATA = """\
This bundle holds no data. Its network was trained on:

{source}

The terms of those data are their owners'. LICENSE covers the bundle's configuration, and its weights where its authors
may license them.
"""


def zoo_layout(
    bundle: str | Path, out: str | Path, name: str, url: str | None = None, force: bool = False
) -> tuple[Path, list[str]]:
    """Write a bundle in the zoo's layout, whole or not at all.

    Args:
        bundle: with weights; stays as it is.
        out: a folder that does not exist yet.
        name: of the bundle in the zoo: a-z, 0-9 and ``_``.
        url: of the folder where the weights will lie; None where no file is above `ZOO_LIMIT`.
        force: an earlier export at ``out`` may be replaced.

    Returns:
        the bundle's folder, and the names of the files to upload.

    Raises:
        UsageError: ``usage`` for a name or URL that is none, or without a URL for a file above `ZOO_LIMIT`;
            ``output-exists``.
        BundleError: ``bundle-invalid`` for what the zoo's checks would find missing, all of it;
            ``export-differs``.
        WeightsError: the weights are missing or belong to another network.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    opened, out = Bundle.open(bundle), Path(out)
    _check_arguments(name, url)
    _check_complete(opened)
    check_new_folder(out, f"{name}/configs", force, bytes_of(opened.root), opened.root)
    with durable_folder(out, force) as staging:
        copy_parts(opened.root, staging / name)
        remove_gate(staging / name, LOST_GATE)
        _say_no_gate(staging / name / "docs" / "README.md")
        write_json(staging / name / "configs" / "inference.json", exported_configuration(opened))
        write_network(opened, staging / name / "models" / "model.ts")
        source = opened.metadata.get("data_source") or "unknown: the bundle's metadata does not say"
        write_durably(staging / name / "docs" / "data_license.txt", _DATA.format(source=source).encode())
        uploads = _set_apart(staging / name, staging / "upload", url)
    return out / name, uploads


def _say_no_gate(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8").rstrip()
    write_durably(readme, f"{text}\n\n## No gate\n\n{NO_GATE}\n".encode())


def _check_arguments(name: str, url: str | None) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(
            Code.USAGE, f"--name {name!r}: the zoo's names are of a-z, 0-9 and _, such as chest_xray_findings."
        )
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise UsageError(Code.USAGE, f"--url {url!r}: it must begin with https:// and name a host.")


def _check_complete(bundle: Bundle) -> None:
    """Raise an error that names everything that the zoo's ci/verify_bundle.py would find missing."""
    metadata, missing = bundle.metadata, []
    if not (bundle.root / "LICENSE").is_file():
        missing.append("LICENSE")
    if not (bundle.root / "docs" / "README.md").is_file():
        missing.append("docs/README.md")
    missing += [f"'{key}' in the metadata" for key in ("schema", "version", "changelog") if not metadata.get(key)]
    version = str(metadata.get("version"))
    if version not in (metadata.get("changelog") or {}):
        missing.append(f"the version {version} in the metadata's changelog")
    if missing:
        raise BundleError(
            Code.BUNDLE_INVALID,
            f"MONAI's model zoo would refuse it, for it lacks {', '.join(missing)}.",
            fix="Add them in a copy of the bundle.",
            where=bundle.root,
        )


def _set_apart(folder: Path, uploads: Path, url: str | None) -> list[str]:
    """Move weights and large files to ``uploads``, list their addresses in ``large_files.yml``, return their names."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    large = [path for path in files if path.stat().st_size > ZOO_LIMIT]
    if url is None:
        if large:
            raise UsageError(
                Code.USAGE,
                f"{', '.join(path.relative_to(folder).as_posix() for path in large)}: above {ZOO_LIMIT:,} bytes, which "
                "the zoo's repository does not take.",
                fix="Say where the weights will lie: --url https://...",
            )
        return []
    weights = [path for path in files if path.parent.name == "models" and path.suffix in (".pt", ".ts")]
    chosen = sorted({*large, *weights})
    entries = []
    uploads.mkdir()
    for path in chosen:
        entries.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "url": f"{url.rstrip('/')}/{path.name}",
                "hash_val": file_digest(path),
                "hash_type": "sha256",
            }
        )
        path.rename(uploads / path.name)
    ConfigParser.export_config_file({"large_files": entries}, str(folder / LARGE_FILES), fmt="yaml", sort_keys=False)
    return [path.name for path in chosen]
