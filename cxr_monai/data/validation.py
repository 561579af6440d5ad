"""Validation of a table of images: one pass that reports all problems together, each with its line.

`validate` turns a table of any types into the manifest's own (see `cxr_monai.data.manifest`), or raises one
`ManifestError` such as::

    manifest.csv: 3 problems.
      a label is 1 (present), 0 (absent) or empty (unknown); 2 are not:
        line 7: Mass is '2'
        line 9: Edema is 'yes'
      a patient belongs to one split; 1 is in several:
        line 4: patient '12' is in train (line 4) and test (line 5)

Nothing here loops over rows: 112,120 rows by 14 findings take about half a second.
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.data.ages import OLDEST
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.views import view_name
from cxr_monai.data.vocabulary import doubled
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import spelling

RESERVED = ("image", "patient_id", "study_id", "view", "age", "sex", "source", "split", "fold")
SPLITS = ("train", "val", "test")
SEXES = ("M", "F", "O")
_SHOWN = 10


class Problems:
    """Problems by kind, raised together as one error."""

    def __init__(self) -> None:
        self.kinds: list[tuple[Code, str, int, list[str]]] = []

    def add(self, rule: str, count: int, details: Iterable[str], code: Code = Code.MANIFEST_INVALID) -> None:
        """Add the breaches of a rule.

        Args:
            rule: a sentence; ``{count}`` in it is replaced.
            count: of breaches; with 0 nothing is added.
            details: a line each; the first are shown.
            code: of the error.
        """
        if count:
            self.kinds.append((code, rule.replace("{count}", f"{count:,}"), count, list(details)[:_SHOWN]))

    def add_rows(self, rule: str, bad: pd.Series, describe: Callable[[Any], str], values: pd.Series) -> None:
        """Add the rows that breach a rule.

        Args:
            rule: as of :meth:`add`.
            bad: bool ``[N]``.
            describe: makes a detail of a value.
            values: ``[N]``, indexed by line.
        """
        rows = values[bad]
        self.add(rule, len(rows), (f"line {line}: {describe(value)}" for line, value in rows.head(_SHOWN).items()))

    def raise_any(self, path: Path | None) -> None:
        """Raise all problems as one error.

        Args:
            path: the file, for the message.

        Raises:
            ManifestError: the code of the only kind of problem, or ``manifest-invalid`` for several.
        """
        if not self.kinds:
            return
        codes = {code for code, *_ in self.kinds}
        total = sum(count for _, _, count, _ in self.kinds)
        lines = [f"{total:,} problem{'s' if total > 1 else ''}."]
        for _, rule, count, details in self.kinds:
            lines += [f"  {rule}:", *(f"    {detail}" for detail in details)]
            if count > len(details):
                lines.append(f"    and {count - len(details):,} more")
        raise ManifestError(codes.pop() if len(codes) == 1 else Code.MANIFEST_INVALID, "\n".join(lines), where=path)


def below_roots(image: str, roots: Mapping[str, Path]) -> Path:
    """Return the path of an image, or of its folder.

    Args:
        image: relative to the root, or to that of its first folder.
        roots: of `cxr_monai.data.manifest.Manifest.roots`.

    Raises:
        KeyError: its first folder has no root.

    >>> below_roots("nih/images_001/a.png", {"nih": Path("/data/nih"), "rsna": Path("/mnt/rsna")}).as_posix()
    '/data/nih/images_001/a.png'
    """
    if "" in roots:
        return roots[""] / image
    name, _, rest = image.partition("/")
    return roots[name] / rest


def validate(
    table: pd.DataFrame, root: Path | Mapping[str, Path], check_files: bool, path: Path | None
) -> pd.DataFrame:
    """Return the table in the manifest's types, with a fresh RangeIndex.

    Args:
        table: any types; its index is the line of each row in the file.
        root: the absolute folder that ``image`` is relative to; or, of a joined manifest, that of each first folder.
        check_files: look for every image on disk.
        path: the file that errors name.

    Raises:
        ManifestError: everything that is wrong.
    """
    problems = Problems()
    missing = [name for name in RESERVED if name not in {*table.columns, "fold"}]
    problems.add(
        "columns that every manifest has; {count} missing",
        len(missing),
        (f"line 1: {name!r} is not among {', '.join(map(str, table.columns)) or 'no columns'}" for name in missing),
    )
    problems.add("a manifest has at least one image; this has none", int(table.empty), [])
    text = {name: _text(table[name]) for name in RESERVED if name in table.columns}
    if "image" in text:
        text["image"], inside = _images(text["image"], problems)
        roots = root if isinstance(root, Mapping) else {"": root}
        if "" not in roots:
            strange = inside & ~text["image"].str.partition("/")[0].isin(list(roots))
            rule = f"the first folder of an image is one of {', '.join(roots)}; {{count}} are not"
            problems.add_rows(rule, strange, lambda image: f"image is {image!r}", text["image"])
            inside &= ~strange
        if check_files and inside.any():
            _check_files(text["image"][inside], roots, problems)
    columns = {name: _FIELDS[name](values, problems) if name in _FIELDS else values for name, values in text.items()}
    if "patient_id" in text:
        _check_patients(columns, problems)
    columns |= _labels(table[[name for name in table.columns if name not in RESERVED]], problems)
    problems.raise_any(path)
    return pd.DataFrame(columns).reset_index(drop=True)


def leaking_patients(patients: pd.Series, sides: pd.Series) -> list[str]:
    """Return a sentence for each patient on several sides (splits or folds); an empty side is none.

    Args:
        patients: text [N], of `cxr_monai.data.overlaps.patient_names`; its index is the row's line.
        sides: text [N].

    >>> leaking_patients(pd.Series(["p1", "p1", "p2"]), pd.Series(["train", "test", "test"]))
    ["line 0: patient 'p1' is in train (line 0) and test (line 1)"]
    """
    pairs = pd.DataFrame({"patient": patients, "side": sides.astype("str").fillna("")})
    pairs = pairs[pairs["side"] != ""].drop_duplicates(["patient", "side"])
    pairs = pairs[pairs["patient"].duplicated(keep=False)]
    return [
        f"line {rows.index[0]}: {_patient_in_words(str(patient))} is in "
        + " and ".join(f"{side} (line {line})" for line, side in rows["side"].items())
        for patient, rows in pairs.groupby("patient", sort=False)
    ]


def _patient_in_words(name: str) -> str:
    collection, tab, patient = name.partition("\t")
    return f"patient {patient!r} of {collection or 'no source'}" if tab else f"patient {name!r}"


def _text(column: pd.Series) -> pd.Series:
    """Return stripped text, empty where missing; each distinct value is converted once."""
    codes, values = pd.factorize(column, use_na_sentinel=False)
    clean = pd.Series(np.asarray(values, dtype=object)).astype("str").fillna("").str.strip()
    return clean.take(codes).set_axis(column.index)


def _by_value(column: pd.Series, function: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Apply a function of a whole column to its distinct values alone."""
    codes, values = pd.factorize(column)
    return function(pd.Series(values)).take(codes).set_axis(column.index)


