"""The gate's answers about the films of an engine's batches, by the forward pass that the engine makes anyway.

judged = JudgedBatches(gate, engine.network)
answers = judged.answers(engine.state.batch)        # after each iteration
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from cxr_monai.errors import Code, GateError
from cxr_monai.gate.bundle_gate import FilmAnswers, Gate, ObservedFilms
from cxr_monai.networks.pooled_depths import PooledOutputs


class JudgedBatches:
    """Judges what an engine evaluates in one run; copies are looked for among the films that this process reads.

    Args:
        gate: a bundle's, fitted; its data set has the gate's observer.
        network: that the engine runs.
    """

    def __init__(self, gate: Gate, network: nn.Module) -> None:
        self.gate, self._earlier = gate, gate.earlier_films()
        self._outputs = PooledOutputs(network, gate.layers)

    def answers(self, batch: Mapping[str, Any]) -> FilmAnswers:
        """Return the answers about the readable films of a batch, in their order.

        Args:
            batch: that the network was given last, with what the observer added.

        Raises:
            GateError: ``gate-invalid`` beside a preprocessing whose planes the gate cannot look at.
        """
        features = self._outputs.take(len(batch["name"]))
        rows = [row for row, error in enumerate(batch["error"]) if not error]
        headers, digests, hashes = (
            [batch[name][row] for row in rows] for name in ("header", "pixel_digest", "picture_hash")
        )
        names, known = [batch["name"][row] for row in rows], None if features is None else features[rows].numpy()
        observations = batch["observation"][rows].cpu().numpy()
        if not np.isfinite(observations).all():
            raise GateError(
                Code.GATE_INVALID,
                "the gate looks at the plane that QuantiseRadiographd makes, which is no step of this preprocessing.",
                fix="Predict without it: --gate_mode off.",
            )
        films = ObservedFilms(names, observations, headers, digests, hashes, known)
        return self.gate.judge(films, self._earlier)

    def close(self) -> None:
        """Look at the network no longer."""
        self._outputs.close()
