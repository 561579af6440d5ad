"""``cxr-monai cache``."""

import argparse
from pathlib import Path

from cxr_monai.plurals import counted

DESCRIPTION = """\
The decoded radiographs that trainings keep, so that each file is decoded once.

They lie in $CXR_MONAI_CACHE, else in cxr-monai below $XDG_CACHE_HOME or ~/.cache, in a folder that only its owner can
read: one byte a pixel (two for deep images), no names. The cache grows to $CXR_MONAI_CACHE_GB (50) gigabytes; what was
not used for longest goes first. A training with --cache_dir FOLDER has its own, with --cache_dir none keeps nothing."""

EPILOG = """\
examples:
  cxr-monai cache info
  cxr-monai cache clear
  cxr-monai cache clear --unused-for 30          what no training has asked for in 30 days

What a training is just building stays, and is told of.

exit status: 0 done, 1 failed, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai cache``."""
    parser.add_argument("action", choices=["info", "clear"], help="show what there is, or delete it")
    parser.add_argument("--cache-dir", default="auto", help="a training's own --cache_dir (default: the user's)")
    parser.add_argument("--unused-for", type=float, default=0, metavar="DAYS", help="clear: only what is older")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai cache`` and return its exit status."""
    import time

    from cxr_monai.data.cache.eviction import cache_root, clear, limit_bytes, preparations
    from cxr_monai.errors import Code, UsageError

    root = cache_root(arguments.cache_dir)
    if root is None or arguments.unused_for < 0:
        raise UsageError(Code.USAGE, "--cache-dir is a folder, and --unused-for a number of days from 0.")
    if arguments.action == "clear":
        freed = clear(Path(root), arguments.unused_for * 86400)
        print(f"{root}: {freed / 1e9:.2f} GB free again")
        return 0
    entries = preparations(Path(root))
    for entry in entries:
        day = time.strftime("%Y-%m-%d", time.localtime(entry.used))
        print(
            f"{entry.folder.name}  {counted(entry.images, 'image'):>16}  {entry.bytes / 1e9:8.2f} GB  last used {day}"
        )
    total = sum(entry.bytes for entry in entries) / 1e9
    print(f"{root}: {total:.2f} of at most {limit_bytes() / 1e9:g} GB")
    return 0
