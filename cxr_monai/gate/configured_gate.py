"""The gate as a configuration opens it, under the id ``gate``, so that MONAI's own users have it.

gate = bundle_gate("OUT/bundle", weights="OUT/bundle/models/model.pt", mode="refuse", digest="1f0c...")
"""

import logging
from pathlib import Path

from cxr_monai.bundle.bundle_folder import METADATA, read_json
from cxr_monai.bundle.carried_gate import GATE
from cxr_monai.errors import Code, GateError
from cxr_monai.gate.answer import GateMode, parse_gate_mode
from cxr_monai.gate.bundle_gate import Gate, open_gate

logger = logging.getLogger(__name__)


def bundle_gate(
    bundle_root: str | Path,
    weights: str | Path | None = None,
    mode: str = GateMode.REFUSE,
    digest: str | None = None,
    missing: str | None = None,
) -> Gate:
    """Open the gate of the bundle whose configuration is being run.

    Args:
        bundle_root: the bundle's folder. A configuration that is opened without it has no gate, which is a warning.
        weights: those in use; the gate is of the ``model.pt`` in the folder and of no others.
        mode: ``refuse``, ``review`` or ``off``.
        digest: SHA-256 of ``models/gate.json``, as the configuration carries it; None where the bundle has none.
        missing: why it has none, or None.

    Returns:
        the gate; one that judges nothing, and says why in ``missing``, for a bundle without.

    Raises:
        GateError: ``gate-invalid`` where the gate that the configuration names is damaged, missing or another.
        SettingError: ``setting-invalid`` for another mode.
    """
    root = Path(bundle_root)
    if parse_gate_mode(mode) == GateMode.OFF:
        return Gate(mode=GateMode.OFF)
    if not (root / "configs").is_dir():
        why = missing or f"bundle_root ({root}) is not the bundle's folder, where it lies"
        gate = Gate(mode=parse_gate_mode(mode), missing=f"there is no gate, no film is refused: {why}")
    else:
        gate = open_gate(root, read_json(root / METADATA), mode, weights)
        is_of_other_weights = gate.fitted is None and (root / GATE).is_file()
        if digest and gate.digest != digest and not is_of_other_weights:
            raise GateError(
                Code.GATE_INVALID,
                f"the configuration names a gate, and {GATE} is missing or another one.",
                fix="Get the bundle again; --gate_mode off predicts without one.",
                where=root,
            )
    if gate.missing:
        logger.warning("%s", gate.missing)
    return gate
