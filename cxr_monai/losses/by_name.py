"""The setting ``loss``: losses by name, and the settings that a loss cannot be combined with."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.losses.auc_margin import AUCMarginLoss
from cxr_monai.losses.class_weights import LabelCounts, class_balanced, weighted_bce
from cxr_monai.losses.focusing import AsymmetricLoss, FocalLoss
from cxr_monai.losses.masked import MaskedBCEWithLogitsLoss
from cxr_monai.losses.soft_target import SoftTargetLoss


def _bce(label_smoothing: float = 0.0) -> MaskedBCEWithLogitsLoss:
    return MaskedBCEWithLogitsLoss(label_smoothing=label_smoothing)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "bce": _bce,
    "weighted_bce": weighted_bce,
    "focal": FocalLoss,
    "asymmetric": AsymmetricLoss,
    "class_balanced": class_balanced,
    "auc_margin": AUCMarginLoss,
    "soft_target": SoftTargetLoss,
}
"""All losses; docs/heads-and-losses.md describes them."""

_REFUSED: dict[str, dict[str, str]] = {
    "auc_margin": {
        "label_smoothing": "it compares positives with negatives, and no score is drawn to a label",
        "mixup": "a label between 0 and 1 is neither a positive nor a negative",
        "accumulate": "it compares the images of a whole batch with each other",
    },
    "soft_target": {"mixup": "the labels would be mixed, not the targets that are made of them"},
}


def training_loss(
    name: str = "bce",
    counts: LabelCounts = (),
    label_smoothing: float = 0.0,
    head: str = "sigmoid",
    mixup: float = 0.0,
    accumulate: int = 1,
    **options: Any,
) -> nn.Module:
    """Return the loss of a training.

    Args:
        name: one of :data:`LOSSES`.
        counts: how many images of the training part have each finding, and have it not (``data.dataset.label_counts``).
        label_smoothing: see ``MaskedLoss``.
        head, mixup, accumulate: the training's settings, to refuse what cannot be combined.
        options: of the loss, such as ``gamma``; the papers' values by default.

    Raises:
        SettingError: ``setting-invalid`` for an unknown name, a value out of range, or settings that cannot be
            combined; ``override-unknown`` for an option that the loss does not have.

    >>> import torch
    >>> loss = training_loss("bce")
    >>> round(float(loss(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]))), 4)
    0.6931
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise SettingError(
            Code.SETTING_INVALID,
            f"--loss {name!r}: it must be one of {', '.join(LOSSES)}.",
            fix="Another loss is a component of its own: --loss_function \"{'_target_': ...}\".",
        )
    if (name == "soft_target") != (head == "softmax"):
        raise SettingError(
            Code.SETTING_INVALID,
            f"--loss {name} with --head {head}: a softmax is trained with soft targets, since an image with several "
            "findings has several positives, and no other head is.",
            fix="Add --loss soft_target." if head == "softmax" else "Add --head softmax, or choose another loss.",
        )
    enabled: Mapping[str, bool] = {
        "label_smoothing": bool(label_smoothing),
        "mixup": bool(mixup),
        "accumulate": accumulate > 1,
    }
    for setting, why in _REFUSED.get(name, {}).items():
        if enabled[setting]:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--loss {name} does not go with --{setting}: {why}.",
                fix=f"Leave --{setting} out, or choose another loss.",
            )
    make = LOSSES[name]
    takes = set(inspect.signature(make).parameters)
    common = {"counts": counts, "label_smoothing": label_smoothing}
    loss_options = sorted(takes - set(common))
    unknown = [option for option in options if option not in loss_options]
    if unknown:
        raise SettingError(
            Code.OVERRIDE_UNKNOWN,
            f"--loss {name} has no --loss_function#{unknown[0]}.",
            fix="It has "
            f"{', '.join(f'--loss_function#{option}' for option in loss_options) or 'no settings of its own'}.",
        )
    return make(**{key: value for key, value in common.items() if key in takes}, **options)
