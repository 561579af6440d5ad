"""Unfreezing by schedule: pretrained layers wait until the new classifier no longer sends them random gradients.

After Howard and Ruder 2018, arXiv 1801.06146 (gradual unfreezing). A frozen layer changes in no way: it has no
gradients, and its batch norms use their running statistics and leave them as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ignite.engine import Engine, Events
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cxr_monai.errors import Code, SettingError


class GradualUnfreezing:
    """Freeze parts of a network for the first epochs of a training.

    What is frozen depends on the number of the epoch alone, so nothing need be kept for a resumed training.

    Args:
        network: what is trained. For several processes it is wrapped by now, with ``find_unused_parameters=True``;
            ``DistributedDataParallel`` never exchanges the gradients of what was frozen when it was made, so nothing is
            before the first epoch starts.
        plan: by the name of a module or parameter, for how many epochs it (and all below it) is frozen;
            ``{"features.denseblock4": 1, "features": 3}``: the fourth block trains from the second epoch on, the rest
            of the features from the fourth, all else from the start. Of several names that fit, the longest decides.
        norm_statistics: ``frozen`` keeps all batch norms on their running statistics, also where their scales train:
            few images of another hospital are a poor estimate of its statistics. ``adapted`` lets them follow.

    Attach it to the trainer, and call :meth:`hold` in every step after ``network.train()``.

    Raises:
        SettingError: ``setting-invalid`` for a name that is not in the network (telling what is), for anything but
            whole epochs of at least 0, where nothing would train in the first epoch, and for other ``norm_statistics``.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Mapping[str, int] | None = None,
        norm_statistics: Literal["adapted", "frozen"] = "adapted",
    ) -> None:
        if norm_statistics not in ("adapted", "frozen"):
            raise SettingError(
                Code.SETTING_INVALID, f"--norm_statistics {norm_statistics!r}: it must be adapted or frozen."
            )
        self.norms_held = norm_statistics == "frozen"
        self.network: nn.Module = getattr(network, "module", network)  # as it is named without a wrapper
        self.plan = _checked(self.network, plan or {})
        self._held: list[nn.Module] = []
        parameters = [name for name, _ in self.network.named_parameters()]
        if parameters and all(self._epochs(name) > 0 for name in parameters):
            raise SettingError(
                Code.SETTING_INVALID,
                "--unfreeze: nothing would train in the first epoch.",
                fix="Leave the classifier out of it; class_layers, for DenseNet121.",
            )

    def attach(self, engine: Engine) -> None:
        if self.plan or self.norms_held:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.start(engine.state.epoch)

    def start(self, epoch: int) -> None:
        """Freeze what is frozen in this epoch, counted from 1, and let all else train."""
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self._epochs(name) < epoch)
        self._held = [
            module
            for name, module in self.network.named_modules()
            if self._epochs(name) >= epoch or (self.norms_held and isinstance(module, _BatchNorm))
        ]
        self.hold()

    def hold(self) -> None:
        """Put what is frozen into evaluation mode again, which ``network.train()`` ended."""
        for module in self._held:
            module.training = False  # of this module alone: a part of it may be training

    def _epochs(self, name: str) -> int:
        """Return for how many epochs a module or parameter is frozen."""
        fitting = [part for part in self.plan if _within(name, part)]
        return self.plan[max(fitting, key=len)] if fitting else 0


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def _checked(network: nn.Module, plan: Any) -> dict[str, int]:
    if not isinstance(plan, Mapping):
        raise SettingError(
            Code.SETTING_INVALID,
            f"--unfreeze {plan!r}: it must give epochs by name.",
            fix="Such as \"{'features': 3}\"; {} freezes nothing.",
        )
    names = [name for name, _ in (*network.named_parameters(), *network.named_buffers())]
    for part, epochs in plan.items():
        if not isinstance(part, str) or not any(_within(name, part) for name in names):
            raise SettingError(
                Code.SETTING_INVALID,
                f"--unfreeze: the network has nothing to train named {part!r}; it has {_existing(names, str(part))}.",
            )
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 0:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--unfreeze: {part!r} is frozen for {epochs!r} epochs; it must be a whole number of at least 0.",
            )
    return dict(plan)


def _existing(names: Iterable[str], part: str) -> str:
    """List what is at the level where a name goes wrong: below its longest beginning that exists."""
    names, beginning = list(names), part
    while beginning and not any(name.startswith(beginning + ".") for name in names):
        beginning = beginning.rpartition(".")[0]
    depth = beginning.count(".") + 2 if beginning else 1
    inside = [name for name in names if not beginning or name.startswith(beginning + ".")]
    return ", ".join(dict.fromkeys(".".join(name.split(".")[:depth]) for name in inside))
