"""Label schemes: which findings make a label, as data; a network's channels are labels of one scheme.

    categories = label_scheme("categories_normal")  # or a user's own JSON file, or the same as a mapping
    categories.labels                               # Lung, Cardiomegaly, Pleural, Hernia, Normal
    categories.derive(labels, findings)             # [N, F] of findings to [N, L] of labels, NaN where unknown

A label is 1 if any of its findings is 1, 0 if all of them are 0, else unknown. A label of no finding (``Normal``) is 1
if all findings are 0, 0 if any is 1, else unknown. A scheme ``against_normal`` calls a label 0 only where all findings
are 0: an image with other findings alone is unknown to it, so that the question is "this finding, or a normal chest".

Schemes are applied once, where a manifest is read (``cxr_monai.data.manifest.read_manifest``).
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_monai.errors import Code, SettingError
from cxr_monai.labels import NIH14, parse_labels, spelling

_KEYS = ("name", "groups", "against_normal", "hierarchy", "leave_out", "findings")
_LABEL = re.compile(r"\w(?:[\w .()+-]*[\w.()+-])?")  # what a CSV's header, a command line and MONAI leave as it is
_VS_NORMAL = "_vs_normal"
_FORM = '{"groups": {"Opacity": ["Infiltration", "Consolidation"], "Normal": []}, "leave_out": ["Hernia", ...]}'


@dataclass(frozen=True)
class LabelScheme:
    """A validated grouping of findings into labels.

    Attributes:
        name: what reports call it.
        groups: label -> the findings that it is made of, in the order of a network's channels. A finding alone is a
            group of one; an empty group means "none of the findings".
        against_normal: a label is 0 only where all findings are 0, and unknown in images with other findings alone.
        hierarchy: findings may stand in a group of several and alone as well; else no finding stands in two groups.
        findings: all that there are. A label of no finding is their absence; each stands in a group or is left out.

    Raises:
        SettingError: ``scheme-invalid``, with everything that is wrong.
    """

    name: str
    groups: Mapping[str, tuple[str, ...]]
    against_normal: bool = False
    hierarchy: bool = False
    findings: tuple[str, ...] = NIH14
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse(_problems(self.groups, self.hierarchy, self.findings, self.leave_out), self.name)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of a network's channels."""
        return tuple(self.groups)

    @property
    def derived(self) -> tuple[str, ...]:
        """The labels that are not simply a finding's column."""
        return tuple(
            label for label, members in self.groups.items() if self.against_normal or tuple(members) != (label,)
        )

    @property
    def needed(self) -> tuple[str, ...]:
        """The findings that must be known to derive the labels."""
        if any(self.against_normal or not self.groups[label] for label in self.derived):
            return self.findings
        return tuple(dict.fromkeys(finding for label in self.derived for finding in self.groups[label]))

    def labels_of(self, finding: str) -> tuple[str, ...]:
        """Return the labels that a finding makes true; itself where no group holds it."""
        return tuple(label for label, members in self.groups.items() if finding in members) or (finding,)

    def derive(self, labels: np.ndarray, findings: Sequence[str], selected: Sequence[str] | None = None) -> np.ndarray:
        """Return the labels of images from their findings.

        Args:
            labels: ``[N, F]``; 1 present, 0 absent, NaN unknown.
            findings: the F names of its columns; all that the wanted labels are made of are among them.
            selected: which labels; all where None.

        Returns:
            float64 ``[N, L]``, a column for each of the wanted labels.
        """
        columns_of = {name: column for column, name in enumerate(findings)}
        every = labels[:, [columns_of[name] for name in self.findings if name in columns_of]]
        normal, abnormal = (every == 0).all(axis=1), (every == 1).any(axis=1)
        columns = []
        for label in self.labels if selected is None else selected:
            members = self.groups[label]
            values = labels[:, [columns_of[name] for name in members]]
            one, zero = ((values == 1).any(axis=1), (values == 0).all(axis=1)) if members else (normal, abnormal)
            if members and self.against_normal:
                zero = normal
            columns.append(np.select([one, zero], [1.0, 0.0], np.nan))
        return np.column_stack(columns)

    def to_json(self) -> dict[str, Any]:
        """Return the scheme as JSON for configurations and metadata; `from_json` reads it back."""
        content: dict[str, Any] = {
            "name": self.name,
            "groups": {label: list(members) for label, members in self.groups.items()},
        }
        if self.against_normal:
            content["against_normal"] = True
        if self.hierarchy:
            content["hierarchy"] = True
        if self.leave_out:
            content["leave_out"] = list(self.leave_out)
        if self.findings != NIH14:
            content["findings"] = list(self.findings)
        return content

    @classmethod
    def from_json(cls, content: Any, name: str = "own", path: Path | None = None) -> "LabelScheme":
        """Read a scheme.

        Args:
            content: an object with ``groups`` (label -> list of findings) and, if need be, ``name``,
                ``against_normal``, ``hierarchy``, ``leave_out`` (findings without a group) and ``findings`` (all that
                there are, where they are not the 14 of NIH). Findings are spelled as `cxr_monai.labels.spelling` does.
            name: where it has none of its own.
            path: the file that errors name.

        Raises:
            SettingError: ``scheme-invalid``, with everything that is wrong.
        """
        if not isinstance(content, Mapping):
            raise _invalid([f"it is {content!r}, not an object"], name, path)
        problems = [f"{key!r} means nothing; the keys are {', '.join(_KEYS)}" for key in content if key not in _KEYS]
        groups = content.get("groups", {})
        if not isinstance(groups, Mapping):
            problems.append(f"groups is {groups!r}, not an object of label and list of findings")
            groups = {}
        members_by_label = {
            spelling(str(label)): _names(members, f"the group {label!r}", problems) for label, members in groups.items()
        }
        if len(members_by_label) < len(groups):
            twice = Counter(spelling(str(label)) for label in groups)
            problems.append(
                f"groups have one name twice: {', '.join(key for key, count in twice.items() if count > 1)}"
            )
        for key in ("against_normal", "hierarchy"):
            if not isinstance(content.get(key, False), bool):
                problems.append(f"{key} is {content[key]!r}, neither true nor false")
        fields: dict[str, Any] = {
            "groups": members_by_label,
            "hierarchy": content.get("hierarchy", False) is True,
            "findings": _names(content.get("findings", NIH14), "findings", problems),
            "leave_out": _names(content.get("leave_out", ()), "leave_out", problems),
        }
        called = str(content.get("name", name))
        _refuse([*problems, *_problems(**fields)], called, path)
        return cls(called, against_normal=content.get("against_normal", False), **fields)


