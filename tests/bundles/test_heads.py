"""Bundles with other heads: trained, complete, of one mind; and losses by name from the command line."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_monai.attribution.explainer import Explainer
from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.errors import CxrError
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.inference.model import Model
from cxr_monai.losses import MaskedBCEWithLogitsLoss
from cxr_monai.schemes import SCHEMES
from tests.support.bundle_runs import (
    CONFIGS,
    SHIPPED,
    SMALL_NETWORK,
    TINY,
    Phantoms,
    Trained,
    code_of,
    edit,
    few,
    our_errors,
    process_as_it_was,
    read,
    rewrite,
    run,
    train,
    workflow,
)

SCHEME = {"softmax": "findings_normal", "hierarchical": "hierarchy"}


@pytest.fixture(scope="module", params=SCHEME)
def headed(
    request: pytest.FixtureRequest, phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory, tracking_store: str
) -> Iterator[tuple[str, Path]]:
    """A head's name, and the bundle of one epoch on eight images with it."""
    name, home = request.param, tmp_path_factory.mktemp(request.param)
    train(
        SHIPPED, rewrite(phantoms.manifest, home / "few.csv", few),
        head=name, label_scheme=SCHEME[name], loss="soft_target" if name == "softmax" else "focal",
        output_dir=str(home / "OUT"), tracking_uri=tracking_store,
        network_def={**SMALL_NETWORK, "block_config": [1, 1, 1, 1]},  # one place is left of 32 pixels
    )  # fmt: skip
    return name, home / "OUT" / "bundle"


def kept(name: str, labels: list[str], probabilities: np.ndarray) -> None:
    """Check what a head promises of its probabilities, up to rounding in a file."""
    values = pd.DataFrame(probabilities, columns=labels)
    if name == "softmax":
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-4)
    else:
        for finding, category in ((f, c) for c in ("Lung", "Pleural") for f in SCHEMES["hierarchy"].groups[c]):
            assert (values[finding] <= values[category]).all(), finding


def test_all_configurations_have_the_head(headed: tuple[str, Path]) -> None:
    name, bundle = headed
    labels = list(SCHEMES[SCHEME[name]].labels)
    for config in CONFIGS:
        content = read(bundle, config)
        assert (content["head"], content["labels"]) == (name, labels)
        assert content["network_def"]["out_channels"] == len(labels)
    opened = Bundle.open(bundle)
    assert head_of(opened.parser()).outputs == len(labels)
    assert list(opened.labels) == labels


def test_predictions_keep_what_the_head_promises(headed: tuple[str, Path], phantoms: Phantoms, elsewhere: Path) -> None:
    name, bundle = headed
    model = Model.open(bundle, raw=True, amp=False)
    by_api = model.predict(phantoms.files("test")[:4]).table
    kept(name, list(model.labels), by_api.iloc[:, 1:].to_numpy())
    run(bundle, "inference", manifest=str(phantoms.manifest), output_dir="out", raw=True, amp=False, num_workers=0)
    by_config = pd.read_csv("out/predictions.csv")
    kept(name, list(model.labels), by_config.iloc[:, 1:].to_numpy())
    both = by_api.assign(image=[f"images/{Path(path).name}" for path in by_api["image"]])
    rows = by_config.set_index("image").loc[both["image"]].to_numpy()
    np.testing.assert_allclose(rows, both.iloc[:, 1:].to_numpy(), atol=1e-5)


@pytest.mark.parametrize(("config", "at"), [("evaluate", "evaluator"), ("train", "validate#evaluator")])
def test_what_evaluates_applies_the_head(
    config: str, at: str, headed: tuple[str, Path], phantoms: Phantoms, elsewhere: Path
) -> None:
    name, bundle = headed
    with process_as_it_was():
        made = workflow(bundle, config, manifest=str(phantoms.manifest), output_dir="out", num_workers=0)
        made.initialize()
        evaluator = made.parser.get_parsed_content(at)
        logits = evaluator.inferer(torch.zeros(2, 1, 32, 32), evaluator.network.eval())
    kept(name, list(SCHEMES[SCHEME[name]].labels), logits.detach().sigmoid().numpy())


def test_maps_are_of_the_heads_labels(headed: tuple[str, Path]) -> None:
    name, bundle = headed
    explainer = Explainer(Model.open(bundle, amp=False))
    probabilities, maps = explainer(torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    kept(name, list(explainer.findings), probabilities)
    # one place at this size: an output's map is what it is without its bias
    head, bias = head_of(Bundle.open(bundle).parser()), explainer.model.network.class_layers.out.bias.detach()
    outputs = explainer.model.network(torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))).detach()
    expected = head.maps(outputs, (outputs - bias)[..., None, None]).clamp(min=0)
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    assert maps.max() > 0


def test_calibration_does_not_turn_findings_and_categories_around(
    headed: tuple[str, Path], phantoms: Phantoms, elsewhere: Path
) -> None:
    name, bundle = headed
    own = json.loads((bundle / "models" / "calibration.json").read_text())
    assert own["within"] == head_of(Bundle.open(bundle).parser()).within
    if name == "softmax":
        assert own["within"] == {}
        return
    copy = Path(shutil.copytree(bundle, elsewhere / "copy"))
    labels = Bundle.open(copy).labels
    up = {label: (Calibrator("platt", {"slope": 1.0, "intercept": 30.0}),) for label in own["within"]}
    Fitted({label: up.get(label, ()) for label in labels}, {}, {}, {}, within=own["within"]).write(
        copy / "models" / "calibration.json"
    )
    predicted = Model.open(copy, amp=False).predict(phantoms.files("test")[:4]).table
    kept(name, list(labels), predicted.iloc[:, 1:].to_numpy())
    assert (predicted["Mass"] == predicted["Lung"]).all()  # raised above its category, and lowered to it
    run(copy, "inference", manifest=str(phantoms.manifest), output_dir="out", amp=False, num_workers=0)
    kept(name, list(labels), pd.read_csv("out/predictions.csv").iloc[:, 1:].to_numpy())


