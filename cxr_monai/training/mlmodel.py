"""The files that make an MLflow model of a logged bundle: three small texts beside it, so the weights are logged once.

``mlflow.pyfunc.load_model("runs:/RUN/bundle")`` reads ``MLmodel``, which names the module of this package that opens
the bundle (``cxr_monai.mlflow_model``). Nothing is pickled, and no requirement is looked for: the versions in
use are written down. The files stand in MLflow alone; they are no part of the bundle and not in its digest.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import cxr_monai

LOADER = "cxr_monai.mlflow_model"
_PACKAGES = ("mlflow", "monai", "pydicom", "pytorch-ignite", "torch")


def model_files(labels: Sequence[str], folder: str) -> dict[str, str]:
    """Return the texts by file name.

    Args:
        labels: of the bundle, the columns of its answers.
        folder: where the bundle stands in the run.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    # paths; a column of strings may also hold bytes, and MLflow has no type for both
    answers = [*(ColSpec(DataType.double, label) for label in labels), ColSpec(DataType.string, "error")]
    signature = ModelSignature(Schema([ColSpec(DataType.string, "image")]), Schema(answers))
    model = Model(artifact_path=folder, signature=signature)
    # as mlflow.pyfunc.add_to_model does; importing that warns of MLflow's own types, in the middle of a training's end
    environment, python = {"virtualenv": "python_env.yaml"}, platform.python_version()
    model.add_flavor("python_function", loader_module=LOADER, python_version=python, env=environment)
    requirements = [f"cxr-monai=={cxr_monai.__version__}"]
    requirements += [f"{package}=={version(package).partition('+')[0]}" for package in _PACKAGES]
    needed = ("build_dependencies:", "- pip", "dependencies:", "- -r requirements.txt")
    return {
        "MLmodel": model.to_yaml(),
        "requirements.txt": "\n".join(requirements) + "\n",
        "python_env.yaml": "\n".join([f"python: {python}", *needed]) + "\n",
    }
