"""Maps against the boxes of radiologists: files in; tables, a sheet, a page and an MLflow run out.

    localisation, written = localise_files("maps", "m.boxes.csv", "manifest.csv", "localisation")
    localisation.scores, localisation.gains         # tables; see cxr_monai.attribution.localisation_tables

Two controls are scored on the same cases: a random map (uniform noise on the map's own grid, enlarged as it is) and a
centre map (where the finding's boxes are on other images). All three have their map thresholds chosen on other images
than those that are scored, and images that the model was trained on are refused: those of the manifest's training part,
and of patients that the list beside the bundle names.
"""

import importlib.metadata
import json
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation import (
    CHOOSING_SIDE,
    ENOUGH,
    POOLED,
    SHARES,
    SIDE,
    centre_boxes,
    centre_map,
    choose_shares,
    detected_boxes,
    overlaps,
    raster,
    score,
)
from cxr_monai.attribution.localisation_tables import FEWEST, Scored, localisation_tables, values_of
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.reference_boxes import in_shares, read_boxes
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.completion import require_complete, seal
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.data.splits import assign_patients
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.patients import trained_on
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import be, counted, have, out_of
from cxr_monai.progress import progress_bar
from cxr_monai.report.reading import records, value

RANDOM, CENTRE = "random", "centre"
Seen = Literal["refuse", "skip", "allow"]
_BOX = ("x", "y", "width", "height")
_KEPT = 64  # centre maps: one a finding and size of image


@dataclass(frozen=True)
class Options:
    """How to score; the defaults are those of ``cxr-monai maps localise``.

    Attributes:
        split: score this part of the manifest alone.
        findings: score these alone; all that have boxes where empty.
        seen: what to do with images that the model was trained on: refuse all, skip those, or score them, too.
        tolerance: of the pointing game, in pixels of an image whose longer side has 1,024 (15 in the literature).
        draws: random maps a case, whose scores are averaged.
        side: pixels of the longer side of the raster that maps are scored on; their thresholds are chosen on one of at
            most `CHOOSING_SIDE`.
        replicates, level, seed: of the intervals over patients; the seed also of the random maps and of the halves.
    """

    split: str | None = None
    findings: Sequence[str] = ()
    seen: Seen = "refuse"
    tolerance: float = 0.0
    draws: int = 5
    side: int = SIDE
    replicates: int = 1000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Choosing:
    """Where map thresholds and the centre map come from; one half of the patients where nothing is set.

    Attributes:
        split: images of this part of the manifest; the others are scored.
        maps, boxes: another store of maps, by the same method, and its boxes.
        manifest: its patients; the scored images' manifest where None.
        other_hospital: its patients are other people even if they have the same numbers (synthetic ones, too).
        match_names: file names are identities, whatever the folders.
    """

    split: str | None = None
    maps: str | Path | None = None
    boxes: str | Path | None = None
    manifest: str | Path | None = None
    other_hospital: bool = False
    match_names: bool = False


