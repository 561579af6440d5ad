"""An ensemble is the mean of its members, whatever it is used through."""

import pytest
import torch
from torch import nn

from cxr_monai.attribution.methods import explain_with
from cxr_monai.attribution.randomisation import cascade, randomised
from cxr_monai.errors import Code, SettingError, WeightsError
from cxr_monai.networks.class_maps import ClassMaps
from cxr_monai.networks.ensemble import Ensemble, joined_states, within_member
from cxr_monai.networks.fusion import TOLERANCE, for_prediction, largest_difference
from cxr_monai.networks.heads import classification_head
from cxr_monai.networks.inferers import bfloat16_supported
from cxr_monai.networks.weight_loading import load_weights
from tests.support.tiny_bundles import tiny_network

SHAPE = (1, 64, 64)


@pytest.fixture(scope="module")
def members() -> list[nn.Module]:
    return [tiny_network(seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def ensemble(members: list[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(joined_states([member.state_dict() for member in members]), file)
    made = load_weights(Ensemble(2, tiny_network(7)), file).eval()
    assert isinstance(made, Ensemble)
    return made


def images() -> torch.Tensor:
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_outputs_are_the_mean(members: list[nn.Module], ensemble: Ensemble) -> None:
    expected = (members[0](images()) + members[1](images())) / 2
    torch.testing.assert_close(ensemble(images()), expected)
    assert (members[0](images()) - members[1](images())).abs().max() > 0.1
    with torch.autocast("cpu", torch.bfloat16):  # the members' outputs are rounded, their mean is not
        assert members[0](images()).dtype == torch.bfloat16
        assert ensemble(images()).dtype == torch.float32


def test_weights_of_another_number_of_members_are_refused(ensemble: Ensemble, tmp_path) -> None:
    torch.save(ensemble.state_dict(), tmp_path / "two.pt")
    with pytest.raises(WeightsError, match=r"members\.2\.features\.conv0\.weight is missing") as error:
        load_weights(Ensemble(3, tiny_network(0)), tmp_path / "two.pt")
    assert error.value.code == Code.WEIGHTS_MISMATCH


@pytest.mark.parametrize("members", [0, -1, True, 2.0, "5"])
def test_a_number_that_is_none_is_refused(members: object) -> None:
    with pytest.raises(SettingError, match="whole number of at least 1") as error:
        Ensemble(members, nn.Identity())  # type: ignore[arg-type]
    assert error.value.code == Code.SETTING_INVALID


@pytest.mark.skipif(not bfloat16_supported(torch.device("cpu")), reason="this processor has no bfloat16 instructions")
def test_every_member_is_folded(ensemble: Ensemble) -> None:
    made = for_prediction(ensemble, SHAPE)
    assert made is not ensemble
    left = [name for name, part in made.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert left == []
    assert largest_difference(ensemble, made, SHAPE) <= TOLERANCE


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=pytest.mark.skipif(
    not bfloat16_supported(torch.device("cpu")), reason="this processor has no bfloat16 instructions"))])  # fmt: skip
@pytest.mark.parametrize("stride", [None, 4])
@torch.inference_mode()
def test_class_maps_are_the_mean_of_the_members(
    members: list[nn.Module], ensemble: Ensemble, stride: int | None, fast: bool
) -> None:
    made = ClassMaps(ensemble, SHAPE, stride, fast)
    each = [ClassMaps(member, SHAPE, stride) for member in members]
    logits, maps = made(images())
    close = {"rtol": 0, "atol": 0.05 if fast else 1e-5}
    torch.testing.assert_close(logits, ensemble(images()), **close)
    torch.testing.assert_close(maps, (each[0](images())[1] + each[1](images())[1]) / 2, **close)
    assert (made.stride, made.points) == (each[0].stride, each[0].points)


@torch.inference_mode()
def test_a_head_comes_after_the_mean(members: list[nn.Module], ensemble: Ensemble) -> None:
    softmax = classification_head("softmax", ["Mass", "Normal"], {"Mass": ["Mass"], "Normal": []})
    each = [ClassMaps(member, SHAPE)(images()) for member in members]
    outputs, maps = (each[0][0] + each[1][0]) / 2, (each[0][1] + each[1][1]) / 2
    logits, made = ClassMaps(ensemble, SHAPE, head=softmax)(images())
    torch.testing.assert_close(logits, softmax(outputs), rtol=0, atol=1e-5)
    torch.testing.assert_close(made, softmax.maps(outputs, maps), rtol=0, atol=1e-5)


def test_the_method_cam_explains_it_and_others_one_members_layer(members: list[nn.Module], ensemble: Ensemble) -> None:
    with torch.inference_mode():
        expected = ClassMaps(ensemble, SHAPE)(images())[1][:, [1]].clamp(min=0)
    torch.testing.assert_close(explain_with("cam", ensemble, images(), [1]), expected)
    with pytest.raises(SettingError, match=r"members\.1\.class_layers\.relu"):
        explain_with("gradcam", ensemble, images(), [1])
    # one member's, which is its half of the mean
    half = explain_with("gradcam", ensemble, images(), [1], "members.1.class_layers.relu")
    torch.testing.assert_close(half, explain_with("gradcam", members[1], images(), [1]) / 2)


def test_a_part_of_it_is_that_part_of_all_members(members: list[nn.Module], ensemble: Ensemble) -> None:
    assert [stage.name for stage in cascade(ensemble)] == [stage.name for stage in cascade(members[0])]
    made = randomised(ensemble, ["class_layers.out"], images(), seed=0)
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, ensemble.state_dict()[name])}
    assert changed == {f"members.{at}.class_layers.out.{part}" for at in (0, 1) for part in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "within"),
    [("members.12.features.conv0", "features.conv0"), ("features.members.1.x", "features.members.1.x"), ("out", "out")],
)
def test_names_within_a_member(name: str, within: str) -> None:
    assert within_member(name) == within
