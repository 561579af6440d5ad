"""Several manifests read as one: other hospitals' tables side by side, each with its own root and labels.

    manifest = read_manifests("nih.csv,chexpert.csv")           # or a list; or names: "north=a.csv,south=b.csv"
    manifest.table["image"][0]                                  # 'nih/images_001/00000001_000.png'
    manifest.members[1].label_version                           # whose labels the second has

An image is named after its manifest first, so that names stay unique and are the same on every machine; where it lies
says `Manifest.paths`. Findings are those of all, unknown in a manifest that has no such column, and losses and metrics
mask what is unknown. A patient is an identifier within a collection of films (`cxr_monai.data.overlaps`): one that two
manifests put on different sides is refused, and so are films whose patients nobody knows beside others of the same
collection. docs/decisions/0027.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import get_args

import pandas as pd

from cxr_monai.data.manifest import (
    Manifest,
    Member,
    SplitRecord,
    file_names,
    read_manifest,
    split_digest,
    under,
)
from cxr_monai.data.manifest_record import Patients, several_roots
from cxr_monai.data.matching import examples
from cxr_monai.data.overlaps import VAGUE_SOURCES, overlaps_among, patient_names
from cxr_monai.data.validation import RESERVED, leaking_patients
from cxr_monai.data.vocabulary import doubled
from cxr_monai.errors import Code, ManifestError, SettingError
from cxr_monai.origins import PHANTOM_SOURCE
from cxr_monai.plurals import counted
from cxr_monai.schemes import LabelScheme

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


def read_manifests(
    manifests: str | Path | Sequence[str | Path],
    *,
    root: str | Path | None = None,
    check_files: bool = True,
    scheme: LabelScheme | None = None,
    match_names: bool = False,
    keep_splits: bool = True,
) -> Manifest:
    """Read one manifest, or several as one.

    Args:
        manifests: a path; several with commas between; or a list of paths. ``NAME=M.csv`` gives a manifest its name.
        root: where the images are, instead of what the record says; of one manifest alone.
        check_files, scheme, match_names: see `cxr_monai.data.manifest.read_manifest`.
        keep_splits: False forgets the splits and folds of several manifests, which may contradict each other, for a
            split of all together.

    Raises:
        SettingError: ``setting-invalid`` for a root with several manifests, or no manifest.
        ManifestError: as `read_manifest` and `join_manifests`.
    """
    named = manifest_files(manifests)
    if len(named) == 1 and named[0][0] is None:
        path = named[0][1]
        return read_manifest(path, root=root, check_files=check_files, scheme=scheme, match_names=match_names)
    if root is not None:
        raise several_roots([path.name for _, path in named], root)
    opened = [(name, path, read_manifest(path, check_files=check_files)) for name, path in named]
    if not keep_splits:
        opened = [(name, path, _without_split(manifest)) for name, path, manifest in opened]
    joined = join_manifests(opened)
    joined = replace(joined, key="name") if match_names else joined
    return joined if scheme is None else under(joined, scheme)


def manifest_files(manifests: str | Path | Sequence[str | Path]) -> list[tuple[str | None, Path]]:
    """Return the name that was given, or None, and the path of each manifest that a setting names.

    A text that is the path of a file is one manifest, whatever commas it has.

    Raises:
        SettingError: ``setting-invalid`` for an empty text or list, and for a manifest that stands twice.

    >>> [(name, path.as_posix()) for name, path in manifest_files("north=data/a.csv, b.csv")]
    [('north', 'data/a.csv'), (None, 'b.csv')]
    """
    if isinstance(manifests, str | Path):
        text = str(manifests)
        manifests = [text] if isinstance(manifests, Path) or Path(text).is_file() else text.split(",")
    named: list[tuple[str | None, Path]] = []
    for entry in manifests:
        text = str(entry).strip()
        name, equals, path = text.partition("=")
        if equals and _NAME.fullmatch(name) and not Path(text).is_file():
            named.append((name, Path(path)))
        else:
            named.append((None, Path(text)))
    paths = [os.path.realpath(path) for _, path in named]
    if not named or any(str(path) in ("", ".") for _, path in named) or len(set(paths)) < len(paths):
        raise SettingError(
            Code.SETTING_INVALID,
            f"the manifest is {manifests!r}: it names none, or one twice.",
            fix="Give a path, or several different ones: --manifest A.csv,B.csv.",
        )
    return named


def manifests_title(manifests: str | Path | Sequence[str | Path]) -> str:
    """Return the files' names of the manifests that a setting names, for a report.

    >>> manifests_title("north=data/a.csv,data/b.csv")
    'a.csv, b.csv'
    """
    return ", ".join(path.name for _, path in manifest_files(manifests))


def join_manifests(named: Sequence[tuple[str | None, Path, Manifest]]) -> Manifest:
    """Return several manifests as one.

    Args:
        named: of each, the name that the user gave or None, its path, and its content. Without a name it is called as
            its only source, else as its file. A name becomes the source of rows that have none that says whose films
            they are (``folder``, ``dicom``); phantoms become ``phantom <name>``.

    Raises:
        ManifestError: ``manifest-invalid`` for names or findings that clash; ``patient-leak`` for a patient on two
            sides; ``patients-unknown`` for films of unknown patients of a collection that another manifest has, too.
    """
    names = _names(named)
    parts = [
        _renamed(manifest, name) if given else manifest for name, (given, _, manifest) in zip(names, named, strict=True)
    ]
    findings = list(dict.fromkeys(finding for part in parts for finding in part.findings))
    if several := doubled(findings):
        spelled = "; ".join(f"{' and '.join(words)} are {finding}" for finding, words in several.items())
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"the manifests spell a finding in several ways: {spelled}.",
            fix="Rename the column in one of them.",
        )
    _refuse_unknown_patients(names, parts)
    lines = [f"{line} of {name}" for name, part in zip(names, parts, strict=True) for line in range(2, len(part) + 2)]
    table = _concatenated(names, parts, findings)
    _refuse_leaks(table.set_axis(pd.Index(lines)))
    _warn_of_numbers_in_common(names, parts)
    members = tuple(
        member for name, part in zip(names, parts, strict=True) for member in part.members or (_member(name, part),)
    )
    unique = file_names(table["image"]).is_unique
    splits = {member.name: asdict(member.split) if member.split else None for member in members}
    return Manifest(
        table,
        _common_folder([member.root for member in members]),
        ", ".join(dict.fromkeys(member.label_version for member in members)),
        SplitRecord("joined", None, split_digest(table), {"of": splits}) if any(splits.values()) else None,
        "name" if unique and all(member.key == "name" for member in members) else "path",
        min((member.patients for member in members), key=get_args(Patients).index),
        None,
        members,
    )


def _without_split(manifest: Manifest) -> Manifest:
    table = manifest.table.assign(split="").drop(columns="fold", errors="ignore")
    return replace(manifest, table=table.astype({"split": "str"}), split=None)


def _names(named: Sequence[tuple[str | None, Path, Manifest]]) -> list[str]:
    names = []
    for given, path, manifest in named:
        sources = [source for source in manifest.table["source"].unique() if source not in VAGUE_SOURCES]
        stem = path.name.removesuffix(".gz").removesuffix(".csv")
        only = sources[0] if len(sources) == 1 and sources[0] != PHANTOM_SOURCE else stem
        names.append(given or re.sub(r"[^A-Za-z0-9_.+-]+", "_", only))
    folders = [
        folder
        for name, (_, _, manifest) in zip(names, named, strict=True)
        for folder in ([member.name for member in manifest.members] or [name])
    ]
    twice = sorted({folder for folder in folders if folders.count(folder) > 1})
    if twice:
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"several of the manifests would be called {' and '.join(map(repr, twice))}.",
            fix="Give them names: --manifest north=A.csv,south=B.csv.",
        )
    return names


def _renamed(manifest: Manifest, name: str) -> Manifest:
    """Return a manifest whose rows without a telling source have the name as theirs."""
    source = manifest.table["source"]
    named = source.mask(source.isin(VAGUE_SOURCES), name).mask(source == PHANTOM_SOURCE, f"{PHANTOM_SOURCE} {name}")
    return replace(manifest, table=manifest.table.assign(source=named.astype("str")))


def _concatenated(names: Sequence[str], parts: Sequence[Manifest], findings: Sequence[str]) -> pd.DataFrame:
    reserved = [column for column in RESERVED if any(column in part.table for part in parts)]
    tables = []
    for name, part in zip(names, parts, strict=True):
        images = part.table["image"] if part.members else name + "/" + part.table["image"]
        table = part.table.assign(image=images)
        if "fold" in reserved and "fold" not in table:
            table = table.assign(fold=pd.array([pd.NA] * len(table), dtype="Int64"))
        absent = dict.fromkeys([finding for finding in findings if finding not in table], float("nan"))
        tables.append(table.assign(**absent)[[*reserved, *findings]])
    return pd.concat(tables, ignore_index=True)


def _member(name: str, part: Manifest) -> Member:
    return Member(name, part.root, part.label_version, part.split, part.key, part.patients, part.labels_record)


def _common_folder(roots: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath(roots))
    except ValueError:  # of two drives
        return roots[0]


def _refuse_unknown_patients(names: Sequence[str], parts: Sequence[Manifest]) -> None:
    """Refuse films of unknown patients beside others of their collection: nobody can keep their patients apart."""
    for (first, one), (second, other) in combinations(zip(names, parts, strict=True), 2):
        if one.patients == other.patients == "known":
            continue
        sources = [list(part.table["source"].unique()) for part in (one, other)]
        for overlap in overlaps_among(*sources):
            unknown = first if one.patients != "known" else second
            raise ManifestError(
                Code.PATIENTS_UNKNOWN,
                f"{unknown} does not tell whose films they are, and {first} has films in common with {second} "
                f"({overlap.why}): one patient could be trained on and tested on.",
                fix="Make the manifest with what tells its patients (for NIH's films --nih-table), or leave one out. "
                "If these are films of two hospitals, name the hospitals: north=A.csv,south=B.csv.",
            )


def _refuse_leaks(table: pd.DataFrame) -> None:
    """Refuse patients on several sides; the table is indexed by line and manifest."""
    for column in ("split", "fold"):
        leaks = leaking_patients(patient_names(table), table[column]) if column in table else []
        if leaks:
            more = f"\n  and {len(leaks) - 10:,} more" if len(leaks) > 10 else ""
            raise ManifestError(
                Code.PATIENT_LEAK,
                f"together, the manifests put {counted(len(leaks), 'patient')} into several of their {column}s:\n  "
                + "\n  ".join(leaks[:10])
                + f"{more}\n",
                fix="Split them together: cxr-monai split A.csv,B.csv --scheme random --out both.csv. If these are "
                "people of two hospitals with the same numbers, name the hospitals: north=A.csv,south=B.csv.",
            )


def _warn_of_numbers_in_common(names: Sequence[str], parts: Sequence[Manifest]) -> None:
    """Say that manifests have identifiers in common of which nobody can tell whether they are the same people's."""
    for (first, one), (second, other) in combinations(zip(names, parts, strict=True), 2):
        vague = [part.table[part.table["source"].isin(VAGUE_SOURCES)] for part in (one, other)]
        common = set(vague[0]["patient_id"]) & set(other.table["patient_id"])
        common |= set(vague[1]["patient_id"]) & set(one.table["patient_id"])
        if common:
            logger.warning(
                "%s stand both in %s and %s (%s), and not both say whose films they are: those of the same 'source' "
                "are taken for one person, others for different ones. Name them: --manifest north=A.csv,south=B.csv.",
                counted(len(common), "patient identifier"), first, second, examples(sorted(common)),
            )  # fmt: skip
