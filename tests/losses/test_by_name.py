"""Every loss by name: what each has in common, what each promises in its paper, and what cannot be combined."""

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss as MonaiFocalLoss

from cxr_monai.errors import SettingError
from cxr_monai.losses import (
    LOSSES,
    AsymmetricLoss,
    AUCMarginLoss,
    FocalLoss,
    MaskedBCEWithLogitsLoss,
    SoftTargetLoss,
    class_balanced,
    training_loss,
    weighted_bce,
)
from cxr_monai.networks.heads import classification_head

NAN = float("nan")
COUNTS = [(10, 90), (1, 99), (50, 50)]
BCE = MaskedBCEWithLogitsLoss()
LABELS = ["Mass", "Edema", "Normal"]
SOFTMAX = classification_head("softmax", LABELS, {"Normal": ()})


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def logit(p: float) -> float:
    return log(p / (1 - p))


def named(name: str, **settings: Any) -> torch.nn.Module:
    return training_loss(name, COUNTS, head="softmax" if name == "soft_target" else "sigmoid", **settings)


def some(rows: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return draw(0, rows, 3) * 2, (draw(1, rows, 3) > 0).float()


# ---------------------------------------------------------------- what all have in common


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_labels_have_no_part_in_value_or_gradient(name: str) -> None:
    """An unknown label's logit changes nothing, whatever it is, and gets no gradient."""
    logits, target = some()
    unknown = draw(2, *target.shape) > 0.6
    target[unknown] = NAN
    target[3] = NAN
    values, gradients = [], []
    for fill in (0.0, -1e4, 1e30):
        given = logits.masked_fill(unknown, fill).requires_grad_()
        value = named(name)(given, target)
        value.backward()
        values.append(value.item())
        assert given.grad is not None
        gradients.append(given.grad)
        assert torch.equal(given.grad[target.isnan()], torch.zeros(int(target.isnan().sum())))
    assert values[0] > 0
    assert values == [pytest.approx(values[0], rel=1e-6)] * 3
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "focal", "asymmetric", "class_balanced"])
def test_equals_the_known_labels_alone(name: str) -> None:
    logits, target = some()
    target[4:, 1:] = NAN  # of the other findings four images are known
    each = [
        training_loss(name, [COUNTS[at]])(logits[:images, [at]], target[:images, [at]])
        for at, images in enumerate((12, 4, 4))
    ]
    torch.testing.assert_close(named(name)(logits, target), (12 * each[0] + 4 * each[1] + 4 * each[2]) / 20)


@pytest.mark.parametrize(
    ("name", "label"),
    [*((name, NAN) for name in LOSSES), ("auc_margin", 0.0), ("auc_margin", 1.0), ("soft_target", 0.0)],
)
def test_nothing_to_learn_from_is_nought_with_gradients_of_nought(name: str, label: float) -> None:
    """Nothing is known; or only one side is there, and a loss compares both."""
    logits = draw(0, 2, 3).requires_grad_()
    value = named(name)(logits, torch.full((2, 3), label))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, 3))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
def test_gradients_are_finite_for_certain_networks(name: str, scale: float) -> None:
    logits, target = some()
    logits = (logits * scale).requires_grad_()
    value = named(name)(logits, target)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "auc_margin"])
def test_a_batch_is_the_weighted_mean_of_its_parts(name: str) -> None:
    logits, target = some()
    target[draw(2, *target.shape) > 0.3] = NAN
    target[:, 2] = NAN
    target[4:6] = NAN
    made: Any = named(name)
    parts = [slice(0, 4), slice(4, 6), slice(6, 12)]
    mean = sum(made(logits[part], target[part]) * made.known_labels(target[part]) for part in parts)
    torch.testing.assert_close(mean / made.known_labels(target), made(logits, target))


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "focal", "asymmetric", "class_balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_label_between_costs_its_shares_of_a_positive_and_a_negative(name: str, smoothing: float) -> None:
    logits, made = draw(0, 4, 3), named(name)
    mixed = made(logits, torch.full((4, 3), 0.3 * (1 - smoothing) + smoothing / 2))
    torch.testing.assert_close(named(name, label_smoothing=smoothing)(logits, torch.full((4, 3), 0.3)), mixed)
    share = 0.3 * (1 - smoothing) + smoothing / 2
    ends = [made(logits, torch.full((4, 3), side)) for side in (1.0, 0.0)]
    torch.testing.assert_close(mixed, share * ends[0] + (1 - share) * ends[1])


