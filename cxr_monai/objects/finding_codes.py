"""Codes of findings and concepts in result objects: one table, each code with how sure it is.

    code_of_finding("Effusion")         # CodedTerm(value='60046008', scheme='SCT', meaning='Pleural effusion')
    code_of_finding("Scoliosis")        # a site's own label: a private code, scheme 99CXRMONAI

Public lists of codes hold wrong ones that look right, so each is here with its meaning: a test computes the check digit
of every SNOMED CT code, and compares codes and meanings with the DICOM dictionaries where they have them.
"""

import hashlib
from typing import NamedTuple

from cxr_monai.labels import NIH14

PRIVATE_SCHEME = "99CXRMONAI"
"""Designator of this software's own codes: "99" begins private ones (PS3.16 8.2)."""
PRIVATE_SCHEME_NAME = "Codes of cxr-monai"

CODE_LENGTH, MEANING_LENGTH = 16, 64
"""Characters of Code Value (SH) and Code Meaning (LO), at most (PS3.5 6.2)."""


class CodedTerm(NamedTuple):
    """A coded concept.

    Attributes:
        value: at most 16 characters.
        scheme: designator of the coding scheme.
        meaning: at most 64 characters.
    """

    value: str
    scheme: str
    meaning: str


class GradedCode(NamedTuple):
    """The code of a finding, and how sure it is.

    Attributes:
        code: of the finding.
        grade: ``A``, in DICOM's own dictionaries; ``B``, the same in at least two independent public sources; ``C``,
            private, since none could be verified.
    """

    code: CodedTerm
    grade: str


FINDING_CODES: dict[str, GradedCode] = {
    "Atelectasis": GradedCode(CodedTerm("46621007", "SCT", "Atelectasis"), "B"),
    "Cardiomegaly": GradedCode(CodedTerm("8186001", "SCT", "Cardiomegaly"), "B"),
    "Effusion": GradedCode(CodedTerm("60046008", "SCT", "Pleural effusion"), "A"),
    "Infiltration": GradedCode(CodedTerm("112121", "DCM", "Infiltrate"), "A"),
    "Mass": GradedCode(CodedTerm("4147007", "SCT", "Mass"), "A"),
    "Nodule": GradedCode(CodedTerm("27925004", "SCT", "Nodule"), "A"),
    "Pneumonia": GradedCode(CodedTerm("233604007", "SCT", "Pneumonia"), "B"),
    "Pneumothorax": GradedCode(CodedTerm("36118008", "SCT", "Pneumothorax"), "A"),
    "Consolidation": GradedCode(CodedTerm("95436008", "SCT", "Lung consolidation"), "B"),
    "Edema": GradedCode(CodedTerm("19242006", "SCT", "Pulmonary edema"), "A"),
    "Emphysema": GradedCode(CodedTerm("87433001", "SCT", "Pulmonary emphysema"), "B"),
    "Fibrosis": GradedCode(CodedTerm("51615001", "SCT", "Fibrosis of lung"), "B"),
    "Pleural_Thickening": GradedCode(CodedTerm("PLEURAL-THICKEN", PRIVATE_SCHEME, "Pleural thickening"), "C"),
    "Hernia": GradedCode(CodedTerm("39839004", "SCT", "Diaphragmatic hernia"), "B"),
}
"""NIH's 14 findings. Hernia: NIH does not say which, and this is the more general one."""