@dataclass(frozen=True, eq=False)
class Localisation:
    """What `localise_files` found.

    Attributes:
        scores: ``localisation.csv``: `localisation_tables`' scores with ``map_threshold`` (in shares of the map's
            maximum), ``chosen_on`` (the finding, or all findings) and ``empty`` (cases whose map is 0 everywhere).
        gains: ``gains.csv``.
        cases: ``cases.csv``, one row a case; its box is the detected one in pixels of the stored image.
        level: of all intervals.
        book: what is needed to judge the figures.
        notes: remarks, in full sentences.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    cases: pd.DataFrame
    level: float
    book: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """Cases of one store of maps.

    Attributes:
        table: ``image`` (as the store names it), ``finding, patient_id, split``, one row a case, in the store's order.
        boxes: of each (image, finding), ``[B, 4]`` in shares of the image.
    """

    store: MapStore
    table: pd.DataFrame
    boxes: Mapping[tuple[str, str], np.ndarray]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray) -> "Part":
        """Return some cases, by a boolean mask; the boxes are those of these cases."""
        table = self.table[np.asarray(rows)].reset_index(drop=True)
        keys = zip(table["image"], table["finding"], strict=True)
        return Part(self.store, table, {key: self.boxes[key] for key in keys})


MAIN = "localisation.json"
"""What is written last, and says that a localisation is complete."""
WRITTEN = ("localisation.csv", "gains.csv", "cases.csv", "cases.png", "localisation.html")
"""What stands beside it."""


def localise_files(
    maps: str | Path,
    boxes: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    bundle: str | Path | None = None,
    choosing: Choosing | None = None,
    options: Options | None = None,
    force: bool = False,
    match_names: bool = False,
) -> tuple[Localisation, list[Path]]:
    """Score maps against boxes and write everything into a folder.

    Args:
        maps: a folder of maps, see ``cxr-monai explain``.
        boxes: ``M.boxes.csv`` or NIH's list.
        manifest: patients and split; the image files are needed for the sheet alone.
        out: the folder.
        bundle: that made the maps; the list beside it says who it was trained on, whatever split the manifest has.
        choosing: where map thresholds come from.
        options: everything else.
        force: an earlier localisation in the folder may be written over.
        match_names: file names are identities, whatever the folders.

    Returns:
        the result and the files that were written.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        EvaluationError: ``maps-invalid``, ``boxes-invalid``, ``images-seen``, ``patients-shared``,
            ``calibration-invalid``, ``evaluation-invalid``.
        BundleError: if ``bundle`` is none.
        ManifestError: whatever is wrong with the manifest.
    """
    with result_folder(out, MAIN, force, WRITTEN) as made:
        localisation, written = _localise_files(
            maps, boxes, manifest, made, bundle, choosing or Choosing(), options or Options(), match_names
        )
    return localisation, [Path(out) / path.relative_to(made) for path in written]


def _localise_files(
    maps: str | Path,
    boxes: str | Path,
    manifest: str | Path,
    folder: Path,
    bundle: str | Path | None,
    choosing: Choosing,
    options: Options,
    match_names: bool,
) -> tuple[Localisation, list[Path]]:
    """Do what :func:`localise_files` does, in an empty folder."""
    from cxr_monai.report.localisation_sheet import write_sheet
    from cxr_monai.report.pages.localisation_page import write_page

    table = read_manifest(manifest, check_files=False, match_names=match_names)
    part, notes = read_part(maps, boxes, table)
    aside = None
    if choosing.split is not None:
        aside = _some(part, part.table["split"] == choosing.split, f"in the split {choosing.split!r}, to choose on")
        part = _some(part, part.table["split"] != choosing.split, f"outside the split {choosing.split!r}")
    if options.findings:
        part = _of_findings(part, options.findings)
    part, said = leave_out_seen(part, options, bundle)
    chosen_on, part, told, of_choosing = _choosing_part(part, aside, table, choosing, options.seed)
    localisation = localise(chosen_on, part, options, (*notes, *said, *of_choosing), told)
    book = {**localisation.book, "manifest": Path(manifest).name, "boxes": Path(boxes).name}
    book |= {"label_version": table.label_version, "date": time.strftime("%Y-%m-%d")}
    book |= {"version": importlib.metadata.version("cxr-monai")}
    localisation = replace(localisation, book=book)
    sheet = write_sheet(localisation, part, table.root, folder)
    if sheet is None:
        said_so = "There is no sheet of cases: the image files are not where the manifest says."
        localisation = replace(localisation, notes=(*localisation.notes, said_so))
    written = [*write_tables(localisation, folder), *([sheet] if sheet else []), write_page(localisation, folder)]
    return localisation, written


def read_part(maps: str | Path, boxes: str | Path, manifest: Manifest) -> tuple[Part, list[str]]:
    """Return the cases that have a box, a map and a patient, and sentences on those that lack one.

    Raises:
        EvaluationError: ``maps-invalid`` if no case has a map; ``boxes-invalid``.
        ManifestError: ``manifest-invalid`` if no boxed image is in the manifest.
    """
    store = MapStore.open(maps)
    drawn, said = read_boxes(boxes, store.table, store.findings, store.scheme, manifest.by_name)
    of = in_shares(drawn)
    keys = pd.DataFrame(list(of), columns=["stored", "finding"])
    people = manifest.table[["image", "patient_id", "split"]]
    by_side = join_on_image(people, keys.assign(image=keys["stored"]), by_name=manifest.by_name, root=manifest.root)
    joined = by_side.table.set_index(["stored", "finding"])
    known = [key for key in of if key in joined.index]
    notes = list(said)
    if by_side.notes("boxed images", "the manifest"):  # cases are counted, images are logged
        notes.append(
            f"{out_of(len(of) - len(known), len(of), 'boxed case')} {be(len(of))} not in the manifest, and left out."
        )
    channel = {finding: at for at, finding in enumerate(store.findings)}
    kept = [key for key in known if not np.isnan(store.grid(key[0])[channel[key[1]]]).any()]
    if not kept:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"none of the {counted(len(known), 'boxed case')} has a map.",
            fix="Explain these images, and every finding of them, not those over their operating point alone.",
            where=maps,
        )
    if len(kept) < len(known):
        notes.append(
            f"{out_of(len(known) - len(kept), len(known), 'boxed case')} {have(len(known))} "
            "no map (the finding was under its operating"
            " point), and are left out: the figures are of the others."
        )
    table = joined.loc[pd.MultiIndex.from_tuples(kept), ["patient_id", "split"]].reset_index()
    table = table.set_axis(["image", "finding", "patient_id", "split"], axis=1)
    return Part(store, table, {key: of[key] for key in kept}), notes


def _of_findings(part: Part, findings: Sequence[str]) -> Part:
    absent = [name for name in findings if name not in part.store.findings]
    if absent:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"there are no maps of {', '.join(absent)}, only of {', '.join(part.store.findings)}.",
            where=part.store.folder,
        )
    return _some(part, part.table["finding"].isin(findings), f"of {', '.join(findings)}")


def leave_out_seen(part: Part, options: Options, bundle: str | Path | None = None) -> tuple[Part, list[str]]:
    """Return the part to be judged without what the model was trained on, as far as that is known.

    Args:
        part: boxed cases.
        options: its ``split`` and ``seen``.
        bundle: that made the maps; without it the manifest's split is all that is known.

    Returns:
        the part, and sentences on what was left out or is not known.

    Raises:
        EvaluationError: ``images-seen``, with counts; ``maps-invalid`` if the bundle did not make the maps;
            ``calibration-invalid`` if the list beside it is damaged; ``evaluation-invalid`` if nothing is left.
        BundleError: if ``bundle`` is none.
    """
    listed, notes = (None, []) if bundle is None else _listed(part, bundle)
    if options.split is not None:
        part = _some(part, part.table["split"] == options.split, f"in the split {options.split!r}")
    table = part.table
    ways = {
        "in the manifest's training part": (table["split"] == "train").to_numpy(),
        "of patients that the bundle was trained on": table["patient_id"].isin(listed or ()).to_numpy(),
    }
    seen = np.any(list(ways.values()), axis=0)
    if seen.any():
        images, patients = table.loc[seen, "image"].nunique(), table.loc[seen, "patient_id"].nunique()
        how = " or ".join(way for way, rows in ways.items() if rows.any())
        told = (
            f"{images:,} of the {counted(table['image'].nunique(), 'boxed image')} ({patients:,} of "
            f"{counted(table['patient_id'].nunique(), 'patient')}) are {how}"
        )
        if options.seen == "refuse":
            raise EvaluationError(
                Code.IMAGES_SEEN,
                f"{told}: a model points better at what it was trained on.",
                fix="Score other patients with --split test, or leave these out with --seen skip; --seen allow scores"
                " them all the same and says so.",
            )
        if options.seen == "skip":
            notes.append(f"{told}, and left out.")
            part = _some(part, ~seen, "that the model was not trained on")
        else:
            notes.append(f"{told}: what the model was trained on, it points at better than it would elsewhere.")
    splits = set(part.table["split"])
    if splits == {""} and listed is None:
        notes.append("The manifest has no split of these images: whether the model was trained on them is not known.")
    elif "val" in splits:
        patients = part.table.loc[part.table["split"] == "val", "patient_id"].nunique()
        notes.append(
            f"{counted(patients, 'patient')} {be(patients)} of the validation "
            "part, on which the model's epoch was chosen."
        )
    return part, notes


def _listed(part: Part, bundle: str | Path) -> tuple[set[str] | None, list[str]]:
    """Return the part's patients that the bundle was trained on; None, and a sentence, where that is not known."""
    made_by, opened = part.store.about.get("bundle") or {}, Bundle.open(bundle)
    if made_by.get("digest") != opened.digest:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"these maps were made by another bundle ({made_by.get('name') or 'without a name'}) than "
            f"{opened.root.name}, or by another state of it.",
            fix="Name the bundle that 'cxr-monai explain' was given, or leave --bundle out.",
            where=part.store.folder,
        )
    if not made_by.get("own_weights", True):
        return None, ["These maps are of other weights than the bundle's own: who they were trained on is not known."]
    listed = trained_on(opened.root, part.table["patient_id"])
    if listed is None:
        return None, ["Who the bundle was trained on is not known: no list of its training's patients lies beside it."]
    return listed, []


