"""Fourteen classifiers on the features of one frozen network: computed once, against a training each."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Row


def measure_finetune(arguments: argparse.Namespace) -> Iterator[Row]:
    """All 14 at once, and one ordinary training of the same head with a frozen network, from a warm cache of images."""
    from cxr_monai.finetune.linear_probe import train_linear_probes
    from cxr_monai.finetune.task import FineTuneTask
    from cxr_monai.finetune.whole_network import finetune_network
    from cxr_monai.labels import NIH14

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = {"tracking_uri": f"sqlite:///{root / 'mlflow.db'}", "cache_dir": str(root / "cache")}
        began = time.perf_counter()
        task = FineTuneTask(arguments.bundle, arguments.manifest, "others")
        made, _ = train_linear_probes(task, NIH14, root / "heads")
        together = time.perf_counter() - began
        if not made:
            raise SystemExit("no disease has enough patients in this manifest")
        label, settings = next(iter(made)), {"blocks": 0, "augmentation": "none", "patience": 12, **store}
        # the first fills the cache of decoded images and makes MLflow's store; a user's second finds both
        finetune_network(task, label, root / "warm", settings)
        began = time.perf_counter()
        finetune_network(task, label, root / "one", settings)
        one = time.perf_counter() - began
        count = len(made)
        yield {"what": f"{count} heads on kept features, judged, written", "s": together}
        yield {"what": "one ordinary training with a frozen network", "s": one}
        yield {"what": f"{count} of these, by proportion", "s": count * one, "times": count * one / together}
