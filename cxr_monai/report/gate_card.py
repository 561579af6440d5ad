"""What a model card says of a bundle's gate: its promise, where it was tested, what it refused in the evaluation."""

import math
from collections.abc import Mapping
from typing import Any

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.carried_gate import gate_item
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.gate.storage import read_gate
from cxr_monai.plurals import counted, out_of
from cxr_monai.report import words
from cxr_monai.report.card_part import CardPart
from cxr_monai.report.cells import share_text
from cxr_monai.report.gate_section import gate_section

TITLE = "The gate before its answers"


def gate_part(bundle: Bundle, evaluation: Evaluation | None) -> CardPart:
    """Return the card's part on the gate; that there is none where there is none.

    Args:
        bundle: whose gate is read.
        evaluation: of its predictions; None where there is none.

    Raises:
        GateError: ``gate-invalid`` for a damaged gate.
    """
    read = read_gate(bundle.root)
    if read is None:
        missing = str(gate_item(bundle.root).get("missing") or "").rstrip(".")
        why = f" ({missing})" if missing else ""
        return CardPart(
            TITLE,
            (f"The bundle has no gate{why}: it answers about any picture, and whoever uses it must see to it that the "
             "films are those that it is meant for.",),
        )  # fmt: skip
    fitted = read[0]
    about, promise = fitted.fitted_on, share_text(fitted.promise)
    points = [
        ("Promise:", f"of films like the training's at most {promise} are refused."),
        ("Fitted on:", _films(about) + "; each film was scored by what was fitted on other patients."),
        ("Refused of those:", f"{_share(about, 'refused_share')}; {_share(about, 'reviewed_share')} to be reviewed."),
        ("Tested on others:", _held_out(about.get("held_out"))),
        ("Films known to be:", ", ".join(f"{name} {count:,}" for name, count in about["attributes"].items())
                               if about.get("attributes") else "of no attribute"),
    ]  # fmt: skip
    if about.get("promise_kept_by_number") is False:
        points.append(("Mind:", "these are too few films to keep the promise by their number."))
    section = None if evaluation is None else gate_section(evaluation)
    if section is not None:
        points += [("In the evaluation:", sentence) for sentence in (*section.harms, *section.sentences)]
    lines = (
        "Each film is judged before it is predicted: accepted, predicted and marked for review, or refused. It tells "
        "films that are unlike the training's; it does not tell where the network errs.",
    )
    return CardPart(TITLE, lines, tuple(points))


def _share(about: Mapping[str, Any], name: str) -> str:
    return share_text(float(about.get(name, math.nan)))


def _films(about: Mapping[str, Any]) -> str:
    if not {"films", "patients"} <= set(about):
        return "an unknown number of films"
    return f"{counted(about['films'], 'film')} of {counted(about['patients'], 'patient')}"


def _held_out(held_out: Mapping[str, Any] | None) -> str:
    if not held_out:
        return "not tested on films of patients that it was not fitted on, but for the folds."
    ends = f"{share_text(float(held_out['low']))} to {share_text(float(held_out['high']))}"
    refused = out_of(held_out["refused"], held_out["films"], "film")
    return (
        f"{counted(held_out['patients'], 'other patient')}; {refused} refused "
        f"({words.percent(0.95)} interval {ends}), {held_out['reviewed']:,} more to be reviewed."
    )
