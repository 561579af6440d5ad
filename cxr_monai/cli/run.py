"""``cxr-monai run``."""

import argparse
import sys
from typing import TYPE_CHECKING

from cxr_monai.cli.shared_arguments import folder_of

if TYPE_CHECKING:
    from cxr_monai.sharing.trust.open_trusted import OpenedBundle
    from cxr_monai.workflows.run.command import Command

DESCRIPTION = """\
Run a bundle's configuration: train, evaluate, inference or explain. It is 'python -m monai.bundle run' in few words,
with a look at the bundle first, and prints MONAI's own command for the same.

  an installed bundle     is verified again, every file and its signature, and inspected
  one of this package     is inspected: cxr_nih14, cxr_categories, cxr_transfer
  a folder of your own    is inspected, such as the OUT/bundle of a training
  a folder you received   is refused until it is installed ('cxr-monai bundle install')

What you write yourself, settings and overlays of your own, is not inspected. 'python -m monai.bundle run' looks at
nothing."""

EPILOG = """\
examples:
  cxr-monai run cxr_nih14 train --manifest manifest.csv --output_dir OUT --epochs 2
  cxr-monai run OUT/bundle evaluate --manifest manifest.csv --output_dir EVALUATION
  cxr-monai run OUT/bundle explain --images a.png,b.dcm --output_dir EXPLANATIONS
  cxr-monai run cxr-a inference --dataset_dir FOLDER --output_dir PREDICTIONS     # installed: NAME or NAME@VERSION
  cxr-monai run cxr_nih14 train,one_cycle --labels "['Mass','Nodule']" --train#trainer#max_epochs 2 --manifest M.csv
  cxr-monai run cxr_nih14 train,mine.json --manifest M.csv                        # an overlay of your own
  torchrun --nproc_per_node=2 -m cxr_monai.cli run cxr_nih14 train,multi_gpu_train --manifest M.csv --output_dir OUT
  cxr-monai run cxr_nih14 train --help                                            # what may be set

Settings are read as MONAI's command reads them: 2 is a number, [Mass,Nodule] a list. --run_id, --init_id,
--final_id, --workflow_type, --tracking and --logging_file (of the form that an inspection allows) mean what they mean
there. CXR_MONAI_ONLY_INSTALLED=1 refuses all folders; CXR_MONAI_TRACEBACK=1 shows where an error came from.

exit status: 0 done, 1 refused or failed, 2 wrong use, 130, 143 or 129 interrupted"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai run``."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="an installed bundle's NAME or NAME@VERSION, one of this package, or a folder"
    )
    parser.add_argument(
        "configuration",
        metavar="CONFIGURATION[,OVERLAY]",
        help="train, evaluate, inference, explain; with overlays: train,multi_gpu_train",
    )
    parser.add_argument(
        "settings",
        metavar="--SETTING VALUE",
        nargs=argparse.REMAINDER,
        help="of the configuration; 'cxr-monai run BUNDLE CONFIGURATION --help' lists them",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai run`` and return its exit status."""
    from cxr_monai.errors import CxrError, UsageError
    from cxr_monai.workflows.run.process import is_first_process, run_command

    if {"--help", "-h"} & set(arguments.settings):
        return _show_settings(arguments.bundle, arguments.configuration)
    try:
        command = _prepare(arguments)
    except CxrError as error:
        if is_first_process():
            raise
        return 2 if isinstance(error, UsageError) else 1  # the first process of this machine says it
    run_command(command)
    return 0


def _prepare(arguments: argparse.Namespace) -> "Command":
    """Return the command if the bundle may run it, and print the result of the inspection."""
    from cxr_monai.sharing.trust.open_trusted import open_checked
    from cxr_monai.sharing.trust.verify import verify_folder
    from cxr_monai.workflows.run.command import monai_command
    from cxr_monai.workflows.run.process import is_first_process

    bundle = open_checked(
        arguments.bundle, otherwise="'python -m monai.bundle run', which checks nothing, if you made it"
    )
    if bundle.record is not None:
        verify_folder(bundle.root)
    command = monai_command(bundle.root, arguments.configuration, arguments.settings)
    if is_first_process():
        print(_which(bundle), *(f"not inspected, your own: {file}" for file in command.uninspected), sep="\n")
        print(f"MONAI's own command for the same, without these checks:\n  {command.shell}", flush=True)
    return command


def _which(bundle: "OpenedBundle") -> str:
    """Return a line that names the bundle and the result of its inspection."""
    from cxr_monai.cli.inspection_lines import attention_lines

    if bundle.record is not None:
        return f"{bundle.record.name} {bundle.record.version}: as {bundle.record.signer} signed it, inspected"
    if bundle.shipped:
        return f"{bundle.root.name}: comes with this package, inspected"
    lines = attention_lines(bundle.inspection.remarks if bundle.inspection else (), str(bundle.root))
    return "\n".join([f"{bundle.root}: a folder of your own, inspected", *lines])


def _show_settings(bundle: str, configuration: str) -> int:
    """Print the settings of a configuration; the bundle is only read."""
    import textwrap

    from cxr_monai.workflows.run.command import configurations, files_of
    from cxr_monai.workflows.run.options import settings_of

    root = folder_of(bundle).resolve()
    files, _ = files_of(root, configuration)
    listed = settings_of(root, files)
    for description in listed.descriptions:
        print(textwrap.fill(description, 118))
    print(f"\nsettings of {configuration}, each an override (--NAME VALUE), with their defaults:")
    for setting in listed.settings:
        print(f"  --{setting.name} {setting.default}")
        if setting.meaning:
            print(textwrap.fill(setting.meaning, 118, initial_indent=" " * 6, subsequent_indent=" " * 6))
    sections = ", ".join(listed.sections)
    print("\nparts of these by their paths, such as --train#trainer#max_epochs 2:")
    print(textwrap.fill(sections, 118, initial_indent="  ", subsequent_indent="  "))
    print(f"\nconfigurations of this bundle: {', '.join(configurations(root))}")
    sys.stdout.flush()
    return 0
