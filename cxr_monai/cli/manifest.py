"""``cxr-monai manifest SOURCE ROOT --out M.csv``: a data set becomes the one table of images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_monai.cli.shared_arguments import MATCH_NAMES_HELP
from cxr_monai.plurals import counted

if TYPE_CHECKING:
    from cxr_monai.data.manifest import Manifest

DESCRIPTION = """Turn a data set into a manifest: one row an image, with its patient and its findings (1 present,
0 absent, empty unknown). Images stay where they are. The next command is 'cxr-monai split'."""

# source: examples of its command, after ``cxr-monai manifest SOURCE``
_EXAMPLES = {
    "nih": (
        "/data/nih --out manifest.csv",
        "/data/nih --images images_320 --available-only --out manifest.csv",
        "/data/nih --reference rsna --out rsna.csv \\\n      --reference-files stage_2_train_labels.csv "
        "stage_2_detailed_class_info.csv \\\n      pneumonia-challenge-dataset-mappings_2018.json",
    ),
    "chexpert": (
        "/data/CheXpert-v1.0-small --unmentioned negative --out chexpert.csv",
        "/data/chexpertplus --images PNG --labeller report --out plus.csv",
    ),
    "mimic": (
        "/data/mimic-cxr-jpg/2.1.0 --uncertain Edema=positive,Atelectasis=positive --out mimic.csv",
        "/data/mimic-cxr-jpg/2.1.0 --labeller radiologist --out mimic-test.csv",
    ),
    "folder": ("/data/ward --labels labels.csv --out manifest.csv",),
    "dicom": ("/data/pacs --out manifest.csv",),
    "padchest": ("/data/padchest --labeller physician --available-only --out padchest.csv",),
    "rsna": (
        "/data/rsna --out rsna.csv",
        "/data/rsna --nih-table Data_Entry_2017_v2020.csv --out rsna.csv \\\n      "
        "--mapping pneumonia-challenge-dataset-mappings_2018.json",
    ),
    "siim": ("/data/siim --out siim.csv",),
    "vindr": ("/data/vindr --readers majority --out vindr.csv",),
    "openi": ("/data/openi --images NLMCXR_png --available-only --out openi.csv",),
    "nlm-tb": ("/data/nlm --out tb.csv",),
}


def _examples(source: str, number: int | None = None) -> str:
    return "".join(f"\n  cxr-monai manifest {source} {example}" for example in _EXAMPLES[source][:number])


EPILOG = f"""examples:{"".join(_examples(source, 1) for source in _EXAMPLES)}

'cxr-monai manifest SOURCE --help' shows a source's own options and further examples; docs/datasets.md tells what each
data set's labels mean, what is unknown in it, its split and its terms."""

