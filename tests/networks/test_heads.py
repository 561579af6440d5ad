"""Heads: probabilities that keep their promise, log-odds without rounding away, maps that are GradCAM's."""

from math import log
from typing import Any

import pytest
import torch
from monai.visualize import GradCAM
from torch import nn

from cxr_monai.attribution.methods import Method, explain_with
from cxr_monai.errors import SettingError
from cxr_monai.labels import NIH14
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.fusion import for_prediction, largest_difference
from cxr_monai.networks.heads import HEADS, INDEPENDENT, Head, classification_head, with_head
from cxr_monai.networks.inferers import AutocastInferer
from cxr_monai.networks.weight_loading import set_prior
from cxr_monai.schemes import SCHEMES
from tests.networks.test_class_maps import densenet

SHAPE = (1, 64, 64)
# of three outputs each
SMALL: dict[str, Head] = {
    "sigmoid": classification_head("sigmoid", ["Lung", "Mass", "Edema"], {}),
    "softmax": classification_head("softmax", ["Mass", "Edema", "Normal"], {"Normal": ()}),
    "hierarchical": classification_head("hierarchical", ["Lung", "Mass", "Edema"], {"Lung": ("Mass", "Edema")}),
}


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def of_scheme(name: str, scheme: str) -> Head:
    return classification_head(name, SCHEMES[scheme].labels, SCHEMES[scheme].groups)


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("scheme", ["findings", "categories_normal", "hierarchy"])
def test_sigmoid_leaves_the_outputs_bit_for_bit(scheme: str) -> None:
    made, outputs = of_scheme("sigmoid", scheme), draw(0, 4, len(SCHEMES[scheme].labels))
    maps = draw(1, 4, made.outputs, 2, 2)
    assert made.outputs == outputs.shape[1]
    assert torch.equal(made(outputs), outputs)
    assert torch.equal(made.maps(outputs, maps), maps)
    assert made.prior([0.1, 0.2]) == [0.1, 0.2]
    assert made.within == {}


@pytest.mark.parametrize("scheme", ["findings_normal", "categories_normal"])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_softmax_is_softmax_and_adds_up_to_one(scheme: str, scale: float) -> None:
    made = of_scheme("softmax", scheme)
    outputs = draw(0, 64, made.outputs) * scale
    probabilities = made(outputs).sigmoid()
    torch.testing.assert_close(probabilities, outputs.softmax(1), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(64))


def test_log_odds_keep_what_a_probability_would_round_to_one() -> None:
    # two outputs: the log-odds are their difference, where softmax gives 1 and 0
    made = classification_head("softmax", ["Mass", "Normal"], {"Normal": ()})
    assert made(torch.tensor([[200.0, -100.0]])).tolist() == [[300.0, -300.0]]


def test_hierarchical_by_hand() -> None:
    # 3/4 of 1/3 is 1/4, and 3/4 of 4/5 is 3/5
    outputs = torch.tensor([[log(3), log(0.5), log(4)]])
    probabilities = SMALL["hierarchical"](outputs).sigmoid()
    torch.testing.assert_close(probabilities, torch.tensor([[3 / 4, 1 / 4, 3 / 5]]))


@pytest.mark.parametrize("scale", [1.0, 20.0, 50.0])
def test_hierarchical_is_exact_and_never_contradicts_itself(scale: float) -> None:
    made = of_scheme("hierarchical", "hierarchy")
    labels = SCHEMES["hierarchy"].labels
    outputs = (draw(0, 200, made.outputs) * scale).clamp(-50, 50)
    log_odds = made(outputs)
    # 1 - p = (1 - c) + c (1 - f), added in double precision: nothing is subtracted
    given, doubles = outputs.double(), log_odds.double()
    for finding, category in made.within.items():
        at, above = labels.index(finding), labels.index(category)
        f, c = given[:, at], given[:, above]
        odds = (c.sigmoid() * f.sigmoid()) / ((-c).sigmoid() + c.sigmoid() * (-f).sigmoid())
        torch.testing.assert_close(doubles[:, at], odds.log(), rtol=1e-5, atol=1e-5)
        assert (log_odds[:, at] <= log_odds[:, above]).all()
        assert (log_odds[:, at].sigmoid() <= log_odds[:, above].sigmoid()).all()
    alone = [at for at, label in enumerate(labels) if label not in made.within]
    assert torch.equal(log_odds[:, alone], outputs[:, alone])
    assert made.within["Mass"] == "Lung"
    assert made.within["Effusion"] == "Pleural"
    assert set(made.within) == set(NIH14) - {"Cardiomegaly", "Hernia"}


