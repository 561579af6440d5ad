"""Patients of a calibration and of a training: figures are refused for patients that were used for fitting.

Their identifiers never go into a bundle; salted hashes of them are written beside it (``OUT/bundle.patients.json``), on
the disk of those who have the identifiers anyway.

A patient is ``<collection><TAB><identifier>`` (`cxr_monai.data.overlaps.patient_keys`), or an identifier alone where
the collection of films is not known. A list of one collection holds hashes of identifiers alone, as lists did before
collections were written down; one of several holds hashes of both. Where one side does not know the collection (an old
list, a ``source`` that tells nothing), the identifier decides: two people may count as one, but never one as two.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import VAGUE_SOURCES, patient_keys, patient_names
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.sample import Sample
from cxr_monai.origins import PHANTOM_SOURCE
from cxr_monai.plurals import counted

_NOT_KNOWN = (
    "Whether patients of the calibration are among those reported on could not be checked: a manifest does not tell "
    "whose films they are."
)


class _Fitted(Protocol):
    @property
    def fitted_on(self) -> Mapping[str, Any]: ...


def remember_patients(
    fitted: _Fitted,
    sample: Sample,
    bundle: str | Path,
    trained_on: Iterable[str] = (),
    copy_of: str | Path | None = None,
) -> None:
    """Write salted hashes of patients beside a bundle, never into it: for `refuse_shared` and `patients_trained_on`.

    Args:
        fitted, sample: a calibration and what it was fitted on.
        bundle: the list goes beside it.
        trained_on: patients that its network was trained on, as `patients_trained_on` takes them; none are written
            where the calibration's manifest does not know patients, since such a list would prove nothing.
        copy_of: the bundle that this one is a copy of; its list of those is carried over, for equal weights.

    Raises:
        EvaluationError: ``calibration-invalid`` if the list beside ``copy_of`` cannot be read.
    """
    salt = fitted.fitted_on["patients_digest"]
    content = {
        "_desc_": "Salted hashes of the patients that the bundle was trained on and its calibration fitted on. Do not "
        "send this along.",
        "patients_digest": salt,
        **_hashed(_keys(sample.table), salt),
    }
    training = _hashed(trained_on if _knows_patients(fitted) else (), salt)
    before = _training_list(copy_of) if copy_of is not None else None
    if training["patients"]:
        content["trained_on"] = {"salt": salt, **training}
    elif before is not None:
        content["trained_on"] = before
    path = _beside(bundle)
    write_durably(path, (json.dumps(content) + "\n").encode())
    path.chmod(0o600)


def copy_patients(bundle: str | Path, copy: str | Path) -> None:
    """Copy the list beside a bundle, where there is one, for a copy of equal weights and calibration.

    Args:
        bundle: the list lies beside it.
        copy: the other bundle's folder.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    path = _beside(bundle)
    if path.is_file():
        write_durably(_beside(copy), path.read_bytes())
        _beside(copy).chmod(0o600)


def patients_trained_on(bundle: str | Path, patients: Iterable[str]) -> set[str] | None:
    """Return those of some patients that a bundle was trained on, by the list beside it; None where there is no list.

    Args:
        bundle: the list is looked for beside it.
        patients: of `cxr_monai.data.overlaps.patient_keys`; or identifiers alone, of which those of other people with
            the same identifiers count as the same.

    Raises:
        EvaluationError: ``calibration-invalid`` if the list cannot be read.
    """
    listed = _training_list(bundle)
    if listed is None:
        return None
    return _in_list(patients, listed, listed["salt"])


