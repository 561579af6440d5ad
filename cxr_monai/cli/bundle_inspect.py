"""``cxr-monai bundle inspect``."""

import argparse

from cxr_monai.cli.shared_arguments import add_force, add_read_bundle, folder_of

DESCRIPTION = """\
What would this bundle execute? Every callable, expression, import, file reference, network address and file of weights,
each judged against a list of what a bundle may use. The bundle is only read: nothing of it is imported or evaluated.

  allowed    known, and neither writes files nor opens connections
  attention  known, and does something that you should know of, such as writing its results
  REFUSED    unknown, or able to run code, to load programs or to leave the bundle"""

EPILOG = """\
examples:
  cxr-monai bundle inspect received_bundle
  cxr-monai bundle inspect received_bundle-1.0.0.zip
  cxr-monai bundle inspect received_bundle --all
  cxr-monai bundle inspect received_bundle --json inspection.json

exit status: 0 nothing is refused, 1 something is, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle inspect``."""
    add_read_bundle(parser, "a folder, or an archive as it was packed")
    parser.add_argument("--all", action="store_true", help="list what is allowed too")
    parser.add_argument("--json", metavar="FILE", help="write everything that was found as JSON")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle inspect`` and return its exit status."""
    import json
    from collections import Counter
    from dataclasses import asdict
    from pathlib import Path

    from cxr_monai.bundle.component_names import incompatible
    from cxr_monai.durable import write_durably
    from cxr_monai.outputs import check_output
    from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
    from cxr_monai.sharing.inspection.remarks import Verdict
    from cxr_monai.sharing.package.archive import inspect_archive

    if arguments.json:
        check_output(arguments.json, arguments.force)
    archive = Path(arguments.bundle).is_file()
    inspection = inspect_archive(Path(arguments.bundle)) if archive else inspect_bundle(folder_of(arguments.bundle))
    if arguments.json:
        remarks = [asdict(remark) for remark in inspection.remarks]
        content = {"bundle": inspection.root.name, "refused": len(inspection.refused), "remarks": remarks}
        write_durably(Path(arguments.json), json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    for verdict in reversed(Verdict):
        if verdict == Verdict.ALLOWED and not arguments.all:
            continue
        selected = [remark for remark in inspection.remarks if remark.verdict == verdict]
        places = Counter((remark.kind, remark.text) for remark in selected)
        for remark in selected:
            key = remark.kind, remark.text
            more = 0 if verdict == Verdict.REFUSED else places.pop(key, 0) - 1  # each place of a refusal is printed
            if more < 0:
                continue
            place = f"{remark.file}, {remark.where}" if remark.where else remark.file
            place += f", and {more} more" if more else ""
            mark = "REFUSED" if verdict == Verdict.REFUSED else verdict
            print(f"{mark:9}  {remark.kind:10}  {place}\n           {remark.text}")
            if remark.reason:
                print(f"           {remark.reason}")
    counts = Counter(remark.verdict for remark in inspection.remarks)
    kinds = Counter(remark.kind for remark in inspection.remarks)
    print(
        f"{inspection.root}: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}; "
        f"{counts[Verdict.ALLOWED]} allowed, {counts[Verdict.ATTENTION]} for attention, "
        f"{counts[Verdict.REFUSED]} refused"
    )
    if inspection.unknown_components:
        print(incompatible(inspection.unknown_components, inspection.metadata))
    if archive:
        print("not verified: 'cxr-monai bundle verify' tells who signed it, and whether it is as it was signed")
    return 1 if inspection.refused else 0
