"""The masked loss: known labels alone count, by numbers computed by hand."""

import doctest
from math import log
from typing import Any

import pytest
import torch
from torch import nn

from cxr_monai.errors import SettingError
from cxr_monai.losses import MaskedBCEWithLogitsLoss, masked

NAN = float("nan")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_by_hand() -> None:
    # softplus(-ln 3) = ln(4/3) for a positive of p = 3/4; softplus(ln 3) = ln 4 for a negative of the same
    logits = torch.full((2, 2), log(3))
    target = torch.tensor([[1.0, 0.0], [NAN, 0.0]])
    expected = (log(4 / 3) + log(4) + log(4)) / 3
    assert float(MaskedBCEWithLogitsLoss()(logits, target)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weight", [None, torch.tensor([2.0, 0.5, 7.0])])
def test_equals_torchs_loss_where_everything_is_known(weight: torch.Tensor | None) -> None:
    logits, target = draw(0, 8, 3) * 5, (draw(1, 8, 3) > 0).float()
    expected = nn.BCEWithLogitsLoss(pos_weight=weight)(logits, target)
    torch.testing.assert_close(MaskedBCEWithLogitsLoss(weight)(logits, target), expected)


def test_equals_torchs_loss_on_the_known_labels() -> None:
    logits, target = draw(0, 8, 3), (draw(1, 8, 3) > 0).float()
    known = draw(2, 8, 3) > 0
    masked = torch.where(known, target, NAN)
    expected = nn.BCEWithLogitsLoss()(logits[known], target[known])
    torch.testing.assert_close(MaskedBCEWithLogitsLoss()(logits, masked), expected)


def test_positives_are_weighted_by_finding() -> None:
    # at logit 0 each term is ln 2: 3 ln 2 for the weighted positive, ln 2 for the negative and the other positive
    target = torch.tensor([[1.0, 1.0], [0.0, NAN]])
    loss = MaskedBCEWithLogitsLoss(torch.tensor([3.0, 1.0]))(torch.zeros(2, 2), target)
    assert float(loss) == pytest.approx((3 + 1 + 1) / 3 * log(2), rel=1e-6)


def test_a_weight_is_of_positives_and_negatives_alike() -> None:
    logits, target, weight = draw(0, 8, 3), (draw(1, 8, 3) > 0).float(), torch.tensor([2.0, 0.5, 7.0])
    expected = nn.BCEWithLogitsLoss(weight=weight, pos_weight=weight)(logits, target)
    torch.testing.assert_close(MaskedBCEWithLogitsLoss(weight, weight=weight)(logits, target), expected)


def test_a_list_may_give_the_weights_and_they_move_with_the_module() -> None:
    module = MaskedBCEWithLogitsLoss([2.0, 3.0])
    assert dict(module.named_buffers())["pos_weight"].tolist() == [2.0, 3.0]
    module.to(torch.float64)
    assert module.pos_weight is not None
    assert module.pos_weight.dtype == torch.float64


def test_gradients_are_finite_and_nought_where_unknown() -> None:
    logits = (draw(0, 4, 3) * 100).requires_grad_()
    target = torch.tensor([[1, NAN, 0], [NAN, NAN, NAN], [0, 1, NAN], [1, 1, 1]])
    MaskedBCEWithLogitsLoss()(logits, target).backward()
    known = ~torch.isnan(target)
    assert logits.grad is not None
    expected = (logits.detach().sigmoid() - target.nan_to_num()) / known.sum()
    torch.testing.assert_close(logits.grad, torch.where(known, expected, 0.0))


def test_nothing_known_is_nought_with_gradients_of_nought() -> None:
    logits = draw(0, 2, 3).requires_grad_()
    loss = MaskedBCEWithLogitsLoss()(logits, torch.full((2, 3), NAN))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_an_unknown_label_hides_whatever_its_logit_is() -> None:
    target = torch.tensor([[1.0, NAN]])
    losses_ = [float(MaskedBCEWithLogitsLoss()(torch.tensor([[0.0, logit]]), target)) for logit in (-1e4, 0.0, 1e30)]
    assert losses_ == [pytest.approx(log(2))] * 3


def test_logits_in_half_precision_and_labels_in_another_type() -> None:
    logits = torch.zeros(1, 2, dtype=torch.bfloat16)
    loss = MaskedBCEWithLogitsLoss()(logits, torch.tensor([[1.0, NAN]], dtype=torch.float64))
    assert float(loss) == pytest.approx(log(2), rel=5e-3)


# label smoothing, mixed labels


def test_smoothing_by_hand() -> None:
    # at p = 3/4 with s = 0.2: 1 becomes 0.9 and 0 becomes 0.1, the unknown label stays out
    logits, target = torch.full((1, 3), log(3)), torch.tensor([[1.0, 0.0, NAN]])
    present, absent = log(4 / 3), log(4)
    expected = (0.9 * present + 0.1 * absent + 0.1 * present + 0.9 * absent) / 2
    assert float(MaskedBCEWithLogitsLoss(label_smoothing=0.2)(logits, target)) == pytest.approx(expected, rel=1e-6)


def test_smoothed_loss_is_least_at_the_smoothed_label() -> None:
    logits = torch.tensor([[log(0.95 / 0.05), log(0.05 / 0.95)]], requires_grad=True)
    MaskedBCEWithLogitsLoss(label_smoothing=0.1)(logits, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(1, 2), atol=1e-7, rtol=0)


def test_mixed_labels_by_hand() -> None:
    # a label of 0.3 at p = 3/4
    expected = 0.3 * log(4 / 3) + 0.7 * log(4)
    loss = MaskedBCEWithLogitsLoss()(torch.full((1, 2), log(3)), torch.tensor([[0.3, NAN]]))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, NAN, "none"])
def test_smoothing_outside_its_range(smoothing: Any) -> None:
    with pytest.raises(SettingError, match=r"label_smoothing.*below 1") as error:
        MaskedBCEWithLogitsLoss(label_smoothing=smoothing)
    assert error.value.code == "setting-invalid"


# parts of a batch


def test_weight_is_the_number_of_known_labels() -> None:
    weight = MaskedBCEWithLogitsLoss().known_labels(torch.tensor([[1.0, NAN, 0.3], [NAN, NAN, 0.0]]))
    assert (float(weight), weight.dtype) == (3, torch.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_is_the_weighted_mean_of_its_parts(smoothing: float) -> None:
    logits, labels = draw(0, 9, 5).double().requires_grad_(), (draw(1, 9, 5) > 0).double()
    labels[draw(2, 9, 5) > 0.3] = NAN
    labels[4:6] = NAN  # a part of which nothing is known
    loss = MaskedBCEWithLogitsLoss([1.0, 2, 3, 4, 5], label_smoothing=smoothing)
    parts = [slice(0, 4), slice(4, 6), slice(6, 9)]
    mean = sum(
        loss(logits[part], labels[part]) * loss.known_labels(labels[part]) for part in parts
    ) / loss.known_labels(labels)
    whole = loss(logits, labels)
    torch.testing.assert_close(mean, whole)
    torch.testing.assert_close(torch.autograd.grad(mean, logits), torch.autograd.grad(whole, logits))


def test_the_docstrings_example() -> None:
    assert doctest.testmod(masked, optionflags=doctest.ELLIPSIS).failed == 0
