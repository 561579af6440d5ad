"""External validation: networks x manifests in; the matrix, the drops and why, tables and a page out.

validate_external({"A": "A/bundle", "B": "B/bundle"}, {"M": "m.csv", "N": "n.csv"}, "external")

Predictions are kept in ``OUT/predictions`` and are not computed again; an interrupted call goes on with them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.errors import Code, CxrError, EvaluationError, ManifestError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.external_result import EXTERNAL_FILE, EXTERNAL_TABLES, ExternalValidation, write_external
from cxr_monai.evaluation.film_relation import Relation, home_among, relation_of
from cxr_monai.evaluation.patients import refuse_shared
from cxr_monai.evaluation.predictions import PredictionsFile, join, read_predictions
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.site_calibration import calibration_of_cells, offers_of_cells, operating_points_of_cells
from cxr_monai.evaluation.transfer import HOME, INTERNAL, UNVERIFIED, TransferCell, transfer_tables
from cxr_monai.evaluation.transfer_causes import (
    causes_of_cells,
    metadata_of_places,
    shifts_of_cells,
    within_views_of_cells,
)
from cxr_monai.evaluation.transfer_gate import gates_of_cells
from cxr_monai.origins import PHANTOM_SOURCE, SYNTHETIC
from cxr_monai.outputs import check_folder, result_folder
from cxr_monai.plurals import be, counted
from cxr_monai.report.external_gate import place_harms
from cxr_monai.report.pages.external_page import write_external_page
from cxr_monai.workflows.evaluation_gate import films_judged
from cxr_monai.workflows.evaluation_labels import labels_under
from cxr_monai.workflows.external_networks import (
    Network,
    Site,
    check_given,
    film_sizes,
    labels_of_home,
    predict_cell,
    read_site,
    site_row,
    unknown_label_rows,
)
from cxr_monai.workflows.external_shortcuts import shortcuts_of_places

KEPT_PREDICTIONS = "predictions"
"""The folder of a result that keeps each network's predictions at each place."""
_BESIDE = (*(f"{name}.csv" for name in EXTERNAL_TABLES), "report.html", "report.md")


@dataclass(frozen=True)
class ExternalOptions:
    """Options of an external validation; the defaults are those of ``cxr-monai external``.

    Attributes:
        homes: network -> the manifest of its own source, where the bundle doesn't tell.
        split: of every manifest: ``auto`` (its test part where it has one), ``all``, ``train``, ``val`` or ``test``.
        keep_internal: keep films of the collection that a network learned from, and call the test internal.
        shortcuts: also judge films without lungs, corners and detail: seven times the work.
        lung_masks: manifest -> masks of the lungs for it (`cxr_monai.data.lung_masks.read_lung_masks`).
        intervals: replicates, level and seed of the bootstrap over patients.
        batch_size, workers: of prediction.
        match_names: file names are identities, whatever the folders.
        trust_folder: run folders although an inspection refuses them.
    """

    homes: Mapping[str, str] = field(default_factory=dict)
    split: str = "auto"
    keep_internal: bool = False
    shortcuts: bool = False
    lung_masks: Mapping[str, str | Path] = field(default_factory=dict)
    intervals: Intervals = field(default_factory=Intervals)
    batch_size: int = 16
    workers: int | None = None
    match_names: bool = False
    trust_folder: bool = False


@dataclass(frozen=True, eq=False)
class _Setting:
    """Everything that is known before anything is predicted."""

    networks: Mapping[str, Network]
    places: Mapping[str, Site]
    relations: Mapping[tuple[str, str], Relation]
    learned: Mapping[str, tuple[str, ...]]

    @property
    def sites(self) -> dict[str, Manifest]:
        """The films to judge on, by the manifest's name."""
        return {name: place.manifest for name, place in self.places.items()}

    def relabelled(self, home: TransferCell, there: TransferCell, sample: Sample) -> Sample | None:
        """Return the films of a sample with labels of home's kind, where they are the same films."""
        place = self.places[there.tested_on].manifest
        return labels_of_home(self.places[home.tested_on], place, sample)