def _some(part: Part, rows: pd.Series | np.ndarray, which: str) -> Part:
    if not np.asarray(rows).any():
        counts = part.table["split"].replace("", "no split").value_counts()
        there = ", ".join(f"{count:,} in {name}" for name, count in counts.items())
        raise EvaluationError(Code.EVALUATION_INVALID, f"there is no boxed case {which}; there are {there}.")
    return part.take(np.asarray(rows))


def _choosing_part(
    part: Part, aside: Part | None, manifest: Manifest, choosing: Choosing, seed: int
) -> tuple[Part, Part, str, list[str]]:
    """Return the cases to choose on, those to score, what the former are, and what was left out of them.

    Raises:
        EvaluationError: ``patients-shared``, ``maps-invalid``, or ``evaluation-invalid``.
    """
    if choosing.maps is None and aside is None:
        if part.table["patient_id"].nunique() < 2:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                "map thresholds are chosen on one half of the patients, and there is one patient.",
                fix="Choose them on other images: --choose-on MAPS --choose-boxes B.csv.",
            )
        rows = _half(part, seed)
        return part.take(rows), part.take(~rows), f"one half of the patients, {_counted(part.take(rows))}", []
    notes: list[str] = []
    if aside is not None:
        other, told = aside, f"the split {choosing.split!r}"
    else:
        other, notes = _other_maps(part, manifest, choosing)
        told = f"other maps ({Path(str(choosing.maps)).name})"
    shared = set(part.table["patient_id"]) & set(other.table["patient_id"])
    if shared and not choosing.other_hospital:
        raise EvaluationError(
            Code.PATIENTS_SHARED,
            f"{len(shared):,} of the {counted(part.table['patient_id'].nunique(), 'patient')} "
            "to be scored are patients that map"
            " thresholds would be chosen on.",
            fix="Choose them on others. If these are other people with the same numbers (phantoms, another hospital),"
            " say so with --other-hospital.",
        )
    return other, part, f"{told}, {_counted(other)}", [f"To choose on: {note}" for note in notes]


