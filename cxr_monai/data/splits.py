"""Splits that never put one patient on two sides; a patient is an identifier within a collection of films
(`cxr_monai.data.overlaps`).

Four schemes, each a function from a `Manifest` to a new one with its ``split`` (or ``fold``) column and its record:

- `official`: NIH's two lists; a validation part is taken from train_val, by patient and stratified;
- `lists`: three files of image names, such as the CheXNet split's;
- `random`: fractions of all patients, stratified;
- `kfold`: ``fold`` 0 to k-1, stratified; ``split`` stays as it is.

*Stratified* means over all findings at once: patients are dealt, those with many images or rare findings first, each to
the side that lacks most of what the patient has (`assign_patients`). No library does this: scikit-learn's
``StratifiedGroupKFold`` refuses several labels, ``iterative-stratification`` knows no patients. `balance_table` shows
how close the prevalences come.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import Manifest, SplitRecord, read_manifest, split_digest
from cxr_monai.data.matching import examples, match_images, require_clear
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.tables import read_text
from cxr_monai.data.validation import RESERVED, SPLITS, leaking_patients
from cxr_monai.errors import Code, SplitError, UsageError
from cxr_monai.plurals import be, counted, out_of

VAL_FRACTION = 0.125
FRACTIONS = (0.7, 0.1, 0.2)

logger = logging.getLogger(__name__)


def split_manifest(manifest: Manifest | str | Path, scheme: str = "random", **options: Any) -> Manifest:
    """Split a manifest; a patient is never on two sides, whatever the scheme.

    Args:
        manifest: the table, or its file (whose images are not looked for).
        scheme: ``random``, ``official``, ``lists`` or ``kfold``, see the functions of these names.
        options: of the scheme: ``fractions=(0.7, 0.1, 0.2)``, ``seed=1``, ``k=5``, ``train_val_list="..."``.

    Returns:
        a new manifest with the column ``split`` (``fold`` of ``kfold``); `write_manifest` writes it.

    Raises:
        UsageError: ``usage`` for a scheme, or an option of it, that does not exist.
        SplitError: ``split-invalid``, ``patient-leak``.

    >>> from cxr_monai.data.manifest import build_manifest
    >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [1, 2], "Mass": [0, 1]})
    >>> sorted(map(int, split_manifest(build_manifest(table, ".", "local"), "kfold", k=2).table["fold"]))
    [0, 1]
    """
    if scheme not in SPLIT_SCHEMES:
        raise UsageError(Code.USAGE, f"there is no scheme {scheme!r}; there are {', '.join(SPLIT_SCHEMES)}.")
    parameters = [name for name in signature(SPLIT_SCHEMES[scheme]).parameters if name != "manifest"]
    if foreign := [name for name in options if name not in parameters]:
        raise UsageError(
            Code.USAGE, f"the scheme {scheme} has no {', '.join(foreign)}; it has {', '.join(parameters)}."
        )
    table = manifest if isinstance(manifest, Manifest) else read_manifest(manifest, check_files=False)
    return SPLIT_SCHEMES[scheme](table, **options)


def official(
    manifest: Manifest,
    train_val_list: str | Path,
    test_list: str | Path,
    *,
    val_fraction: float = VAL_FRACTION,
    seed: int = 0,
    match_names: bool = False,
) -> Manifest:
    """Split as NIH published it, with a validation part taken from train_val.

    Args:
        manifest: NIH's images, all or some.
        train_val_list: NIH's ``train_val_list.txt``, plain or gzip.
        test_list: NIH's ``test_list.txt``.
        val_fraction: the part of train_val's images that becomes ``val``, in [0, 1); 0 for none.
        seed: of the choice of the validation patients.
        match_names: file names are identities, whatever their folders.

    Raises:
        SplitError: ``split-invalid`` if a list is unusable or an image is in neither; ``patient-leak``.
        ManifestError: ``images-ambiguous`` if it is not clear which image a list means.
    """
    if not 0 <= val_fraction < 1:
        raise SplitError(Code.SPLIT_INVALID, f"the validation fraction is {val_fraction}; it is from 0 to below 1.")
    sides, unused = _sides_from_lists(manifest, {"train": train_val_list, "test": test_list}, match_names)
    missing = sides == ""
    if missing.any():
        raise SplitError(
            Code.SPLIT_INVALID,
            f"{out_of(missing.sum(), len(manifest), 'image')} {be(len(manifest))} in neither list, such as "
            f"{', '.join(manifest.table.loc[missing, 'image'].head(3))}; NIH's lists hold every image of NIH's.",
            fix="Check that the lists and the manifest are of the same data set, or use --scheme random.",
        )
    # before patients are dealt: a patient of both lists must not be hidden by moving to val
    _refuse_leaks(manifest, sides, "the two lists")
    train = (sides == "train").to_numpy()
    if val_fraction and train.any():
        part = replace(manifest, table=manifest.table[train].reset_index(drop=True))
        dealt = assign_patients(part, (1 - val_fraction, val_fraction), seed)
        _refuse_empty(dealt, ("train", "val"), part)
        sides[train] = np.array(["train", "val"], dtype=object)[dealt]
    names = {"train_val": Path(train_val_list).name, "test": Path(test_list).name}
    details = {"lists": names, "val_fraction": val_fraction, "not_in_manifest": unused}
    return _with_split(manifest, sides, "official", seed if val_fraction else None, details)


def lists(
    manifest: Manifest, train: str | Path, val: str | Path, test: str | Path, *, match_names: bool = False
) -> Manifest:
    """Split by three files of image names; images in none of them get no split.

    Args:
        manifest: the images.
        train: one image a line, plain or gzip; what follows the name (the CheXNet split's labels) is ignored.
        val: as ``train``.
        test: as ``train``.
        match_names: file names are identities, whatever their folders.

    Raises:
        SplitError: ``split-invalid`` if a list is unusable or an image is in two; ``patient-leak``.
        ManifestError: ``images-ambiguous`` if it is not clear which image a list means.
    """
    files = dict(zip(SPLITS, (train, val, test), strict=True))
    sides, unused = _sides_from_lists(manifest, files, match_names)
    names = {split: Path(file).name for split, file in files.items()}
    return _with_split(manifest, sides, "lists", None, {"lists": names, "not_in_manifest": unused})


def random(manifest: Manifest, fractions: Sequence[float] = FRACTIONS, *, seed: int = 0) -> Manifest:
    """Deal all patients to train, val and test, stratified over all findings.

    Args:
        manifest: the images.
        fractions: of the images, for train, val and test; they sum to 1. A fraction of 0 leaves that side empty.
        seed: another seed, another split.

    Raises:
        SplitError: ``split-invalid`` for impossible fractions or too few patients; ``patient-leak``.

    >>> from cxr_monai.data.manifest import build_manifest
    >>> images = [f"{number}.png" for number in range(10)]
    >>> table = pd.DataFrame({"image": images, "patient_id": range(10), "Mass": [0, 1] * 5})
    >>> split = random(build_manifest(table, ".", "local"), (0.6, 0.2, 0.2)).table["split"]
    >>> split.value_counts().to_dict()
    {'train': 6, 'val': 2, 'test': 2}
    """
    fractions = tuple(float(fraction) for fraction in fractions)
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise SplitError(
            Code.SPLIT_INVALID,
            f"the fractions are {fractions}; they are three numbers from 0 for train, val and test that sum to 1.",
        )
    used = [split for split, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0]
    dealt = assign_patients(manifest, [fraction for fraction in fractions if fraction > 0], seed)
    _refuse_empty(dealt, used, manifest)
    sides = pd.Series(np.array(used, dtype=object)[dealt], dtype="str")
    return _with_split(manifest, sides, "random", seed, {"fractions": list(fractions)})


def kfold(manifest: Manifest, k: int = 5, *, seed: int = 0) -> Manifest:
    """Write ``fold`` 0 to k-1, each with nearly the same images and prevalences; ``split`` stays as it is.

    Args:
        manifest: the images.
        k: folds, from 2 to the number of patients.
        seed: another seed, other folds.

    Raises:
        SplitError: ``split-invalid`` if there are fewer than k patients, or k is below 2; ``patient-leak``.
    """
    patients = patient_names(manifest.table).nunique()
    if not 2 <= k <= patients:
        raise SplitError(Code.SPLIT_INVALID, f"k is {k}; it is from 2 to the number of patients, {patients:,}.")
    dealt = assign_patients(manifest, [1 / k] * k, seed)
    _refuse_empty(dealt, [f"fold {fold}" for fold in range(k)], manifest)
    table = manifest.table.assign(fold=pd.array(dealt, dtype="Int64"))
    table = table[[name for name in RESERVED if name in table.columns] + list(manifest.findings)]
    _refuse_leaks(manifest, table["fold"], "the folds")
    details: dict[str, Any] = {"k": k, "fold_digest": split_digest(table, "fold")}
    if manifest.split and manifest.split.scheme != "kfold":
        details["split"] = asdict(manifest.split)
    elif manifest.split and "split" in manifest.split.details:
        details["split"] = manifest.split.details["split"]
    return replace(manifest, table=table, split=SplitRecord("kfold", seed, split_digest(table), details))


def assign_patients(manifest: Manifest, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Deal patients to sides so that images, patients and every finding's positives come close to the fractions.

    Greedy: in falling order of how much of the whole a patient holds (so that those who matter most are dealt while
    there is freedom), each goes where it lowers sum((have - due)^2 / due) most, over images, patients, each
    finding's positives and, where labels are unknown, each finding's known labels. The order is jittered by the seed,
    else every seed would put the same large patients on the same sides.

    Args:
        manifest: the images.
        fractions: one positive number a side; they sum to 1.
        seed: of the order.

    Returns:
        int64 [N]: each image's side, 0 to len(fractions) - 1; all images of a patient have the same.

    Raises:
        SplitError: ``split-invalid`` for a negative seed; ``patients-unknown`` if the data set does not tell patients.
    """
    if seed < 0:
        raise SplitError(Code.SPLIT_INVALID, f"the seed is {seed}; it is a whole number from 0.")
    if manifest.patients == "unknown":
        raise SplitError(
            Code.PATIENTS_UNKNOWN,
            "this data set does not tell whose films they are: films of one patient could land on both sides.",
            fix="Make the manifest with NIH's table (--nih-table), where its films are NIH's; or, if you know that "
            "each film is of another patient, with --patient-per-image.",
        )
    codes, patients = pd.factorize(patient_names(manifest.table))
    counts = _count_by_patient(manifest, codes, len(patients))
    totals = counts.sum(axis=0)
    shares = (counts / totals).sum(axis=1)
    order = np.argsort(-shares * np.random.default_rng(seed).lognormal(sigma=0.5, size=len(patients)), kind="stable")
    due = np.asarray(fractions, dtype=float)[:, None] * totals
    weights = 1 / due
    # d/d(have) of the sum, halved; a patient's own square is the same fraction of it on every side but for the weight
    lack = -np.ones_like(due)
    squares = (counts[order] ** 2) @ weights.T / 2
    side_of = np.empty(len(patients), dtype=np.int64)
    for patient, count, square in zip(order, counts[order], squares, strict=True):
        side = int((lack @ count + square).argmin())
        side_of[patient] = side
        lack[side] += count * weights[side]
    return side_of[codes]


def balance_table(manifest: Manifest, by: Literal["split", "fold"] = "split") -> pd.DataFrame:
    """Return each finding's prevalence on each side, and how far the sides are from the whole.

    Args:
        manifest: with a split, or folds.
        by: the column; rows where it is empty are left out.

    Returns:
        One row a finding: ``whole``, one column a side (positives / known labels, NaN where none is known), and
        ``deviation``, the largest absolute difference of a side from the whole.
    """
    sides = manifest.table[by].astype("str").fillna("")
    used = sides != ""
    labels = manifest.table.loc[used, list(manifest.findings)]
    table = labels.groupby(sides[used]).mean().T
    order = [side for side in SPLITS if side in table] if by == "split" else sorted(table.columns, key=int)
    table = table[order]
    table.insert(0, "whole", labels.mean())
    table["deviation"] = table[order].sub(table["whole"], axis=0).abs().max(axis=1)
    return table.rename_axis(index="finding", columns=None)


def mean_deviation(balance: pd.DataFrame) -> float:
    """Return the mean absolute difference from the whole over all sides and findings of a `balance_table`."""
    sides = balance.drop(columns=["whole", "deviation"])
    differences = sides.sub(balance["whole"], axis=0).abs().to_numpy()
    defined = differences[~np.isnan(differences)]
    return float(defined.mean()) if defined.size else float("nan")


def read_list(path: str | Path) -> list[str]:
    """Read the first word of each line of a text file (`cxr_monai.data.tables.read_text`).

    Raises:
        SplitError: ``split-invalid`` if it is missing, no text, or empty.
    """
    text = read_text(path, partial(SplitError, Code.SPLIT_INVALID))
    names = [words[0] for line in text.splitlines() if (words := line.split(maxsplit=1))]
    if not names:
        raise SplitError(Code.SPLIT_INVALID, "this list is empty; it has one image's file name a line.", where=path)
    return names


def _count_by_patient(manifest: Manifest, codes: np.ndarray, patients: int) -> np.ndarray:
    """Return float64 [patients, C]: images, positives and known labels of each finding, and 1 for the patient."""
    labels = manifest.labels()
    columns = [np.ones(len(codes)), *(labels == 1).T.astype(float)]
    columns += [is_known.astype(float) for is_known in ~np.isnan(labels).T if not is_known.all()]
    counts = np.array([np.bincount(codes, weights=column, minlength=patients) for column in columns])
    counts = np.vstack([counts, np.ones(patients)])
    return counts[counts.any(axis=1)].T


def _sides_from_lists(manifest: Manifest, files: dict[str, str | Path], match_names: bool) -> tuple[pd.Series, int]:
    """Return each image's side, empty if it is in no list, and how many listed names the manifest lacks."""
    side_of: dict[str, str] = {}
    for side, file in files.items():
        names = read_list(file)
        twice = [name for name in names if side_of.get(name, side) != side]
        if twice:
            others = ", ".join(str(other) for name, other in files.items() if name == side_of[twice[0]])
            raise SplitError(
                Code.SPLIT_INVALID,
                f"{counted(len(twice), 'image')} {be(len(twice))} in this list and in "
                f"{others}, such as {', '.join(twice[:3])}.",
                where=file,
            )
        side_of |= dict.fromkeys(names, side)
    images = manifest.table["image"]
    by_name = match_names or manifest.by_name
    matches = match_images(side_of, images, by_name=by_name, spare_names=True, root=manifest.roots)
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the listed images", " and ".join(map(str, files.values())))
    side_of_image = {image: side_of[name] for name, image in matches.image_of.items()}
    near = matches.near_misses()
    if not side_of_image:
        raise SplitError(
            Code.SPLIT_INVALID,
            f"none of the {counted(len(side_of), 'listed image')} is in the manifest; "
            f"they look like {next(iter(side_of))!r}, "
            f"the manifest's like {images.iloc[0]!r}{f': {near}' if near else ''}.",
            fix="Where a file name alone tells which image it is, say --match-names." if near else None,
        )
    if matches.lost:
        logger.warning(
            "%s of %s listed images are not in the manifest: %s%s",
            f"{len(matches.lost):,}", f"{len(side_of):,}", examples(matches.lost), f"; {near}" if near else "",
        )  # fmt: skip
    return images.map(side_of_image).astype("str").fillna(""), len(matches.lost)


def _with_split(manifest: Manifest, sides: pd.Series, scheme: str, seed: int | None, details: dict) -> Manifest:
    _refuse_leaks(manifest, sides, f"the {scheme} split")
    table = manifest.table.assign(split=sides.to_numpy())
    table["split"] = table["split"].astype("str")
    if "fold" in table and manifest.split and manifest.split.scheme == "kfold":
        details |= {"kfold": {"seed": manifest.split.seed, **manifest.split.details}}
        details["kfold"].pop("split", None)
    return replace(manifest, table=table, split=SplitRecord(scheme, seed, split_digest(table), details))


def _refuse_leaks(manifest: Manifest, sides: pd.Series, division: str) -> None:
    patients = patient_names(manifest.table).set_axis(pd.RangeIndex(2, len(manifest) + 2))
    leaks = leaking_patients(patients, sides.set_axis(patients.index))
    if leaks:
        more = f"\n  and {len(leaks) - 10:,} more" if len(leaks) > 10 else ""
        raise SplitError(
            Code.PATIENT_LEAK,
            f"{division} would put {out_of(len(leaks), patients.nunique(), 'patient')} on several sides:\n  "
            + "\n  ".join(leaks[:10])
            + more
            + "\n",
            fix="Correct the lists or the patient_id column; no split with a patient on two sides is written.",
        )


def _refuse_empty(dealt: np.ndarray, sides: Sequence[str], manifest: Manifest) -> None:
    empty = [name for side, name in enumerate(sides) if not (dealt == side).any()]
    if empty:
        raise SplitError(
            Code.SPLIT_INVALID,
            f"no patient is left for {', '.join(empty)}: there are only {patient_names(manifest.table).nunique():,}.",
            fix="Ask for fewer sides or a larger fraction.",
        )


SPLIT_SCHEMES: dict[str, Callable[..., Manifest]] = {
    "official": official,
    "lists": lists,
    "random": random,
    "kfold": kfold,
}
"""By the names of ``cxr-monai split --scheme``."""
