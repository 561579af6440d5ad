"""MONAI's client of federated learning (``monai.fl.client.MonaiAlgo`` of 1.6.1) on a bundle, with its defaults."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from cxr_monai.errors import CxrError
from tests.interop.site import Site
from tests.support.bundle_runs import SHIPPED, code_of, our_errors
from tests.support.tiny_bundles import LABELS, tiny_network

# MONAI says of every round that the server could run code here
pytestmark = [
    pytest.mark.filterwarnings("ignore:executing the bundle config:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]


def client(site: Site, bundle: Path | None = None, **settings: Any) -> MonaiAlgo:
    """Return a client that is initialised as a server would do it; nothing but the data is named."""
    data = {"manifest": str(site.manifest), "num_workers": 0, "batch_size": 4, "amp": False, "cache_dir": "none"}
    made = MonaiAlgo(str(bundle or site.bundle), train_kwargs=dict(data), eval_kwargs=dict(data), **settings)
    with our_errors():
        made.initialize({ExtraItems.CLIENT_NAME: "hospital-b"})
    return made


def weights_of(bundle: Path) -> dict[str, torch.Tensor]:
    return torch.load(bundle / "models" / "model.pt", weights_only=True)


def test_a_round_trains_from_the_servers_weights_and_is_evaluated(site: Site, away: Path) -> None:
    made = client(site, local_epochs=2)
    sent = tiny_network(11).state_dict()
    made.train(ExchangeObject(weights=dict(sent)))
    assert made.trainer.state.epoch == 2
    assert made.trainer.state.iteration == 4
    difference = made.get_weights()
    assert difference.weight_type == WeightType.WEIGHT_DIFF
    assert difference.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] == 4
    changed = {name: sent[name] + difference.weights[name] for name in sent}
    trained = made.trainer.network.state_dict()
    assert all(torch.allclose(changed[name], trained[name]) for name in sent if sent[name].is_floating_point())
    assert any(not torch.equal(trained[name], sent[name]) for name in sent)
    made.train(ExchangeObject(weights=changed))
    assert made.trainer.state.epoch == 4
    made.finalize()


def test_the_evaluation_is_of_the_servers_weights_on_the_validation_part(site: Site, away: Path) -> None:
    made = client(site)
    own = dict(made.evaluate(ExchangeObject(weights=weights_of(site.bundle))).metrics)
    expected = site.predict(raw=True).iloc[8:12]
    labels = [(index % 2, (index // 2) % 2) for index in range(8, 12)]
    for column, label in enumerate(LABELS):
        scores = expected[label].to_numpy()
        ups = [score for score, truth in zip(scores, labels, strict=True) if truth[column]]
        downs = [score for score, truth in zip(scores, labels, strict=True) if not truth[column]]
        wins = sum((up > down) + (up == down) / 2 for up in ups for down in downs)
        assert own[f"auroc_{label}"] == pytest.approx(wins / len(ups) / len(downs))
    losses = [
        -math.log(score if truth[column] else 1 - score)
        for column, label in enumerate(LABELS)
        for score, truth in zip(expected[label].to_numpy(), labels, strict=True)
    ]
    assert own["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    other = made.evaluate(ExchangeObject(weights=dict(tiny_network(11).state_dict()))).metrics
    assert other["loss"] != pytest.approx(own["loss"], abs=1e-3)
    made.finalize()


def test_the_best_weights_are_the_bundles(site: Site, away: Path) -> None:
    made = client(site, config_evaluate_filename=None)
    best = made.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    own = weights_of(site.bundle)
    assert all(torch.equal(best[name], own[name]) for name in own)


def test_a_client_writes_nothing_beside_its_working_directory(site: Site, away: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.bundle.rglob("*")}
    made = client(site)
    made.train(ExchangeObject(weights=weights_of(site.bundle)))
    made.evaluate(ExchangeObject(weights=weights_of(site.bundle)))
    made.finalize()
    assert {path: path.stat().st_mtime_ns for path in site.bundle.rglob("*")} == before
    assert {path.name for path in away.iterdir()} <= {"output"}


def test_a_bundle_without_weights_trains_and_its_evaluation_says_what_it_lacks(site: Site, away: Path) -> None:
    small = {"image_size": 32, "labels": list(LABELS)}
    with pytest.raises(CxrError) as error:
        client(site, SHIPPED)
    assert code_of(error) == "unknown-finding"
    data = {"manifest": str(site.manifest), "num_workers": 0, "batch_size": 4, "cache_dir": "none", **small}
    made = MonaiAlgo(str(SHIPPED), train_kwargs=dict(data), eval_kwargs=dict(data),
                     config_evaluate_filename="configs/train.json")  # fmt: skip
    made.initialize({ExtraItems.CLIENT_NAME: "hospital-b"})
    start = {name: tensor.clone() for name, tensor in made.trainer.network.state_dict().items()}
    made.train(ExchangeObject(weights=start))
    metrics = made.evaluate(ExchangeObject(weights=dict(made.trainer.network.state_dict()))).metrics
    assert set(metrics) >= {"mean_auroc", "loss", "auroc_Effusion"}


@pytest.mark.parametrize("kind", ["train_kwargs", "eval_kwargs"])
def test_a_misspelt_setting_of_a_client_is_refused(kind: str, site: Site, away: Path) -> None:
    data = {"manifest": str(site.manifest)}
    settings = {"train_kwargs": dict(data), "eval_kwargs": dict(data)}
    settings[kind]["bacth_size"] = 4  # type: ignore[assignment]
    made = MonaiAlgo(str(site.bundle), **settings)  # type: ignore[arg-type]
    with pytest.raises(CxrError, match="--batch_size") as error, our_errors():
        made.initialize({ExtraItems.CLIENT_NAME: "hospital-b"})
    assert code_of(error) == "override-unknown"


def test_tracking_of_a_client_has_a_run_under_its_name(site: Site, away: Path, tracking_store: str) -> None:
    from mlflow import MlflowClient

    data = {"manifest": str(site.manifest), "num_workers": 0, "batch_size": 4, "tracking": "mlflow",
            "experiment_name": "federation"}  # fmt: skip
    made = MonaiAlgo(str(site.bundle), train_kwargs=data, config_evaluate_filename=None)
    made.initialize({ExtraItems.CLIENT_NAME: "hospital-b"})
    made.train(ExchangeObject(weights=weights_of(site.bundle)))
    made.finalize()
    experiment = MlflowClient(tracking_store).get_experiment_by_name("federation")
    assert experiment is not None
    runs = MlflowClient(tracking_store).search_runs([experiment.experiment_id])
    assert [run.info.run_name.rpartition("_")[0].rpartition("_")[0] for run in runs] == ["hospital-b"]
