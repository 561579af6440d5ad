"""What a label that is neither 1 nor 0 shall mean, for all findings or by finding.

parse_policies("--uncertain", "Edema=positive,Consolidation=negative", ["Edema", "Consolidation", "Effusion"])
# {"Edema": 1.0, "Consolidation": 0.0, "Effusion": nan}
"""

from collections.abc import Mapping, Sequence

from cxr_monai.data.columns import key
from cxr_monai.data.sources._labels import UNCERTAIN
from cxr_monai.errors import Code, UsageError

DEFAULT_POLICY = "unknown"
_FORMS = f"{', '.join(UNCERTAIN)} for all, or by finding: Edema=positive,Consolidation=negative (others: unknown)"


def parse_policies(
    option: str, setting: str | None, findings: Sequence[str], names: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Return the value that such a label gets: 1, 0, or NaN for unknown, of every finding.

    Args:
        option: the option's name, for messages.
        setting: one word for all findings, or ``FINDING=word`` with commas between, which leaves the others unknown;
            None is ``unknown``.
        findings: as the manifest calls them.
        names: further names of findings (the data set's own), and whose they are.

    Raises:
        UsageError: ``usage`` for a word that is none, a finding that the set does not label or that stands twice.
    """
    words = [word.strip() for word in (setting or DEFAULT_POLICY).split(",") if word.strip()]
    if len(words) == 1 and "=" not in words[0]:
        return dict.fromkeys(findings, _value(option, setting, words[0]))
    by_key = {key(name): finding for name, finding in (names or {}).items()} | {key(name): name for name in findings}
    policies: dict[str, float] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise _refusal(option, setting, f"{word!r} names no finding, and others do")
        finding = by_key.get(key(name))
        if finding is None:
            raise _refusal(option, setting, f"there is no finding {name!r} here; there are {', '.join(findings)}")
        if finding in policies:
            raise _refusal(option, setting, f"{finding} stands twice")
        policies[finding] = _value(option, setting, value)
    return dict.fromkeys(findings, UNCERTAIN[DEFAULT_POLICY]) | policies


def _value(option: str, setting: str | None, word: str) -> float:
    if word.lower() not in UNCERTAIN:
        raise _refusal(option, setting, f"{word!r} is none of {', '.join(UNCERTAIN)}")
    return UNCERTAIN[word.lower()]


def _refusal(option: str, setting: str | None, reason: str) -> UsageError:
    return UsageError(Code.USAGE, f"{option} {setting}: {reason}.", fix=f"Give {_FORMS}.")
