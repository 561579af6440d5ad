"""The labels that an evaluation judges by: which label scheme they are of, and the manifest under it."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from cxr_monai.data.manifest import RESERVED, Manifest, under
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.predictions import PredictionsFile
from cxr_monai.schemes import FINDINGS, LabelScheme, label_scheme

if TYPE_CHECKING:  # predictions of any system are judged without a bundle, which needs seconds of imports
    from cxr_monai.bundle.bundle_folder import Bundle


def scheme_of_truth(
    truth_scheme: str | None, bundle: "Bundle | None", file: PredictionsFile
) -> tuple[LabelScheme, list[str]]:
    """Return the label scheme that the truth is of, and a sentence where the system was made for another one.

    Args:
        truth_scheme: the user's choice; None takes the system's own.
        bundle: the system, if it is known.
        file: its predictions, beside which its scheme may be recorded.

    Raises:
        EvaluationError: ``evaluation-invalid`` if the bundle's scheme is not that of the predictions.
    """
    beside = label_scheme(file.about["label_scheme"]) if "label_scheme" in file.about else None
    system = beside if bundle is None else bundle.scheme
    if beside is not None and system is not None and system != beside:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the labels of these predictions are of the scheme {beside.name!r}, {json.dumps(beside.to_json())}; those "
            f"of the bundle are of {system.name!r}, {json.dumps(system.to_json())}.",
            fix="Name the bundle that predicted.",
            where=file.path,
        )
    truth = label_scheme(truth_scheme) if truth_scheme is not None else system or FINDINGS
    if system is None or system == truth:
        return truth, []
    return truth, [f"The truth is of the label scheme {truth.name!r}; the system was made for that of {system.name!r}."]


def group_sentences(truth: LabelScheme) -> list[str]:
    """Return a sentence on the groups of a label scheme; nothing where labels are findings."""
    if not truth.derived:
        return []
    parts = [
        f"{label} = {' or '.join(members) or 'none of the findings'}"
        for label, members in truth.groups.items()
        if tuple(members) != (label,)
    ]
    parts += ["images with other findings alone are left out"] if truth.against_normal else []
    return [f"Labels are of the scheme {truth.name!r}: {'; '.join(parts)}."]


def labels_under(manifest: Manifest, truth: LabelScheme) -> Manifest:
    """Return a manifest whose only labels are a scheme's; unchanged where the scheme derives none.

    Args:
        manifest: its labels are findings.
        truth: the scheme.
    """
    if not truth.derived:
        return manifest
    table = under(manifest, truth).table
    return replace(manifest, table=table[[name for name in table if name in RESERVED or name in truth.groups]])
