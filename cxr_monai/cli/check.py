"""``cxr-monai check``: what is wrong with a manifest, and what is in it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.cli.shared_arguments import add_any_modality, add_force
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import agreeing, counted

if TYPE_CHECKING:
    from cxr_monai.data.manifest import Manifest

DESCRIPTION = """Show everything that is wrong with a manifest, and how findings, co-occurrences, views, ages, sexes and
splits are distributed, as text and as a picture. The exit status is 1 if anything is wrong; what merely looks odd is a
note."""

EPILOG = """examples:
  cxr-monai check manifest.csv                 (the picture becomes manifest.check.png)
  cxr-monai check manifest.csv --pixels        (reads every image: identical pixels under two patients, broken files)
  cxr-monai check manifest.csv --scheme categories_normal
  cxr-monai check nih.csv,chexpert.csv         (as one: what they know together, patients on two sides)
  cxr-monai check manifest.csv --out report    (check.txt and check.png in the folder 'report')"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai check``."""
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="a manifest, .csv or .csv.gz, or several with commas between"
    )
    parser.add_argument("--pixels", action="store_true", help="read every image and compare their pixels (slow)")
    add_any_modality(parser, "--pixels: ")
    parser.add_argument("--table-only", action="store_true", help="don't look for the files")
    parser.add_argument(
        "--scheme",
        metavar="S",
        help="also count the labels of a scheme: a name such as categories_normal, or a JSON file",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the images are (default: as recorded)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write check.txt and check.png here")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai check`` and return its exit status."""
    from cxr_monai.data.describe import describe, describe_labels, oddities
    from cxr_monai.data.manifest_picture import picture
    from cxr_monai.data.multi_source import manifest_files, read_manifests
    from cxr_monai.durable import write_together
    from cxr_monai.outputs import check_folder, check_output
    from cxr_monai.schemes import label_scheme

    if arguments.out:
        check_folder(arguments.out, ["check.txt", "check.png"], arguments.force)
        chart = arguments.out / "check.png"
    else:  # named after the manifest and made of it alone: a newer one takes its place
        files = [path for _, path in manifest_files(arguments.manifest)]
        name = "+".join(path.name.removesuffix(".gz").removesuffix(".csv") for path in files)
        chart = check_output(files[0].with_name(f"{name}.check.png"), force=True)
    labels = label_scheme(arguments.scheme) if arguments.scheme else None
    problems: list[str] = []
    try:
        manifest = read_manifests(arguments.manifest, root=arguments.root, check_files=not arguments.table_only)
    except ManifestError as error:
        # the rest of a table whose files are missing can still be shown; of one that is invalid it can't
        if error.code != Code.IMAGES_MISSING:
            raise
        problems.append(error.message)
        manifest = read_manifests(arguments.manifest, root=arguments.root, check_files=False)
    notes = oddities(manifest)
    if arguments.pixels:
        pixels_wrong, pixels_notes = _pixels(manifest, arguments.any_modality)
        problems += pixels_wrong
        notes += pixels_notes
    parts = [describe(manifest)]
    if labels:
        parts.append(describe_labels(manifest, labels))
    if notes:
        parts.append("Worth a look\n" + "\n".join(f"  {note}." for note in notes))
    parts.append("WRONG\n" + "\n".join(problems) if problems else "Nothing is wrong with it.")
    text = "\n\n".join(parts)
    print(text)
    texts: dict[Path, bytes | None] = {arguments.out / "check.txt": f"{text}\n".encode()} if arguments.out else {}
    write_together(chart, picture(manifest), texts)
    print(f"\nPicture: {chart}")
    return 1 if problems else 0


def _pixels(manifest: "Manifest", any_modality: bool) -> tuple[list[str], list[str]]:
    """Return what is wrong with the files' pixels, and what is worth a note."""
    from cxr_monai.data.describe import compare_pixels
    from cxr_monai.data.notes import EXAMPLES

    report = compare_pixels(manifest, progress=True, any_modality=any_modality)
    problems = []
    if report.shared:
        problems.append(
            f"{counted(len(report.shared), 'radiograph')} {agreeing(len(report.shared), 'stand')} "
            "under several patients, with identical pixels:"
        )
        problems += [
            "  " + ", ".join(f"{image} (patient {patient})" for image, patient in group) for group in report.shared
        ]
    if report.unreadable:
        problems.append(f"{counted(len(report.unreadable), 'file')} can't be read as a radiograph:")
        problems += [f"  {image}: [{code}] {reason}" for image, code, reason in report.unreadable]
    notes = []
    if report.repeated:
        notes.append(
            f"{counted(report.repeated, 'image')} {agreeing(report.repeated, 'repeat')} "
            "another of the same patient, pixel for pixel"
        )
    notes += report.notes.lines(report.read, EXAMPLES)
    return problems, notes
