"""``cxr-monai manifest SOURCE ROOT --out M.csv``: a data set becomes the one table of images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.cli.shared_arguments import add_match_names
from cxr_monai.plurals import counted

if TYPE_CHECKING:
    from cxr_monai.data.manifest import Manifest

DESCRIPTION = """Turn a data set into a manifest: one row an image, with its patient and its findings (1 present,
0 absent, empty unknown). Images stay where they are. The next command is 'cxr-monai split'."""

EPILOG = """examples:
  cxr-monai manifest nih /data/nih --out manifest.csv
  cxr-monai manifest nih /data/nih --images images_320 --available-only --out manifest.csv
  cxr-monai manifest folder /data/ward --labels labels.csv --out manifest.csv
  cxr-monai manifest dicom /data/pacs --out manifest.csv

'cxr-monai manifest SOURCE --help' shows a source's own options."""

# options that are passed on to `collect_manifest`, by source
_OPTIONS = {
    "nih": ("table", "images", "available_only", "table_only"),
    "folder": (
        "labels", "image_column", "patient_column", "patient_per_image", "findings", "uncertain", "available_only",
        "match_names", "positive", "negative",
    ),
    "dicom": (
        "labels", "patient_per_study", "findings", "uncertain", "match_names", "any_modality", "positive", "negative",
        "key_file", "keep_identifiers",
    ),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each source."""
    from cxr_monai.data.sources import SOURCES

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("root", metavar="ROOT", type=Path, help="the folder of the data set")
    common.add_argument(
        "--out", metavar="M.csv", type=Path, required=True, help="the manifest to write (.csv or .csv.gz)"
    )
    common.add_argument("--force", action="store_true", help="write over what is there")
    labels = argparse.ArgumentParser(add_help=False)
    labels.add_argument(
        "--findings", metavar="A,B", type=_words, help="the columns that are findings (default: those of known names)"
    )
    labels.add_argument("--uncertain", choices=("unknown", "positive", "negative"), help="what -1 means in the labels")
    labels.add_argument("--positive", metavar="WORD,WORD", help="words for present in the labels, beside 1")
    labels.add_argument("--negative", metavar="WORD,WORD", help="words for absent in the labels, beside 0")
    add_match_names(labels)
    available = argparse.ArgumentParser(add_help=False)
    available.add_argument(
        "--available-only", action="store_true", help="keep the images that are on disk, instead of refusing"
    )
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    parents = {"nih": [common, available], "folder": [common, labels, available], "dicom": [common, labels]}
    nih, folder, dicom = (
        sources.add_parser(name, help=summary, description=f"Make a manifest from {summary}.", parents=parents[name])
        for name, summary in SOURCES.items()
    )
    nih.add_argument(
        "--table", metavar="FILE", type=Path, help="the table (default: the newest Data_Entry_2017* in ROOT)"
    )
    nih.add_argument("--images", metavar="DIR", help="the folder of the images, inside ROOT (default: found)")
    nih.add_argument("--table-only", action="store_true", help="look for no image files")
    folder.add_argument("--labels", metavar="CSV", type=Path, required=True, help="one row an image")
    folder.add_argument("--image-column", metavar="NAME", help="the column of paths or file names (default: found)")
    patients = folder.add_mutually_exclusive_group()
    patients.add_argument("--patient-column", metavar="NAME", help="the column that says who it is (default: found)")
    patients.add_argument("--patient-per-image", action="store_true", help="every image is of another patient")
    dicom.add_argument(
        "--labels", metavar="CSV", type=Path, help="findings by SOPInstanceUID, image or StudyInstanceUID"
    )
    dicom.add_argument(
        "--patient-per-study", action="store_true", help="studies without PatientID are of other patients"
    )
    dicom.add_argument(
        "--any-modality", action="store_true", help="take every image, whatever its header says it shows"
    )
    identity = dicom.add_mutually_exclusive_group()
    identity.add_argument(
        "--key-file", metavar="FILE", type=Path, help="key for the hashed ids (default: M.csv.key, made)"
    )
    identity.add_argument("--keep-identifiers", action="store_true", help="leave patient and study ids as they are")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai manifest`` and return its exit status."""
    from cxr_monai.workflows.collect import collect_manifest

    options = {name: getattr(arguments, name) for name in _OPTIONS[arguments.source]}
    collected = collect_manifest(arguments.source, arguments.root, arguments.out, force=arguments.force, **options)
    print(count_summary(collected.manifest))
    print("".join(f"\n- {note}" for note in collected.notes))
    print(f"\nmanifest  {arguments.out}" + (f"\nboxes     {collected.boxes}" if collected.boxes else ""))
    print(f"next      cxr-monai split {arguments.out} --scheme random")
    return 0


def count_summary(manifest: "Manifest") -> str:
    """Return the counts of images, patients and of each finding, as text."""
    table = manifest.table
    lines = [
        f"{counted(len(table), 'image')} of {counted(table['patient_id'].nunique(), 'patient')}, "
        f"labels {manifest.label_version}",
        "",
    ]
    width = max(len(name) for name in ("finding", *manifest.findings))
    lines.append(f"{'finding':{width}}  {'present':>8}  {'absent':>8}  {'unknown':>8}  {'share':>6}")
    for name in manifest.findings:
        column = table[name]
        present, absent, unknown = int((column == 1).sum()), int((column == 0).sum()), int(column.isna().sum())
        share = f"{present / (present + absent):6.1%}" if present + absent else f"{'-':>6}"
        lines.append(f"{name:{width}}  {present:8,}  {absent:8,}  {unknown:8,}  {share}")
    return "\n".join(lines)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