def _other_maps(part: Part, manifest: Manifest, choosing: Choosing) -> tuple[Part, list[str]]:
    if choosing.maps is None or choosing.boxes is None:
        raise EvaluationError(Code.EVALUATION_INVALID, "maps to choose on need their boxes: --choose-boxes B.csv.")
    people = manifest
    if choosing.manifest is not None:
        people = read_manifest(choosing.manifest, check_files=False, match_names=choosing.match_names)
    other, notes = read_part(choosing.maps, choosing.boxes, people)
    ours, theirs = name_of(part.store), name_of(other.store)
    if ours != theirs:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"thresholds chosen on maps by {theirs} are not those of maps by {ours}.",
            fix=f"Explain the images of --choose-on by {ours}.",
            where=choosing.maps,
        )
    return other, notes


def _half(part: Part, seed: int) -> np.ndarray:
    """Return the cases of one half of the patients, every finding's cases dealt evenly."""
    present = pd.crosstab(part.table["image"], part.table["finding"]).clip(upper=1).astype(float)
    images = part.table.drop_duplicates("image").set_index("image").loc[present.index, ["patient_id"]]
    sides = assign_patients(Manifest(images.join(present).reset_index(), Path(), ""), (0.5, 0.5), seed=seed)
    return part.table["image"].isin(present.index[sides == 0]).to_numpy()