# ---------------------------------------------------------------- focal, asymmetric


def test_focal_by_hand() -> None:
    # p = 3/4: (1/4)^2 ln(4/3) / 4 for a positive, (3/4)^2 ln 4 * 3/4 for a negative
    expected = (log(4 / 3) / 64 + 27 / 64 * log(4)) / 2
    value = FocalLoss()(torch.full((1, 3), log(3)), torch.tensor([[1.0, 0.0, NAN]]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_focal_without_focus_is_cross_entropy_and_monais_on_plain_labels() -> None:
    logits, target = some()
    torch.testing.assert_close(FocalLoss(0, None)(logits, target), BCE(logits, target))
    torch.testing.assert_close(FocalLoss(0, 0.5)(logits, target), BCE(logits, target) / 2)
    torch.testing.assert_close(
        FocalLoss(1.5, 0.3)(logits, target), MonaiFocalLoss(gamma=1.5, alpha=0.3)(logits, target)
    )


def test_smoothed_focal_loss_is_not_met_by_certainty() -> None:
    values = [FocalLoss(label_smoothing=0.1)(torch.tensor([[x]]), torch.ones(1, 1)).item() for x in (2.0, 30.0)]
    assert values[0] < values[1]


def test_asymmetric_by_hand() -> None:
    # p = 3/4: ln(4/3) for a positive; (0.7)^4 ln(1 / 0.3) for a negative, its probability less 0.05
    value = AsymmetricLoss()(torch.full((1, 2), log(3)), torch.tensor([[1.0, 0.0]]))
    assert value.item() == pytest.approx((log(4 / 3) + 0.7**4 * log(1 / 0.3)) / 2, rel=1e-6)


def test_asymmetric_without_anything_is_cross_entropy_and_with_equal_gammas_focal() -> None:
    logits, target = some()
    torch.testing.assert_close(AsymmetricLoss(0, 0, 0)(logits, target), BCE(logits, target))
    torch.testing.assert_close(AsymmetricLoss(2, 2, 0)(logits, target), FocalLoss(2, None)(logits, target))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
def test_negatives_under_the_margin_cost_and_teach_nothing(gamma: float) -> None:
    logits = torch.tensor([[logit(0.04), logit(0.05), logit(0.5)]], requires_grad=True)
    AsymmetricLoss(0, gamma)(logits, torch.zeros(1, 3)).backward()
    assert logits.grad is not None
    assert logits.grad[0, :2].abs().max() < 1e-3
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 2] > 0.01


# ---------------------------------------------------------------- weights by counts


def test_weighted_by_hand() -> None:
    # 9 for ten of a hundred; 99 is over the cap; 1 for half, and for a finding without a positive or without a negative
    made = weighted_bce([*COUNTS, (0, 7), (7, 0)])
    assert made.pos_weight is not None
    assert made.pos_weight.tolist() == [9, 20, 1, 1, 1]
    value = weighted_bce(COUNTS)(torch.zeros(2, 3), torch.tensor([[1, NAN, NAN], [0, NAN, NAN]]))
    assert value.item() == pytest.approx((9 + 1) / 2 * log(2), rel=1e-6)


def test_class_balanced_by_hand() -> None:
    # beta 1/2: 2 positives are worth 1.5, 1 negative is worth 1: weights 2/3 and 1, scaled to add up to 2
    logits, made = torch.zeros(1, 1), class_balanced([(2, 1)], beta=0.5)
    assert made(logits, torch.ones(1, 1)).item() == pytest.approx(0.8 * log(2), rel=1e-6)
    assert made(logits, torch.zeros(1, 1)).item() == pytest.approx(1.2 * log(2), rel=1e-6)


def test_class_balanced_from_cross_entropy_to_inverse_frequency() -> None:
    logits, target = some()
    torch.testing.assert_close(class_balanced(COUNTS, 0.0)(logits, target), BCE(logits, target))
    counts = np.array(COUNTS, dtype=float)
    made = class_balanced(COUNTS, 1 - 1e-9)
    assert made.weight is not None
    assert made.pos_weight is not None
    inverse = 2 / counts / (1 / counts).sum(1, keepdims=True)
    np.testing.assert_allclose(made.weight, inverse[:, 1], rtol=1e-5)
    np.testing.assert_allclose(made.pos_weight, inverse[:, 0] / inverse[:, 1], rtol=1e-5)


# ---------------------------------------------------------------- AUC margin


def test_auc_margin_by_hand() -> None:
    # positives 0.8 and 0.6: mean 0.7, variance 0.01; negatives 0.3 and 0.5: 0.4, 0.01; 1 - 0.3 short of the margin
    logits = torch.tensor([[logit(p)] for p in (0.8, 0.6, 0.3, 0.5)])
    value = AUCMarginLoss()(logits, torch.tensor([[1.0], [1], [0], [0]]))
    assert value.item() == pytest.approx(0.02 + 0.7**2, rel=1e-5)


def test_auc_margin_is_the_papers_problem_at_its_optimum() -> None:
    scores, target = torch.rand(40, generator=torch.Generator().manual_seed(0)), torch.arange(40) < 9
    a, b = scores[target].mean(), scores[~target].mean()

    def papers(a: torch.Tensor, b: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        present, absent = scores[target], scores[~target]
        gap = 1 - present.mean() + absent.mean()
        return ((present - a) ** 2).mean() + ((absent - b) ** 2).mean() + 2 * alpha * gap - alpha**2

    value = AUCMarginLoss()(scores.logit()[:, None], target.float()[:, None])
    torch.testing.assert_close(value, papers(a, b, 1 - a + b))
    for step in (0.01, -0.01):  # least in a and b, greatest in alpha
        assert papers(a + step, b, 1 - a + b) > value
        assert papers(a, b + step, 1 - a + b) > value
        assert papers(a, b, 1 - a + b + step) < value


@pytest.mark.parametrize(
    ("positives", "negatives", "nought"),
    [((0.8, 0.8), (0.2, 0.2), True), ((0.8, 0.8), (0.4, 0.4), False), ((0.9, 0.8), (0.2, 0.2), False)],
)
def test_auc_margin_is_nought_only_where_the_margin_parts_them_without_spread(
    positives: tuple[float, ...], negatives: tuple[float, ...], nought: bool
) -> None:
    logits = torch.tensor([[logit(p)] for p in (*positives, *negatives)])
    value = AUCMarginLoss(margin=0.5)(logits, torch.tensor([[1.0], [1], [0], [0]]))
    assert (value.item() < 1e-9) is nought


def test_auc_margin_is_the_mean_over_findings_with_both_sides() -> None:
    logits, target = some()
    target[:, 1] = 0
    alone = [AUCMarginLoss()(logits[:, [at]], target[:, [at]]) for at in range(3)]
    assert alone[1].item() == 0
    torch.testing.assert_close(AUCMarginLoss()(logits, target), (alone[0] + alone[2]) / 2)


# ---------------------------------------------------------------- soft targets


def test_soft_targets_by_hand() -> None:
    # softmax 1/2, 1/4, 1/4; two findings share the target, then Normal has all of it
    outputs = torch.tensor([[log(2), 0.0, 0.0]])
    two = SoftTargetLoss()(SOFTMAX(outputs), torch.tensor([[1.0, 1.0, 0.0]]))
    assert two.item() == pytest.approx((log(2) + log(4)) / 2, rel=1e-6)
    assert SoftTargetLoss()(SOFTMAX(outputs), torch.tensor([[0.0, 0.0, 1.0]])).item() == pytest.approx(log(4), rel=1e-6)
    # smoothed by 0.3: 0.7 of the target and 0.1 of each
    smoothed = SoftTargetLoss(0.3)(SOFTMAX(outputs), torch.tensor([[1.0, 0.0, 0.0]]))
    assert smoothed.item() == pytest.approx(0.8 * log(2) + 0.2 * log(4), rel=1e-6)


def test_soft_targets_gradient_is_probability_less_target() -> None:
    outputs = draw(0, 5, 3).requires_grad_()
    target = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]])
    SoftTargetLoss()(SOFTMAX(outputs), target).backward()
    assert outputs.grad is not None
    expected = (outputs.detach().softmax(1) - target / target.sum(1, keepdim=True)) / 5
    torch.testing.assert_close(outputs.grad, expected, rtol=1e-4, atol=1e-6)


