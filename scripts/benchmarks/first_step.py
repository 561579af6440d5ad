"""``python -m monai.bundle run`` that leaves after one training step: what ``startup`` times."""

import os
import runpy
import sys
from typing import Any


def until_first_step(words: list[str]) -> int:
    """Run ``python -m monai.bundle run`` and leave the process after one step."""
    from cxr_monai.training import step

    original = step.TrainingStep.__call__

    def once(self: Any, engine: Any, batch: Any) -> Any:
        original(self, engine, batch)
        os._exit(0)

    step.TrainingStep.__call__ = once  # type: ignore
    sys.argv = ["monai.bundle", "run", *words]
    runpy.run_module("monai.bundle", run_name="__main__")
    return 1


if __name__ == "__main__":
    sys.exit(until_first_step(sys.argv[1:]))
