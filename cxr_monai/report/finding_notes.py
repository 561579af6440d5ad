"""Notes for a reader: those that say the same of several findings become one sentence.

>>> combine_notes([f"{name} is not calibrated: all its scores are equal." for name in ("Mass", "Pleural_Thickening")])
['Mass and Pleural thickening are not calibrated, each because all its scores are equal.']
"""

import re
from collections.abc import Iterable

from cxr_monai.report.words import and_list, heading

_OF_A_FINDING = re.compile(r"(\w+) (is not calibrated|is not recalibrated|has no operating points): (.+)\.")
_COUNTS = re.compile(r", and there (?:is|are) (.+)")


def combine_notes(notes: Iterable[str]) -> list[str]:
    """Return notes with those of one reason together, findings by the names that reports give them.

    Args:
        notes: of an evaluation or a calibration (``cxr_monai.evaluation.fitted``).

    Returns:
        one sentence a reason, in the order of the first note of each; other notes as they are.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for note in notes:
        match = _OF_A_FINDING.fullmatch(note)
        if match is None:
            groups.setdefault((note, ""), [])
            continue
        finding, lack, reason = match.groups()
        counts = _COUNTS.search(reason)
        groups.setdefault((lack, _COUNTS.sub("", reason)), []).append((heading(finding), counts[1] if counts else ""))
    return [_sentence(lack, reason, findings) if findings else lack for (lack, reason), findings in groups.items()]


def _sentence(lack: str, reason: str, findings: list[tuple[str, str]]) -> str:
    if len(findings) == 1:
        finding, counts = findings[0]
        return f"{finding} {lack}: {reason}{f', and there are {counts}' if counts else ''}."
    names = and_list([f"{finding} ({counts})" if counts else finding for finding, counts in findings])
    several = lack.replace("is not", "are not").replace("has no", "have no")
    return f"{names} {several}, each because {reason}."
