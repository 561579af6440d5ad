"""A synthetic radiograph as a DICOM file, as a digital X-ray machine would send it.

Digital X-Ray Image Storage - For Presentation (PS3.3 A.26), without an error by dciodvfy: MONOCHROME2, 12 bits in 16,
explicit little endian. The patient is invented and says so in the name. Dates and identifiers follow from the seed, so
that files are reproducible.
"""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from cxr_monai.data.phantom.anatomy import Field
from cxr_monai.data.phantom.cohort import Study
from cxr_monai.data.views import LATERAL

_WHITE = 4095  # 12 bits


def write_dicom(folder: Path, study: Study, pixels: Field, seed: int, spacing_mm: float) -> Path:
    """Write a film as ``folder/<patient>/<image>.dcm`` and return that path.

    Args:
        folder: gets a folder for each patient.
        study: whose patient, view and date the header has.
        pixels: float32 ``[H, W]``, 0 to 1.
        seed: of the identifiers.
        spacing_mm: distance of pixel centres.
    """
    from cxr_monai.data.formats.dicom_library import (
        Dataset,
        DigitalXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        FileDataset,
        FileMetaDataset,
        codes,
        generate_uid,
    )

    def uid(*parts: object) -> str:
        return str(generate_uid(entropy_srcs=["cxr-monai phantom", *map(str, (seed, *parts))]))

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid(study.image)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{study.patient_id:08d}" / f"{Path(study.image).stem}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    day, clock = _taken_on(study)
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator = codes.SCT.Chest.value, codes.SCT.Chest.scheme_designator
    region.CodeMeaning = codes.SCT.Chest.meaning
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": uid(study.patient, study.index, "study"),
        "SeriesInstanceUID": uid(study.patient, study.index, "series"),
        "PatientName": f"SYNTHETIC^PHANTOM {study.patient_id:08d}",
        "PatientID": f"PHANTOM{study.patient_id:08d}",
        "PatientBirthDate": "",
        "PatientSex": study.sex,
        "PatientAge": f"{study.age:03d}Y" if study.age else "006M",
        "StudyDate": day,
        "StudyTime": clock,
        "ContentDate": day,
        "ContentTime": clock,
        **({"AcquisitionDate": day, "AcquisitionTime": clock} if study.taken_on else {}),
        "AccessionNumber": f"{study.patient_id:08d}{study.index:03d}",
        "ReferringPhysicianName": "",
        "StudyID": str(study.index),
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Modality": "DX",
        "Manufacturer": "cxr-monai phantom",
        "InstitutionName": "No hospital: synthetic images",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "LL" if study.view == LATERAL else study.view,  # PS3.3 C.8.1.1
        "AnatomicRegionSequence": [region],
        "PatientOrientation": ["A", "F"] if study.view == LATERAL else ["L", "F"],
        "ImageLaterality": "U",
        "ImageType": ["DERIVED", "PRIMARY"],
        "DerivationDescription": "drawn by a program; shows no patient",
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY",
        "WindowCenter": 2047.5,
        "WindowWidth": 4096,
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "DetectorType": "",  # none of it is known of a drawing: type 2
        "PositionerType": "",
        "AcquisitionContextSequence": [],
        "ImagerPixelSpacing": [round(spacing_mm, 6)] * 2,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    for keyword, value in values.items():
        setattr(header, keyword, value)
    header.PixelData = np.round(pixels * _WHITE).astype("<u2").tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def _taken_on(study: Study) -> tuple[str, str]:
    """Return the date and time of a film as DICOM writes them."""
    if study.taken_on:
        moment = datetime.fromisoformat(study.taken_on)
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    day = date(2000, 1, 1) + timedelta(days=(study.patient * 37) % 2000 + 90 * study.index)
    return day.strftime("%Y%m%d"), "120000"
