"""Every error that a user can cause, each with a code that never changes.

An error says what was wrong, where, and what to do about it. Scripts match on ``error.code`` (also printed in
brackets by ``cxr-monai``, and written to ``<result>.errors.csv``); people read the sentence. ``docs/errors.md`` lists
the codes, and a test keeps that page complete.
"""

from enum import StrEnum
from pathlib import Path

__all__ = ["Code", "CxrError", "RadiographError", "SettingError", "StorageError", "UsageError"]


class Code(StrEnum):
    """Stable error codes. Never rename one: scripts match on them."""

    # wrong use of a command
    USAGE = "usage"
    OUTPUT_EXISTS = "output-exists"
    # tables
    MANIFEST_INVALID = "manifest-invalid"
    MANIFEST_NOT_FOUND = "manifest-not-found"
    SOURCE_INVALID = "source-invalid"
    IMAGES_AMBIGUOUS = "images-ambiguous"
    IMAGES_MISSING = "images-missing"
    UNKNOWN_FINDING = "unknown-finding"
    SCHEME_INVALID = "scheme-invalid"
    SPLIT_INVALID = "split-invalid"
    PATIENT_LEAK = "patient-leak"
    PATIENTS_UNKNOWN = "patients-unknown"
    # predictions and what is made of them
    PREDICTIONS_INVALID = "predictions-invalid"
    EVALUATION_INVALID = "evaluation-invalid"
    CALIBRATION_INVALID = "calibration-invalid"
    PATIENTS_SHARED = "patients-shared"
    OVERLAPPING_SOURCES = "overlapping-sources"
    # maps of what a network looked at
    MAPS_INVALID = "maps-invalid"
    BOXES_INVALID = "boxes-invalid"
    IMAGES_SEEN = "images-seen"
    # one radiograph
    RADIOGRAPH_NOT_FOUND = "radiograph-not-found"
    RADIOGRAPH_EMPTY = "radiograph-empty"
    RADIOGRAPH_TRUNCATED = "radiograph-truncated"
    RADIOGRAPH_NOT_AN_IMAGE = "radiograph-not-an-image"
    RADIOGRAPH_SEVERAL_FRAMES = "radiograph-several-frames"
    RADIOGRAPH_COLOUR = "radiograph-colour"
    RADIOGRAPH_WRONG_MODALITY = "radiograph-wrong-modality"
    RADIOGRAPH_FOR_PROCESSING = "radiograph-for-processing"
    RADIOGRAPH_CONSTANT = "radiograph-constant"
    RADIOGRAPH_NAN = "radiograph-nan"
    RADIOGRAPH_UNDECODABLE = "radiograph-undecodable"
    RADIOGRAPH_DIMENSIONS = "radiograph-dimensions"
    RADIOGRAPH_AMBIGUOUS = "radiograph-ambiguous"
    # films that are not for a network
    GATE_LATERAL = "gate-lateral"
    GATE_VIEW = "gate-view"
    GATE_HEADER = "gate-header"
    GATE_ROTATED = "gate-rotated"
    GATE_MIRRORED = "gate-mirrored"
    GATE_INVERTED = "gate-inverted"
    GATE_CHILD = "gate-child"
    GATE_CLIPPED = "gate-clipped"
    GATE_BLURRED = "gate-blurred"
    GATE_CROPPED = "gate-cropped"
    GATE_UNLIKE_TRAINING = "gate-unlike-training"
    GATE_NOT_A_RADIOGRAPH = "gate-not-a-radiograph"
    GATE_DUPLICATE = "gate-duplicate"
    GATE_INVALID = "gate-invalid"
    GATE_MISSING = "gate-missing"
    # bundles, settings, weights
    BUNDLE_INVALID = "bundle-invalid"
    BUNDLE_DISAGREES = "bundle-disagrees"
    BUNDLE_INCOMPATIBLE = "bundle-incompatible"
    EXPORT_DIFFERS = "export-differs"
    OVERRIDE_UNKNOWN = "override-unknown"
    SETTING_INVALID = "setting-invalid"
    WEIGHTS_MISSING = "weights-missing"
    WEIGHTS_MISMATCH = "weights-mismatch"
    WEIGHTS_UNSAFE = "weights-unsafe"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    DOWNLOAD_FAILED = "download-failed"
    # bundles between hospitals
    BUNDLE_INCOMPLETE = "bundle-incomplete"
    BUNDLE_PRIVATE = "bundle-private"
    BUNDLE_REFUSED = "bundle-refused"
    BUNDLE_ALTERED = "bundle-altered"
    BUNDLE_OLDER = "bundle-older"
    BUNDLE_UNTRUSTED = "bundle-untrusted"
    ARCHIVE_INVALID = "archive-invalid"
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_INVALID = "signature-invalid"
    SIGNER_UNKNOWN = "signer-unknown"
    KEY_INVALID = "key-invalid"
    LINEAGE_INVALID = "lineage-invalid"
    # running
    CHECKPOINT_DAMAGED = "checkpoint-damaged"
    DESTINATION_REFUSED = "destination-refused"
    DESTINATION_UNREACHABLE = "destination-unreachable"
    DISK_FULL = "disk-full"
    NO_IMAGES = "no-images"
    NOT_FINITE = "not-finite"
    OUTPUT_LOCKED = "output-locked"
    PREFLIGHT_FAILED = "preflight-failed"
    RESULT_IMPOSSIBLE = "result-impossible"
    RESULT_INCOMPLETE = "result-incomplete"
    RESUME_DIFFERS = "resume-differs"
    RUN_FAILED = "run-failed"
    RUNTIME_MISSING = "runtime-missing"
    STUDY_CHANGED = "study-changed"
    STUDY_FAILED = "study-failed"
    STUDY_INVALID = "study-invalid"
    SYSTEM_ERROR = "system-error"
    TOO_FEW_PATIENTS = "too-few-patients"
    TRACKING_FAILED = "tracking-failed"
    TRACKING_REFUSED = "tracking-refused"
    WRITE_FAILED = "write-failed"


