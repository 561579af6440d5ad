"""What all result objects have in common: patient and study of the film, their series, and the equipment.

    made = begun(result, ResultKind.PICTURE, SecondaryCaptureImageStorage)      # of pydicom alone
    made = ...     # of highdicom, which is given reference_film(result.source), series_arguments(result, kind)
    result_object = finished(made, result, ResultKind.MAPS)

Patient and study are put in by :func:`finished`, byte by byte as they were received, and highdicom never sees them: it
refuses names without a caret and dates that are none, and quotes names in its warnings.
"""

import math
from collections.abc import Iterable, Mapping, MutableSequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

from cxr_monai.errors import Code, CxrError
from cxr_monai.objects.film_result import FilmResult, ResultKind, ResultObject
from cxr_monai.objects.finding_codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME
from cxr_monai.objects.result_marks import MANUFACTURER
from cxr_monai.objects.result_uids import derived_uid

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

    from cxr_monai.objects.source_film import SourceFilm

LONG_STRING = 64
"""Characters of a value of LO (PS3.5 6.2)."""

_EMPTY_IF_UNKNOWN = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
"""Type 2 of the modules Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1)."""

_WHERE_KNOWN = ("IssuerOfPatientID", "StudyDescription")
"""Type 3; the patient's age and weight stand with the film, and are often malformed."""


_UNKNOWN_DAY, _MIDNIGHT = "19000101", "000000"
"""Of the objects of a film whose header has no date: they must have one."""


@dataclass(frozen=True)
class _Series:
    number: int
    description: str


_SERIES = {
    ResultKind.REPORT: _Series(9701, "AI report, not a medical device"),
    ResultKind.PICTURE: _Series(9702, "AI picture, not a medical device"),
    ResultKind.CONTOURS: _Series(9703, "AI contours, not a medical device"),
    ResultKind.MAPS: _Series(9704, "AI maps, not a medical device"),
}


def series_arguments(result: FilmResult, kind: ResultKind) -> dict[str, Any]:
    """Return what highdicom's constructors want to know of instance, series and equipment, by argument.

    Args:
        result: of one film.
        kind: of the object; each has a series a bundle in the film's study.
    """
    series, study = _SERIES[kind], str(result.source.header.StudyInstanceUID)
    return {
        "series_instance_uid": derived_uid("series", study, result.model.digest, kind),
        "series_number": series.number,
        "series_description": series.description,
        "sop_instance_uid": result.uid_of(kind),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(result.model.name),
        "software_versions": _software(result),
        "device_serial_number": long_string(result.model.digest),
    }


def begun(result: FilmResult, kind: ResultKind, sop_class: str) -> "Dataset":
    """Return a data set with the attributes of :func:`series_arguments` and its file meta information.

    Args:
        result: of one film.
        kind: of the object.
        sop_class: SOP Class UID.
    """
    from cxr_monai.data.formats.dicom_library import ExplicitVRLittleEndian, FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    arguments = series_arguments(result, kind)
    values = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": arguments["sop_instance_uid"],
        "SeriesInstanceUID": arguments["series_instance_uid"],
        "SeriesNumber": arguments["series_number"],
        "SeriesDescription": arguments["series_description"],
        "InstanceNumber": arguments["instance_number"],
        "Laterality": "",  # a chest is not paired (PS3.3 C.7.3.1)
        "Manufacturer": arguments["manufacturer"],
        "ManufacturerModelName": arguments["manufacturer_model_name"],
        "SoftwareVersions": arguments["software_versions"],
        "DeviceSerialNumber": arguments["device_serial_number"],
    }
    set_values(made, values)
    return made


def set_values(made: "Dataset", values: Mapping[str, Any]) -> None:
    """Set attributes of a data set, by keyword."""
    for keyword, value in values.items():
        setattr(made, keyword, value)


def item_of(**values: Any) -> "Dataset":
    """Return an item of a sequence, of values by keyword."""
    from pydicom import Dataset

    item = Dataset()
    set_values(item, values)
    return item


def pixel_aspect(header: "Dataset") -> float:
    """Return the height of a film's pixel as a multiple of its width; 1 where the header does not say."""
    from cxr_monai.data.formats.dicom_values import numbers

    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        spacing = numbers(header, keyword)
        if len(spacing) == 2 and all(0 < value < math.inf for value in spacing):
            return min(5.0, max(0.2, spacing[0] / spacing[1]))
    return 1.0


def long_string(text: str) -> str:
    """Return a text as a value of LO can hold it: at most 64 characters, in one line, without a backslash.

    >>> long_string("a\\\\b\\n" + "c" * 99) == "a/b " + "c" * 60
    True
    """
    return " ".join(text.replace("\\", "/").split())[:LONG_STRING].strip() or "unknown"


def reference_film(source: "SourceFilm") -> "Dataset":
    """Return a film as highdicom may refer to it: its UIDs, modality and size, and no value of its patient.

    highdicom reads attributes that the kind of object of the film would have; here every film is a Secondary Capture,
    which need not have any, and :func:`refer_to` writes the film's own SOP Class into the references.
    """
    from pydicom.uid import SecondaryCaptureImageStorage

    header = source.header
    reference = item_of(**dict.fromkeys(_EMPTY_IF_UNKNOWN), SOPClassUID=SecondaryCaptureImageStorage)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "Modality"):
        setattr(reference, keyword, header.get(keyword))
    return reference