def validate_external(
    bundles: Mapping[str, str | Path],
    manifests: Mapping[str, str | Path],
    out: str | Path,
    *,
    predictions: Mapping[tuple[str, str], str | Path] | None = None,
    options: ExternalOptions | None = None,
    force: bool = False,
) -> ExternalValidation:
    """Judge networks at places that they did not learn from, and write everything into a folder.

    Args:
        bundles: by the names that tables call them: folders, or names of installed ones.
        manifests: by the names that tables call them.
        out: the folder. Its predictions stay when a call is interrupted; the rest appears whole, or not at all.
        predictions: (network, manifest) -> a predictions file, which takes the place of running a bundle; a network of
            which there are predictions alone needs no bundle.
        options: everything else.
        force: an earlier result, or other predictions in the folder, may be written over.

    Returns:
        the result.

    Raises:
        UsageError: ``output-exists``.
        EvaluationError: ``overlapping-sources``, ``patients-shared``, ``predictions-invalid``, ``evaluation-invalid``.
        CxrError: of bundles, manifests and predictions.
    """
    options, given = options or ExternalOptions(), dict(predictions or {})
    out = check_folder(out, (EXTERNAL_FILE, *_BESIDE), force)
    setting = _setting(bundles, manifests, given, options)
    cells, join_notes = [], []
    for network in setting.networks.values():
        for name in setting.sites:
            file = _predictions(network, name, setting, given, out, options, force)
            cell, notes = _cell(network, name, file, setting)
            cells.append(cell)
            join_notes += notes
    if all(cell.sample is None for cell in cells):
        reasons = "; ".join(dict.fromkeys(f"{cell.trained_on} on {cell.tested_on}: {cell.why}" for cell in cells))
        raise EvaluationError(
            Code.PREDICTIONS_INVALID,
            f"nothing can be judged: {reasons}.",
            fix="Give manifests that label a finding that the networks predict.",
        )
    notes = [*_notes(cells, setting), *join_notes, *_shared_with_home(cells)]
    validation = _validation(cells, setting, options, notes)
    validation = replace(validation, notes=(*validation.notes, *place_harms(validation)))
    if options.shortcuts:
        effects, verdicts, probes, more = shortcuts_of_places(
            setting.networks.values(),
            setting.sites,
            options.lung_masks,
            options.intervals,
            options.batch_size,
            options.workers,
        )
        validation = replace(
            validation, shortcuts=effects, shortcut_verdicts=verdicts, probes=probes, notes=(*validation.notes, *more)
        )
    with result_folder(out, EXTERNAL_FILE, force, _BESIDE) as folder:
        write_external_page(validation, folder)
        write_external(validation, folder)
    return validation


def _setting(
    bundles: Mapping[str, str | Path],
    manifests: Mapping[str, str | Path],
    given: Mapping[tuple[str, str], str | Path],
    options: ExternalOptions,
) -> _Setting:
    """Open and read everything, and refuse what may not be compared before anything is predicted."""
    _check_names(bundles, manifests, given, options.homes)
    _check_masks(manifests, options.lung_masks)
    names = list(dict.fromkeys([*bundles, *(network for network, _ in given)]))
    networks = {name: Network.open(name, bundles.get(name), options.trust_folder) for name in names}
    places = {name: read_site(path, options.split, options.match_names) for name, path in manifests.items()}
    sites = {name: place.manifest for name, place in places.items()}
    relations, learned = {}, {}
    for network in networks.values():
        named = options.homes.get(network.name)
        learned[network.name] = network.learned_with(sites[named] if named else None)
        home = named or home_among(network.learned, sites, network.name)
        for name, site in sites.items():
            relations[network.name, name] = relation_of(
                network.name,
                learned[network.name],
                name,
                site,
                is_home=name == home,
                seen=network.seen,
                keep_internal=options.keep_internal,
            )
    return _Setting(networks, places, relations, learned)