def _names(value: Any, key: str, problems: list[str]) -> tuple[str, ...]:
    """Return names in this package's spelling; a value that is no list of names is added to ``problems``."""
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(name, str) for name in value):
        problems.append(f"{key} is {value!r}, not a list of findings")
        return ()
    return tuple(spelling(name) for name in value)


def _problems(
    groups: Mapping[str, tuple[str, ...]], hierarchy: bool, findings: tuple[str, ...], leave_out: tuple[str, ...]
) -> list[str]:
    """Return everything that is wrong with a scheme, in sentences."""
    if not groups:
        return ["it has no groups"]
    problems = [
        f"a label cannot be called {label!r}: letters, digits, blanks and _ . ( ) + - alone"
        for label in groups
        if not _LABEL.fullmatch(label)
    ]
    finding_names = set(findings)
    for label, members in groups.items():
        unknown = [name for name in members if name not in finding_names]
        if unknown:
            problems.append(f"{label} holds {', '.join(unknown)}, which is no finding")
        problems += [f"{label} holds {name} twice" for name in dict.fromkeys(members) if members.count(name) > 1]
        if label in finding_names and tuple(members) != (label,):
            problems.append(f"the group {label} has a finding's name, but is not that finding alone")
    problems += [f"leave_out holds {name}, which is no finding" for name in leave_out if name not in finding_names]
    problems += [f"findings holds {name} twice" for name, count in Counter(findings).items() if count > 1]
    empty = [label for label, members in groups.items() if not members]
    if len(empty) > 1:
        problems.append(f"{' and '.join(empty)} all mean none of the findings")
    for name in findings:
        within = [label for label, members in groups.items() if name in members]
        counted = [label for label in within if not (hierarchy and label == name)]
        if len(counted) > 1:
            problems.append(f"{name} stands in {' and '.join(counted)}; groups must not overlap")
        if within and name in leave_out:
            problems.append(f"{name} stands in {' and '.join(within)} and in leave_out")
    alone = set(findings).difference(leave_out, *groups.values())
    if alone:
        listed = ", ".join(name for name in findings if name in alone)
        problems.append(f'in no group: {listed}; if that is meant, list them under "leave_out"')
    return problems


def _refuse(problems: Sequence[str], name: str, path: Path | None = None) -> None:
    if problems:
        raise _invalid(problems, name, path)


