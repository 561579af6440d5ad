"""Losses that leave unknown labels out, never taking them for absent findings; :func:`training_loss`: by name."""

from cxr_monai.losses.auc_margin import AUCMarginLoss
from cxr_monai.losses.by_name import LOSSES, training_loss
from cxr_monai.losses.class_weights import class_balanced, weighted_bce
from cxr_monai.losses.focusing import AsymmetricLoss, FocalLoss
from cxr_monai.losses.masked import MaskedBCEWithLogitsLoss
from cxr_monai.losses.soft_target import SoftTargetLoss

__all__ = [
    "LOSSES",
    "AUCMarginLoss",
    "AsymmetricLoss",
    "FocalLoss",
    "MaskedBCEWithLogitsLoss",
    "SoftTargetLoss",
    "class_balanced",
    "training_loss",
    "weighted_bce",
]
