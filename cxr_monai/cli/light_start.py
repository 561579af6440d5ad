"""A quicker start for commands that track nothing."""

import sys


def import_monai_without_mlflow() -> None:
    """Import MONAI without MLflow, which its handlers import and which takes a fifth of the start.

    In this process MONAI's ``MLFlowHandler`` cannot be used then, so this is for commands that end with it; nothing
    happens where either is imported already.
    """
    if "monai" in sys.modules or "mlflow" in sys.modules:
        return
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # Python's way to say: it cannot be imported
    try:
        import monai  # noqa: F401
    finally:
        del sys.modules["mlflow"]
