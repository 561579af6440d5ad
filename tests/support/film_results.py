"""Answers about films as plain values, as the builders of result objects take them, and films to go with them."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from cxr_monai.labels import NIH14
from cxr_monai.objects import FilmResult, FindingResult, GateResult, ModelIdentity, SourceFilm

MODEL = ModelIdentity("chest_demo", "0.4.2", "0123456789abcdef" * 4, "youden", library="1.0")
ACCEPTED = GateResult("accept", mode="refuse")
REVIEWED = GateResult("review", "gate-rotated", "The film is turned.", "rotated: 4; expected 0", "review")
REFUSED = GateResult("refuse", "gate-lateral", "A lateral film: not for this model.", "view: L; expected PA", "refuse")
NO_GATE = GateResult(sentence="The bundle has no gate.")

BARE_HEADER = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "SOPInstanceUID": "1.2.3.4",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.1",
}
"""What a film must have for a result to refer to it."""

HEADER = {
    **BARE_HEADER,
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Jörg",
    "PatientID": "P1",
    "PatientBirthDate": "19600102",
    "PatientSex": "M",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "ContentDate": "20260102",
    "ContentTime": "101500",
    "ReferringPhysicianName": "House^Gregory",
    "Modality": "DX",
    "Manufacturer": "Some X-ray maker",
    "InstitutionName": "Some hospital",
    "Rows": 40,
    "Columns": 30,
}


def film_content(header: Mapping[str, Any] = HEADER, is_implicit: bool = False) -> bytes:
    """Return a DICOM file of a header, without pixels; in implicit little endian if wanted."""
    from pydicom import FileDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = header["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = header["SOPInstanceUID"]
    film = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    for keyword, value in header.items():
        setattr(film, keyword, value)
    stream = BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def film_result(
    findings: Sequence[FindingResult] | None = None,
    header: Mapping[str, Any] = HEADER,
    gate: GateResult = ACCEPTED,
    model: ModelIdentity = MODEL,
) -> FilmResult:
    """Return an answer about a film of 40 x 30 pixels: of NIH's 14 findings where none are given."""
    values = nih_findings() if findings is None else findings
    picture = np.linspace(0, 255, 1200).astype(np.uint8).reshape(40, 30)
    return FilmResult(SourceFilm.read(film_content(header)), model, gate, values, picture)


def nih_findings() -> list[FindingResult]:
    """Return answers about NIH's 14 findings.

    The first has a map and is over its point; the second has a map that is 0 everywhere; the third has no point; the
    others are below theirs. Every other one is calibrated.
    """
    grid = np.zeros((40, 30), np.float32)
    grid[10:20, 5:15] = 1
    first = FindingResult(NIH14[0], 0.875, 0.5, True, grid)
    second = FindingResult(NIH14[1], 0.7, 0.6, False, np.zeros_like(grid))
    third = FindingResult(NIH14[2], 0.9, None, True)
    others = (FindingResult(name, 0.1 + index / 1000, 0.3, index % 2 == 0) for index, name in enumerate(NIH14[3:]))
    return [first, second, third, *others]