def _images(images: pd.Series, problems: Problems) -> tuple[pd.Series, pd.Series]:
    """Return relative paths with ``/``, normalised to one name a file, and which of them lie inside the root."""
    odd = images.str.contains(r"(?:^|/)\.{0,2}(?:/|$)", regex=True)
    if odd.any():
        normal = [posixpath.normpath(image) if image else "" for image in images[odd]]
        images = images.mask(odd, pd.Series(normal, index=images.index[odd], dtype="str"))
    outside = images.str.contains(r"^(?:/|[A-Za-z]:|\.\.(?:/|$)|\.?$)|\\", regex=True)
    rule = "an image is a path with '/', relative to the root and inside it; {count} not"
    problems.add_rows(rule, outside, lambda image: f"image is {image!r}", images)
    again = images.duplicated() & ~outside
    first = images[~outside].drop_duplicates()
    first_line = pd.Series(first.index, index=first.to_numpy())
    rule = "an image has one row; {count} rows repeat one"
    problems.add_rows(rule, again, lambda image: f"{image!r} again, first on line {first_line[image]}", images)
    return images, ~outside


def _check_files(images: pd.Series, roots: Mapping[str, Path], problems: Problems) -> None:
    """Look for the files, listing each folder once: one call a folder, not one a file."""
    parts = images.str.rpartition("/")
    folders: dict[str, set[str]] = {folder: _files(below_roots(folder, roots)) for folder in parts[0].unique()}
    pairs = zip(parts[0], parts[2], strict=True)
    absent = pd.Series([name not in folders[folder] for folder, name in pairs], index=images.index, dtype=bool)
    rows = images[absent]
    lacking = [root for root in roots.values() if not root.is_dir()]
    note = f", {'which' if len(roots) == 1 else ', '.join(map(str, lacking))} does not exist" if lacking else ""
    problems.add(
        f"an image is a file under the root {', '.join(map(str, roots.values()))}{note}; "
        f"{{count}} of {len(images):,} are not (give the right root, or make the manifest with --available-only)",
        len(rows),
        (f"line {line}: there is no {image!r}" for line, image in rows.head(_SHOWN).items()),
        Code.IMAGES_MISSING,
    )


