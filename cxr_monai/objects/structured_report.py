"""The answer about a film for machines: a Comprehensive 3D SR by template TID 1500, as IHE's AI Results wants it.

    report = build_report(result)
    report.content              # the file; highdicom.sr.srread reads it

One image-level group (TID 1501) a finding holds the finding, its probability and threshold, whether the operating point
is reached, whether the probability is calibrated, and the gate's answer: none of them is read without the others. What
is said of the film as a whole stands under Qualitative Evaluations; of a refused film, that is all there is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxr_monai.objects import finding_codes
from cxr_monai.objects.film_result import FilmResult, FindingResult, ResultKind, ResultObject
from cxr_monai.objects.finding_codes import CodedTerm
from cxr_monai.objects.result_attributes import (
    finished,
    highdicom_needed,
    private_coding_scheme,
    refer_to,
    reference_film,
    series_arguments,
)
from cxr_monai.objects.result_marks import MANUFACTURER
from cxr_monai.objects.result_uids import derived_uid

if TYPE_CHECKING:
    from highdicom.sr import (
        CodeContentItem,
        CodedConcept,
        ContainerContentItem,
        ContentItem,
        ImageContentItem,
        NumContentItem,
        TextContentItem,
        UIDRefContentItem,
    )

REPORT_DISCLAIMER = "Computed by software that is not a medical device; no physician has verified it."

_CONTAINS, _CONTEXT, _MODIFIER = "CONTAINS", "HAS OBS CONTEXT", "HAS CONCEPT MOD"


def build_report(result: FilmResult) -> ResultObject:
    """Build the structured report of a film.

    Args:
        result: of one film; of a refused one, the report has the gate's answer and no probability.

    Raises:
        CxrError: ``runtime-missing`` without highdicom.
    """
    highdicom_needed()
    from highdicom.sr import Comprehensive3DSR

    items = _Items(result)
    made = Comprehensive3DSR(
        [reference_film(result.source)],
        items.container(finding_codes.REPORT_TITLE, _document_context(items), template="1500"),
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[private_coding_scheme()],
        **series_arguments(result, ResultKind.REPORT),
    )
    refer_to(made, result.source)
    # groups come afterwards: highdicom copies and searches the content that it is given, item by item, three times
    if result.findings:
        groups = _finding_groups(items)
        made.ContentSequence.append(items.container(finding_codes.IMAGING_MEASUREMENTS, groups, _CONTAINS))
    made.ContentSequence.append(
        items.container(finding_codes.QUALITATIVE_EVALUATIONS, _film_evaluations(items), _CONTAINS)
    )
    return finished(made, result, ResultKind.REPORT)


class _Items:
    """Content items about one film. A code is built once, and stands in every item that needs it."""

    def __init__(self, result: FilmResult) -> None:
        self.result = result
        self._concepts: dict[CodedTerm, CodedConcept] = {}

    def concept(self, code: CodedTerm) -> "CodedConcept":
        from highdicom.sr import CodedConcept

        if code not in self._concepts:
            self._concepts[code] = CodedConcept(code.value, code.scheme, code.meaning)
        return self._concepts[code]

    def code(self, name: CodedTerm, value: CodedTerm, relationship: str = _CONTAINS) -> "CodeContentItem":
        from highdicom.sr import CodeContentItem

        return CodeContentItem(self.concept(name), self.concept(value), relationship)

    def text(self, name: CodedTerm, value: str, relationship: str = _CONTAINS) -> "TextContentItem":
        from highdicom.sr import TextContentItem

        return TextContentItem(self.concept(name), value, relationship)

    def number(self, name: CodedTerm, value: float) -> "NumContentItem":
        from highdicom.sr import NumContentItem

        return NumContentItem(
            self.concept(name), float(value), self.concept(finding_codes.NO_UNITS), relationship_type=_CONTAINS
        )

    def uid(self, name: CodedTerm, value: str) -> "UIDRefContentItem":
        from highdicom.sr import UIDRefContentItem

        return UIDRefContentItem(self.concept(name), value, _CONTEXT)

    def film(self) -> "ImageContentItem":
        from highdicom.sr import ImageContentItem

        header = self.result.source.header
        return ImageContentItem(
            self.concept(finding_codes.SOURCE_IMAGE),
            header.SOPClassUID,
            header.SOPInstanceUID,
            relationship_type=_CONTAINS,
        )

    def container(
        self,
        name: CodedTerm,
        items: Sequence["ContentItem"],
        relationship: str | None = None,
        template: str | None = None,
    ) -> "ContainerContentItem":
        from highdicom.sr import ContainerContentItem

        made = ContainerContentItem(self.concept(name), template_id=template, relationship_type=relationship)
        made.ContentSequence = items
        return made


def _document_context(items: _Items) -> list["ContentItem"]:
    """Return language, observer (TID 1002 and 1004), procedure and image library (TID 1600) of the report."""
    model = items.result.model
    library_group = items.container(finding_codes.IMAGE_LIBRARY_GROUP, [items.film()], _CONTAINS)
    return [
        items.code(finding_codes.LANGUAGE, finding_codes.ENGLISH, _MODIFIER),
        items.code(finding_codes.OBSERVER_TYPE, finding_codes.DEVICE, _CONTEXT),
        items.uid(finding_codes.DEVICE_UID, model.device_uid),
        items.text(finding_codes.DEVICE_NAME, f"{model.name} {model.version}", _CONTEXT),
        items.text(finding_codes.DEVICE_MANUFACTURER, MANUFACTURER, _CONTEXT),
        items.text(finding_codes.DEVICE_MODEL, model.name, _CONTEXT),
        items.code(finding_codes.PROCEDURE_REPORTED, finding_codes.IMAGING_PROCEDURE, _MODIFIER),
        items.container(finding_codes.IMAGE_LIBRARY, [library_group], _CONTAINS),
    ]


def _finding_groups(items: _Items) -> list["ContainerContentItem"]:
    """Return a measurement group (TID 1501) of each finding; what is the same in all is built once."""
    algorithm, shared = _algorithm(items), [_gate_answer(items), items.film()]
    return [
        items.container(
            finding_codes.MEASUREMENT_GROUP,
            [*_tracking(items, finding), *algorithm, *_answer(items, finding), *shared],
            _CONTAINS,
            template="1501",
        )
        for finding in items.result.findings
    ]


def _tracking(items: _Items, finding: FindingResult) -> list["ContentItem"]:
    """Return what names the group and its finding (TID 4108 and row 3 of TID 1501)."""
    result = items.result
    uid = derived_uid("tracking", result.uid_of(ResultKind.REPORT), finding.finding)
    return [
        items.text(finding_codes.TRACKING_IDENTIFIER, f"{finding.finding} by {result.model.name}", _CONTEXT),
        items.uid(finding_codes.TRACKING_UID, uid),
        items.code(finding_codes.FINDING, finding_codes.code_of_finding(finding.finding)),
    ]


def _algorithm(items: _Items) -> list["ContentItem"]:
    """Return the identification of the algorithm (TID 4019)."""
    model, gate = items.result.model, items.result.gate
    version = f"{model.version}; bundle sha256:{model.digest}; cxr-monai {model.library}"
    settings = [f"operating points: {model.rule or 'none'}", f"gate: {gate.mode}", *model.settings]
    return [
        items.text(finding_codes.ALGORITHM_NAME, model.name, _MODIFIER),
        items.text(finding_codes.ALGORITHM_VERSION, version, _MODIFIER),
        items.text(finding_codes.ALGORITHM_PARAMETERS, "; ".join(settings), _MODIFIER),
        items.code(finding_codes.ALGORITHM_FAMILY, finding_codes.ARTIFICIAL_INTELLIGENCE, _MODIFIER),
    ]


def _answer(items: _Items, finding: FindingResult) -> list["ContentItem"]:
    """Return the answer about a finding: probability and threshold, and how they are to be read."""
    numbers = [items.number(finding_codes.PROBABILITY, finding.probability)]
    if finding.threshold is not None:
        numbers.append(items.number(finding_codes.THRESHOLD, finding.threshold))
    reached = finding_codes.NO_POINT if finding.is_reached is None else _yes_or_no(finding.is_reached)
    return [
        *numbers,
        items.code(finding_codes.POINT_REACHED, reached),
        items.code(finding_codes.PROBABILITY_IS_CALIBRATED, _yes_or_no(finding.is_calibrated)),
    ]


def _yes_or_no(is_so: bool) -> CodedTerm:
    return finding_codes.YES if is_so else finding_codes.NO


def _gate_answer(items: _Items) -> "CodeContentItem":
    return items.code(finding_codes.GATE_ANSWER, finding_codes.GATE_ANSWERS[items.result.gate.verdict])


def _film_evaluations(items: _Items) -> list["ContentItem"]:
    """Return what is said of the film as a whole: the gate's answer with its reason, remarks, and what this is not."""
    gate, remarks = items.result.gate, items.result.remarks
    reason = [items.code(finding_codes.GATE_REASON, finding_codes.code_of_gate_reason(gate.code))] if gate.code else []
    words = [(finding_codes.GATE_SENTENCE, gate.sentence), (finding_codes.GATE_EVIDENCE, gate.evidence)]
    words += [(finding_codes.FILM_REMARK, remark) for remark in remarks]
    texts = [items.text(name, text) for name, text in (*words, (finding_codes.COMMENT, REPORT_DISCLAIMER)) if text]
    return [_gate_answer(items), *reason, *texts]
