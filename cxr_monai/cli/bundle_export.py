"""``cxr-monai bundle export``."""

import argparse

from cxr_monai.cli.shared_arguments import add_bundle, add_force, open_bundle

DESCRIPTION = """\
A bundle's network as a file that runs without this package, or the bundle as MONAI's model zoo takes it.

  torchscript   model.ts, by MONAI's ckpt_export
  onnx          model.onnx, with any batch size (pip install cxr-monai[export])
  all           both
  zoo           a folder for a pull request to MONAI's model zoo, and the weights to upload

model.ts is the network alone, to which the clients of MONAI add the head by inference.json; model.onnx has the head in
it and gives the log-odds of each label. Each file says so of itself. Every file is compared with the bundle on random
images, in batches of one and three, and is not left behind where a log-odds differs by more than 0.0001. contract.json
beside it says what the network must be given, what its outputs mean, and how they are calibrated."""

EPILOG = """\
examples:
  cxr-monai bundle export OUT/bundle --out exported --format all
  cxr-monai bundle export OUT/bundle --out zoo --format zoo --name cxr_classification --url https://example.org/w

exit status: 0 exported, 1 refused, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle export``."""
    add_bundle(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder that does not exist yet")
    add_force(parser)
    parser.add_argument(
        "--format",
        choices=("torchscript", "onnx", "all", "zoo"),
        default="torchscript",
        help="(default: %(default)s)",
    )
    zoo = parser.add_argument_group("for the model zoo")
    zoo.add_argument(
        "--name",
        help="of the bundle in the zoo: a-z, 0-9 and _ (default: from the metadata's name, ending in _classification)",
    )
    zoo.add_argument("--url", metavar="URL", help="of the folder where the weights will lie; needed above 25 MB a file")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle export`` and return its exit status."""
    from pathlib import Path

    from cxr_monai.bundle.bundle_folder import Bundle
    from cxr_monai.errors import Code, UsageError

    if arguments.format != "zoo":
        if arguments.name or arguments.url:
            raise UsageError(Code.USAGE, "--name and --url are for the model zoo alone: --format zoo.")
        from cxr_monai.sharing.export.network_export import FORMATS, export

        formats = FORMATS if arguments.format == "all" else [arguments.format]
        differences = export(open_bundle(arguments), arguments.out, formats, arguments.force)
        for name, difference in differences.items():
            print(f"{Path(arguments.out) / name}: differs from the bundle by at most {difference:.1g} in a log-odds")
        print(f"{Path(arguments.out) / 'contract.json'}: what it must be given, what its outputs mean")
        return 0
    from cxr_monai.sharing.export.model_zoo import zoo_layout
    from cxr_monai.sharing.export.task_names import default_name, says_classification

    root = open_bundle(arguments)
    title = str(Bundle.open(root).metadata.get("name", ""))
    name = arguments.name or default_name(title, "_")
    folder, uploads = zoo_layout(root, arguments.out, name, arguments.url, arguments.force)
    print(f"{Path(arguments.out) / folder.name}: copy it into models/ of a fork of Project-MONAI/model-zoo")
    if not says_classification(name):
        print("note: MONAI Label takes a folder for a classification only where its name says so, and no other task")
    if uploads:
        print(f"{Path(arguments.out) / 'upload'}: upload {', '.join(uploads)} to {arguments.url} before that")
    return 0
