"""Is this a chest radiograph? One rule, by a DICOM header's content; ``docs/decisions`` has its reasons.

1. Modality (0008,0060): any of its values is CR, DX, DR or RG, in any case. The SOP class isn't judged, because many
   archives rewrap radiographs as Secondary Capture.
2. Presentation Intent Type (0008,0068) or the SOP class is not FOR PROCESSING: raw detector data are no picture.
3. The first of Body Part Examined (0018,0015), the Anatomic Region Sequence's meaning, Series Description, Protocol
   Name and Study Description that is not empty: a word for the chest accepts, else a word for another part refuses.
   Empty attributes and unknown words are accepted: sites have many of their own, among them for chests.

No reason quotes the header but for codes and words of the lists here.
"""

import re
import unicodedata
from dataclasses import dataclass

from cxr_monai.data.formats.dicom_library import ConceptCode, Dataset, codes
from cxr_monai.data.formats.dicom_values import code, items_of, plain_text, text, values_of
from cxr_monai.errors import Code

MODALITIES = ("CR", "DX", "DR", "RG")
"""Modalities of a radiograph: three of PS3.3 C.7.3.1.1.1, and DR, which isn't in the standard but in archives."""

SWITCH = "--any-modality (--any_modality True of a bundle's configuration, any_modality=True in Python)"

SUBJECT_TAGS = [
    "SOPClassUID", "Modality", "PresentationIntentType", "BodyPartExamined", "AnatomicRegionSequence",
    "SeriesDescription", "ProtocolName", "StudyDescription", "ViewPosition", "ViewCodeSequence",
    "PatientOrientation",
]  # fmt: skip
"""The attributes that :func:`unfit`, :func:`view_of` and :func:`is_lateral` read."""

_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"  # Digital X-Ray Image Storage - For Processing (PS3.4 B.5)
_PARTS = (
    ("BodyPartExamined", "Body Part Examined (0018,0015)"),
    ("SeriesDescription", "Series Description (0008,103E)"),
    ("ProtocolName", "Protocol Name (0018,1030)"),
    ("StudyDescription", "Study Description (0008,1030)"),
)

# beginnings of words for the chest: English, German, French, Spanish, Portuguese, Italian
_CHEST = ("CHEST", "CXR", "THORAX", "TORAX", "TORACE", "LUNG", "PULMO", "POUMON", "BABYGRAM", "HEART", "MEDIASTIN")
# PS3.16 Annex L and its plain English neighbours; then German; French; Spanish, Portuguese and Italian
# fmt: off
_OTHER = frozenset({
    "ABDOMEN", "ABDOMENPELVIS", "ABD", "KUB", "ACJOINT", "ANKLE", "ARM", "BLADDER", "BREAST", "BUTTOCK",
    "CALCANEUS", "CALF", "CERVICAL", "CLAVICLE", "COCCYX", "CSPINE", "CTSPINE", "DENTAL", "ELBOW", "EXTREMITY",
    "EYE", "FACE", "FEMUR", "FIBULA", "FINGER", "FOOT", "FEET", "FOREARM", "HAND", "HEAD", "HEADNECK", "HEEL",
    "HIP", "HUMERUS", "IAC", "ILIUM", "JAW", "KNEE", "LEG", "LIMB", "LSPINE", "LSSPINE", "LUMBAR", "MANDIBLE",
    "MASTOID", "MAXILLA", "NECK", "NOSE", "ORBIT", "PATELLA", "PELVIS", "RADIUS", "RIB", "SACRUM", "SCAPULA",
    "SHOULDER", "SIJOINT", "SINUS", "SKULL", "SPINE", "SSPINE", "STERNUM", "TEETH", "THIGH", "THUMB", "TIBIA",
    "TLSPINE", "TMJ", "TOE", "TOOTH", "TSPINE", "ULNA", "WRIST", "ZYGOMA", "BECKEN", "BWS", "ELLENBOGEN",
    "FERSE", "FUSS", "HALS", "HANDGELENK", "HUFTE", "HUEFTE", "HWS", "KIEFER", "KNIE", "KOPF", "LWS", "OBERARM",
    "OBERSCHENKEL", "SCHADEL", "SCHAEDEL", "SCHULTER", "SPRUNGGELENK", "UNTERARM", "UNTERSCHENKEL",
    "WIRBELSAULE", "WIRBELSAEULE", "ZEHE", "ZEHEN", "BASSIN", "BRAS", "CHEVILLE", "COUDE", "CRANE", "CUISSE",
    "DOIGT", "EPAULE", "GENOU", "HANCHE", "JAMBE", "LOMBAIRE", "MAIN", "ORTEIL", "PIED", "POIGNET", "RACHIS",
    "TETE", "ADDOME", "ANTEBRAZO", "BACINO", "BRACCIO", "BRAZO", "CABEZA", "CADERA", "CAVIGLIA", "CODO",
    "COLUMNA", "COLUNA", "CRANEO", "CRANIO", "CUELLO", "DEDO", "GINOCCHIO", "GOMITO", "HOMBRO", "JOELHO",
    "MANO", "MAO", "MUNECA", "OMBRO", "PIE", "PIEDE", "PIERNA", "POLSO", "PUNHO", "RODILLA", "SPALLA",
    "TOBILLO", "TORNOZELO",
})
# fmt: on
_SIDES = re.compile(r"^(LEFT|RIGHT|BILATERAL|UPPER|LOWER|LT|RT|L|R)")