def _counted(part: Part) -> str:
    return f"{counted(len(part), 'case')} of {counted(part.table['patient_id'].nunique(), 'patient')}"


def name_of(store: MapStore) -> str:
    """Return the method that made the maps."""
    return str(store.about.get("method") or "map")


def localise(chosen_on: Part, part: Part, options: Options, notes: Sequence[str] = (), told: str = "") -> Localisation:
    """Choose thresholds on some cases and score others.

    Args:
        chosen_on, part: cases to choose on, cases to score.
        options: ``split``, ``seen`` and ``findings`` have been seen to.
        notes: kept with the result.
        told: what ``chosen_on`` is.

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    method = name_of(part.store)
    maps = (method, RANDOM, CENTRE)
    findings = [name for name in part.store.findings if (part.table["finding"] == name).any()]
    centre = {name: centre_boxes(chosen_on.boxes, name) for name in {*findings, *chosen_on.table["finding"]}}
    iou = _iou(chosen_on, centre, options)
    own = list(chosen_on.table["finding"])
    chosen = {name: choose_shares(iou[:, at], own, findings) for at, name in enumerate(maps)}
    values, found = [], []
    for heats, boxes, finding in _heats(part, centre, options.seed, options.draws, options.side, "scoring"):
        scores = [
            [score(heat, boxes, (chosen[name][finding][0],), options.tolerance) for heat in drawn]
            for name, drawn in zip(maps, heats, strict=True)
        ]
        values.append([np.mean([values_of(one) for one in drawn], axis=0) for drawn in scores])
        found.append(scores[0][0].detected[0])
    made, detected = np.array(values), np.array(found)
    empty = part.table.loc[np.isnan(detected[:, 0]), "finding"].value_counts()
    codes = pd.factorize(part.table["patient_id"])[0]
    channels = part.table["finding"].map(findings.index).to_numpy()
    tables = localisation_tables(
        Scored(tuple(findings), channels, codes, maps, made), options.replicates, options.level, options.seed
    )
    scores_table = _with_thresholds(tables.scores, chosen, empty, method)
    cases = _cases(part, made, detected, maps)
    book = {
        "bundle": part.store.about.get("bundle"),
        "method": method,
        "layer": part.store.about.get("layer"),
        "grid": "x".join(map(str, part.store.grid(part.table["image"].iloc[0]).shape[1:])),
        "cases": len(part),
        "images": int(part.table["image"].nunique()),
        "patients": int(codes.max()) + 1,
        "split": {
            str(key or "none"): int(count) for key, count in part.table["split"].value_counts().sort_index().items()
        },
        "map_thresholds_from": told,
        "in_mean": list(tables.in_mean),
        "tolerance": options.tolerance,
        "random_draws": options.draws,
        "raster": options.side,
        "replicates": options.replicates,
        "seed": options.seed,
    }
    return Localisation(
        scores_table,
        tables.gains,
        cases,
        options.level,
        book,
        (*notes, *_remarks(tables.in_mean, scores_table, chosen_on)),
    )


def _iou(part: Part, centre: Mapping[str, np.ndarray], options: Options) -> np.ndarray:
    """Return the IoU of each case at each of `SHARES`, of its map, one random map and the centre map: ``[N, 3, S]``."""

    @lru_cache(maxsize=_KEPT)
    def in_the_centre(finding: str, shape: tuple[int, int]) -> np.ndarray:
        return detected_boxes(centre_map(centre[finding], shape), SHARES)

    made = []
    side = min(options.side, CHOOSING_SIDE)
    for (own, random, _), boxes, finding in _heats(part, centre, options.seed, 1, side, "choosing map thresholds"):
        found = [detected_boxes(heat, SHARES) for heat in (*own, *random)]
        found.append(in_the_centre(finding, own[0].shape))
        made.append([overlaps(each, boxes)[0] for each in found])
    return np.array(made)


def _heats(
    part: Part, centre: Mapping[str, np.ndarray], seed: int, draws: int, side: int, doing: str
) -> Iterator[tuple[tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]], np.ndarray, str]]:
    """Yield each case's maps on its raster (its own; random ones; the centre map), its boxes and its finding."""
    in_the_centre = lru_cache(maxsize=_KEPT)(lambda finding, shape: centre_map(centre[finding], shape))
    channel = {finding: at for at, finding in enumerate(part.store.findings)}
    rows = progress_bar(
        part.table[["image", "finding"]].itertuples(index=False, name=None),
        total=len(part), desc=doing, unit="cases",
    )  # fmt: skip
    for image, finding in rows:
        view, points = part.store.view(image), part.store.points
        shape = raster(view.height, view.width, side)
        grid = part.store.grid(image)[channel[finding]]
        # the same noise for a case whatever else is scored
        random = np.random.default_rng([seed, zlib.crc32(f"{image}\t{finding}".encode())])
        heats = (
            [view.place(grid, points, shape)],
            [view.place(random.random(grid.shape), points, shape) for _ in range(draws)],
            [in_the_centre(finding, shape)],
        )
        yield heats, part.boxes[image, finding], finding


