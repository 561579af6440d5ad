"""``cxr-monai gate fit``: a copy of a bundle with a gate."""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import add_any_modality, add_bundle, add_force, check_at_least

DESCRIPTION = """\
Fit a gate on films of a manifest, and write it into a copy of the bundle as models/gate.json and gate.safetensors.
'cxr-monai predict' then refuses films that are unlike these, with the reason.

A training does this at its end. This is for bundles that have no gate, and for a gate that knows your own machines: a
few hundred films of everyday work, no labels needed. No film may be among them that should be refused."""

EPILOG = """\
examples:
  cxr-monai gate fit OUT/bundle --manifest manifest.csv --out gated
  cxr-monai gate fit nih-cxr@1.0.0 --manifest our_films.csv --out ours --promise 0.02

The manifest is the one that the network was trained by, or one without a split: then its films count as ones that the
network has not seen. Patients of the part 'test' are left aside, and the promise is tested on them. Films of an age or
a view that the bundle is not meant for (intended_films in its metadata) are left out; of children and laterals among
them a classifier is made, given ten films.

The bundle itself never changes, and its signature does not hold for the copy: pack and sign that again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai gate fit``."""
    add_bundle(parser)
    parser.add_argument("--manifest", type=Path, required=True, metavar="M.csv", help="its films")
    parser.add_argument("--out", type=Path, required=True, metavar="NEW", help="the copy's folder; must not exist")
    parser.add_argument(
        "--split",
        nargs="+",
        choices=["train", "val", "test"],
        help="these parts alone (default: train, val, and films without a part)",
    )
    parser.add_argument(
        "--promise",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of films like these that may be refused (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of folds and draws (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    add_any_modality(parser)
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai gate fit`` and return its exit status."""
    check_at_least(arguments, workers=0, seed=0)
    from cxr_monai.cli.light_start import import_monai_without_mlflow

    import_monai_without_mlflow()
    from cxr_monai.plurals import counted
    from cxr_monai.workflows.gate_fit import FITTED_PARTS, fit_bundle_gate

    fit = fit_bundle_gate(
        arguments.bundle,
        arguments.manifest,
        arguments.out,
        split=arguments.split or FITTED_PARTS,
        promise=arguments.promise,
        seed=arguments.seed,
        any_modality=arguments.any_modality,
        workers=arguments.workers,
        trust_folder=arguments.trust_folder,
        force=arguments.force,
    )
    figures, held_out = fit.gate.fitted_on, fit.held_out
    print(f"fitted on {counted(figures['films'], 'film')} of {counted(figures['patients'], 'patient')}")
    print(
        f"in folds over patients: {figures['refused_share']:.1%} refused (promise: at most {fit.gate.promise:.1%}), "
        f"{figures['reviewed_share']:.1%} for review"
    )
    if held_out:
        share = held_out["refused"] / held_out["films"]
        print(
            f"left aside (test): {held_out['refused']:,} of {counted(int(held_out['films']), 'film')} refused, "
            f"{share:.1%} (95 % interval {held_out['low']:.1%} to {held_out['high']:.1%}), "
            f"{held_out['reviewed']:,} for review"
        )
    print(f"evidence: {', '.join(sorted(fit.gate.scales))}")
    for note in fit.notes:
        print(f"note: {note}")
    print(f"the copy with the gate: {arguments.out}")
    return 0