def test_unknown_classes_are_as_if_they_were_not_there() -> None:
    outputs = draw(0, 1, 3).requires_grad_()
    value = SoftTargetLoss()(SOFTMAX(outputs), torch.tensor([[1.0, NAN, 0.0]]))
    torch.testing.assert_close(value, -outputs[:, [0, 2]].log_softmax(1)[0, 0])
    value.backward()
    assert outputs.grad is not None
    assert abs(outputs.grad[0, 1].item()) < 1e-6


@pytest.mark.parametrize("row", [[0.0, NAN, NAN], [1.0, NAN, NAN], [0.0, 0.0, NAN]])
def test_images_without_a_target_weigh_nothing(row: list[float]) -> None:
    log_odds, made = SOFTMAX(draw(0, 2, 3)), SoftTargetLoss()
    target = torch.tensor([[0.0, 1.0, 0.0], row])
    assert made.known_labels(target).item() == 1
    torch.testing.assert_close(made(log_odds, target), made(log_odds[:1], target[:1]))


# ---------------------------------------------------------------- names, options, combinations


@pytest.mark.parametrize("name", LOSSES)
def test_defaults_are_the_papers_and_options_reach_it(name: str) -> None:
    defaults = {
        "focal": {"gamma": 2.0, "alpha": 0.25},
        "asymmetric": {"gamma_positive": 0.0, "gamma_negative": 4.0, "margin": 0.05},
        "auc_margin": {"margin": 1.0},
    }.get(name, {})
    assert {option: getattr(named(name), option) for option in defaults} == defaults
    for option in defaults:
        assert getattr(named(name, **{option: 0.5}), option) == 0.5


