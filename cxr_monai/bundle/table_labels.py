"""A check that a training's table has the labels that it is to learn; the error offers a setting that fits."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_monai.data.manifest import RESERVED
from cxr_monai.data.multi_source import manifest_files, manifests_title
from cxr_monai.data.tables import read_header
from cxr_monai.errors import Code, ManifestError, SettingError
from cxr_monai.labels import parse_labels, spelling
from cxr_monai.plurals import counted
from cxr_monai.schemes import LabelScheme

_SHOWN = 4
"""Labels that a sentence lists before it counts the rest."""


def check_labels(config: Mapping[str, Any], scheme: LabelScheme) -> None:
    """Refuse a table that lacks labels of a training, before anything is read or computed.

    Nothing is left out or taken instead unasked: labels, and their order, are what the weights mean.

    Args:
        config: of a training, overrides applied. A table that cannot be read is left to whoever reads it.
        scheme: of its labels. One that derives labels asks for findings of its own (``manifest.under``).

    Raises:
        ManifestError: ``unknown-finding``, with the ``--labels`` that the table has.
    """
    labels, manifest = config.get("labels"), config.get("manifest")
    if scheme.derived or not isinstance(manifest, str | list | tuple):
        return
    if isinstance(labels, str) and labels[:1] in ("$", "@"):
        return
    findings = findings_of(manifest)
    if not findings or labels is None:
        return
    names = parse_labels(labels)
    missing = [name for name in names if name not in findings]
    if missing:
        raise ManifestError(
            Code.UNKNOWN_FINDING,
            f"it has no column for {_some(missing)}, which this training is to learn ({len(missing):,} of "
            f"{counted(len(names), 'label')}); it has {_some(findings)}.",
            fix=_ways([name for name in names if name in findings], findings),
            where=manifests_title(manifest) if len(manifest_files(manifest)) > 1 else str(manifest),
        )


def findings_of(manifest: str | Path | Sequence[str]) -> list[str]:
    """Return the findings that a manifest's first line names, as it is read, or those of several; none if one cannot
    be read."""
    try:
        columns = [column for _, path in manifest_files(manifest) for column in read_header(path)]
    except (ManifestError, SettingError):
        return []
    return list(dict.fromkeys(spelling(column) for column in columns if column not in RESERVED))


def _ways(common: Sequence[str], findings: Sequence[str]) -> str:
    """Return the settings to choose from: what both have, and all that the table has."""
    ways = [f"To train on all that it has, add {_setting(findings)}"]
    if common and len(common) < len(findings):
        ways.insert(0, f"To train on what both have, add {_setting(common)}")
    return "\n".join(ways)


def _setting(names: Sequence[str]) -> str:
    return f"--labels {shlex.quote(','.join(names))}"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