@pytest.mark.parametrize("name", HEADS)
def test_both_levels_learn(name: str) -> None:
    outputs = torch.zeros(2, 3, requires_grad=True)
    SMALL[name](outputs)[:, 1].sum().backward()
    assert outputs.grad is not None
    moved = outputs.grad.abs().sum(0) > 0
    assert moved.tolist() == {"sigmoid": [False, True, False], "softmax": [True] * 3}.get(name, [True, True, False])


# ---------------------------------------------------------------- where a network begins


@pytest.mark.parametrize(
    ("name", "prevalences"),
    [
        ("sigmoid", [0.3, 0.1, 0.02]),
        ("hierarchical", [0.3, 0.1, 0.02]),
        ("softmax", [0.1, 0.3, 0.6]),
    ],
)
def test_a_network_begins_with_the_prevalences(name: str, prevalences: list[float]) -> None:
    network = nn.Linear(2, 3)
    set_prior(network, SMALL[name].prior(prevalences))
    begun = SMALL[name](network.bias.detach()[None]).sigmoid()
    torch.testing.assert_close(begun, torch.tensor([prevalences]))


def test_findings_that_share_images_begin_with_shares_of_what_is_not_normal() -> None:
    # 0.2 and 0.6 of the images, Normal 0.5: the rest, 0.5, in the ratio 1 : 3
    network = nn.Linear(2, 3)
    set_prior(network, SMALL["softmax"].prior([0.2, 0.6, 0.5]))
    torch.testing.assert_close(network.bias.detach().softmax(0), torch.tensor([0.125, 0.375, 0.5]))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("prevalences", [[float("nan")] * 3, [0.0, 0.0, 0.0], [0.0, 0.5, float("nan")]])
def test_unknown_prevalences_leave_finite_biases(name: str, prevalences: list[float]) -> None:
    network = nn.Linear(2, 3)
    set_prior(network, SMALL[name].prior(prevalences))
    assert torch.isfinite(network.bias).all()


# ---------------------------------------------------------------- maps