def _check_names(
    bundles: Mapping[str, str | Path],
    manifests: Mapping[str, str | Path],
    given: Mapping[tuple[str, str], str | Path],
    homes: Mapping[str, str],
) -> None:
    networks = {*bundles, *(network for network, _ in given)}
    for name in [*networks, *manifests]:
        if not name.strip() or name.startswith(".") or not name.isprintable() or {*name} & {*"/\\@:"}:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"{name!r} can't be the name of a network or manifest, since files are called by it "
                f"({KEPT_PREDICTIONS}/NETWORK@MANIFEST.csv).",
                fix="Give a name without / \\ @ : and without a dot at its beginning: NAME=PATH.",
            )
    if not networks or not manifests:
        raise EvaluationError(
            Code.EVALUATION_INVALID, "a network (a bundle, or predictions) and a manifest are needed to judge anything."
        )
    pairs = [("--predictions", pair) for pair in given] + [("--home", pair) for pair in homes.items()]
    for option, (network, manifest) in pairs:
        if network not in networks or manifest not in manifests:
            unknown, known = (network, networks) if network not in networks else (manifest, manifests)
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"{option} names {unknown!r}; there are {', '.join(sorted(known))}.",
                fix="Use the names of --bundles and --manifests: NAME=PATH gives one.",
            )


def _check_masks(manifests: Mapping[str, str | Path], masks: Mapping[str, str | Path]) -> None:
    unknown = [name for name in masks if name not in manifests]
    if unknown:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"--lung-masks names {unknown[0]!r}; there are {', '.join(sorted(manifests))}.",
            fix="Use the names of --manifests.",
        )


def _predictions(
    network: Network,
    name: str,
    setting: _Setting,
    given: Mapping[tuple[str, str], str | Path],
    out: Path,
    options: ExternalOptions,
    force: bool,
) -> PredictionsFile | None:
    """Return a network's predictions at one place; None where there are none and no bundle could make them."""
    if (network.name, name) in given:
        file = read_predictions(given[network.name, name])
        check_given(network, file)
        return file
    if network.bundle is None or _nothing_in_common(network.bundle.labels, setting.sites[name]):
        return None
    path = out / KEPT_PREDICTIONS / f"{network.name}@{name}.csv"
    return predict_cell(network, setting.sites[name], path, options.batch_size, options.workers, force)


def _nothing_in_common(labels: Sequence[str], site: Manifest) -> bool:
    """Return whether a manifest labels nothing that a network predicts, so that predicting would be for nothing."""
    members = {name for name in site.findings if name in COMPOSITES and set(COMPOSITES[name].members) <= set(labels)}
    return not members and not set(labels) & set(site.findings)


def _cell(
    network: Network, name: str, file: PredictionsFile | None, setting: _Setting
) -> tuple[TransferCell, list[str]]:
    """Return a network on a manifest's films, and what a reader must know of how the two were joined."""
    relation, site = setting.relations[network.name, name].name, setting.sites[name]
    labels = network.bundle.labels if network.bundle is not None else ()
    if file is None:
        why = "there are no predictions" if network.bundle is None else "no finding is known to both"
        return TransferCell(network.name, name, relation, None, why, labels, site.findings), []
    site = labels_under(site, network.scheme(file))
    try:
        sample, notes = join(file, site)
    except CxrError as error:
        if error.code != Code.PREDICTIONS_INVALID and not isinstance(error, ManifestError):
            raise
        why = f"they can't be joined ({error.message.rstrip('.')})"
        return TransferCell(network.name, name, relation, None, why, file.findings, site.findings), []
    calibrated, fitted = file.calibrated, network.fitted
    if fitted is not None and network.bundle is not None:
        refuse_shared(fitted, sample, site, network.bundle.root)
    if fitted is not None and fitted.calibrates and not calibrated:
        sample, calibrated = sample.with_scores(fitted.apply(sample.scores, sample.findings)), True
    usable = fitted if calibrated else None
    judged, gate_notes = films_judged(file, None, sample, site, None)
    cell = TransferCell(
        network.name, name, relation, sample, "", file.findings, site.findings, usable, calibrated, judged
    )
    notes += gate_notes
    # which findings one side lacks stands in the matrix
    return cell, [f"{network.name} on {name}: {note}" for note in notes if not note.startswith("Only the ")]


