"""A state dictionary fitted to a network that may have other findings or channels, every tensor accounted for.

    account = fit(network, state, where="model.pt", rows=["Mass", "Hernia"], findings=["Hernia", "Edema"])
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
    """What became of a file's tensors.

    Attributes:
        loaded: the names of those that were taken as they are.
        adapted: those that were changed or taken in part, each with what was done.
        left_out: those that were not taken, each with the reason.
        anew: what of the network starts with the values that it had.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the account as text, loaded tensors by their number alone."""
        told = (
            f"{counted(len(self.loaded), 'tensor')} loaded, {len(self.adapted)} adapted, {len(self.left_out)} left out"
        )
        rest = [("adapted", self.adapted), ("left out", self.left_out), ("starts anew", self.anew)]
        return [told, *(f"  {what}: {line}" for what, entries in rest for line in entries)]


def load_into(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    where: str | Path,
    rows: Sequence[str | None] | None = None,
    findings: Sequence[str] | None = None,
    other_head: str = "",
) -> Account:
    """Load a state dictionary into a network.

    Args:
        network: takes the weights.
        state: by the network's names.
        where: the file, for errors.
        rows: what the outputs of the state's classifier stand for; None where that is not known.
        findings: what the network's outputs stand for; None where that does not matter, and a classifier of the same
            shape is taken as it is. A classifier whose outputs nobody knows is not taken by their positions.
        other_head: why outputs of the same name mean something else, so that the classifier starts anew.

    Raises:
        WeightsError: ``weights-mismatch`` if anything but the classifier and the number of input channels differs.
            One grey channel takes the sum over RGB: a grey image gives what the same image, repeated three times,
            gives the original. Other numbers of channels differ.
    """
    own, given, account = network.state_dict(), dict(state), Account()
    classifier, first = _last(network, nn.Linear), _first(network)
    if f"{classifier}.weight" in own and f"{classifier}.weight" in given:
        _fit_classifier(own, given, account, classifier, rows, findings, other_head)
    elif f"{classifier}.weight" in own:
        parts = [name for name in own if name.startswith(f"{classifier}.")]
        given.update({name: own[name] for name in parts})
        account.anew.append(f"{classifier}: the file has no classifier of one layer")
    if first in own and first in given and (given[first].shape[1:2], own[first].shape[1:2]) == ((3,), (1,)):
        given[first] = given[first].sum(dim=1, keepdim=True)
        account.adapted.append(f"{first}: summed over RGB for one grey channel")
    # files of before 2018 lack the batch counters, which only matter to a momentum of None
    counters = [name for name in own if name.endswith("num_batches_tracked") and name not in given]
    if counters:
        given.update({name: own[name] for name in counters})
        account.anew.append(
            f"{counted(len(counters), 'counter')} of batches (num_batches_tracked), which the file lacks"
        )
    found = state_differences(own, given)
    if found:
        raise WeightsError(
            Code.WEIGHTS_MISMATCH,
            f"the weights look like {looks_like(list(state))}'s, and do not fit this {type(network).__name__}: "
            f"{'; '.join(found[:5])} ({len(found)} in all).",
            fix="A checkpoint must come from the same network_def; those of torchvision's DenseNet, CheXNet and "
            "TorchXRayVision fit MONAI's DenseNet of the same size.",
            where=where,
        )
    network.load_state_dict(given)
    account.loaded = [name for name in state if given[name] is state[name]]
    return account


def _fit_classifier(
    own: Mapping[str, torch.Tensor],
    given: dict[str, torch.Tensor],
    account: Account,
    name: str,
    rows: Sequence[str | None] | None,
    findings: Sequence[str] | None,
    other_head: str,
) -> None:
    """Take the classifier's outputs by name, all of them as they are, or none."""
    parts = [part for part in (f"{name}.weight", f"{name}.bias") if part in own and part in given]
    theirs, ours = given[parts[0]], own[parts[0]]
    if theirs.dim() != 2 or any(given[part].shape[:1] != theirs.shape[:1] for part in parts):
        return  # no classifier: its shapes do not fit, and are named with the others
    same_shape = theirs.shape == ours.shape and not other_head
    if same_shape and (findings is None or (rows is not None and list(rows) == list(findings))):
        return
    named = rows is not None and findings is not None and len(rows) == len(theirs) and len(findings) == len(ours)
    if other_head or not named or rows is None or findings is None or theirs.shape[1] != ours.shape[1]:
        unknown = "nothing tells what its outputs stand for" if rows is None else "the classifier is for other findings"
        for part in parts:
            account.left_out.append(f"{part} {list(given[part].shape)}: {other_head or unknown}")
            given[part] = own[part]
        account.anew.append(f"{name}: {counted(len(ours), 'output')}")
        return
    taken = [finding for finding in findings if finding in rows]
    for part in parts:
        made = own[part].clone()
        for finding in taken:
            made[findings.index(finding)] = given[part][rows.index(finding)]
        given[part] = made
    account.adapted += [f"{part}: the outputs of {', '.join(taken) or 'no finding'}, by name" for part in parts]
    others = [row or f"output {index}, never trained" for index, row in enumerate(rows) if row not in taken]
    if others:
        account.left_out.append(f"{name}: the outputs of {', '.join(others)}, which this network has not")
    new = [finding for finding in findings if finding not in rows]
    if new:
        account.anew.append(f"{name}: the outputs of {', '.join(new)}, which the file has not")


def state_differences(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """Return in what the names and shapes of two state dictionaries differ, a sentence each."""
    found = [f"{name} is missing" for name in own if name not in given]
    found += [f"{name} is not part of the network" for name in given if name not in own]
    found += [
        f"{name} is {list(given[name].shape)}, the network's is {list(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    return found


def _last(network: nn.Module, kind: type[nn.Module]) -> str:
    return next((name for name, layer in reversed(list(network.named_modules())) if isinstance(layer, kind)), "")


def _first(network: nn.Module) -> str:
    return next((f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), "")
