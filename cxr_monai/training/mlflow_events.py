"""An event of a journal as calls of MLflow's client: the run opened or found, figures, files, its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_monai.training.mlflow_names import mlflow_name, mlflow_value, original_names
from cxr_monai.training.refusals import TurnedAwayError, WaitingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID_TAG = "cxr_monai.id"
"""The tag by which a run is found again."""
CONTINUES_TAG = "cxr_monai.continues"
"""The tag of a run that was sent anew: MLflow's id of the one that was deleted there."""


def open_run(
    client: "MlflowClient",
    event: Mapping[str, Any],
    artifact_folder: str | None,
    continues: str | None = None,
    experiment: str | None = None,
) -> tuple[str, str]:
    """Return the ids of the experiment and the run of an event of the kind ``run``; both are made where they are not.

    Args:
        client: MLflow's.
        event: of a journal.
        artifact_folder: of an experiment that has to be made; the server decides where None.
        continues: the id of a run that was deleted; another one is begun, which names it.
        experiment: instead of the event's.

    Raises:
        TurnedAwayError: if the experiment was deleted.
        WaitingError: if the run that this one belongs to is not there yet.
    """
    name = mlflow_value(experiment or event["experiment"], "experiment")
    experiment_id = _experiment(client, name, artifact_folder)
    run_id = _find_run(client, experiment_id, event["tags"][ID_TAG])
    if run_id:
        return experiment_id, run_id
    tags = {mlflow_name(key): mlflow_value(value, "tag") for key, value in event["tags"].items()}
    if continues:
        tags[CONTINUES_TAG] = continues
    if "parent" in event:
        parent = _find_run(client, experiment_id, event["parent"], deleted=True)
        if parent is None:  # it will be sent; this event is tried again later
            raise WaitingError("the study that this run belongs to has not reached the server yet; it comes first")
        tags["mlflow.parentRunId"] = parent
    run_name = mlflow_value(event["name"], "run")
    run = client.create_run(experiment_id, start_time=event["time"], run_name=run_name, tags=tags)
    return experiment_id, run.info.run_id


def state_of_run(client: "MlflowClient", run_id: str) -> str:
    """Return the state of a run on MLflow's server.

    Args:
        client: MLflow's.
        run_id: of the run.

    Returns:
        ``active``, ``deleted`` (which can be undone) or ``gone`` (which cannot).

    Raises:
        Exception: whatever the client raises where the server does not answer.
    """
    try:
        return str(client.get_run(run_id).info.lifecycle_stage)
    except Exception as error:  # RestException over HTTP, MlflowException of a file
        if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
            return "gone"
        raise


def send_event(client: "MlflowClient", run_id: str, event: Mapping[str, Any], folder: Path, unsure: bool) -> None:
    """Log one event to an open run.

    Args:
        client, run_id: MLflow's.
        event: of a journal, any kind but ``run``.
        folder: of the training; paths of files are relative to it.
        unsure: True if these figures could have been sent before; those that are there are not sent again.

    Raises:
        Exception: whatever the client raises.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    kind = event["kind"]
    if kind == "params":
        values = {mlflow_name(name): mlflow_value(value, "param") for name, value in event["values"].items()}
        tags = [RunTag(*tag) for tag in original_names(event["values"]).items()]
        client.log_batch(run_id, params=[Param(*pair) for pair in values.items()], tags=tags)
    elif kind == "metrics":
        metrics = [
            Metric(mlflow_name(name), value, event["time"], event["step"]) for name, value in event["values"].items()
        ]
        if unsure:
            metrics = [metric for metric in metrics if not _has(client, run_id, metric)]
        tags = [RunTag(*tag) for tag in original_names(event["values"]).items()]
        client.log_batch(run_id, metrics=metrics, tags=tags)
    elif kind == "tags":
        tags = [RunTag(mlflow_name(name), mlflow_value(value, "tag")) for name, value in event["values"].items()]
        client.log_batch(run_id, tags=tags)
    elif kind == "dataset":
        tag = InputTag("mlflow.data.context", event["context"])
        client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**event["entity"]), [tag])])
    elif kind == "configuration":
        client.log_dict(run_id, event["content"], event.get("name", "configuration.json"))
    elif kind == "text":
        client.log_text(run_id, event["content"], event["name"])
    elif kind == "artifact":
        _send_file(client, run_id, folder / event["path"], event["folder"])
    elif kind == "status":
        if event["status"] == "RUNNING":
            client.update_run(run_id, status="RUNNING")
        else:
            client.set_terminated(run_id, event["status"], event["time"])


def _send_file(client: "MlflowClient", run_id: str, path: Path, folder: str | None) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder)
    elif path.exists():  # a file that was deleted meanwhile cannot be sent
        client.log_artifact(run_id, str(path), folder)


def _experiment(client: "MlflowClient", name: str, artifact_folder: str | None) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # without the tag MLflow 3 opens the experiment in its view for language models
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=artifact_folder, tags=kind))
    if experiment.lifecycle_stage != "active":
        raise TurnedAwayError(
            f"the experiment {name!r} was deleted in MLflow, which makes no other of that name: "
            f"'mlflow experiments restore --experiment-id {experiment.experiment_id}' brings it back, and "
            "'cxr-monai track OUT --experiment ANOTHER' sends this run to another one"
        )
    return str(experiment.experiment_id)


def _find_run(client: "MlflowClient", experiment_id: str, own_id: str, deleted: bool = False) -> str | None:
    from mlflow.entities import ViewType

    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY)[: 1 + deleted]:
        runs = client.search_runs([experiment_id], f"tags.`{ID_TAG}` = '{own_id}'", run_view_type=view)
        if runs:
            return str(runs[0].info.run_id)
    return None


def _has(client: "MlflowClient", run_id: str, metric: Any) -> bool:
    history = client.get_metric_history(run_id, metric.key)
    return any((old.step, old.timestamp) == (metric.step, metric.timestamp) for old in history)
