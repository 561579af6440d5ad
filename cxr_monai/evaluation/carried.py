"""A bundle's calibration wherever it is carried: in ``models/calibration.json``, and in the configuration itself.

Programs that open a bundle without telling where its folder is (MONAI Deploy), or a file that was exported from it,
find no ``models/calibration.json``. So ``inference.json`` carries the calibration's numbers too (``values``). Where a
calibration should be applied and cannot be, that is reported: as a warning, in the postprocessed dictionary
(``cxr_monai.transforms.calibrate_probabilities``) and beside the predictions (``cxr_monai.bundle.about``).
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted, is_elsewhere, read_calibration
from cxr_monai.strict_json import parse_strictly

logger = logging.getLogger(__name__)

OTHER_WEIGHTS = "the weights in use are not the bundle's own, and its calibration is of those alone"


def bundle_calibration(
    path: str | Path | None,
    findings: Sequence[str],
    raw: bool = False,
    weights: str | Path | None = None,
    values: Mapping[str, Any] | None = None,
    lost: str | None = None,
) -> Fitted | None:
    """Return the calibration to apply; None for a bundle that has none.

    Args:
        path: of ``models/calibration.json``; None looks for no file.
        findings: the bundle's, in the order of the channels.
        raw: True: probabilities stay the network's.
        weights: those in use; a calibration is of the ``model.pt`` beside it and of no others.
        values: the calibration as the configuration carries it (`Fitted.carried`).
        lost: why a bundle that ought to have one has none, such as an ensemble of calibrated networks.

    Returns:
        the file's, else that of ``values``; that of ``values`` where the file is another bundle's. Where there should
        be a calibration and none can be applied, one that changes nothing, with the reason in ``lost``, and a warning
        in the log.

    Raises:
        EvaluationError: ``calibration-invalid`` for one that is damaged or of other findings.
    """
    if raw:
        return None
    file = None if path is None else Path(path)
    is_there = file is not None and file.is_file()
    if file is not None and weights is not None and Path(weights).resolve() != file.with_name("model.pt").resolve():
        return _lost(OTHER_WEIGHTS, findings) if is_there or values else None
    fitted = read_calibration(file, findings) if file is not None and is_there else None
    carried = None if values is None else _read(values, findings)
    if file is not None and fitted is not None and carried is not None and fitted.carried() != carried.carried():
        is_this_bundle = _carried_beside(file) == values
        logger.warning(
            "%s holds another calibration than the configuration carries; %s",
            file,
            "it is applied here, and not where the bundle's folder is unknown: 'cxr-monai calibrate' writes both"
            if is_this_bundle
            else "it is another bundle's (bundle_root), and left aside",
        )
        fitted = fitted if is_this_bundle else None
    if fitted is not None or carried is not None:
        return fitted if fitted is not None else carried
    if lost:
        return _lost(lost, findings)
    if file is not None and weights is not None and is_elsewhere(file, weights):
        return _lost(
            f"bundle_root ({file.parent.parent}) is not the bundle's folder, and its configuration carries none",
            findings,
        )
    logger.info("this bundle is not calibrated")
    return None


def calibration_in(
    root: Path, item: Mapping[str, Any], findings: Sequence[str], weights: Path, raw: bool = False
) -> Fitted | None:
    """Return the calibration of a bundle's folder; arguments and errors not named here as of `bundle_calibration`.

    Args:
        root: the folder.
        item: ``calibration`` of its ``inference.json``.
        findings, weights, raw: as of `bundle_calibration`.

    Raises:
        EvaluationError: ``calibration-invalid``.
    """
    file = root / "models" / "calibration.json"
    return bundle_calibration(file, findings, raw, weights, item.get("values"), item.get("lost"))


def _carried_beside(file: Path) -> Any:
    """Return the calibration in the configuration beside a ``models/calibration.json``; None if it has none."""
    config = file.parent.parent / "configs" / "inference.json"
    item = parse_strictly(config.read_bytes()).get("calibration") if config.is_file() else None
    return item.get("values") if isinstance(item, Mapping) else None


def _lost(why: str, findings: Sequence[str]) -> Fitted:
    logger.warning("these probabilities are not calibrated: %s", why)
    return Fitted(dict.fromkeys(findings, ()), {}, {}, {}, lost=why)


def _read(values: Mapping[str, Any], findings: Sequence[str]) -> Fitted:
    try:
        steps, within = values["findings"], dict(values.get("within", {}))
        if set(steps) != set(findings):
            raise ValueError(f"it is of {', '.join(steps)}, the bundle of {', '.join(findings)}")
        if not {*within, *within.values()} <= set(findings):
            raise ValueError("within names other findings")
        calibrators = {name: tuple(map(Calibrator.from_json, steps[name])) for name in findings}
    except (ValueError, KeyError, TypeError, AttributeError, EvaluationError) as error:
        raise EvaluationError(
            Code.CALIBRATION_INVALID,
            f"the calibration that the configuration carries is none of this bundle ({error}).",
            fix="'cxr-monai calibrate' writes a new one into a copy of the bundle; --raw predicts without.",
        ) from error
    return Fitted(calibrators, {}, {}, {}, within=within)