def test_the_head_is_part_of_what_the_weights_mean(
    headed: tuple[str, Path], phantoms: Phantoms, elsewhere: Path
) -> None:
    with pytest.raises(CxrError, match="head is 'sigmoid'") as error:
        run(headed[1], "evaluate", manifest=str(phantoms.manifest), output_dir="out", head="sigmoid")
    assert code_of(error) == "bundle-disagrees"


def test_a_bundle_made_before_there_were_heads_predicts_as_ever(
    trained: Trained, copy: Path, phantoms: Phantoms
) -> None:
    def older(config: dict[str, Any]) -> None:
        del config["head"], config["head_def"]
        for part in (config, config.get("train", {}), config.get("validate", {})):
            part.get("inferer", {}).pop("head", None)
        config.get("explainer", {}).pop("head", None)

    for config in CONFIGS:
        edit(copy, config, older)
    files = phantoms.files("test")[:2]
    tables = [Model.open(bundle).predict(files).table for bundle in (trained.bundle, copy)]
    pd.testing.assert_frame_equal(*tables)
    assert Explainer(Model.open(copy)).findings == Bundle.open(trained.bundle).labels


# ---------------------------------------------------------------- the command line


def started(manifest: Path, **settings: Any) -> Any:
    """Return the parser of a training that was initialised and not run."""
    with our_errors():
        made = workflow(
            SHIPPED,
            "train",
            manifest=str(manifest),
            output_dir="OUT",
            **{**TINY, "network_def": SMALL_NETWORK, **settings},
        )
        made.initialize()
        return made.parser


def test_losses_and_their_settings_by_name(phantoms: Phantoms, elsewhere: Path) -> None:
    with process_as_it_was():
        parser = started(phantoms.manifest, loss="focal", label_smoothing=0.1, **{"loss_function#gamma": 1})
        made = parser.get_parsed_content("train#trainer").loss_function
        assert (type(made).__name__, made.gamma, made.alpha, made.label_smoothing) == ("FocalLoss", 1, 0.25, 0.1)
        # whatever trains, plain cross-entropy is validated with: trainings can be compared
        validated = parser.get_parsed_content("validate#metrics").loss_function
        assert type(validated) is MaskedBCEWithLogitsLoss
        assert (validated.label_smoothing, validated.pos_weight) == (0, None)


def test_weights_come_from_the_training_parts_counts(phantoms: Phantoms, elsewhere: Path) -> None:
    table = phantoms.table.query("split == 'train'")
    with process_as_it_was():
        made = started(phantoms.manifest, loss="weighted_bce", labels="Effusion,Mass").get_parsed_content(
            "loss_function"
        )
    positives = table[["Effusion", "Mass"]].sum()
    assert made.pos_weight.tolist() == pytest.approx(((len(table) - positives) / positives).clip(upper=20).tolist())


def test_images_without_a_target_are_counted_at_the_start(
    phantoms: Phantoms, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With other findings alone an image is neither Mass nor Normal."""
    table = phantoms.table.query("split == 'train'")
    normal = (table[list(SCHEMES["findings"].groups)] == 0).all(axis=1)
    without = int(((table["Mass"] == 0) & ~normal).sum())
    assert 0 < without < len(table)
    settings = {"head": "softmax", "label_scheme": "findings_normal", "loss": "soft_target", "cache_dir": "none"}
    with process_as_it_was():
        started(phantoms.manifest, labels="Mass,Normal", **settings).get_parsed_content("preflight").run()
    assert f"{without} of the {len(table)} training images have no target" in caplog.text


def test_a_network_begins_with_the_prevalences_under_its_head(phantoms: Phantoms, elsewhere: Path) -> None:
    settings = {"head": "hierarchical", "label_scheme": "hierarchy"}
    with process_as_it_was():
        parser = started(phantoms.manifest, **settings)
        bias = parser.get_parsed_content("network").class_layers.out.bias.detach()
        begun = parser.get_parsed_content("head_def")(bias[None])[0].sigmoid()
        prevalences = parser.get_parsed_content("prevalences")
    there = np.array(prevalences) > 0.01  # rarer ones are held at a floor
    assert there.sum() > 5
    np.testing.assert_allclose(begun[there], np.array(prevalences)[there], rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"loss": "focall"}, "setting-invalid", "weighted_bce, focal"),
        ({"loss": "focal", "loss_function#gama": 1}, "override-unknown", "#gamma"),
        ({"head": "soft"}, "setting-invalid", "sigmoid, softmax, hierarchical"),
        ({"head": "softmax", "label_scheme": "findings_normal"}, "setting-invalid", "Add --loss soft_target"),
        ({"head": "softmax", "loss": "soft_target"}, "setting-invalid", "--label_scheme findings_normal"),
        ({"loss": "soft_target"}, "setting-invalid", "Add --head softmax"),
        ({"head": "hierarchical"}, "setting-invalid", "--label_scheme hierarchy"),
        ({"loss": "auc_margin", "mixup": 0.2}, "setting-invalid", "--mixup"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(
    settings: dict[str, Any], code: str, says: str, phantoms: Phantoms, elsewhere: Path
) -> None:
    with process_as_it_was(), pytest.raises(CxrError, match=says) as error, our_errors():
        started(phantoms.manifest, **settings).get_parsed_content("train#trainer")
    assert code_of(error) == code