def _read_list(bundle: str | Path) -> dict[str, Any] | None:
    """Return ``patients_digest``, ``patients`` and ``trained_on`` of the list beside a bundle; None without a list.

    Raises:
        EvaluationError: ``calibration-invalid`` if it cannot be read.
    """
    path = _beside(bundle)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        trained = content.get("trained_on")
        return {
            "patients_digest": str(content["patients_digest"]),
            **_hashes_in(content),
            "trained_on": None if trained is None else {"salt": str(trained["salt"]), **_hashes_in(trained)},
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise EvaluationError(
            Code.CALIBRATION_INVALID,
            f"this is not a list of a bundle's patients ({error}).",
            fix="Bring back the list that was written with the bundle; without one it is only not known who they were.",
            where=path,
        ) from error


def _training_list(bundle: str | Path) -> dict[str, Any] | None:
    listed = _read_list(bundle)
    return None if listed is None else listed["trained_on"]


def refuse_shared(fitted: _Fitted, sample: Sample, manifest: Manifest, bundle: str | Path | None = None) -> list[str]:
    """Refuse to report on patients that a calibration was fitted on.

    With ``bundle``'s list of hashed patients beside it the answer is exact. Without, patients are shared if the set is
    the same, or if the split is the same and an image comes from a part that was fitted on. Where a manifest does not
    know its patients, what is shared is refused all the same, but nothing shows that none are.

    Args:
        fitted: a calibration.
        sample: the images to report on.
        manifest: where they come from.
        bundle: the calibration's; its list of patients is looked for beside it.

    Returns:
        a sentence where it could not be checked; empty where it was.

    Raises:
        EvaluationError: ``patients-shared``, with how many; ``calibration-invalid`` if the list cannot be read.
    """
    fitted_on = fitted.fitted_on
    patients = patients_of(sample)
    unproven = [] if manifest.patients == "known" and _knows_patients(fitted) else [_NOT_KNOWN]
    listed = _read_list(bundle) if bundle is not None else None
    if listed is not None and listed["patients_digest"] == fitted_on.get("patients_digest"):
        shared = _in_list(_keys(sample.table), listed, listed["patients_digest"])
        if shared:
            raise shared_error(len(shared), len(patients))
        return unproven
    if fitted_on.get("patients_digest") == hashlib.sha256("\n".join(patients).encode()).hexdigest():
        raise shared_error(len(patients), len(patients))
    same_split = (
        manifest.split is not None and fitted_on.get("split") and fitted_on["split"]["digest"] == manifest.split.digest
    )
    parts = set(fitted_on.get("parts", {})) - {"no split"}
    if same_split and parts:
        inside = sample.table["split"].isin(parts)
        if inside.any():
            raise shared_error(patient_names(sample.table)[inside].nunique(), len(patients))
        return unproven
    return unproven or [
        "Whether patients of the calibration are among those reported on could not be checked: it was fitted with "
        "another manifest, and no list of its patients lies beside the bundle."
    ]


def patient_remarks(manifest: Manifest) -> list[str]:
    """Return what to mind where a manifest does not know whose films it has; nothing where it does.

    Args:
        manifest: of the films that are judged.
    """
    remarks = {
        "unknown": "Whose films these are is not known: intervals take each film for a patient and may be too narrow, "
        "and nothing shows that no patient was both learned from, or fitted on, and judged.",
        "assumed": "That each film is of another patient is the word of whoever made the manifest.",
    }
    return [remarks[manifest.patients]] if manifest.patients in remarks else []


def shared_error(shared: int, patients: int) -> EvaluationError:
    """Return the error for patients that are in both sets.

    Args:
        shared: how many.
        patients: number of patients to be reported on.
    """
    return EvaluationError(
        Code.PATIENTS_SHARED,
        f"{shared:,} of the {counted(patients, 'patient')} to be reported on are patients that thresholds and "
        "calibration were fitted on.",
        fix="Report on others (--split test), or fit on others (--fit).",
    )


def patients_of(sample: Sample) -> list[str]:
    """Return the names of a sample's patients, sorted: see `cxr_monai.data.overlaps.patient_names`."""
    return sorted(set(patient_names(sample.table)))


def _knows_patients(fitted: _Fitted) -> bool:
    return fitted.fitted_on.get("patients_known") is not False


def _keys(table: pd.DataFrame) -> set[str]:
    return set(patient_keys(table) if "source" in table else table["patient_id"])


def _collection_and_identifier(patient: str) -> tuple[str | None, str]:
    collection, tab, identifier = patient.partition("\t")
    return (collection, identifier) if tab else (None, patient)


def _hashed(patients: Iterable[str], salt: str) -> dict[str, list[str]]:
    """Return the content of a list: ``patients``, hashes, and ``collections`` if they are known."""
    parts = {_collection_and_identifier(patient) for patient in patients}
    collections = sorted({collection for collection, _ in parts if collection is not None})
    texts = {f"{collection}\t{name}" if len(collections) > 1 else name for collection, name in parts}
    known = {"collections": collections} if collections else {}
    return {"patients": sorted(_hash(text, salt) for text in texts), **known}


def _hashes_in(content: Mapping[str, Any]) -> dict[str, list[str]]:
    known = {"collections": list(map(str, content["collections"]))} if "collections" in content else {}
    return {"patients": list(map(str, content["patients"])), **known}


def _in_list(patients: Iterable[str], listed: Mapping[str, Any], salt: str) -> set[str]:
    """Return those of some patients that stand in a list."""
    hashes, collections = set(listed["patients"]), listed.get("collections")

    def texts(collection: str | None, name: str) -> list[str]:
        if collections is None:
            return [name]
        alike = [other for other in collections if _may_be_one(other, collection)]
        return [f"{other}\t{name}" if len(collections) > 1 else name for other in alike]

    return {
        patient
        for patient in set(patients)
        if any(_hash(text, salt) in hashes for text in texts(*_collection_and_identifier(patient)))
    }


def _may_be_one(first: str, second: str | None) -> bool:
    """Return whether two collections are the same, or may be: phantoms may have been given a hospital's name since."""
    vague = (*VAGUE_SOURCES, PHANTOM_SOURCE, None)
    return first == second or first in vague or second in vague


def _hash(text: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\t{text}".encode()).hexdigest()[:24]


def _beside(bundle: str | Path) -> Path:
    bundle = Path(bundle).resolve()
    return bundle.with_name(f"{bundle.name}.patients.json")
