"""Ignite metrics: AUROC of every finding and the loss, exact over all images, unknown labels left out."""

from collections.abc import Callable, Mapping, Sequence

import ignite.distributed as idist
import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather

from cxr_monai.errors import Code, TrainingError
from cxr_monai.evaluation.metric_names import metric_name, metric_values
from cxr_monai.evaluation.metrics_table import MEAN, finding_table
from cxr_monai.training.distributed import gather_processes

KEY_METRIC = "mean_auroc"
"""The name of the key metric in the bundles' configurations; MLflow has it as ``auroc_mean``, see ``metric_names``."""


SOURCE_METRIC = metric_name("auroc", MEAN) + "_"
"""Begins the name of the mean AUROC of the images of one source."""
NO_SOURCE = "no source"


class FindingMetrics(Metric):
    """Mean AUROC, the key metric of the bundles; ``auroc_FINDING``, ``auroc_mean`` and ``loss`` go into
    ``engine.state.metrics`` beside it.

    Logits and labels of all images are kept (and gathered from all processes), so that AUROC and loss are exact and not
    means over batches. :meth:`result` gives the last table, see ``cxr_monai.evaluation.metrics_table.finding_table``.
    Where the batches have ``source``, the mean AUROC of each, ``auroc_mean_SOURCE``, stands there too, and `by_source`
    has their tables.

    Args:
        findings: names of the channels, in order.
        loss_function: the loss over all logits and labels.
    """

    def __init__(self, findings: Sequence[str], loss_function: Callable) -> None:
        self.findings = list(findings)
        self.loss_function = loss_function
        self._table: pd.DataFrame | None = None
        self.by_source: pd.DataFrame | None = None
        """``source`` and the columns of :meth:`result`, of the last evaluation; None where there are no sources."""
        super().__init__(output_transform=lambda output: (output["pred"], output["label"]))

    def reset(self) -> None:
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._sources: list[str] = []

    def iteration_completed(self, engine: Engine) -> None:
        super().iteration_completed(engine)
        if isinstance(engine.state.batch, Mapping):
            self._sources += engine.state.batch.get("source", [])

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        logits, labels = output
        self._logits.append(logits.detach().float().cpu())
        if labels.ndim == 1:  # of images without labels: one unknown stands for all
            labels = labels[:, None].expand(logits.shape)
        self._labels.append(labels.detach().float().cpu())

    def compute(self) -> float:
        if not self._logits:
            raise NotComputableError("no batch was evaluated")
        logits = evenly_divisible_all_gather(torch.cat(self._logits), concat=True)
        labels = evenly_divisible_all_gather(torch.cat(self._labels), concat=True)
        if not torch.isfinite(logits).all():
            raise TrainingError(
                Code.NOT_FINITE,
                "the network's outputs are not numbers on the validation images.",
                fix="The checkpoints before it are intact. A smaller --learning_rate helps most often.",
            )
        self.loss = float(self.loss_function(logits, labels))
        self._table = table = finding_table(logits.numpy(), labels.numpy(), self.findings)
        sources = np.array([source for part in gather_processes(self._sources) for source in part], dtype=object)
        self.by_source = self._tables_of(sources, logits.numpy(), labels.numpy()) if len(sources) else None
        return float(table.loc[table["finding"] == MEAN, "auroc"].iloc[0])

    def completed(self, engine: Engine, name: str) -> None:
        super().completed(engine, name)
        engine.state.metrics["loss"] = self.loss
        engine.state.metrics |= metric_values(self.result().dropna(subset="auroc"), "finding", ["auroc"], ends=())
        engine.state.metrics |= {f"{SOURCE_METRIC}{source}": mean for source, mean in self.source_means().items()}

    def source_means(self) -> dict[str, float]:
        """Return the mean AUROC of each source of the last evaluation, as far as it has one."""
        if self.by_source is None:
            return {}
        means = self.by_source[self.by_source["finding"] == MEAN].dropna(subset="auroc")
        return dict(zip(means["source"], means["auroc"].astype(float), strict=True))

    def _tables_of(self, sources: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
        tables = []
        for source in dict.fromkeys(sorted(sources)):
            rows = sources == source
            table = finding_table(logits[rows], labels[rows], self.findings)
            table.insert(0, "source", source or NO_SOURCE)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def result(self) -> pd.DataFrame:
        """Return the last table.

        Raises:
            NotComputableError: before the first evaluation.
        """
        if self._table is None:
            raise NotComputableError("nothing was evaluated yet")
        return self._table


class MeanLoss(Metric):
    """Mean training loss of an epoch over all processes, weighted by batch size.

    The trainer's outputs are decollated, one dictionary an image, as MONAI's own handlers expect them. An epoch that
    was interrupted goes on with what it had (``state_dict``). Every process has the sums of all of them after each
    step: the checkpoint of one is right for all, and a resumed epoch adds up in the same order.
    """

    def __init__(self) -> None:
        self._resumed: dict[str, float] | None = None
        super().__init__(output_transform=lambda output: (torch.as_tensor(output[0]["loss"]), output))

    def reset(self) -> None:
        state = self._resumed or {"sum": 0.0, "images": 0}
        self._resumed, self._sum, self._images = None, state["sum"], state["images"]

    def update(self, output: tuple[torch.Tensor, list]) -> None:
        loss, images = output[0].item(), len(output[1])
        step = torch.tensor([loss * images, images], dtype=torch.float64, device=idist.device())
        total, count = (idist.all_reduce(step) if idist.get_world_size() > 1 else step).tolist()
        self._sum += total
        self._images += round(count)

    def compute(self) -> float:
        if not self._images:
            raise NotComputableError("no batch was trained on")
        return self._sum / self._images

    def completed(self, engine: Engine, name: str) -> None:
        super().completed(engine, name)
        self.reset()  # the checkpoint of a whole epoch holds nothing that the next would go on with

    def state_dict(self) -> dict[str, float]:
        return {"sum": self._sum, "images": self._images}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._resumed = dict(state)
