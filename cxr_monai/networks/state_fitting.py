"""A state dictionary fitted to a network that may have other findings or channels, every tensor accounted for.

    account = load_into(network, state, path="model.pt", rows=["Mass", "Hernia"], findings=["Hernia", "Edema"])
    account.adapted         # ["class_layers.out: the outputs of Hernia by name", ...]

The network takes over whatever fits; its classifier's outputs go by the findings' names where both sides are known.
What starts anew keeps the values that the network had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from cxr_monai.errors import Code, WeightsError
from cxr_monai.networks.foreign import looks_like
from cxr_monai.plurals import counted


@dataclass
class Account:
    """Which tensors of a file were loaded into a network, and how.

    Attributes:
        loaded: the names of those that were taken as they are.
        adapted: those that were changed or taken in part, each with what was done.
        left_out: those that were not taken, each with the reason.
        anew: parts of the network that keep the values that they had.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the account as text, loaded tensors by their number alone."""
        summary = (
            f"{counted(len(self.loaded), 'tensor')} loaded, {len(self.adapted)} adapted, {len(self.left_out)} left out"
        )
        sections = [("adapted", self.adapted), ("left out", self.left_out), ("starts anew", self.anew)]
        return [summary, *(f"  {heading}: {line}" for heading, entries in sections for line in entries)]


def load_into(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    path: str | Path,
    rows: Sequence[str | None] | None = None,
    findings: Sequence[str] | None = None,
    other_head: str = "",
) -> Account:
    """Load a state dictionary into a network.

    Args:
        network: takes the weights.
        state: by the network's names.
        path: the file, for errors.
        rows: what the outputs of the state's classifier stand for; None where that is not known.
        findings: what the network's outputs stand for; None where that does not matter, and a classifier of the same
            shape is taken as it is. A classifier whose outputs nobody knows is not taken by their positions.
        other_head: why outputs of the same name mean something else, so that the classifier starts anew.

    Raises:
        WeightsError: ``weights-mismatch`` if anything but the classifier and the number of input channels differs.
            One grey channel takes the sum over RGB: a grey image gives what the same image, repeated three times,
            gives the original. Other numbers of channels differ.
    """
    target, source, account = network.state_dict(), dict(state), Account()
    classifier, first = _last(network, nn.Linear), _first(network)
    if f"{classifier}.weight" in target and f"{classifier}.weight" in source:
        _fit_classifier(target, source, account, classifier, rows, findings, other_head)
    elif f"{classifier}.weight" in target:
        parts = [name for name in target if name.startswith(f"{classifier}.")]
        source.update({name: target[name] for name in parts})
        account.anew.append(f"{classifier}: the file has no classifier of one layer")
    if first in target and first in source and (source[first].shape[1:2], target[first].shape[1:2]) == ((3,), (1,)):
        source[first] = source[first].sum(dim=1, keepdim=True)
        account.adapted.append(f"{first}: summed over RGB for one grey channel")
    # files of before 2018 lack the batch counters, which only matter to a momentum of None
    counters = [name for name in target if name.endswith("num_batches_tracked") and name not in source]
    if counters:
        source.update({name: target[name] for name in counters})
        account.anew.append(
            f"{counted(len(counters), 'counter')} of batches (num_batches_tracked), which the file lacks"
        )
    differences = state_differences(target, source)
    if differences:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"the weights look like {looks_like(list(state))}'s, and do not fit this {type(network).__name__}: "
            f"{'; '.join(differences[:5])} ({len(differences)} in all).",
            fix="A checkpoint must come from the same network_def; those of torchvision's DenseNet, CheXNet and "
            "TorchXRayVision fit MONAI's DenseNet of the same size.",
            where=path,
        )
    network.load_state_dict(source)
    account.loaded = [name for name in state if source[name] is state[name]]
    return account


def _fit_classifier(
    target: Mapping[str, torch.Tensor],
    source: dict[str, torch.Tensor],
    account: Account,
    name: str,
    rows: Sequence[str | None] | None,
    findings: Sequence[str] | None,
    other_head: str,
) -> None:
    """Load the classifier's outputs: by name, unchanged, or not at all."""
    parts = [part for part in (f"{name}.weight", f"{name}.bias") if part in target and part in source]
    source_weight, target_weight = source[parts[0]], target[parts[0]]
    if source_weight.dim() != 2 or any(source[part].shape[:1] != source_weight.shape[:1] for part in parts):
        return  # no classifier: its shapes do not fit, and are named with the others
    same_shape = source_weight.shape == target_weight.shape and not other_head
    if same_shape and (findings is None or (rows is not None and list(rows) == list(findings))):
        return
    both_named = (
        rows is not None
        and findings is not None
        and len(rows) == len(source_weight)
        and len(findings) == len(target_weight)
    )
    if (
        other_head
        or not both_named
        or rows is None
        or findings is None
        or source_weight.shape[1] != target_weight.shape[1]
    ):
        unknown = "nothing tells what its outputs stand for" if rows is None else "the classifier is for other findings"
        for part in parts:
            account.left_out.append(f"{part} {list(source[part].shape)}: {other_head or unknown}")
            source[part] = target[part]
        account.anew.append(f"{name}: {counted(len(target_weight), 'output')}")
        return
    shared = [finding for finding in findings if finding in rows]
    for part in parts:
        tensor = target[part].clone()
        for finding in shared:
            tensor[findings.index(finding)] = source[part][rows.index(finding)]
        source[part] = tensor
    account.adapted += [f"{part}: the outputs of {', '.join(shared) or 'no finding'}, by name" for part in parts]
    unused = [row or f"output {index}, never trained" for index, row in enumerate(rows) if row not in shared]
    if unused:
        account.left_out.append(f"{name}: the outputs of {', '.join(unused)}, which this network has not")
    missing = [finding for finding in findings if finding not in rows]
    if missing:
        account.anew.append(f"{name}: the outputs of {', '.join(missing)}, which the file has not")


def state_differences(target: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the differences in names and shapes of two state dictionaries.

    Args:
        target: the network's tensors by name.
        source: those of the file.

    Returns:
        a sentence for each difference; empty where all names and shapes agree.
    """
    differences = [f"{name} is missing" for name in target if name not in source]
    differences += [f"{name} is not part of the network" for name in source if name not in target]
    differences += [
        f"{name} is {list(source[name].shape)}, the network's is {list(target[name].shape)}"
        for name in target
        if name in source and target[name].shape != source[name].shape
    ]
    return differences


def _last(network: nn.Module, kind: type[nn.Module]) -> str:
    return next((name for name, layer in reversed(list(network.named_modules())) if isinstance(layer, kind)), "")


def _first(network: nn.Module) -> str:
    return next((f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), "")