@pytest.mark.parametrize(
    ("name", "settings", "code", "says"),
    [
        (
            "focall",
            {},
            "setting-invalid",
            "bce, weighted_bce, focal, asymmetric, class_balanced, auc_margin, soft_target",
        ),
        ({"_target_": "torch.nn.HuberLoss"}, {}, "setting-invalid", "--loss_function"),
        ("focal", {"gama": 1}, "override-unknown", "#gama.*alpha, --loss_function#gamma"),
        ("bce", {"gamma": 1}, "override-unknown", "no settings of its own"),
        ("focal", {"gamma": -1}, "setting-invalid", "#gamma -1: .*at least 0"),
        ("focal", {"alpha": 1.5}, "setting-invalid", "#alpha 1.5: .*at most 1"),
        ("asymmetric", {"margin": 1}, "setting-invalid", "#margin 1: .*below 1"),
        ("weighted_bce", {"cap": "no"}, "setting-invalid", "#cap 'no'"),
        ("class_balanced", {"beta": 1.0}, "setting-invalid", "#beta 1.0: .*below 1"),
        ("auc_margin", {"margin": 0}, "setting-invalid", "#margin 0"),
        ("auc_margin", {"label_smoothing": 0.1}, "setting-invalid", "--label_smoothing"),
        ("auc_margin", {"mixup": 0.2}, "setting-invalid", "--mixup"),
        ("auc_margin", {"accumulate": 2}, "setting-invalid", "--accumulate"),
        ("soft_target", {"mixup": 0.2}, "setting-invalid", "--mixup"),
        ("soft_target", {"head": "sigmoid"}, "setting-invalid", "--head softmax"),
        ("soft_target", {"head": "hierarchical"}, "setting-invalid", "--head softmax"),
        ("bce", {"head": "softmax"}, "setting-invalid", "--loss soft_target"),
    ],
)
def test_wrong_settings_are_named(name: Any, settings: dict[str, Any], code: str, says: str) -> None:
    head_name = settings.pop("head", "softmax" if name == "soft_target" else "sigmoid")
    with pytest.raises(SettingError, match=says) as error:
        training_loss(name, COUNTS, head=head_name, **settings)
    assert error.value.code == code
