"""The code's version, for runs and for the doctor."""

import subprocess
from pathlib import Path

import pytest

from cxr_monai.environment import code_version, how_to_see_runs


def test_code_tells_its_commit_but_not_that_of_a_repository_around_it(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    package, installed = tmp_path / "package", tmp_path / "site-packages"
    for folder in (package, installed):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    assert code_version(package) is None
    git("init")
    git("add", "package")
    git("commit", "-m", "m")
    commit = git("rev-parse", "HEAD").strip()
    assert code_version(package) == commit
    (package / "__init__.py").write_text("x = 1")
    assert code_version(package) == f"{commit}+changed"
    assert code_version(installed) is None


@pytest.mark.parametrize(
    ("uri", "experiment", "shown"),
    [
        (
            "sqlite:////a/mlflow.db",
            "7",
            "mlflow ui --backend-store-uri sqlite:////a/mlflow.db, then open "
            "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning",
        ),
        (
            "sqlite:////my data/mlflow.db",
            None,
            "mlflow ui --backend-store-uri 'sqlite:////my data/mlflow.db', then open "
            "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning",
        ),
        (
            "https://me:secret@host/mlflow/",
            "7",
            "https://host/mlflow/#/experiments/7/runs?workflowType=machine_learning",
        ),
        ("databricks", "7", "databricks"),
    ],
)
def test_what_shows_the_runs_opens_them(uri: str, experiment: str | None, shown: str) -> None:
    assert how_to_see_runs(uri, experiment) == shown