def _files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _check_patients(columns: dict[str, pd.Series], problems: Problems) -> None:
    empty = columns["patient_id"] == ""
    rule = "a row names its patient; {count} do not"
    problems.add_rows(rule, empty, lambda _: "patient_id is empty", columns["patient_id"])
    patients = patient_names(
        pd.DataFrame({name: columns[name] for name in ("patient_id", "source") if name in columns})
    )
    for column in ("split", "fold"):
        if column in columns:
            leaks = leaking_patients(patients[~empty], columns[column][~empty])
            problems.add(f"a patient is in one {column}; {{count}} in several", len(leaks), leaks, Code.PATIENT_LEAK)


def _views(views: pd.Series, _: Problems) -> pd.Series:
    return _by_value(views, lambda values: values.map(view_name).astype("str"))


def _sexes(sexes: pd.Series, problems: Problems) -> pd.Series:
    upper = _by_value(sexes, lambda values: values.str.upper())
    rule = "a sex is M, F, O (other) or empty; {count} not"
    problems.add_rows(rule, ~upper.isin(["", *SEXES]), lambda sex: f"sex is {sex!r}", sexes)
    return upper


def _splits(splits: pd.Series, problems: Problems) -> pd.Series:
    rule = "a split is train, val, test or empty; {count} not"
    problems.add_rows(rule, ~splits.isin(["", *SPLITS]), lambda split: f"split is {split!r}", splits)
    return splits


def _ages(ages: pd.Series, problems: Problems) -> pd.Series:
    numbers = _by_value(ages, lambda values: pd.to_numeric(values, errors="coerce")).astype(float)
    rule = f"an age is a number of years from 0 to {OLDEST}, or empty; {{count}} not"
    problems.add_rows(rule, (ages != "") & ~numbers.between(0, OLDEST), lambda age: f"age is {age!r}", ages)
    return numbers


def _folds(folds: pd.Series, problems: Problems) -> pd.Series:
    numbers = _by_value(folds, lambda values: pd.to_numeric(values, errors="coerce")).astype(float)
    bad = (folds != "") & ~((numbers >= 0) & (numbers % 1 == 0))
    problems.add_rows("a fold is a whole number from 0, or empty; {count} not", bad, lambda f: f"fold is {f!r}", folds)
    return numbers.mask(bad).astype("Int64")


def _labels(table: pd.DataFrame, problems: Problems) -> dict[str, pd.Series]:
    """Return the findings' columns as floats (1, 0, NaN unknown) under this package's names."""
    if table.shape[1] == 0:
        problems.add("a manifest has a column for each finding; it has none beside the reserved ones", 1, [])
    several = doubled(map(spelling, table.columns))
    spelled = [f"line 1: {' and '.join(map(repr, names))} are {finding}" for finding, names in several.items()]
    problems.add("a finding has one column; {count} have several", len(several), spelled)
    labels: dict[str, pd.Series] = {}
    count, wrong = 0, []
    for column in table.columns:
        name, text = spelling(column), _text(table[column])
        labels[name] = _by_value(text, lambda values: pd.to_numeric(values, errors="coerce")).astype(float)
        rows = text[(text != "") & ~labels[name].isin([0, 1])]
        count += len(rows)
        wrong += [(line, f"line {line}: {name} is {value!r}") for line, value in rows.head(_SHOWN).items()]
    rule = "a label is 1 (present), 0 (absent) or empty (unknown); {count} not"
    problems.add(rule, count, [detail for _, detail in sorted(wrong)])
    return labels


_FIELDS: dict[str, Callable[[pd.Series, Problems], pd.Series]] = {
    "view": _views,
    "age": _ages,
    "sex": _sexes,
    "split": _splits,
    "fold": _folds,
}