def _with_thresholds(
    scores: pd.DataFrame, chosen: Mapping[str, Mapping[str, tuple[float, str]]], empty: pd.Series, method: str
) -> pd.DataFrame:
    """Return the table with each map's threshold, what it was chosen on, and how many maps are 0 everywhere."""
    keys = list(zip(scores["map"], scores["finding"], strict=True))
    thresholds = [chosen[name].get(finding, (np.nan, ""))[0] for name, finding in keys]
    told = [chosen[name].get(finding, (np.nan, ""))[1] for name, finding in keys]
    of = [int(empty.sum() if finding == MEAN else empty.get(finding, 0)) * (name == method) for name, finding in keys]
    return pd.concat(
        [
            scores.iloc[:, :4],
            pd.DataFrame({"empty": of, "map_threshold": thresholds, "chosen_on": told}),
            scores.iloc[:, 4:],
        ],
        axis=1,
    )


def _cases(part: Part, values: np.ndarray, found: np.ndarray, maps: Sequence[str]) -> pd.DataFrame:
    table = part.table.copy()
    table.insert(0, "case", np.arange(1, len(table) + 1))
    keys = list(zip(table["image"], table["finding"], strict=True))
    table["boxes"] = [len(part.boxes[key]) for key in keys]
    table["probability"] = [part.store.probability(*key) for key in keys]
    for m, name in enumerate(maps):
        lead = f"{name}_" if m else ""
        for q, figure in enumerate(("pointing", "energy", "iou", "iobb")):
            table[f"{lead}{figure}"] = values[:, m, q]
    views = [part.store.view(image) for image in table["image"]]
    size = np.array([(view.width, view.height) for view in views], dtype=float)
    places = np.hstack([found[:, :2] * size, (found[:, 2:] - found[:, :2]) * size])
    return table.join(pd.DataFrame(places, columns=list(_BOX)))