def _invalid(problems: Sequence[str], name: str, path: Path | None = None) -> SettingError:
    more = "s" if len(problems) > 1 else ""
    return SettingError(
        Code.SCHEME_INVALID,
        f"the label scheme {name!r} has {len(problems)} problem{more}:\n  " + "\n  ".join(problems) + "\n",
        fix=f"A scheme looks like {_FORM}; docs/labels.md explains it. Findings are {', '.join(NIH14)}.",
        where=path,
    )


_LUNG = (
    "Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation", "Edema", "Emphysema", "Fibrosis",
)  # fmt: skip
_PLEURAL = ("Effusion", "Pneumothorax", "Pleural_Thickening")
_ALONE = {finding: (finding,) for finding in NIH14}
_CATEGORIES = {"Lung": _LUNG, "Cardiomegaly": ("Cardiomegaly",), "Pleural": _PLEURAL, "Hernia": ("Hernia",)}
_NORMAL: dict[str, tuple[str, ...]] = {"Normal": ()}

SCHEMES: dict[str, LabelScheme] = {
    scheme.name: scheme
    for scheme in (
        LabelScheme("findings", _ALONE),
        LabelScheme("findings_normal", _ALONE | _NORMAL),
        LabelScheme("categories", _CATEGORIES),
        LabelScheme("categories_normal", _CATEGORIES | _NORMAL),
        LabelScheme("hierarchy", {"Lung": _LUNG, "Pleural": _PLEURAL, **_ALONE}, hierarchy=True),
        *(
            LabelScheme(
                finding + _VS_NORMAL,
                {finding: (finding,)},
                against_normal=True,
                leave_out=tuple(name for name in NIH14 if name != finding),
            )
            for finding in NIH14
        ),
    )
}
"""The schemes that come with this package, by name."""
FINDINGS = SCHEMES["findings"]
"""Each of the 14 findings is a label; nothing is derived."""


def label_scheme(spec: str | Mapping[str, Any]) -> LabelScheme:
    """Return the scheme that a setting means.

    Args:
        spec: a name of `SCHEMES`, a JSON file, or what would stand in it.

    Raises:
        SettingError: ``setting-invalid`` for another name or a file that is not there; ``scheme-invalid`` for a file or
            mapping that is no scheme, with everything that is wrong.

    >>> label_scheme("categories_normal").labels
    ('Lung', 'Cardiomegaly', 'Pleural', 'Hernia', 'Normal')
    """
    if not isinstance(spec, str):
        return LabelScheme.from_json(spec)
    if spec in SCHEMES:
        return SCHEMES[spec]
    path = Path(spec)
    if not path.is_file():
        nearest = difflib.get_close_matches(spec, SCHEMES, n=1)
        names = ", ".join(name for name in SCHEMES if not name.endswith(_VS_NORMAL))
        raise SettingError(
            Code.SETTING_INVALID,
            f"there is no label scheme and no JSON file {spec!r}; schemes are {names} and FINDING{_VS_NORMAL} "
            f"(FINDING one of {', '.join(NIH14)}).",
            fix=f"Did you mean {nearest[0]}?" if nearest else "Name one of them, or a file that is there.",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_duplicate_keys)
    except (ValueError, OSError) as error:
        raise _invalid([f"this cannot be read as JSON ({error})"], path.stem, path) from error
    return LabelScheme.from_json(content, path.stem, path)


def channel_labels(labels: str | Iterable[str], scheme: LabelScheme) -> list[str]:
    """Return the labels of a network's channels, in its order.

    Args:
        labels: as `cxr_monai.labels.parse_labels` takes them.
        scheme: whose labels they must be. Any name passes where it derives none: a manifest's own findings are labels.

    Raises:
        SettingError: ``setting-invalid`` for labels of another scheme.
        ManifestError: ``unknown-finding`` for no label, or one that stands twice.

    >>> channel_labels(["Normal", "Lung"], label_scheme("categories_normal"))
    ['Normal', 'Lung']
    """
    names = parse_labels(labels)
    strange = [name for name in names if name not in scheme.groups]
    if strange and scheme.derived:
        raise SettingError(
            Code.SETTING_INVALID,
            f"the label scheme {scheme.name!r} has no {', '.join(strange)}; its labels are {', '.join(scheme.labels)}.",
            fix="Choose among them with --labels, or another --label_scheme (findings has all 14).",
        )
    return names


def without_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON (``object_pairs_hook``); Python keeps the last of two equal keys without a word.

    Raises:
        ValueError: a key stands twice.
    """
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(map(repr, twice))} stands there twice")
    return dict(pairs)
