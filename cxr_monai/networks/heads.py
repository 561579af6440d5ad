"""Heads: from a network's outputs to the log-odds of each label's probability.

    head = classification_head("hierarchical", labels, groups)
    log_odds = head(outputs)                     # [B, K] to [B, F]; the network has K = head.outputs channels

- ``sigmoid``: each output is its label's log-odds; labels know nothing of each other.
- ``softmax``: the labels exclude each other and one of them means "none of the findings"; probabilities add up to 1.
- ``hierarchical``: P(finding) = P(category) P(finding | category); a finding is never more probable than its category,
  and both levels learn together from all labels.

All give log-odds, so losses, metrics, calibration and predictions are the same for each (docs/heads-and-losses.md).
"""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.autograd.functional import jacobian

from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import counted

HEADS = ("sigmoid", "softmax", "hierarchical")


class Head(nn.Module):
    """The head ``sigmoid``: a network's outputs are the labels' log-odds as they are.

    Args:
        labels: the F labels, in the order of the channels.

    Attributes:
        outputs: K, the channels that the network needs.
        within: for each label that can't be more probable than another, that other one.
    """

    name = "sigmoid"
    probabilities = "sigmoid(output) of each label's own output"
    """The formula from outputs to the labels' probabilities, for users without this package."""

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self.outputs = len(labels)
        self.within: dict[str, str] = {}

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the log-odds ``[B, F]`` of the labels for outputs ``[B, K]``."""
        return outputs

    def maps(self, outputs: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Return class maps of the labels' log-odds ``[B, F, h, w]`` for those of the outputs ``[B, K, h, w]``."""
        return maps

    def prior(self, prevalences: Sequence[float]) -> list[float]:
        """Return for each output the probability whose log-odds it should begin with.

        Args:
            prevalences: of the labels ``[F]``, in [0, 1]; NaN where unknown, and then the output's is NaN.
        """
        return list(prevalences)


INDEPENDENT = Head()
"""The head of every network that was made before there were heads."""


class _Coupled(Head):
    """A head whose labels depend on several outputs."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        if outputs.shape[-1] != self.outputs:
            raise SettingError(
                Code.SETTING_INVALID,
                f"the network gives {counted(outputs.shape[-1], 'output')} an "
                f"image, and its head needs {self.outputs}.",
                fix="network_def#out_channels must be the head's number of outputs; leave it out to have it so.",
            )
        return self.log_odds(outputs)

    def log_odds(self, outputs: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def maps(self, outputs: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        # the chain rule: GradCAM of a label is the sum over outputs of their maps times the label's slope in each
        with torch.inference_mode(False), torch.enable_grad():
            # of the sum over images, none of which depends on another's outputs
            slopes = jacobian(lambda logits: self(logits).sum(0), outputs.detach().clone())
        return torch.einsum("fbk,bkhw->bfhw", slopes.to(maps), maps)


class SoftmaxHead(_Coupled):
    """Labels that exclude each other: softmax over the outputs, as log-odds of each.

    Args:
        labels: the F labels, K = F.
        groups: label -> findings; exactly one label has none, and no finding stands in two.

    Raises:
        SettingError: ``setting-invalid`` for other labels.
    """

    name = "softmax"
    probabilities = "softmax over all outputs of an image"

    def __init__(self, labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(labels)
        normal = [label for label in labels if not groups[label]]
        members = [finding for label in labels for finding in groups[label]]
        twice = sorted({finding for finding in members if members.count(finding) > 1})
        if len(normal) != 1 or len(labels) < 2 or twice:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--head softmax with the labels {', '.join(labels)}: "
                + (
                    f"{', '.join(twice)} would stand in two labels that exclude each other."
                    if twice
                    else "an image without any of them has no label; besides findings, one must mean none of them."
                ),
                fix="Choose a label scheme with Normal, such as --label_scheme findings_normal or categories_normal.",
            )
        self.normal = labels.index(normal[0])

    def log_odds(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return each output less the log-sum-exp of the others: p / (1 - p) without either losing its digits."""
        channels = torch.arange(self.outputs, device=outputs.device)
        same = channels == channels.unsqueeze(-1)  # not torch.eye, which ONNX Runtime lacks for truth values
        others = outputs.unsqueeze(-2).expand(*outputs.shape, self.outputs).masked_fill(same, -math.inf)
        return outputs - others.logsumexp(-1)

    def prior(self, prevalences: Sequence[float]) -> list[float]:
        """Return what begins with Normal at its prevalence, and the rest shared in the ratio of the others."""
        none = prevalences[self.normal]
        total = sum(value for index, value in enumerate(prevalences) if index != self.normal)
        shares = [value / total * (1 - none) if total else math.nan for value in prevalences]
        shares[self.normal] = none
        # its log-odds are the share's logarithm, which is what a softmax adds up
        return [share / (1 + share) for share in shares]