class CxrError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        code: the stable code.
        message: what is wrong, naming the offending value and what is allowed.
        fix: what the user can do about it, as a full sentence.
        where: the file, row or setting concerned.

    >>> print(CxrError(Code.USAGE, "no such bundle.", fix="List them.", where="a/b"))
    a/b: no such bundle. List them.
    """

    def __init__(self, code: Code, message: str, *, fix: str | None = None, where: str | Path | None = None) -> None:
        self.code = Code(code)
        self.message = message
        self.fix = fix
        self.where = None if where is None else str(where)
        super().__init__(code, message)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple:
        # pickled whole, so that an error raised in a worker process arrives with its fix and its place
        return _rebuild, (type(self), self.code, self.message, self.fix, self.where)


def _rebuild(kind: type["CxrError"], code: Code, message: str, fix: str | None, place: str | None) -> "CxrError":
    return kind(code, message, fix=fix, where=place)


def ours(error: BaseException | None) -> CxrError | None:
    """Return the :class:`CxrError` among the causes of an error that MONAI or others raised; None if there is none.

    >>> try:
    ...     raise ValueError("wrapped") from SplitError(Code.SPLIT_INVALID, "no split.")
    ... except ValueError as error:
    ...     print(ours(error).code)
    split-invalid
    """
    while error is not None and not isinstance(error, CxrError):
        error = error.__cause__ or error.__context__
    return error


class UsageError(CxrError):
    """A command was called with words that it cannot take (exit status 2)."""


class ManifestError(CxrError):
    """A table of images is not what it must be."""


class SplitError(CxrError):
    """A split cannot be made as asked, or puts one patient on two sides."""


class RadiographError(CxrError):
    """One image file cannot be read as a chest radiograph."""


class GateError(CxrError):
    """A bundle's gate is damaged, missing where it is needed, or cannot be fitted."""


class BundleError(CxrError):
    """A bundle's folder is incomplete, or its parts contradict each other."""


class SharingError(BundleError):
    """A bundle cannot be sent as it is, or what was received is not to be trusted."""


class SettingError(CxrError):
    """A setting or override does not exist or has a value that it cannot have."""


class WeightsError(CxrError):
    """Weights are missing, unsafe to load, or belong to another network."""


class DownloadError(CxrError):
    """A file could not be fetched, or is not the file it should be."""


class EvaluationError(CxrError):
    """Predictions cannot be judged as asked, or what was fitted on them is not what it must be."""


class TrainingError(CxrError):
    """A training or evaluation cannot start or go on."""


class StudyError(CxrError):
    """A study is not what it must be, not the one that its folder holds, or has nothing to compare."""


class StorageError(TrainingError):
    """A file cannot be written: the disk is full, or does not work."""