def _remarks(in_mean: Sequence[str], scores: pd.DataFrame, chosen_on: Part) -> list[str]:
    findings = [name for name in scores["finding"].unique() if name != MEAN]
    few = [name for name in findings if name not in in_mean]
    notes = []
    if few:
        notes.append(
            f"Fewer than {FEWEST} patients have boxes of {', '.join(few)}: no intervals of means and gains, and no part"
            " in the mean over findings."
        )
    pooled = scores.loc[scores["chosen_on"] == POOLED, "finding"].unique()
    if len(pooled):
        notes.append(
            f"Map thresholds of {', '.join(pooled)} were chosen on all findings together: fewer than {ENOUGH} cases of "
            "their own to choose on."
        )
    lacking = [name for name in findings if not (chosen_on.table["finding"] == name).any()]
    if lacking:
        notes.append(f"No box of {', '.join(lacking)} to choose on: their centre map is that of all findings.")
    empty = scores[scores["finding"] == MEAN]["empty"].max()
    if empty:
        are = "map is" if empty == 1 else "maps are"
        notes.append(f"{empty:,} {are} 0 everywhere, which counts as a miss in every score.")
    return notes


def write_tables(localisation: Localisation, folder: str | Path) -> list[Path]:
    """Write ``localisation.csv``, ``gains.csv``, ``cases.csv`` (four decimals), ``localisation.json`` (all digits)."""
    folder = Path(folder)
    tables = {"localisation": localisation.scores, "gains": localisation.gains, "cases": localisation.cases}
    written = []
    for name, table in tables.items():
        written.append(folder / f"{name}.csv")
        write_durably(written[-1], table.to_csv(index=False, float_format="%.4f").encode())
    content: dict[str, Any] = {
        "level": localisation.level,
        "book": dict(localisation.book),
        "notes": list(localisation.notes),
        "scores": _plain(localisation.scores),
        "gains": _plain(localisation.gains),
    }
    seal(content, folder, [path.name for path in written])
    path = folder / MAIN
    write_durably(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return [*written, path]


def read_localisation(folder: str | Path) -> Localisation:
    """Return what `write_tables` wrote, without the cases.

    Raises:
        EvaluationError: ``evaluation-invalid`` if the folder holds none, ``result-incomplete``.
    """
    path = Path(folder) / MAIN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores, gains = (pd.DataFrame(content[name]) for name in ("scores", "gains"))
        scores, gains = (table.fillna(np.nan).infer_objects() for table in (scores, gains))
        localisation = Localisation(
            scores, gains, pd.DataFrame(), float(content["level"]), content["book"], tuple(content["notes"])
        )
    except (RecursionError, OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"no localisation is here ({error}).",
            fix="'cxr-monai maps localise MAPS --boxes B.csv --manifest M.csv --out DIR' makes one.",
            where=folder,
        ) from error
    require_complete(content, path, "cxr-monai maps localise")
    return localisation


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return records(table.astype(object).where(table.notna(), None))


def track(experiment: str, out: str | Path, localisation: Localisation, written: Sequence[Path]) -> str:
    """Log a localisation as an MLflow run, without the table of cases, which names patients; return what shows it."""
    from cxr_monai.training.tracking import Tracker

    configuration = {key: str(entry) for key, entry in localisation.book.items() if entry is not None}
    tracker = Tracker(experiment, str(out), kind="localisation", configuration=configuration)
    tracker.start()
    tracker.metrics(figures_by_name(localisation))
    for path in written:
        if path.name != "cases.csv":
            tracker.file(path, "pictures" if path.suffix == ".png" else None)
    tracker.finish()
    return tracker.where()


def figures_by_name(localisation: Localisation) -> dict[str, float]:
    """Return what runs are compared by: ``pointing_Mass``, ``pointing_Mass_low``, ``pointing_mean_random``, ..."""
    figures = ("pointing", "energy", "iou", "iou_above_0.1", "iobb_above_0.1")
    method = localisation.book["method"]
    return {
        f"{figure}_{row['finding']}{'' if row['map'] == method else '_' + row['map']}{end}": value(row, figure + end)
        for row in records(localisation.scores)
        for figure in figures
        for end in ("", "_low", "_high")
    }
