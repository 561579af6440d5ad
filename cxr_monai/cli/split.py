"""``cxr-monai split``: write a patient-disjoint split or folds into a manifest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_monai.cli.shared_arguments import add_force, add_match_names
from cxr_monai.errors import Code, UsageError
from cxr_monai.plurals import be, counted, have, out_of

if TYPE_CHECKING:
    from cxr_monai.data.manifest import Manifest

DESCRIPTION = """Write the 'split' column (train, val, test), or 'fold', into a manifest. A patient is never on two
sides, whatever the scheme.

  official   NIH's two lists; a validation part is taken from train_val, by patient and stratified
  lists      three files of image names, such as the CheXNet split's
  random     fractions of the patients, stratified over all findings at once
  kfold      'fold' 0 to k-1, stratified; 'split' stays as it is"""

EPILOG = """examples:
  cxr-monai split manifest.csv --scheme random --seed 1
  cxr-monai split manifest.csv --scheme official            (lists lie in the images' folder)
  cxr-monai split manifest.csv --scheme lists --train train_list.txt --val val_list.txt --test test_list.txt
  cxr-monai split manifest.csv --scheme kfold --k 5 --out folds.csv
  cxr-monai split nih.csv,rsna.csv --scheme random --out both.csv   (one patient of both is on one side)"""

# scheme: its own options
_OPTIONS = {
    "official": ("train_val_list", "test_list", "val_fraction", "seed", "match_names"),
    "lists": ("train", "val", "test", "match_names"),
    "random": ("fractions", "seed"),
    "kfold": ("k", "seed"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai split``; options that the scheme does not have are refused in `run`."""
    parser.add_argument(
        "manifest", metavar="MANIFEST", help="a manifest, .csv or .csv.gz; or several with commas between, and --out"
    )
    parser.add_argument("--scheme", required=True, choices=tuple(_OPTIONS))
    parser.add_argument("--out", type=Path, metavar="OTHER.csv", help="write here (default: into MANIFEST itself)")
    add_force(parser)
    parser.add_argument("--seed", type=int, help="of the patients' assignment (default 0)")
    official = parser.add_argument_group("official (ROOT is the manifest's root)")
    official.add_argument(
        "--train-val-list", type=Path, metavar="FILE", help="default: train_val_list.txt[.gz] in ROOT"
    )
    official.add_argument("--test-list", type=Path, metavar="FILE", help="default: test_list.txt[.gz] in ROOT")
    official.add_argument("--val-fraction", type=float, metavar="F", help="of train_val (default 0.125; 0: none)")
    lists = parser.add_argument_group("lists (one image a line; what follows it on the line is ignored; .gz allowed)")
    for split in ("train", "val", "test"):
        lists.add_argument(f"--{split}", type=Path, metavar="FILE")
    add_match_names(parser)
    random = parser.add_argument_group("random")
    random.add_argument("--fractions", metavar="A,B,C", help="for train, val, test (default 0.7,0.1,0.2)")
    kfold = parser.add_argument_group("kfold")
    kfold.add_argument("--k", type=int, help="number of folds (default 5)")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai split`` and return its exit status."""
    options = _options(arguments)
    from cxr_monai.data.describe import balance_text, side_table
    from cxr_monai.data.identifiers import alike_note
    from cxr_monai.data.manifest import write_manifest
    from cxr_monai.data.multi_source import manifest_files, read_manifests
    from cxr_monai.outputs import check_output

    files = [path for _, path in manifest_files(arguments.manifest)]
    if len(files) > 1 and not arguments.out:
        raise UsageError(Code.USAGE, "several manifests become one: say where with --out BOTH.csv.")
    out = arguments.out or files[0]
    if files[0].exists():  # into the manifest itself where no other name is given
        check_output(out, arguments.force or out.resolve() == files[0].resolve())
    # only the table is needed: 'check' and training look whether the images exist
    manifest = read_manifests(arguments.manifest, check_files=False, keep_splits=arguments.scheme == "kfold")
    result = _split(manifest, arguments.scheme, options)
    write_manifest(result, out)
    for note in alike_note(manifest.table["patient_id"], manifest.table["source"]):
        print(f"note: {note}.\n")
    by = "fold" if arguments.scheme == "kfold" else "split"
    print(side_table(result, by).map("{:,}".format).to_string())
    print(f"\n{balance_text(result, by)}\n")
    record = result.split
    if record is None:
        return 0
    if unused := record.details.get("not_in_manifest"):
        print(f"{counted(unused, 'listed image')} {be(unused)} not in the manifest.")
    if arguments.scheme == "lists" and (unlisted := int((result.table["split"] == "").sum())):
        print(
            f"{out_of(unlisted, len(result), 'image')} {be(len(result))} in no list and {have(len(result))} no split."
        )
    digest = record.details.get("fold_digest", record.digest)
    print(f"{out}: scheme {record.scheme}, seed {record.seed}, digest {digest[:12]}")
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return those options that were given; refuse those of another scheme, which would be ignored."""
    allowed = _OPTIONS[arguments.scheme]
    every = {name for names in _OPTIONS.values() for name in names}
    values = {name: getattr(arguments, name) for name in sorted(every)}
    options = {name: value for name, value in values.items() if value is not None and value is not False}  # 0 is given
    if foreign := [_flag(name) for name in options if name not in allowed]:
        raise UsageError(
            Code.USAGE,
            f"--scheme {arguments.scheme} has no {', '.join(foreign)}; it has {', '.join(map(_flag, allowed))}.",
        )
    if "fractions" in options:
        try:
            options["fractions"] = [float(part) for part in options["fractions"].split(",")]
        except ValueError as error:
            raise UsageError(
                Code.USAGE, f"--fractions is {options['fractions']!r}; it is three numbers such as 0.7,0.1,0.2."
            ) from error
    if arguments.scheme == "lists" and not {"train", "val", "test"} <= options.keys():
        raise UsageError(Code.USAGE, "--scheme lists needs --train, --val and --test, each a file of image names.")
    return options


def _split(manifest: "Manifest", scheme: str, options: dict[str, Any]) -> "Manifest":
    from cxr_monai.data.splits import split_manifest

    if scheme == "official":
        for name in ("train_val_list", "test_list"):
            if name not in options:
                options[name] = _list_in_root(manifest.root, name)
    return split_manifest(manifest, scheme, **options)


def _list_in_root(root: Path, name: str) -> Path:
    for suffix in (".txt", ".txt.gz"):
        if (root / f"{name}{suffix}").is_file():
            return root / f"{name}{suffix}"
    raise UsageError(
        Code.USAGE,
        f"there is no {name}.txt or {name}.txt.gz in the manifest's root {root}.",
        fix=f"Say where it is with {_flag(name)}.",
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
