"""The environment of this process: cores, version of the code, address of MLflow. Imports nothing heavy."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import cxr_monai

MONAI_WARNING = "parsing config_file"
"""The beginning of the warning that ``python -m monai.bundle run`` shows before every configuration."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or a SQLite file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def without_monai_warning(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment whose processes hide MONAI's warning of configurations, and no other one."""
    warning_filter = f"ignore:{MONAI_WARNING}:UserWarning"
    others = environment.get("PYTHONWARNINGS", "")
    # Python uses the last filter that matches
    return {**environment, "PYTHONWARNINGS": f"{others},{warning_filter}" if others else warning_filter}


def without_password(uri: str) -> str:
    """Return an address without the name and password that may stand in it, for logs and people.

    >>> without_password("https://me:secret@mlflow.example/runs")
    'https://mlflow.example/runs'
    """
    return re.sub(r"//[^/@]*@", "//", uri)


def how_to_see_runs(tracking_uri: str, experiment_id: str | None = None) -> str:
    """Return what shows MLflow's runs: a server's link, or the command that starts one with the link to open then.

    MLflow 3 opens a welcome, and an experiment's address its view for language models, neither of which lists runs.

    Args:
        tracking_uri: of the runs.
        experiment_id: MLflow's; the link leads to the list of experiments where None.

    >>> how_to_see_runs("https://mlflow.example", "3")
    'https://mlflow.example/#/experiments/3/runs?workflowType=machine_learning'
    """
    uri = without_password(tracking_uri)
    runs = "#/experiments" + (f"/{experiment_id}/runs" if experiment_id else "") + "?workflowType=machine_learning"
    if uri.startswith(("http://", "https://")):
        return f"{uri.rstrip('/')}/{runs}"
    if "://" in uri:
        return f"mlflow ui --backend-store-uri {shlex.quote(uri)}, then open http://127.0.0.1:5000/{runs}"
    return uri


def code_version(folder: Path | None = None) -> str | None:
    """Return the commit that this package was checked out at, marked ``+changed`` if files differ from it.

    Args:
        folder: the package's own where None.

    Returns:
        None if it was installed, also where it was installed into a folder that a foreign repository surrounds.
    """
    folder = folder or Path(cxr_monai.__file__).parent

    def git(*words: str) -> str:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return answer.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+changed" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