# concepts of PS3.16
REPORT_TITLE = CodedTerm("126000", "DCM", "Imaging Measurement Report")
LANGUAGE = CodedTerm("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = CodedTerm("en-US", "RFC5646", "English (United States)")
PROCEDURE_REPORTED = CodedTerm("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = CodedTerm("363679005", "SCT", "Imaging procedure")
IMAGE_LIBRARY = CodedTerm("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = CodedTerm("126200", "DCM", "Image Library Group")
IMAGING_MEASUREMENTS = CodedTerm("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = CodedTerm("125007", "DCM", "Measurement Group")
QUALITATIVE_EVALUATIONS = CodedTerm("C0034375", "UMLS", "Qualitative Evaluations")
TRACKING_IDENTIFIER = CodedTerm("112039", "DCM", "Tracking Identifier")
TRACKING_UID = CodedTerm("112040", "DCM", "Tracking Unique Identifier")
FINDING = CodedTerm("121071", "DCM", "Finding")
SOURCE_IMAGE = CodedTerm("260753009", "SCT", "Source")
PROBABILITY = CodedTerm("122157", "DCM", "Probability")
THRESHOLD = CodedTerm("122411", "DCM", "Threshold Value")
NO_UNITS = CodedTerm("1", "UCUM", "no units")
YES, NO = CodedTerm("373066001", "SCT", "Yes"), CodedTerm("373067005", "SCT", "No")
OBSERVER_TYPE = CodedTerm("121005", "DCM", "Observer Type")
DEVICE = CodedTerm("121007", "DCM", "Device")
DEVICE_UID = CodedTerm("121012", "DCM", "Device Observer UID")
DEVICE_NAME = CodedTerm("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = CodedTerm("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = CodedTerm("121015", "DCM", "Device Observer Model Name")
ALGORITHM_FAMILY = CodedTerm("111000", "DCM", "Algorithm Family")
ALGORITHM_NAME = CodedTerm("111001", "DCM", "Algorithm Name")
ALGORITHM_PARAMETERS = CodedTerm("111002", "DCM", "Algorithm Parameters")
ALGORITHM_VERSION = CodedTerm("111003", "DCM", "Algorithm Version")
ARTIFICIAL_INTELLIGENCE = CodedTerm("123110", "DCM", "Artificial Intelligence")
COMMENT = CodedTerm("121106", "DCM", "Comment")

# this software's own
POINT_REACHED = CodedTerm("POINT-REACHED", PRIVATE_SCHEME, "Operating point reached")
NO_POINT = CodedTerm("NO-POINT", PRIVATE_SCHEME, "No operating point")
PROBABILITY_IS_CALIBRATED = CodedTerm("CALIBRATED", PRIVATE_SCHEME, "Probability is calibrated")
GATE_ANSWER = CodedTerm("GATE-ANSWER", PRIVATE_SCHEME, "Answer of the gate about the film")
GATE_REASON = CodedTerm("GATE-REASON", PRIVATE_SCHEME, "Reason of the gate's answer")
GATE_SENTENCE = CodedTerm("GATE-SENTENCE", PRIVATE_SCHEME, "Reason of the gate's answer in words")
GATE_EVIDENCE = CodedTerm("GATE-EVIDENCE", PRIVATE_SCHEME, "Evidence of the gate's answer")
FILM_REMARK = CodedTerm("FILM-REMARK", PRIVATE_SCHEME, "Remark on the film")

GATE_ANSWERS: dict[str, CodedTerm] = {
    "accept": CodedTerm("GATE-ACCEPT", PRIVATE_SCHEME, "Film accepted"),
    "review": CodedTerm("GATE-REVIEW", PRIVATE_SCHEME, "Film to be looked at by a person first"),
    "refuse": CodedTerm("GATE-REFUSE", PRIVATE_SCHEME, "Film refused: no answer about findings"),
    "": CodedTerm("GATE-NONE", PRIVATE_SCHEME, "Film not checked by a gate"),
}
"""By verdict of the gate."""


def code_of_finding(finding: str) -> CodedTerm:
    """Return the code of a finding: NIH's 14 by the table, a site's own label by a private code.

    A private code follows from the label alone, so that reports of all versions and sites can be searched by it.

    Args:
        finding: as a bundle names it.

    >>> code_of_finding("Pneumothorax").value
    '36118008'
    >>> code_of_finding("Old fracture")
    CodedTerm(value='L38199E90603EBBC', scheme='99CXRMONAI', meaning='Old fracture')
    """
    if finding in NIH14:
        return FINDING_CODES[finding].code
    digits = hashlib.sha256(finding.encode()).hexdigest()[: CODE_LENGTH - 1].upper()
    return CodedTerm(f"L{digits}", PRIVATE_SCHEME, _meaning(finding))


def code_of_gate_reason(code: str) -> CodedTerm:
    """Return the code of a reason of the gate.

    Args:
        code: stable, such as ``gate-not-a-radiograph``.

    >>> code_of_gate_reason("gate-not-a-radiograph")
    CodedTerm(value='NOT-A-RADIOGRAPH', scheme='99CXRMONAI', meaning='gate-not-a-radiograph')
    """
    return CodedTerm(code.removeprefix("gate-").upper()[:CODE_LENGTH], PRIVATE_SCHEME, _meaning(code))


def _meaning(text: str) -> str:
    """Return a text as a value of LO: one line, no backslash."""
    return " ".join(text.replace("\\", "/").split())[:MEANING_LENGTH].strip() or "unnamed"