def private_coding_scheme() -> "Dataset":
    """Return the item that says whose the private codes are (PS3.3 C.12.1.1.1); objects with such codes have it."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(PRIVATE_SCHEME, PRIVATE_SCHEME_NAME, responsible_organization=MANUFACTURER)


def refer_to(made: "Dataset", source: "SourceFilm") -> None:
    """Write a film's own SOP Class into all references to it.

    Args:
        made: of :func:`reference_film`; it is changed.
        source: the film.
    """
    header = source.header

    def write(item: "Dataset", element: "DataElement") -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value == header.SOPInstanceUID:
            item.ReferencedSOPClassUID = header.SOPClassUID

    made.walk(write)


def finished(made: "Dataset", result: FilmResult, kind: ResultKind) -> ResultObject:
    """Return the object of a data set that has everything but patient, study and equipment.

    Args:
        made: with its file meta information; it is changed.
        result: of the film whose patient and study it gets.
        kind: of the object.
    """
    from cxr_monai.data.formats.dicom_reader import without_dicom_warnings

    made.ContributingEquipmentSequence = [_equipment(result)]
    made.DeviceUID = result.model.device_uid
    _date(made, result.source.header)
    with without_dicom_warnings():  # they would quote the patient
        _copy_patient_and_study(made, result.source)
        buffer = BytesIO()
        made.save_as(buffer, enforce_file_format=True)
    return ResultObject(kind, str(made.SOPInstanceUID), str(made.SOPClassUID), buffer.getvalue())


def highdicom_needed() -> None:
    """Raise a readable error where highdicom is not installed.

    Raises:
        CxrError: ``runtime-missing``.
    """
    if find_spec("highdicom") is None:
        raise CxrError(
            Code.RUNTIME_MISSING,
            "this kind of DICOM object needs the package highdicom.",
            fix="Install it: pip install 'cxr-monai[dicom-results]'.",
        )


def _equipment(result: FilmResult) -> "Dataset":
    """Return the algorithm as an item of Contributing Equipment (PS3.3 C.12.1.1.5), as IHE's AI Results wants it."""
    from cxr_monai.data.formats.dicom_library import codes

    code = codes.DCM.ProcessingEquipment
    purpose = item_of(CodeValue=code.value, CodingSchemeDesignator="DCM", CodeMeaning=code.meaning)
    return item_of(
        PurposeOfReferenceCodeSequence=[purpose],
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=long_string(result.model.name),
        SoftwareVersions=_software(result),
        DeviceSerialNumber=long_string(result.model.digest),
        DeviceUID=result.model.device_uid,
    )


def _software(result: FilmResult) -> list[str]:
    """Return the version of the bundle, its digest (64 digits, as many as fit), and the version of the library."""
    return [long_string(result.model.version), long_string(result.model.digest), f"cxr-monai {result.model.library}"]


def _date(made: "Dataset", header: "Dataset") -> None:
    """Date an object by its film, so that it has the same bytes whenever it is built; never by the clock."""
    from cxr_monai.data.formats.dicom_library import DA, TM

    day, clock = _UNKNOWN_DAY, _MIDNIGHT
    for pair in ("Acquisition", "Content", "Series", "Study"):
        try:
            day = DA(header.get(f"{pair}Date")).isoformat().replace("-", "")
        except (AttributeError, TypeError, ValueError):  # absent, or no date
            continue
        try:
            clock = TM(header.get(f"{pair}Time")).strftime("%H%M%S")
        except (AttributeError, TypeError, ValueError):
            clock = _MIDNIGHT
        break
    for pair in ("InstanceCreation", "Content", "PresentationCreation"):
        if f"{pair}Date" in made:
            setattr(made, f"{pair}Date", day)
            setattr(made, f"{pair}Time", clock)


def _copy_patient_and_study(made: "Dataset", source: "SourceFilm") -> None:
    """Copy them as they are, malformed values too: by these bytes the archive knows the patient."""
    from pydicom.filewriter import correct_ambiguous_vr

    header = source.header
    correct_ambiguous_vr(made, True)
    is_ascii = all(text.isascii() for element in made.iterall() for text in _texts(element.value))
    made.StudyInstanceUID = str(header.StudyInstanceUID)
    for keyword in (*_EMPTY_IF_UNKNOWN, *_WHERE_KNOWN):
        if keyword in (source.received if is_ascii else header):
            made[keyword] = _as_received(source.received, keyword) if is_ascii else header[keyword]
        elif keyword in _EMPTY_IF_UNKNOWN:
            setattr(made, keyword, None)
    # words of ours that are not ASCII (a site's findings) go into UTF-8, and the patient's with them
    if not is_ascii:
        made.SpecificCharacterSet = "ISO_IR 192"
        return
    if "SpecificCharacterSet" in source.received:
        made["SpecificCharacterSet"] = _as_received(source.received, "SpecificCharacterSet")
    made.set_original_encoding(
        False, True, header.original_character_set
    )  # pydicom writes undecoded values as they are


def _texts(value: Any) -> Iterable[str]:
    """Return the texts of an attribute's value; none of numbers, sequences and bytes."""
    if isinstance(value, str):
        return (value,)
    return (text for text in value if isinstance(text, str)) if isinstance(value, MutableSequence) else ()


def _as_received(received: "Dataset", keyword: str) -> Any:
    """Return an attribute undecoded."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement

    item = received.get_item(keyword)
    # some elements, such as the character set, are decoded while a file is read
    return item._replace(VR=dictionary_VR(tag_for_keyword(keyword))) if isinstance(item, RawDataElement) else item
