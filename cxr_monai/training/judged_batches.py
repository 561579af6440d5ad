"""The gate's answers about the films of an engine's batches, by the forward pass that the engine makes anyway.

judged = JudgedBatches(gate, engine.network)
answers = judged.answers(engine.state.batch)        # after each iteration
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

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
        return self.gate.judge(ObservedFilms.of(batch["name"], batch, rows, features), self._earlier)

    def close(self) -> None:
        """Look at the network no longer."""
        self._outputs.close()