def _validation(
    cells: Sequence[TransferCell], setting: _Setting, options: ExternalOptions, notes: Sequence[str]
) -> ExternalValidation:
    transfer = transfer_tables(cells, options.intervals)
    relations = [
        {"trained_on": network, "tested_on": site, "relation": relation.name, "sentence": relation.sentence}
        for (network, site), relation in setting.relations.items()
    ]
    sites = [site_row(name, place.manifest, place.part) for name, place in setting.places.items()]
    sizes = {name: film_sizes(name, site) for name, site in setting.sites.items()}
    notes, gates = [*notes, *_without_size(sizes, setting)], gates_of_cells(cells, options.intervals)
    unknown = [row for name, site in setting.sites.items() for row in unknown_label_rows(name, site)]
    return ExternalValidation(
        transfer.matrix,
        transfer.drops,
        options.intervals.level,
        options.intervals.replicates,
        causes=causes_of_cells(cells, options.intervals, setting.relabelled),
        label_shift=shifts_of_cells(cells, options.intervals),
        metadata_only=metadata_of_places(cells, options.intervals, sizes),
        within_view=within_views_of_cells(cells, options.intervals),
        calibration=calibration_of_cells(cells, options.intervals.level),
        operating_points=operating_points_of_cells(cells, options.intervals),
        offers=offers_of_cells(cells, options.intervals),
        relations=pd.DataFrame(relations),
        networks=pd.DataFrame([
            network.row(setting.learned[name]) for name, network in setting.networks.items()
        ]),
        sites=pd.DataFrame(sites),
        unknown_labels=pd.DataFrame(unknown),
        provenance={"date": time.strftime("%Y-%m-%d"), "seed": options.intervals.seed, "split": options.split},
        gate_places=gates.places,
        gate_codes=gates.codes,
        gate_findings=gates.findings,
        gate_groups=gates.groups,
        gate_figures=gates.figures,
        gated_matrix=gates.matrix,
        gated_drops=gates.drops,
        notes=tuple(notes),
    )  # fmt: skip


def _notes(cells: Sequence[TransferCell], setting: _Setting) -> list[str]:
    """Return what a reader must know, a sentence each."""
    notes = []
    drawn = [name for name, site in setting.sites.items() if (site.table["source"] == PHANTOM_SOURCE).any()]
    if drawn:
        notes.append(SYNTHETIC)
    notes += [relation.sentence for relation in setting.relations.values() if relation.name in (INTERNAL, UNVERIFIED)]
    for name in setting.networks:
        own = [cell for cell in cells if cell.trained_on == name]
        if not any(cell.relation == HOME for cell in own):
            notes.append(
                f"None of the manifests is the home of {name}, so nothing tells what it loses elsewhere; --home "
                f"{name}=MANIFEST names one."
            )
        if not any(cell.fitted is not None for cell in own):
            notes.append(
                f"{name} is not calibrated: its operating points and the shift of prevalence are skipped. 'cxr-monai "
                "calibrate' writes a copy that is."
            )
    for name, site in setting.sites.items():
        if site.patients != "known":
            notes.append(
                f"{name} does not tell whose films they are: each of its {counted(len(site), 'image')} counts as a "
                "patient, and intervals are too narrow where that is wrong."
            )
        in_training = int((site.table["split"] == "train").sum())
        if in_training and setting.places[name].part != "test":
            notes.append(f"{in_training:,} of the films of {name} are of its training part.")
    return notes


def _without_size(sizes: Mapping[str, pd.Series], setting: _Setting) -> list[str]:
    unknown = {name: len(site) - len(sizes[name]) for name, site in setting.sites.items()}
    return [
        f"The image size of {counted(count, 'film')} of {name} is not known: no file that is there tells it."
        for name, count in unknown.items()
        if count
    ]


def _shared_with_home(cells: Sequence[TransferCell]) -> list[str]:
    """Return a sentence for each place that shows patients of the network's home: the draws are not independent."""
    homes = {cell.trained_on: cell for cell in cells if cell.relation == HOME}
    notes = []
    for cell in cells:
        home = homes.get(cell.trained_on)
        if home is None or cell is home or home.sample is None or cell.sample is None:
            continue
        shared = {*patient_keys(home.sample.table)} & {*patient_keys(cell.sample.table)}
        if shared and PHANTOM_SOURCE not in {*cell.sample.table["source"]}:
            notes.append(
                f"{counted(len(shared), 'patient')} of {cell.tested_on} {be(len(shared))} among those of "
                f"{home.tested_on}, the home of {cell.trained_on}: the interval of the drop takes them for others, and "
                "is rather too wide."
            )
    return notes
