"""``cxr-monai bundle``."""

import argparse

DESCRIPTION = """\
Bundles that come with this package, and bundles made of other people's weights.

  bundle list               names and folders of those that come with this package
  bundle new NAME OUT       a copy to train, change and share; the packaged one stays as it is
  bundle import FILE OUT    weights of CheXNet's descendants or TorchXRayVision as a bundle to predict with"""

EPILOG = """\
example:
  cxr-monai bundle new cxr_nih14 my_bundle
  python -m monai.bundle run --config_file my_bundle/configs/train.json --bundle_root my_bundle --manifest M.csv
  cxr-monai bundle import m-25012018-123527.pth.tar chexnet && cxr-monai predict chexnet FOLDER --out predictions.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's words."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="show the bundles that come with this package")
    new = actions.add_parser("new", help="copy one of them")
    new.add_argument("name", metavar="NAME", help="one of 'cxr-monai bundle list'")
    new.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    imported = actions.add_parser("import", help="make a bundle of other people's weights")
    imported.add_argument("file", metavar="FILE", help="a state dictionary, as torch.save wrote it")
    imported.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    imported.add_argument(
        "--kind",
        choices=("auto", "torchvision", "chexnet", "torchxrayvision"),
        default="auto",
        help="how the network was fed; by the names of its tensors where auto",
    )
    imported.add_argument("--labels", metavar="A,B", help="the bundle's findings, in this order; default: all")
    imported.add_argument(
        "--rows", metavar="A,B", help="what the classifier's outputs stand for, in their order; default: the kind's own"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    import shutil
    from pathlib import Path

    from cxr_monai.bundle.shipped import shipped, shipped_bundles
    from cxr_monai.errors import Code, UsageError

    if arguments.action == "list":
        for name, folder in shipped_bundles().items():
            print(f"{name}  {folder}")
        return 0
    if arguments.action == "import":
        return _import(arguments)
    source, out = shipped(arguments.name), Path(arguments.out)
    if out.exists():
        raise UsageError(Code.OUTPUT_EXISTS, "it exists already, and nothing is overwritten.", where=out)
    shutil.copytree(source, out, ignore=shutil.ignore_patterns("__pycache__"))
    print(f"{out}: a copy of {arguments.name}; its docs/README.md explains every setting")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from cxr_monai.bundle.importing import import_bundle
    from cxr_monai.networks.fitting import Account

    record = import_bundle(arguments.file, arguments.out, arguments.kind, arguments.labels, arguments.rows)
    account = Account(**{part: record[part] for part in ("loaded", "adapted", "left_out", "anew")})
    print("\n".join(account.lines()))
    print(f"{arguments.out}: {record['kind']}, {', '.join(record['labels'])}; docs/import.json tells all of this")
    return 0