class Whole(nn.Module):
    """A network and its head as one module, made without ``with_head``."""

    def __init__(self, network: nn.Module, head: Head) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.network(x))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    made = densenet()
    for layer in made.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False
    # one of the draws under which something speaks for every label of every head: GradCAM cuts off what is below 0
    with torch.no_grad():
        made.class_layers.out.weight.copy_(draw(3, *made.class_layers.out.weight.shape))
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def gradcam(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """MONAI's GradCAM of network and head, on the layer's own grid before its ReLU, in shares of the maximum."""
    made = {}
    for name, of in SMALL.items():
        camera = GradCAM(
            nn_module=Whole(network, of).eval(), target_layers="network.class_layers.relu",
            upsampler=lambda size: nn.Identity(), postprocessing=lambda heat: heat,
        )  # fmt: skip
        rows = [torch.cat([camera(x=image, class_idx=at).detach() for at in range(3)], 1) for image in images.split(1)]
        made[name] = shares(torch.cat(rows))
    return made


def shares(maps: torch.Tensor) -> torch.Tensor:
    maps = maps.clamp(min=0)
    return maps / maps.amax((-2, -1), keepdim=True).clamp(min=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_class_maps_are_gradcams_of_network_and_head(
    name: str, network: nn.Module, images: torch.Tensor, gradcam: dict[str, torch.Tensor]
) -> None:
    with torch.inference_mode():
        logits, maps = ClassMaps(network, SHAPE, head=SMALL[name])(images)
        torch.testing.assert_close(logits, SMALL[name](network(images)), rtol=0, atol=1e-4)
    assert (gradcam[name].amax((-2, -1)) == 1).all()
    torch.testing.assert_close(shares(maps), gradcam[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("method", [Method.CAM, Method.GRADCAM, Method.LAYER_GRADCAM])
def test_methods_explain_the_heads_labels(
    name: str, method: Method, network: nn.Module, images: torch.Tensor, gradcam: dict[str, torch.Tensor]
) -> None:
    maps = explain_with(method, network, images, [0, 2], head=SMALL[name])
    torch.testing.assert_close(shares(maps), gradcam[name][:, [0, 2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", [Method.LAYERCAM, Method.CAM_LAYERCAM, Method.INTEGRATED_GRADIENTS])
def test_other_methods_see_the_head_too(method: Method, network: nn.Module, images: torch.Tensor) -> None:
    maps = [
        explain_with(method, network, images[:1], [1], "features.transition1.relu", head=SMALL[name]) for name in HEADS
    ]
    assert not torch.allclose(shares(maps[0]), shares(maps[1]), atol=1e-3)
    assert all(one.amax() > 0 for one in maps)


def test_a_finer_grid_has_the_heads_maps_too(network: nn.Module, images: torch.Tensor) -> None:
    made = ClassMaps(network, SHAPE, 16, head=SMALL["softmax"])
    with torch.inference_mode():
        logits, maps = made(images)
        _, plain = ClassMaps(network, SHAPE, 16)(images)
        probabilities = network(images).softmax(1)
    # the log-odds of p_f rise by 1 with their own output, and fall by p_k / (1 - p_f) with another
    slopes = -probabilities[:, None] / (1 - probabilities[:, :, None])
    slopes.diagonal(dim1=1, dim2=2).fill_(1)
    torch.testing.assert_close(logits, SMALL["softmax"](network(images)).detach(), rtol=0, atol=1e-4)
    torch.testing.assert_close(maps, torch.einsum("bfk,bkhw->bfhw", slopes, plain), rtol=1e-3, atol=1e-3)


def test_a_network_with_its_head_is_a_copy_with_the_same_layers(network: nn.Module, images: torch.Tensor) -> None:
    made = with_head(network, SMALL["softmax"])
    assert with_head(network, INDEPENDENT) is network
    assert [name for name, _ in made.named_modules()] == [name for name, _ in network.named_modules()]
    with torch.no_grad():
        torch.testing.assert_close(made(images), SMALL["softmax"](network(images)))
    assert not network._forward_hooks


# ---------------------------------------------------------------- prediction


@pytest.mark.parametrize("name", ["softmax", "hierarchical"])
def test_the_mean_of_crops_keeps_the_heads_promise(name: str) -> None:
    crops = draw(0, 5, 10, 3, 1, 1) * 4
    inferer = AutocastInferer(amp=False, head=SMALL[name])
    log_odds = inferer(crops, lambda images: images.flatten(1))
    assert torch.equal(log_odds, SMALL[name](crops.flatten(2).mean(1)))


def test_a_folded_copy_is_compared_by_the_heads_probabilities() -> None:
    # outputs far beyond where a sigmoid tells them apart; their difference decides
    def one(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[30.0, 30.0, 30.0]]).repeat(len(images), 1)

    def other(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[30.0, 31.0, 30.0]]).repeat(len(images), 1)

    assert largest_difference(one, other, SHAPE) < 1e-6
    assert largest_difference(one, other, SHAPE, SMALL["softmax"]) > 0.2


def test_a_network_is_folded_whatever_its_head(network: nn.Module, images: torch.Tensor) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 instructions")
    with torch.inference_mode():
        made = [for_prediction(network, SHAPE, of)(images) for of in SMALL.values()]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("name", "labels", "groups", "says"),
    [
        ("softmaxx", ["Mass"], {}, "--head 'softmaxx': .*sigmoid, softmax, hierarchical"),
        ("softmax", ["Mass", "Edema"], {}, "one must mean none of them.*findings_normal"),
        ("softmax", ["Normal"], {"Normal": ()}, "one must mean none of them"),
        ("softmax", ["Lung", "Mass", "Normal"], {"Lung": ("Mass", "Edema"), "Normal": ()}, "Mass would stand in two"),
        ("hierarchical", ["Mass", "Edema"], {}, "none is a category"),
        ("hierarchical", ["Lung", "Hernia"], {"Lung": ("Mass", "Edema")}, "none is a category"),
        ("hierarchical", ["A", "B", "Mass"], {"A": ("Mass", "X"), "B": ("Mass", "Y")}, "Mass .* in A and in B"),
        ("hierarchical", ["Lung", "Mass", "Normal"], {"Lung": ("Mass", "Edema"), "Normal": ()}, "Normal means none"),
    ],
)  # fmt: skip
def test_labels_that_a_head_cannot_have(name: str, labels: list[str], groups: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says) as error:
        classification_head(name, labels, groups)
    assert error.value.code == "setting-invalid"


@pytest.mark.parametrize("name", ["softmax", "hierarchical"])
def test_a_network_of_another_width_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="7 outputs an image, and its head needs 3") as error:
        SMALL[name](torch.zeros(2, 7))
    assert error.value.code == "setting-invalid"
