"""What stands in words in the picture of a film's result; nothing of the patient is among it.

finding_words(finding)      # ["Effusion", "probability 0.71, operating point 0.35"]
picture_words(result)       # lines below the films: what was reached, what has no map, gate, remarks, model
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cxr_monai.objects.film_result import FilmResult, FindingResult
from cxr_monai.plurals import out_of

DEVICE_WARNING = "Not a medical device"
NO_ANSWER = "No answer about this film"
HOW_TO_READ = (
    "A map is drawn in shares of its own maximum, with a line around the half of it: it shows where the evidence lies, "
    "and its strength says nothing about how likely the finding is."
)
_DIGEST = 12
"""First digits of a digest that are shown."""
_MOST_DECIMALS = 6


class Emphasis(StrEnum):
    """How a line is drawn."""

    STRONG = "strong"
    PLAIN = "plain"
    WARNING = "warning"
    SMALL = "small"


@dataclass(frozen=True)
class Line:
    """A sentence and how it is drawn; entries of a table stand side by side where there is room."""

    text: str
    emphasis: Emphasis = Emphasis.PLAIN
    is_entry: bool = False


def finding_words(finding: FindingResult) -> list[str]:
    """Return a finding's name, and what the model says of it.

    >>> finding_words(FindingResult("Effusion", 0.714, 0.35, is_calibrated=True))
    ['Effusion', 'probability 0.71, operating point 0.35']
    >>> finding_words(FindingResult("Mass", 0.3504, 0.3498))[1]
    'score 0.3504 (not calibrated), operating point 0.3498'
    """
    value, point = _numbers(finding.probability, finding.threshold)
    chance = f"probability {value}" if finding.is_calibrated else f"score {value} (not calibrated)"
    return [finding.finding, f"{chance}, operating point {point}" if point else chance]


def picture_words(result: FilmResult) -> list[Line]:
    """Return what stands below the films of a picture, line by line.

    Args:
        result: of one film.
    """
    return [*(_refusal(result) if result.is_refused else _answers(result)), *_about(result)]


def _refusal(result: FilmResult) -> Iterator[Line]:
    yield Line(f"{NO_ANSWER}: it was refused." if result.gate.verdict == "refuse" else f"{NO_ANSWER}.", Emphasis.STRONG)
    yield from _gate(result)
    yield Line("There is no probability of any finding.")


def _answers(result: FilmResult) -> Iterator[Line]:
    reached = result.reached
    with_point = [finding for finding in result.findings if finding.threshold is not None]
    without_point = [finding for finding in result.findings if finding.threshold is None]
    rule = f" ({result.model.rule})" if result.model.rule else ""
    if reached:
        count = out_of(len(reached), len(with_point), "finding")
        yield Line(f"At or over the operating point{rule}: {count}: {_names(reached)}.", Emphasis.STRONG)
    elif with_point:
        yield Line(f"No finding reached its operating point{rule}.", Emphasis.STRONG)
        yield Line(f"Looked for: {_names(with_point)}.")
    for finding in reached:
        if not finding.has_map:
            yield Line(f"{': '.join(finding_words(finding))}: no map")
    if reached and result.no_maps:
        yield Line(f"No maps: {result.no_maps}", Emphasis.SMALL)
    if without_point:
        yield Line("Without an operating point, so neither reached nor not:", Emphasis.STRONG)
        yield from (Line(": ".join(finding_words(finding)), is_entry=True) for finding in without_point)
    if any(not finding.is_calibrated for finding in (*reached, *without_point)):
        yield Line("A score that is not calibrated is no frequency: it only ranks films.", Emphasis.SMALL)
    yield from _gate(result)
    if result.mapped:
        yield Line(HOW_TO_READ, Emphasis.SMALL)


def _gate(result: FilmResult) -> Iterator[Line]:
    gate = result.gate
    evidence = f" ({gate.evidence})" if gate.evidence else ""
    if gate.verdict == "accept":
        yield Line("Gate: accepted, a film like those that the model was trained on.", Emphasis.SMALL)
    elif gate.verdict:
        yield Line(f"Gate, {gate.verdict}: {gate.sentence.rstrip('.')}{evidence}.", Emphasis.WARNING)
    elif gate.sentence:
        yield Line(f"Gate: {gate.sentence}", Emphasis.WARNING)


def _about(result: FilmResult) -> Iterator[Line]:
    yield from (Line(f"About the film: {remark}", Emphasis.SMALL) for remark in result.remarks)
    model = result.model
    settings = f" ({', '.join(model.settings)})" if model.settings else ""
    yield Line(
        f"Model {model.name} {model.version}, sha256 {model.digest[:_DIGEST]}{settings}, by cxr-monai {model.library}. "
        "Findings that the model does not know are not looked for.",
        Emphasis.SMALL,
    )


def _names(findings: list[FindingResult]) -> str:
    return ", ".join(finding.finding for finding in findings)


def _numbers(value: float, point: float | None) -> tuple[str, str]:
    """Return a probability and its operating point in two decimals, or in as many as they need.

    Neither is rounded to 0 or 1, nor both to the same.

    >>> _numbers(0.9996, 0.0894), _numbers(0.3504, 0.3498), _numbers(0.5, 0.5)
    (('0.9996', '0.09'), ('0.3504', '0.3498'), ('0.50', '0.50'))
    """
    if point is None:
        return f"{value:.{_decimals(value)}f}", ""
    digits = [_decimals(value), _decimals(point)]
    while max(digits) < _MOST_DECIMALS and value != point and round(value, digits[0]) == round(point, digits[1]):
        digits = [max(digits) + 1] * 2
    return f"{value:.{digits[0]}f}", f"{point:.{digits[1]}f}"


def _decimals(number: float) -> int:
    """Return how many decimals, two at least, keep a number that is neither 0 nor 1 from being rounded to it."""
    rest = min(number, 1 - number)
    return next((digits for digits in range(2, _MOST_DECIMALS) if round(rest, digits) > 0 or rest <= 0), _MOST_DECIMALS)
