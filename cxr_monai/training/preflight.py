"""Before hours are spent: targets, one batch through everything, room on the disk, an estimate of the time."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from cxr_monai.data.cache.eviction import limit_bytes, preparations
from cxr_monai.environment import usable_cores
from cxr_monai.errors import Code, SettingError, TrainingError
from cxr_monai.losses.soft_target import SoftTargetLoss, has_target
from cxr_monai.plurals import be, counted, have
from cxr_monai.progress import duration
from cxr_monai.training.handlers import batch_size
from cxr_monai.training.speed import choose_threads, typical_seconds

logger = logging.getLogger(__name__)


def required_bytes(network: torch.nn.Module) -> int:
    """Return what a training writes: the best weights, and three checkpoints while one is written (each with weights,
    best weights, average and Adam's moments)."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    return 2 * weights + 3 * 5 * weights


def first_batch(loader: Any, most: int) -> dict[str, Any]:
    """Return a batch as the loader would, of at most ``most`` images; nothing is drawn from its order."""
    dataset = loader.dataset
    return loader.collate_fn([dataset[index] for index in range(min(batch_size(loader), most, len(dataset)))])


class PreflightCheck:
    """Run one batch of each part forward (and the training batch backward) without changing the network.

    On a busy processor the number of threads may be lowered, see ``training.speed``.

    Args:
        trainer: with its loader, network, inferer and loss.
        validator: with its loader.
        output_dir: where the training will write.

    Raises (at once):
        SettingError: ``setting-invalid`` for other data sets than ``RadiographDataset``.
    Raises (from :meth:`run`):
        TrainingError: ``disk-full`` with the figures, ``not-finite`` for a loss that is not a number before any step,
            ``preflight-failed`` where a batch has no readable image.
    """

    def __init__(self, trainer: Any, validator: Any, output_dir: str) -> None:
        self.trainer, self.validator, self.output_dir = trainer, validator, Path(output_dir)
        for engine in (trainer, validator):
            if not hasattr(engine.data_loader.dataset, "prepare"):
                raise SettingError(
                    Code.SETTING_INVALID,
                    f"the data set is a {type(engine.data_loader.dataset).__name__}, which does not know of epochs.",
                    fix="Set train_dataset_data or train_preprocessing (val_...), or a RadiographDataset of "
                    "cxr_monai.data.dataset.",
                )
        self.cache = trainer.data_loader.dataset.cache

    def run(self, keep_threads: bool = False) -> float:
        """Run the check; returns the estimated seconds of the training.

        Args:
            keep_threads: the number of threads stays as it is, since the training began with it.
        """
        trainer, validator = self.trainer, self.validator
        self._targets()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        network, device = trainer.network, trainer.state.device
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        began = time.monotonic()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # a processor has room for any batch, and a few images are soon done; a GPU is asked for the whole batch
            most = 8 if device.type == "cpu" else batch_size(trainer.data_loader)
            batch, loading = typical_seconds(lambda: first_batch(trainer.data_loader, most), times=3)
            loading /= len(batch["name"])
            step = self._training_step(network, batch, device, keep_threads)
            with torch.no_grad():
                network.eval()
                self._forward(network, first_batch(validator.data_loader, most), device, validator.inferer)
        network.load_state_dict(before)  # batch statistics as they were
        trainer.optimizer.zero_grad(set_to_none=True)
        datasets = [engine.data_loader.dataset for engine in (trainer, validator)]
        unprepared = [dataset.unprepared() for dataset in datasets]
        cached = zip(unprepared, datasets, strict=True) if self.cache is not None else ()
        planes = sum(count * dataset.plane_bytes() for count, dataset in cached if count)
        self._disk(network, sum(unprepared), planes)
        return self._tell(sum(unprepared), loading, step / len(batch["name"]), time.monotonic() - began)

    def _targets(self) -> None:
        """Log how many training images have no target for a softmax loss; nothing is learned from them."""
        if not isinstance(self.trainer.loss_function, SoftTargetLoss):
            return
        labels = torch.stack([torch.as_tensor(item["label"]) for item in self.trainer.data_loader.dataset.data])
        without = len(labels) - int(has_target(labels).sum())
        if without:
            logger.warning(
                "%d of the %s %s no target: none of their labels is known to be present, or one "
                "label alone is known; nothing is learned from them",
                without, counted(len(labels), "training image"), have(without),
            )  # fmt: skip

    def _training_step(
        self, network: torch.nn.Module, batch: dict[str, Any], device: torch.device, keep_threads: bool
    ) -> float:
        """Run a batch forward and backward and return its typical seconds; may lower the number of threads."""
        network.train()

        def once() -> None:
            logits, labels = self._forward(network, batch, device, self.trainer.inferer)
            loss = self.trainer.loss_function(logits, labels)
            loss.backward()
            if not torch.isfinite(loss):
                raise TrainingError(
                    Code.NOT_FINITE,
                    f"the loss of the first batch is {loss.item()}, before any step.",
                    fix="Look at the pictures of the network's input, and at init_weights.",
                )

        alone = device.type == "cpu" and idist.get_world_size() == 1
        return choose_threads(once, keep_threads) if alone else typical_seconds(once)[1]

    def _forward(
        self, network: torch.nn.Module, batch: dict[str, Any], device: torch.device, inferer: Callable
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if all(batch["error"]):
            raise TrainingError(
                Code.PREFLIGHT_FAILED,
                f"no file of the first batch could be read; the first is {batch['name'][0]} ({batch['error'][0]}).",
                fix="'cxr-monai check MANIFEST --pixels' lists every file that cannot be read.",
            )
        logits, labels = inferer(batch["image"].to(device), network), batch["label"].to(device)
        if logits.shape != labels.shape:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the network gives {list(logits.shape[1:])} outputs an image, and there "
                f"{be(labels.shape[1])} {counted(labels.shape[1], 'label')}.",
                fix="network_def#out_channels must be the number of labels; leave it out to have it so.",
            )
        return logits, labels

    def _disk(self, network: torch.nn.Module, unprepared: int, planes: int) -> None:
        """Refuse to start without room for the checkpoints; for so many bytes of decoded images, warn."""
        needed, free = required_bytes(network), shutil.disk_usage(self.output_dir).free
        if free < needed:
            raise TrainingError(
                Code.DISK_FULL,
                f"{free / 1e9:.1f} GB are free, the training needs about {needed / 1e9:.1f} GB for the checkpoints.",
                fix="Free some, or choose another --output_dir; 'cxr-monai cache clear' empties the cache.",
                where=self.output_dir,
            )
        if self.cache is None or not unprepared:
            return
        root = existing(self.cache.root)
        used = sum(preparation.bytes for preparation in preparations(self.cache.root))
        cache_bytes = min(planes, max(0, limit_bytes() - used))
        free = shutil.disk_usage(root).free
        if os.stat(root).st_dev == os.stat(self.output_dir).st_dev:
            free -= needed
        if free < cache_bytes:
            logger.warning(
                "%s: %.1f GB are free beside the checkpoints, room for %s is about %.1f GB; choose another "
                "--cache_dir, clear it with 'cxr-monai cache clear', or keep none with --cache_dir none",
                root, max(0, free) / 1e9, counted(unprepared, "decoded image"), cache_bytes / 1e9,
            )  # fmt: skip

    def _tell(self, unprepared: int, loading: float, step: float, elapsed: float) -> float:
        """Log and return the estimated seconds of the training, from those of loading and of a step for an image."""
        loader, epochs = self.trainer.data_loader, self.trainer.state.max_epochs
        epochs_left = epochs - self.trainer.state.epoch
        images, validation = len(loader) * batch_size(loader), len(self.validator.data_loader.dataset)
        # with a cache, files are decoded once, by every core; without, by the loader's processes in each epoch
        if self.cache is not None:
            reading = loading * unprepared / usable_cores()
        else:
            reading = loading * (images + validation) / max(1, loader.num_workers) * epochs_left
        # a forward pass is about a third of a step
        total = epochs_left * (images + validation / 3) * step + reading
        logger.info(
            "preflight passed in %s: %.1f images/s; %s of %s in about %s",
            duration(elapsed), 1 / step, counted(epochs_left, "epoch"), counted(images, "image"), duration(total),
        )  # fmt: skip
        return total


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
