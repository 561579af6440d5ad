"""Run MONAI's command within this process, as ``python -m monai.bundle run`` does in its own."""

import os
import sys
import traceback
import warnings

from cxr_monai.environment import MONAI_WARNING
from cxr_monai.errors import Code, CxrError, TrainingError, ours
from cxr_monai.workflows.run.command import Command

TRACEBACK = "CXR_MONAI_TRACEBACK"
"""The variable of the environment that asks for Python's own account of an error."""


def run_command(command: Command) -> None:
    """Run a command to its end.

    Raises:
        CxrError: of the run, without what MONAI wrapped around it; ``run-failed`` for an error of another kind.
    """
    arguments = command.arguments()
    from monai.bundle.scripts import run

    from cxr_monai.bundle.running import CheckedWorkflow

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=MONAI_WARNING, category=UserWarning)
            run(workflow_name=CheckedWorkflow, **arguments)
    except (Exception, SystemExit) as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        raise _as_ours(error) from None
    finally:
        sys.stdout.flush()


def is_first_process() -> bool:
    """Return whether this is the process that speaks for all that ``torchrun`` started on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _as_ours(error: BaseException) -> CxrError:
    cause = ours(error)
    if cause is not None:
        return cause
    innermost = error
    while innermost.__cause__ is not None:  # MONAI names the cause of each of its wrappers
        innermost = innermost.__cause__
    return TrainingError(
        Code.RUN_FAILED,
        f"the run ended with {type(innermost).__name__}: {' '.join(str(innermost).split()) or 'no words'}.",
        fix=f"{TRACEBACK}=1 shows where; a value of another kind than its component takes is the usual reason.",
    )
