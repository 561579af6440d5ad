"""MONAI's warning before every ``python -m monai.bundle run``, in words that help.

MONAI 1.6.1 says of each configuration, its own included, that it can run code. It says so before it reads the
configuration, so before any code of ours is imported: nothing here can hold it back (docs/sharing.md). What can be
done is to say right below it what it means and how to see what this bundle would run.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from cxr_monai.environment import MONAI_WARNING

logger = logging.getLogger(__name__)


def explain_warning(config: Mapping[str, Any]) -> None:
    """Log what MONAI's warning means, if this process has shown it; of several processes the first does.

    Args:
        config: of the run.
    """
    scripts = sys.modules.get("monai.bundle.scripts")
    # Python's record of the warnings that it has shown
    registry: dict[Any, Any] = getattr(scripts, "__warningregistry__", {})
    texts = [str(key[0]) for key in registry if isinstance(key, tuple)]
    if os.environ.get("RANK", "0") != "0" or not any(text.startswith(MONAI_WARNING) for text in texts):
        return
    logger.info(
        "MONAI's warning above stands before every configuration, ours too: it can run code. 'cxr-monai bundle inspect "
        "%s' lists what this one would run (docs/sharing.md). To silence it: export PYTHONWARNINGS='ignore:%s'",
        config.get("bundle_root", "BUNDLE"), MONAI_WARNING,
    )  # fmt: skip
