"""From stores of maps to panels: images and findings to show, the radiographs behind them, labels and boxes.

from cxr_monai.attribution.drawing import compare_figure, sheet_figure

gallery = Gallery([MapStore.open("A"), MapStore.open("B")], root="images")
compare_figure([gallery.row("00000032_001.png", "Effusion")])     # the radiograph, A's map, B's map
chosen, how = gallery.choose(count=4)                             # of each finding, and normal images
sheet_figure(gallery.sheet(chosen), note=how)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr_monai.attribution.drawing import MapPanel, PixelBox
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.pairing import named_alike
from cxr_monai.data.joining import join_on_image, without
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.matching import match_images
from cxr_monai.data.radiograph import Radiograph, read_radiograph
from cxr_monai.errors import Code, EvaluationError, RadiographError, SettingError
from cxr_monai.plurals import be, counted

NORMAL_IMAGES, NONE_REPORTED = "Normal", "No finding reported"
"""Rows of a sheet: images labelled with none of the findings; where labels are not known, below every threshold."""
NORMAL_ROW = "labelled with none of the findings, with the map of what is most probable"


class Gallery:
    """Panels of the same images with the maps of one or several stores (different models or methods).

    Args:
        stores: the images are those of the first, which leads where the stores differ.
        root: folder of the images; None takes that of the first store's ``maps.json``, else the working directory.
        manifest: labels and patients; None where they are not known.
        truth: boxes by image and finding, in pixels of the stored image.
        points: of a map's longer side in a picture; radiographs keep at least four times as many.
        paths: of images that are not below the root.
        by_name: file names are identities, whatever their folders; also where the manifest's ``by_name`` is True.
    """

    def __init__(
        self,
        stores: Sequence[MapStore],
        root: str | Path | None = None,
        manifest: Manifest | None = None,
        truth: Mapping[tuple[str, str], Sequence[PixelBox]] | None = None,
        points: int = 512,
        paths: Mapping[str, Path] | None = None,
        by_name: bool = False,
    ) -> None:
        self.by_name = by_name or (manifest is not None and manifest.by_name)
        self.stores, self.store, self.titles = named_alike(stores, self.by_name), stores[0], store_titles(stores)
        self.root = Path(root if root is not None else self.store.about.get("root") or ".")
        self.truth, self.points, self.paths = truth or {}, points, paths or {}
        self.labels: pd.DataFrame | None = None
        self.notes: list[str] = []
        """Sentences on what is left out, for the user."""
        if manifest is not None:
            explained = self.store.table[["image"]].assign(named=self.store.table["image"])
            by_side = join_on_image(manifest.table, explained, by_name=self.by_name, root=manifest.roots)
            rows = by_side.table.drop(columns="image").set_index("named").rename_axis("image")
            self.labels = rows.reindex(explained["image"])
            lost, images = by_side.matches.lost, by_side.matches.names
            self.notes = without(lost, len(images), "explained images", "labels in the manifest")
        self._radiograph = lru_cache(maxsize=4)(self._read)

    def find(self, name: str) -> str:
        """Return the name in the store of the image with this path or file name.

        Raises:
            EvaluationError: ``maps-invalid`` for none or several.
        """
        images = self.store.table["image"]
        matches = match_images([name], images, by_name=self.by_name)
        if image := matches.image_of.get(name):
            return image
        several = matches.several.get(name, [])
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"{counted(len(several), 'image')} {be(len(several))} called {name!r}."
            if several
            else f"there are no maps of an image {name!r}.",
            fix=f"Name one of the {len(images):,}, such as {', '.join(images[:3])}.",
            where=self.store.folder,
        )

    def findings(self, image: str, findings: Sequence[str] = ()) -> list[str]:
        """Return the findings of an image to show.

        Args:
            image: its name in the store.
            findings: their names; by default the reported ones (at their operating point or above) that have a map,
                the most probable first; if there is none, the most probable one that has a map.

        Raises:
            SettingError: ``setting-invalid`` for a finding that no store has maps of.
        """
        if findings:
            return _known(findings, self.stores)
        has_map = ~np.isnan(self.store.grid(image)).any((1, 2))
        having = [finding for finding, mapped in zip(self.store.findings, has_map, strict=True) if mapped]
        ordered = sorted(having, key=lambda finding: -self.store.probability(image, finding))
        return [name for name in ordered if self._is_reported(image, name)] or ordered[:1]

    def row(self, image: str, finding: str, labelled: str | None = None) -> list[MapPanel]:
        """Return the radiograph, then one panel a store; without a map where a store has none.

        Args:
            image, finding: their names in the store.
            labelled: text for the radiograph; by default its labels in the manifest.

        Raises:
            EvaluationError: ``maps-invalid`` if a store lacks the image, or the image has another shape.
            RadiographError: if the image cannot be read.
        """
        panels = [
            self._panel(image, store, finding, title) for store, title in zip(self.stores, self.titles, strict=True)
        ]
        return [
            MapPanel(
                panels[0].pixels,
                finding=self._labelled(image) if labelled is None else labelled,
                truth=panels[0].truth,
                title=image.rpartition("/")[2],
                spacing=panels[0].spacing,
                shape=panels[0].shape,
            ),
            *panels,
        ]

    def picture(self, image: str, findings: Sequence[str] = (), most: int = 11) -> tuple[list[MapPanel], str]:
        """Return one picture of an image: the radiograph, then the first store's map of each of its findings.

        Args:
            image: its name in the store.
            findings: their names; by default the reported ones, or the three most probable where none is.
            most: maps at most.

        Returns:
            the panels, and sentences on findings without a map.

        Raises:
            EvaluationError, SettingError, RadiographError: as `row` and `findings`.
        """
        store = self.store
        names = list(dict.fromkeys(findings))
        if findings:
            _known(findings, [store])
        else:
            ordered = sorted(store.findings, key=lambda finding: -store.probability(image, finding))
            names = [name for name in ordered if self._is_reported(image, name)] or ordered[:3]
        mapped = [name for name in names if name not in store.without[image]]
        panels = [self._panel(image, store, name) for name in mapped[:most]]
        film = self._panel(image, store, (mapped or names)[0])
        film = replace(
            film,
            heat=None,
            finding=self._labelled(image),
            probability=None,
            operating_point=None,
            truth=[box for name in names for box in self.truth.get((image, name), ())],
            title=image.rpartition("/")[2],
        )
        was_made = ~np.isnan(store.grid(image)).any((1, 2))
        empty, unmapped = (
            [
                name
                for name in names
                if name in store.without[image] and was_made[store.findings.index(name)] == with_map
            ]
            for with_map in (True, False)
        )
        sentences = []
        if empty:
            listed = ", ".join(self._likely(image, name) for name in empty)
            sentences.append(f"No map, since no place in the image speaks for it: {listed}.")
        if unmapped:
            sentences.append(
                f"No map, since none was made: {', '.join(self._likely(image, name) for name in unmapped)}."
            )
        if mapped[most:]:
            sentences.append(f"Not drawn: {', '.join(mapped[most:])}.")
        return [film, *panels], " ".join(sentences)

    def _is_reported(self, image: str, finding: str) -> bool:
        point = store_operating_points(self.store).get(finding)
        return point is not None and self.store.probability(image, finding) >= point

    def _likely(self, image: str, finding: str) -> str:
        probability, point = self.store.probability(image, finding), store_operating_points(self.store).get(finding)
        panel = MapPanel(np.zeros((1, 1)), probability=probability, operating_point=point)
        return f"{finding} ({panel.likely})"

    def choose(self, count: int = 4, seed: int = 0, findings: Sequence[str] = ()) -> tuple[pd.DataFrame, str]:
        """Choose the examples of a sheet from the first store.

        Args:
            count: examples a row.
            seed: of the draw.
            findings: their names; by default all.

        Returns:
            a table of ``row`` (a finding, `NORMAL_IMAGES` or `NONE_REPORTED`), ``image``, ``finding`` (whose map) and
            ``probability``, the more probable first in each row; and a sentence on how they were chosen.

        Raises:
            SettingError: ``setting-invalid`` for a finding without maps.
        """
        store = self.store
        row_findings = _known(findings or store.findings, [store])
        probabilities = store.table.set_index("image")[list(store.findings)]
        orders: dict[str, Sequence[str]]
        if self.labels is not None:
            labelled = [finding for finding in store.findings if finding in self.labels]
            shuffled = self.labels.iloc[np.random.default_rng(seed).permutation(len(self.labels))]
            orders = {NORMAL_IMAGES: self._one_a_patient(shuffled[(shuffled[labelled] == 0).all(axis=1)])}
            orders |= {
                finding: self._one_a_patient(shuffled[shuffled[finding] == 1], finding) if finding in labelled else []
                for finding in row_findings
            }
            boxed = "those with a box first, the others " if self.truth else ""
            how = (
                f"Images labelled with the finding, {boxed}drawn at random (seed {seed}), of different patients as far "
                "as there are" + (NORMAL_IMAGES not in row_findings) * f"; {NORMAL_IMAGES}: {NORMAL_ROW}" + "."
            )
        else:
            points = pd.Series(store_operating_points(store), dtype="float64")
            below = (probabilities[points.index] < points).all(axis=1) & bool(len(points))
            least = probabilities[below].max(axis=1).sort_values(kind="stable")
            orders = {NONE_REPORTED: list(least.index)} if below.any() else {}
            orders |= {
                finding: list(probabilities[finding].sort_values(ascending=False, kind="stable").index)
                for finding in row_findings
            }
            how = "No labels were given: the images in which the finding is most probable."
        rows = []
        for row, order in orders.items():
            examples = self._with_maps(order, row if row in row_findings else None, count)
            ordered = sorted(
                ((row, image, name, store.probability(image, name)) for image, name in examples),
                key=lambda example: -example[-1],
            )
            rows += ordered or [(row, "", "", np.nan)]
        return pd.DataFrame(rows, columns=["row", "image", "finding", "probability"]), how

    def sheet(self, chosen: pd.DataFrame) -> dict[str, list[MapPanel]]:
        """Return the panels of the examples that `choose` returned, by row.

        Raises:
            EvaluationError, RadiographError: as `row`.
        """
        rows: dict[str, list[MapPanel]] = {row: [] for row in chosen["row"]}
        for row, image, finding in chosen[["row", "image", "finding"]].itertuples(index=False, name=None):
            if image:
                rows[row].append(self._panel(image, self.store, finding))
        return rows

    def stored(self, image: str) -> Radiograph:
        """Return a radiograph as it is stored; the last few are kept.

        Raises:
            EvaluationError: ``maps-invalid`` if it is not of the size that the first store's maps are of.
            RadiographError: if it cannot be read.
        """
        return self._radiograph(image)

    def _panel(self, image: str, store: MapStore, finding: str, title: str = "") -> MapPanel:
        radiograph = self._radiograph(image)
        pixels = radiograph.pixels[0]
        height, width = pixels.shape
        view = store.view(image)
        if abs(view.height * width - view.width * height) > max(view.height * width, view.width * height) / 100:
            raise EvaluationError(
                Code.MAPS_INVALID,
                f"these maps are of an image {image} of {counted(view.height, 'row')} and "
                f"{counted(view.width, 'column')}, and the picture "
                f"has {height} and {width}.",
                fix="Compare maps of the same images.",
                where=store.folder,
            )
        smaller = min(1.0, self.points / max(height, width))
        shape = max(1, round(height * smaller)), max(1, round(width * smaller))
        has_finding = finding in store.findings
        heat = store.on_image(image, finding, shape) if has_finding else None
        caption = finding if heat is not None and heat.any() else f"no map of {finding}"
        return MapPanel(
            np.asarray(Image.fromarray(pixels).reduce(max(1, min(height, width) // (4 * self.points)))),
            heat,
            caption,
            store.probability(image, finding) if has_finding else None,
            store_operating_points(store).get(finding),
            self.truth.get((image, finding), ()),
            title,
            radiograph.spacing,
            (height, width),
        )

    def _read(self, image: str) -> Radiograph:
        path = self.paths.get(image, self.root / image)
        if not path.is_file():
            raise RadiographError(
                Code.RADIOGRAPH_NOT_FOUND, "it is not there.", fix="Name the folder of the images with --root.",
                where=path,
            )  # fmt: skip
        radiograph = read_radiograph(path, any_modality=True)  # it was judged when its map was made
        view, shape = self.store.view(image), radiograph.pixels.shape[1:]
        if shape != (view.height, view.width):
            raise EvaluationError(
                Code.MAPS_INVALID,
                f"it has {counted(shape[0], 'row')} and {counted(shape[1], 'column')}; the "
                f"maps are of an image of {view.height} and "
                f"{view.width}.",
                fix="Name the folder of the images that were explained with --root.",
                where=path,
            )
        return radiograph

    def _labelled(self, image: str) -> str:
        if self.labels is None or self.labels.loc[image].isna().all():
            return ""
        present = [name for name in self.store.findings if self.labels.loc[image].get(name) == 1]
        return f"labelled {', '.join(present) or 'with none of the findings'}"

    def _one_a_patient(self, rows: pd.DataFrame, finding: str = "") -> list[str]:
        """Return images, boxed ones first, then those that are the first of their patient."""
        boxed = [(image, finding) not in self.truth for image in rows.index]
        ordered = rows.iloc[np.argsort(boxed, kind="stable")]
        is_repeated = ordered["patient_id"].duplicated().to_numpy()
        return [*ordered.index[~is_repeated], *ordered.index[is_repeated]]

    def _with_maps(self, images: Sequence[str], finding: str | None, count: int) -> list[tuple[str, str]]:
        """Return the first images that have a map of the finding, or of any where None, and which finding it is."""
        examples: list[tuple[str, str]] = []
        for image in images:
            if len(examples) == count:
                break
            if finding is None:
                examples += [(image, name) for name in self.findings(image)[:1]]
            elif not np.isnan(self.store.grid(image)[self.store.findings.index(finding)]).any():
                examples.append((image, finding))
        return examples


def _known(findings: Sequence[str], stores: Sequence[MapStore]) -> list[str]:
    every = list(dict.fromkeys(finding for store in stores for finding in store.findings))
    unknown = [finding for finding in findings if finding not in every]
    if unknown:
        raise SettingError(
            Code.SETTING_INVALID, f"there are no maps of {unknown[0]!r}; there are maps of {', '.join(every)}."
        )
    return list(findings)


def store_operating_points(store: MapStore) -> dict[str, float]:
    """Return the operating point (a probability) of each finding that has one in the store."""
    # in the precision of the probabilities, or one that is exactly at its point would be below it
    return {finding: float(np.float32(point)) for finding, point in (store.about.get("thresholds") or {}).items()}


def store_titles(stores: Sequence[MapStore]) -> list[str]:
    """Return a name for each store: its bundle and method, with layer, stride and folder where that is not enough."""
    about = [store.about for store in stores]
    details = [
        [str(description.get("bundle", {}).get("name", "")) for description in about],
        [str(description.get("method", "")) for description in about],
        [str(description.get("layer") or "") for description in about],
        [f"stride {description['stride']}" if description.get("stride") else "" for description in about],
        [store.folder.parent.name if store.folder.name == "maps" else store.folder.name for store in stores],
    ]
    names = [", ".join(filter(None, pair)) for pair in zip(*details[:2], strict=True)]
    for more in details[2:]:
        longer = [", ".join(filter(None, pair)) for pair in zip(names, more, strict=True)]
        if len(set(longer)) > len(set(names)):
            names = longer
    return names
