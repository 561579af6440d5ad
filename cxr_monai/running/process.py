"""Run MONAI's command within this process: as ``python -m monai.bundle run`` does, without what only that brings.

``python -m`` puts the working directory before everything on the import path, so that a file ``ignite.py`` in it is
imported instead of the library. Here the working directory is not searched.
"""

import os
import sys
import traceback
import warnings
from pathlib import Path

import cxr_monai
from cxr_monai.environment import MONAI_WARNING
from cxr_monai.errors import Code, CxrError, TrainingError, ours
from cxr_monai.running.command import Command

TRACEBACK = "CXR_MONAI_TRACEBACK"
"""The variable of the environment that asks for Python's own account of an error."""


def run_command(command: Command) -> None:
    """Run a command to its end.

    Raises:
        CxrError: of the run, without what MONAI wrapped around it; ``run-failed`` for an error of another kind.
    """
    arguments = command.arguments()
    _forget_working_directory()
    from monai.bundle.scripts import run

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=MONAI_WARNING, category=UserWarning)
            run(**arguments)
    except (Exception, SystemExit) as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        raise _as_ours(error) from None
    finally:
        sys.stdout.flush()


def is_first_process() -> bool:
    """Tell whether this is the process that speaks for all that ``torchrun`` started on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _as_ours(error: BaseException) -> CxrError:
    cause = ours(error)
    if cause is not None:
        return cause
    innermost = error
    while (deeper := innermost.__cause__ or innermost.__context__) is not None:
        innermost = deeper
    return TrainingError(
        Code.RUN_FAILED,
        f"the run ended with {type(innermost).__name__}: {' '.join(str(innermost).split()) or 'no words'}",
        fix=f"{TRACEBACK}=1 shows where. A setting of another kind than its component takes is the usual reason.",
    )


def _forget_working_directory() -> None:
    """Take the working directory off the import path where ``python -m`` put it, unless this package lies there."""
    here = str(Path.cwd())
    if getattr(sys.modules["__main__"], "__spec__", None) is None or sys.flags.safe_path:
        return
    if sys.path and sys.path[0] in ("", here) and str(Path(cxr_monai.__file__).parents[1]) != here:
        del sys.path[0]
