"""The gate of a bundle that was trained just now, fitted with its best weights on the films that it was trained on.

fitter = GateFitter("auto", promise=0.01)
fitter.fit("OUT/bundle", manifest, seed=0)          # models/gate.json; None, and why in the log, for too few films
"""

import logging
from pathlib import Path

import torch

from cxr_monai.bundle.carried_gate import remove_gate
from cxr_monai.bundle.digest import file_digest
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, GateError, SettingError
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.fitting import FEWEST, PROMISE
from cxr_monai.gate.storage import write_gate
from cxr_monai.inference.gate_material import fit_gate_of
from cxr_monai.inference.model import Model
from cxr_monai.plurals import counted

logger = logging.getLogger(__name__)

WHEN = ("auto", "always", "none")


class GateFitter:
    """Fits the gate at the end of a training.

    Args:
        when: ``auto`` where there are films enough for the promise to be kept, ``always`` even where the gate then
            refuses more (an error with fewer than any gate needs), ``none`` never.
        promise: the share of films like the training's that may be refused.
        seed: of the films that are drawn where there are many, and of the folds.
        device: where the features are computed.
        amp, any_modality, num_workers: as of the training.

    Raises:
        SettingError: ``setting-invalid`` for another ``when``, or a promise that is none.
    """

    def __init__(
        self,
        when: str = "auto",
        promise: float = PROMISE,
        seed: int = 0,
        device: torch.device | str | None = None,
        amp: bool = True,
        any_modality: bool = False,
        num_workers: int | None = None,
    ) -> None:
        if when not in WHEN:
            raise SettingError(Code.SETTING_INVALID, f"--gate {when!r}: it is one of {', '.join(WHEN)}.")
        if isinstance(promise, bool) or not isinstance(promise, int | float) or not 0 < promise <= 0.5:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--gate_promise {promise!r}: it is the share of good films that may be refused, above 0 and at most "
                "0.5.",
            )
        self.when, self.promise, self.seed = when, float(promise), seed
        self.device, self.amp, self.any_modality, self.num_workers = device, amp, any_modality, num_workers

    def check(self, manifest: Manifest) -> None:
        """Refuse, before the training, a gate that is to be fitted on fewer films than any needs.

        Raises:
            GateError: ``gate-missing``.
        """
        films = _films(manifest)
        if self.when == "always" and films < FEWEST:
            raise GateError(
                Code.GATE_MISSING,
                f"--gate always: {counted(films, 'film')} for training and validation are too few, a gate needs "
                f"{FEWEST}.",
                fix="Train on more, or with --gate auto.",
            )

    def too_few(self, films: int) -> str:
        """Return why so many films are too few for the promise to be kept; empty where they are enough."""
        if (films + 1) * self.promise >= 1:
            return ""
        return (
            f"{counted(films, 'film')} for training and validation are too few for a gate that refuses at most "
            f"{self.promise:.2%} of films like them"
        )

    def fit(self, root: str | Path, manifest: Manifest) -> FittedGate | None:
        """Fit a bundle's gate and write it into its folder, or write there why it has none.

        Args:
            root: the bundle's folder, with its weights.
            manifest: that it was trained on, with the parts.

        Raises:
            GateError: ``gate-missing`` for too few films, where one was asked for.
            StorageError: ``disk-full`` or ``write-failed``.
        """
        fitted, why = self.fitted(root, manifest)
        self.write(root, fitted, why)
        return fitted

    def write(self, root: str | Path, fitted: FittedGate | None, why: str = "") -> None:
        """Write a gate into a bundle's folder, or why it has none.

        Args:
            root: the folder, with weights whose features the gate knows.
            fitted, why: of :meth:`fitted`.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``.
        """
        if fitted is None:
            remove_gate(root, why)
            logger.info("the bundle has no gate: %s", why)
            return
        write_gate(root, fitted, file_digest(Path(root) / "models" / "model.pt"))
        films, refused = fitted.fitted_on["films"], fitted.fitted_on["refused_share"]
        logger.info("a gate was fitted on %s; it refuses %.1f %% of them", counted(films, "film"), 100 * refused)

    def fitted(self, bundle: str | Path | Model, manifest: Manifest) -> tuple[FittedGate | None, str]:
        """Return a gate, which is not written yet; or None, and why there is none.

        Args:
            bundle: the bundle's folder, or a model whose pooled features are those of the bundle.
            manifest: as of :meth:`fit`.

        Raises:
            GateError: as :meth:`fit`.
        """
        if self.when == "none":
            return None, "the training was asked for none (--gate none)"
        if self.when == "auto" and (why := self.too_few(_films(manifest))):
            return None, why
        model = bundle if isinstance(bundle, Model) else Model.open(
            bundle, gate="off", raw=True, device=self.device, amp=self.amp, any_modality=self.any_modality,
            num_workers=self.num_workers,
        )  # fmt: skip
        try:
            fitted = fit_gate_of(model, manifest, self.promise, self.seed)
        except GateError as error:
            if self.when == "always":
                raise
            return None, error.message.rstrip(".")
        if self.when == "auto" and (why := self.too_few(int(fitted.fitted_on["films"]))):
            return None, why
        return fitted, ""


def _films(manifest: Manifest) -> int:
    return int(manifest.table["split"].isin(("train", "val")).sum())