# PS3.16 CID 4010 "DX View", for ViewCodeSequence (PS3.3 C.8.11.5); pydicom knows the older SRT codes as the same, but
# for the one of PA that the standard had before R-40888
_VIEWS = (
    (codes.SCT.PosteroAnterior, "PA"),
    (ConceptCode("R-10214", "SRT", "postero-anterior"), "PA"),
    (codes.SCT.AnteroPosterior, "AP"),
    (codes.SCT.LeftLateral, "LL"),
    (codes.SCT.RightLateral, "RL"),
    (codes.SCT.LateralProjection, "LATERAL"),
)
_OLD_SNOMED = ("SNM3", "99SDM")  # what SRT was called before (PS3.16 8.1)
_LATERAL = {"LL", "RL", "LAT", "LATERAL"}
_NOT_LATERAL = {"PA", "AP", "DECUB", "DECUBITUS", "FRONTAL"}


@dataclass(frozen=True)
class Unfit:
    """Why a header is not of a chest radiograph: a stable code, the reason in few words, and as a sentence."""

    code: Code
    kind: str
    reason: str


def unfit(header: Dataset) -> Unfit | None:
    """Return why this isn't a chest radiograph, None if the header does not contradict it."""
    modalities = {word for value in values_of(header, "Modality") for word in _words(str(value))}
    if not modalities & set(MODALITIES):
        name = code(header, "Modality")
        return Unfit(
            Code.RADIOGRAPH_WRONG_MODALITY,
            f"Modality {name or 'missing'}",
            f"its Modality (0008,0060) is {name or 'missing'}; a radiograph's is {', '.join(MODALITIES)}.",
        )
    if is_for_processing(header):
        return Unfit(
            Code.RADIOGRAPH_FOR_PROCESSING,
            "FOR PROCESSING",
            "its Presentation Intent Type is FOR PROCESSING: raw detector data, not the picture that a reader sees.",
        )
    name, part = other_body_part(header)
    if part:
        kind = f"{name.partition(' (')[0]} {part}"
        return Unfit(Code.RADIOGRAPH_WRONG_MODALITY, kind, f"its {name} is {part}, not a chest.")
    return None


def other_part(description: str) -> str:
    """Return the word for a part of the body other than the chest in a text; empty where there is none, or the chest.

    >>> other_part("HAND"), other_part("CHEST AND ABDOMEN"), other_part("SPECIAL")
    ('HAND', '', '')
    """
    words = _words(description)
    return "" if _is_chest(words) else _other_part(words)


def is_for_processing(header: Dataset) -> bool:
    """Return whether it holds raw detector data, by its Presentation Intent Type or SOP class."""
    intent, sop_class = (text(header, keyword) for keyword in ("PresentationIntentType", "SOPClassUID"))
    return intent == "FOR PROCESSING" or sop_class == _FOR_PROCESSING


def other_body_part(header: Dataset) -> tuple[str, str]:
    """Return the attribute that names a part of the body other than the chest, and the part; empty where none does."""
    for name, words in _body_parts(header):
        if _is_chest(words):
            return "", ""
        part = _other_part(words)
        if part:
            return name, part
    return "", ""


def _body_parts(header: Dataset) -> list[tuple[str, list[str]]]:
    """Return each attribute that names the part of the body, with its words, the most reliable attribute first."""
    parts = [(name, _words(" ".join(map(str, values_of(header, keyword))))) for keyword, name in _PARTS]
    regions = " ".join(text(item, "CodeMeaning") for item in items_of(header, "AnatomicRegionSequence"))
    parts.insert(1, ("Anatomic Region (0008,2218)", _words(regions)))
    return parts


def _words(value: str) -> list[str]:
    """Return the words of a text in capitals, without accents, digits and signs."""
    plain = unicodedata.normalize("NFKD", value).upper()
    return re.findall(r"[A-Z]+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


def _is_chest(words: list[str]) -> bool:
    return any(_SIDES.sub("", word).startswith(_CHEST) or word.startswith(_CHEST) for word in words)


def _other_part(words: list[str]) -> str:
    """Return the word for another part of the body, empty if there is none."""
    whole = "".join(words)  # C-SPINE, SI JOINT
    for word in (whole, *words):
        for form in (word, _SIDES.sub("", word)):
            for part in (form, form.removesuffix("S"), form.removesuffix("ES")):
                if part in _OTHER:
                    return part
    return next((word for word in words if word.startswith(("ABDOM", "MAMM", "VERTEB", "LUMB", "SACR"))), "")


def view_of(header: Dataset) -> str:
    """Return the view in capitals: View Position, else View Code Sequence's; empty if both are."""
    view = " ".join(_words(plain_text(header, "ViewPosition")))
    return view or next((view for item in items_of(header, "ViewCodeSequence") if (view := _coded_view(item))), "")


def _coded_view(item: Dataset) -> str:
    scheme = text(item, "CodingSchemeDesignator")
    concept = ConceptCode(text(item, "CodeValue"), "SRT" if scheme in _OLD_SNOMED else scheme, "")
    return next((view for view_code, view in _VIEWS if concept == view_code), "")


def is_lateral(header: Dataset) -> bool:
    """Return whether it is a lateral view: by its view, else its Series Description, else its Patient Orientation."""
    view = set(view_of(header).split())
    words = view or set(_words(text(header, "SeriesDescription")))
    if view or words & (_LATERAL | _NOT_LATERAL):
        return bool(words & _LATERAL) and not words & _NOT_LATERAL
    # rows and columns run to anterior or posterior, and to head or feet (PS3.3 C.7.6.1.1.1): a sagittal projection
    directions = {str(value)[:1] for value in values_of(header, "PatientOrientation")}
    return len(directions) == 2 and bool(directions & {"A", "P"}) and bool(directions & {"H", "F"})
