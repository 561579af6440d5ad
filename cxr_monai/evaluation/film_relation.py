"""How a manifest's films stand to those that a network learned from: home, external, or films of the same collection.

    home_among(("nih",), {"nih": nih, "rsna": rsna})                       # "nih"
    relation_of("A", ("nih",), "rsna", rsna, keep_internal=True)           # Relation("internal", "...")

A test is external where the films come from another institution and none of the patients are shared. Public data sets
share films (`cxr_monai.data.overlaps`), so a network of NIH's films that is judged on RSNA's is not externally tested:
that is refused unless its patients are shown to be others, or the test is called internal.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import is_public, overlaps_among, patient_keys
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.transfer import EXTERNAL, HOME, INTERNAL, OTHER_PATIENTS, UNVERIFIED
from cxr_monai.origins import PHANTOM_SOURCE
from cxr_monai.plurals import be, counted

SeenPatients = Callable[[Collection[str]], set[str] | None]
"""Returns those of some patients (`cxr_monai.data.overlaps.patient_keys`) that a network learned from; None where that
isn't recorded."""


@dataclass(frozen=True)
class Relation:
    """A relation of `cxr_monai.evaluation.transfer.TransferCell`, and a sentence on how it is known."""

    name: str
    sentence: str


def sources_of_films(manifest: Manifest) -> tuple[str, ...]:
    """Return the sources of a manifest's films, in its order; ``""`` where they are not recorded."""
    return tuple(manifest.table["source"].unique())


def home_among(learned: Collection[str], manifests: Mapping[str, Manifest], network: str = "the network") -> str | None:
    """Return the manifest whose films are of the sources that a network learned from; None where there is none.

    Args:
        learned: the public data sets that the network learned from.
        manifests: by their names.
        network: its name, for messages.

    Raises:
        EvaluationError: ``evaluation-invalid`` if several could be it.
    """
    sources = {source.lower() for source in learned}
    homes = [
        name
        for name, manifest in manifests.items()
        if (films := {source.lower() for source in sources_of_films(manifest)}) and films <= sources
    ]
    if len(homes) > 1:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"{' and '.join(homes)} are all of what {network} learned from ({', '.join(learned)}).",
            fix=f"Name the one that the others are compared with: --home {network}={homes[0]}.",
        )
    return homes[0] if homes else None


def relation_of(
    network: str,
    learned: Collection[str],
    name: str,
    manifest: Manifest,
    *,
    is_home: bool = False,
    seen: SeenPatients = lambda patients: None,
    keep_internal: bool = False,
) -> Relation:
    """Return how a manifest's films stand to a network.

    Args:
        network: its name.
        learned: the sources that it learned from; empty where nothing records them.
        name: the manifest's.
        manifest: the films to judge it on.
        is_home: they are its own source's.
        seen: whose patients it learned from.
        keep_internal: keep films of the same collection, and call the test internal.

    Raises:
        EvaluationError: ``patients-shared`` where films of the home are of patients that it learned from;
            ``overlapping-sources`` where the films are of the collection that it learned from, and the patients are
            not shown to be others.
    """
    shared = seen(patient_keys(manifest.table).unique()) if manifest.patients == "known" else None
    if is_home:
        return _home(network, name, shared)
    films = sources_of_films(manifest)
    overlaps = overlaps_among(learned, [source for source in films if is_public(source)])
    if not overlaps:
        return _elsewhere(network, learned, name, films)
    why = "; ".join(dict.fromkeys(overlap.why for overlap in overlaps))
    sources = " and ".join(dict.fromkeys(overlap.first for overlap in overlaps))
    if shared is not None and not shared:
        return Relation(
            OTHER_PATIENTS,
            f"{network} learned from {sources}, and the films of {name} are of the same collection ({why}), "
            "but of none of its patients, by the list beside the bundle. The institution is the same.",
        )
    if shared:
        evidence = f"{counted(len(shared), 'patient')} of {name} {be(len(shared))} among those that it learned from"
    elif manifest.patients != "known":
        evidence = f"whose films they are is not known of {name}"
    else:
        evidence = "no list of the patients that it learned from lies beside it"
    if keep_internal:
        return Relation(
            INTERNAL,
            f"{network} learned from {sources}, and the films of {name} are of the same collection ({why}); "
            f"{evidence}. This is no external test.",
        )
    raise EvaluationError(
        Code.OVERLAPPING_SOURCES,
        f"{network} learned from {sources}, and the films of {name} are of the same collection ({why}); "
        f"{evidence}. So this is no external test.",
        fix="Judge it on another collection, or on patients that the list beside it (BUNDLE.patients.json) shows to "
        "be others; or keep the cell with --overlap internal, which calls it internal.",
    )


def _home(network: str, name: str, shared: set[str] | None) -> Relation:
    if shared:
        raise EvaluationError(
            Code.PATIENTS_SHARED,
            f"{network} learned from {counted(len(shared), 'patient')} of {name}: at home it would look better than it "
            "is, and seem to lose more elsewhere.",
            fix="Give a manifest with a test part, or the part: --split test.",
        )
    known = "by the list beside the bundle none of these patients" if shared is not None else "by its split alone"
    return Relation(HOME, f"{name} is the home of {network}; that it learned from others than these is known {known}.")


def _elsewhere(network: str, learned: Collection[str], name: str, films: Collection[str]) -> Relation:
    if PHANTOM_SOURCE in films and PHANTOM_SOURCE in learned:
        return Relation(EXTERNAL, f"{name} and what {network} learned from were drawn by a program, apart.")
    generic = not any(map(is_public, films))
    if not learned or "" in films or (generic and not any(map(is_public, learned))):
        unknown = f"what {network} learned from" if not learned else f"whose films those of {name} are"
        return Relation(UNVERIFIED, f"It is not recorded {unknown}: that this test is external is not verified.")
    told = f"its source '{', '.join(films)}' names no public data set" if generic else "no shared films are known of"
    return Relation(EXTERNAL, f"{network} learned from {', '.join(learned)}; of {name}, {told}.")
