"""``cxr-monai bundle import``."""

import argparse

from cxr_monai.cli.shared_arguments import add_force

DESCRIPTION = """\
Other people's weights as a bundle to predict with: those of zoogzog/chexnet and its descendants, arnoweng/CheXNet, and
TorchXRayVision, with their own preprocessing and the order of their labels. What was loaded, adapted and left out is
listed, and stays in the bundle. No code of the file runs."""

EPILOG = """\
examples:
  cxr-monai bundle import m-25012018-123527.pth.tar chexnet && cxr-monai predict chexnet FOLDER --out predictions.csv
  cxr-monai bundle import xrv-nih.pt xrv --labels Pneumonia,Effusion
  cxr-monai bundle import theirs.pth theirs --kind chexnet --rows Mass,Nodule,Silicosis

docs/networks.md tells what is recognised, and how to get a state dictionary out of a whole model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle import``."""
    parser.add_argument("file", metavar="FILE", help="a state dictionary, as torch.save wrote it")
    parser.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    parser.add_argument(
        "--kind",
        choices=("auto", "torchvision", "chexnet", "torchxrayvision"),
        default="auto",
        help="how the network was fed; by the names of its tensors where auto",
    )
    parser.add_argument("--labels", metavar="A,B", help="the bundle's findings, in this order; default: all")
    parser.add_argument(
        "--rows", metavar="A,B", help="what the classifier's outputs stand for, in their order; default: the kind's own"
    )
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle import`` and return its exit status."""
    from cxr_monai.bundle.importing import import_bundle
    from cxr_monai.networks.state_fitting import Account

    record = import_bundle(
        arguments.file, arguments.out, arguments.kind, arguments.labels, arguments.rows, arguments.force
    )
    account = Account(**{part: record[part] for part in ("loaded", "adapted", "left_out", "anew")})
    print("\n".join(account.lines()))
    print(f"{arguments.out}: {record['kind']}, {', '.join(record['labels'])}; docs/import.json tells all of this")
    return 0