# source: the options that are passed on to `collect_manifest`, by the names of their arguments there
_OPTIONS = {
    "nih": ("table", "images", "available_only", "table_only", "reference", "reference_files"),
    "chexpert": ("table", "images", "labeller", "uncertain", "unmentioned", "available_only", "table_only"),
    "mimic": ("images", "labeller", "uncertain", "unmentioned", "available_only", "table_only"),
    "folder": (
        "labels", "image_column", "patient_column", "patient_per_image", "findings", "uncertain", "positive",
        "negative", "match_names", "available_only",
    ),
    "dicom": (
        "labels", "patient_per_study", "findings", "uncertain", "positive", "negative", "match_names", "any_modality",
        "key_file", "keep_identifiers",
    ),
    "padchest": ("table", "labeller", "unmentioned", "available_only", "table_only"),
    "rsna": ("nih_table", "mapping", "patient_per_image", "available_only", "table_only"),
    "siim": ("table", "nih_table", "mapping", "patient_per_image", "available_only", "table_only"),
    "vindr": ("table", "readers", "patient_per_image", "available_only", "table_only"),
    "openi": ("table", "images", "available_only", "table_only"),
    "nlm-tb": ("images", "available_only", "table_only"),
}  # fmt: skip
# options that exclude each other
_EITHER = {
    "folder": ("patient_column", "patient_per_image"),
    "dicom": ("key_file", "keep_identifiers"),
    "rsna": ("nih_table", "patient_per_image"),
    "siim": ("nih_table", "patient_per_image"),
}
_POLICIES = "unknown, positive or negative; or by finding: Edema=positive,Consolidation=negative"
# option: how argparse reads it and what its help says; by source where they differ
_ARGUMENTS: dict[str | tuple[str, str], dict[str, Any]] = {
    "available_only": {
        "action": "store_true",
        "help": "leave out the images that are not on disk, instead of refusing",
    },
    "table_only": {
        "action": "store_true",
        "help": "look for no image files: paths are those of the data set's own layout",
    },
    "table": {"metavar": "FILE", "type": Path, "help": "the table (default: found in ROOT)"},
    "images": {"metavar": "DIR", "help": "the folder of the images, inside ROOT (default: found)"},
    "findings": {
        "metavar": "A,B",
        "type": lambda text: [word.strip() for word in text.split(",") if word.strip()],
        "help": "the columns that are findings (default: those of known names)",
    },
    "uncertain": {"metavar": "POLICY", "help": f"what -1 means in the labels: {_POLICIES} (default: unknown)"},
    "unmentioned": {
        "metavar": "POLICY",
        "help": f"what an empty cell means in the labels: {_POLICIES} (default: unknown; most papers: negative)",
    },
    "positive": {"metavar": "WORD,WORD", "help": "words for present in the labels, beside 1"},
    "negative": {"metavar": "WORD,WORD", "help": "words for absent in the labels, beside 0"},
    "match_names": {"action": "store_true", "help": MATCH_NAMES_HELP},
    "labels": {"metavar": "CSV", "type": Path, "required": True, "help": "one row an image"},
    "image_column": {"metavar": "NAME", "help": "the column of paths or file names (default: found)"},
    "patient_column": {"metavar": "NAME", "help": "the column that says who it is (default: found)"},
    "patient_per_image": {"action": "store_true", "help": "your word that every image is of another patient"},
    "patient_per_study": {"action": "store_true", "help": "studies without PatientID are of other patients"},
    "any_modality": {"action": "store_true", "help": "take every image, whatever its header says it shows"},
    "key_file": {"metavar": "FILE", "type": Path, "help": "key for the hashed ids (default: M.csv.key, made)"},
    "keep_identifiers": {"action": "store_true", "help": "leave patient and study ids as they are"},
    "readers": {
        "choices": ("any", "majority", "all"),
        "default": "majority",
        "help": "when several radiologists read a film: present if any, most or all say so (default: majority)",
    },
    "nih_table": {
        "metavar": "FILE",
        "type": Path,
        "help": "NIH's Data_Entry_2017*.csv, whose patients the films are of (needs --mapping)",
    },
    "mapping": {"metavar": "FILE", "type": Path, "help": "RSNA's JSON of mappings: which film is which of NIH's"},
    "reference": {
        "choices": ("rsna", "google", "google-14"),
        "help": "radiologists' labels in the place of NIH's; the images that they did not read are left out",
    },
    "reference_files": {
        "metavar": "FILE",
        "type": Path,
        "nargs": "+",
        "help": "the tables of --reference, as they are distributed",
    },
    ("chexpert", "labeller"): {
        "choices": ("impression", "findings", "report"),
        "help": "CheXpert Plus: the part of the report that was labelled (default: impression)",
    },
    ("mimic", "labeller"): {
        "choices": ("chexpert", "negbio", "radiologist"),
        "default": "chexpert",
        "help": "whose labels; radiologist: the 687 studies of the test part that one read (default: chexpert)",
    },
    ("siim", "mapping"): {
        "metavar": "FILE",
        "type": Path,
        "help": "a table SOPInstanceUID,img_id: which film is which of NIH's (RSNA's JSON is read too)",
    },
    ("dicom", "labels"): {
        "metavar": "CSV",
        "type": Path,
        "help": "findings by SOPInstanceUID, image or StudyInstanceUID",
    },
    ("padchest", "labeller"): {
        "choices": ("all", "physician"),
        "default": "all",
        "help": "whose labels; physician: leave out the films that a network labelled (default: all)",
    },
    ("padchest", "unmentioned"): {
        "choices": ("unknown", "negative"),
        "default": "unknown",
        "help": "what a film has of findings that it does not list, where its list is empty or 'unchanged' "
        "(default: unknown; most papers: negative)",
    },
    ("folder", "uncertain"): {"choices": ("unknown", "positive", "negative"), "help": "what -1 means in the labels"},
    ("dicom", "uncertain"): {"choices": ("unknown", "positive", "negative"), "help": "what -1 means in the labels"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each source."""
    from cxr_monai.data.sources import SOURCES

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("root", metavar="ROOT", type=Path, help="the folder of the data set")
    common.add_argument(
        "--out", metavar="M.csv", type=Path, required=True, help="the manifest to write (.csv or .csv.gz)"
    )
    common.add_argument("--force", action="store_true", help="write over what is there")
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for source, summary in SOURCES.items():
        command = sources.add_parser(
            source,
            help=summary,
            description=f"Make a manifest from {summary}.",
            epilog=f"examples:{_examples(source)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        either = command.add_mutually_exclusive_group() if source in _EITHER else command
        for option in _OPTIONS[source]:
            group = either if option in _EITHER.get(source, ()) else command
            settings = _ARGUMENTS.get((source, option)) or _ARGUMENTS[option]
            group.add_argument(f"--{option.replace('_', '-')}", **settings)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai manifest`` and return its exit status."""
    from cxr_monai.workflows.collect import collect_manifest

    options = {name: getattr(arguments, name) for name in _OPTIONS[arguments.source]}
    collected = collect_manifest(arguments.source, arguments.root, arguments.out, force=arguments.force, **options)
    print(count_summary(collected.manifest))
    print("".join(f"\n- {note}" for note in collected.notes))
    print(f"\nmanifest  {arguments.out}" + (f"\nboxes     {collected.boxes}" if collected.boxes else ""))
    if collected.readers:
        print(f"readers   {collected.readers}")
    if collected.manifest.patients == "unknown":
        print(f"next      cxr-monai check {arguments.out} (a split by patient needs to know the patients)")
    elif (collected.manifest.table["split"] != "").any():
        print(
            f"next      cxr-monai check {arguments.out} (the set's own split is in it; 'cxr-monai split' makes another)"
        )
    else:
        print(f"next      cxr-monai split {arguments.out} --scheme random")
    return 0


def count_summary(manifest: "Manifest") -> str:
    """Return the counts of images, patients and of each finding, as text."""
    table = manifest.table
    known = manifest.patients != "unknown"
    patients = counted(table["patient_id"].nunique(), "patient") if known else "unknown patients"
    lines = [f"{counted(len(table), 'image')} of {patients}, labels {manifest.label_version}", ""]
    width = max(len(name) for name in ("finding", *manifest.findings))
    lines.append(f"{'finding':{width}}  {'present':>8}  {'absent':>8}  {'unknown':>8}  {'share':>6}")
    for name in manifest.findings:
        column = table[name]
        present, absent, unknown = int((column == 1).sum()), int((column == 0).sum()), int(column.isna().sum())
        share = f"{present / (present + absent):6.1%}" if present + absent else f"{'-':>6}"
        lines.append(f"{name:{width}}  {present:8,}  {absent:8,}  {unknown:8,}  {share}")
    return "\n".join(lines)
