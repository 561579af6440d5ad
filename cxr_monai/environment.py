"""What this process runs on: its cores, its code's version, its MLflow; light, so that the doctor answers soon."""

import os
import re
import subprocess
from pathlib import Path

import cxr_monai


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or a SQLite file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def without_password(uri: str) -> str:
    """Return an address without the name and password that may stand in it, for logs and people."""
    return re.sub(r"//[^/@]*@", "//", uri)


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
