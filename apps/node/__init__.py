"""A DICOM node: films in, results out, nothing lost. ``cxr-monai-node --config node.toml``.

Receiver, analyser and deliverer are three processes that a supervisor starts; they meet only in a spool on the disk.
"""

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cxr-monai-node`` and return its exit status: 0 done, 1 failed, 2 wrong use.

    Args:
        argv: the words behind the program's name; those of the process where None.
    """
    from .command import run_command

    return run_command(argv)