class HierarchicalHead(_Coupled):
    """Categories and their findings: an output is a category's log-odds, or a finding's given its category.

    Args:
        labels: the F labels, K = F.
        groups: label -> findings. A label of several findings is the category of those that are labels themselves; a
            label without a category stands alone, as under ``sigmoid``.

    Raises:
        SettingError: ``setting-invalid`` if there is no category, a finding has two, or a label means "none of the
            findings", which categories could contradict.
    """

    name = "hierarchical"
    probabilities = (
        "sigmoid(output) of each label's own output; where never_more_probable_than names another label, times "
        "sigmoid(output) of that one"
    )

    def __init__(self, labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(labels)
        problem = ""
        for category in labels:
            members = groups[category]
            if not members:
                problem = f"{category} means none of the findings, which the others could contradict"
            for finding in members if len(members) > 1 else ():
                if finding in self.within:
                    problem = f"{finding} would be in {self.within[finding]} and in {category}"
                elif finding in labels and finding != category:
                    self.within[finding] = category
        if problem or not self.within:
            raise SettingError(
                Code.SETTING_INVALID,
                f"--head hierarchical with the labels {', '.join(labels)}: "
                + (problem or "none is a category of others")
                + ".",
                fix="Choose a label scheme that has categories and their findings, such as --label_scheme hierarchy.",
            )
        index = {label: channel for channel, label in enumerate(labels)}
        self.parents = [index[self.within.get(label, label)] for label in labels]

    def log_odds(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return ``-log(exp(-u) + exp(-v) + exp(-u - v))`` for a finding given v in a category of u: 1 / p - 1.

        It is at most u, in float32 too, as a log-sum-exp is never below any of its terms.
        """
        above = outputs[..., self.parents]
        both = -torch.stack([-above, -outputs, -above - outputs]).logsumexp(0)
        inside = torch.tensor([parent != channel for channel, parent in enumerate(self.parents)], device=outputs.device)
        return torch.where(inside, both, outputs)

    def prior(self, prevalences: Sequence[float]) -> list[float]:
        """Return the prevalences, of findings in a category those among the images that have the category."""
        return [
            value if parent == channel else min(value / prevalences[parent], 1.0) if prevalences[parent] else math.nan
            for channel, (value, parent) in enumerate(zip(prevalences, self.parents, strict=True))
        ]


def classification_head(name: str, labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Head:
    """Return a head by name.

    Args:
        name: one of :data:`HEADS`.
        labels: in the order of the channels.
        groups: label -> the findings that it is made of, none for "none of the findings"; a label that is not in it is
            a finding of its own.

    Raises:
        SettingError: ``setting-invalid`` for another name, or labels that the head cannot have.

    >>> head = classification_head("softmax", ["Mass", "Normal"], {"Normal": ()})
    >>> round(float(head(torch.tensor([[2.0, 0.0]])).sigmoid().sum()), 4)
    1.0
    >>> classification_head("hierarchical", ["Lung", "Mass"], {"Lung": ("Mass", "Nodule")}).within
    {'Mass': 'Lung'}
    """
    groups = {label: tuple(groups.get(label, (label,))) for label in labels}
    if name == "sigmoid":
        return Head(labels)
    if name == "softmax":
        return SoftmaxHead(list(labels), groups)
    if name == "hierarchical":
        return HierarchicalHead(list(labels), groups)
    raise SettingError(Code.SETTING_INVALID, f"--head {name!r}: it must be one of {', '.join(HEADS)}.")


def with_head(network: nn.Module, head: Head) -> nn.Module:
    """Return a network that gives its head's log-odds: a copy with the same layers' names; itself for ``sigmoid``."""
    if not isinstance(head, _Coupled):
        return network
    headed = copy.deepcopy(network)
    headed.register_forward_hook(lambda module, inputs, outputs: head(outputs))
    return headed
