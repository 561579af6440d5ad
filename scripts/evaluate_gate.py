"""How well does the gate tell films that are not for a network? Five folds over patients, on films it never saw.

    python scripts/evaluate_gate.py --folds fold0.csv ... fold4.csv --out gate-figures
    python scripts/evaluate_gate.py --folds fold0.csv ... --bundles fold0/bundle ... --out gate-figures --every 4

Each fold is a manifest with a split, as ``cxr-monai kfold`` and ``study`` leave them. A gate is fitted on its training
and validation films and judged on its test films: all aged 13 and over are good ones, PA and AP as filmed. With
--bundles it is the whole gate, with the features of each fold's own network, which never saw the test films either.
Without, it judges by pixels alone, at --size.

Altered copies are made of every --every-th test film, at the resolution of its file; those of other strengths and kinds
than the gate was fitted on, and those that should pass, of every third of these. Foreign pictures are what installed
packages ship (scikit-learn, pydicom, and pydicom-data and scikit-image where they are installed); --phantoms names
folders of ``cxr-monai phantom``. What the gate is fitted on is synthetic, of the same kinds as most of what it is
judged on here: the sets of other strengths and kinds show how far that carries.

Writes gate.csv (a row a set), gate.json and gate_films.csv (a row a film) after each fold. AUROC: of the worst score as
a multiple of the limit; DeLong's interval, which takes films of one patient for independent ones. Shares:
Clopper and Pearson's bounds.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gate_sets import FITTED, FOREIGN, altered_sets, as_levels, foreign_sets
from PIL import Image
from scipy.stats import binomtest

from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.data.overlaps import patient_keys
from cxr_monai.durable import make_folder, write_durably
from cxr_monai.errors import Code, CxrError
from cxr_monai.evaluation.auroc import delong
from cxr_monai.gate.answer import GateMode
from cxr_monai.gate.bundle_gate import Gate
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.fitted_gate import CHILD, FittedGate
from cxr_monai.gate.fitting import GateMaterial, fit_gate
from cxr_monai.gate.judging import judge_films
from cxr_monai.inference.gate_material import fit_gate_of
from cxr_monai.inference.model import Model
from cxr_monai.progress import progress_bar
from cxr_monai.transforms.resize_shortest import ResizeShortestd

ADULT = 13
GOOD, CHILDREN = "good films", "children"
RUNTIMES: dict[str, dict[str, Any]] = {"float32": {"amp": False}, "bfloat16": {}, "openvino": {"runtime": "openvino"}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", nargs="+", required=True, help="a manifest with a split for each fold")
    parser.add_argument("--bundles", nargs="*", default=[], help="the bundle trained on each fold")
    parser.add_argument("--phantoms", nargs="*", default=[], type=Path, help="folders of 'cxr-monai phantom'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="films between two that are altered (default: all)")
    parser.add_argument("--size", type=int, default=146, help="pixels of the shorter side without bundles")
    parser.add_argument("--runtimes", action="store_true", help="also compare the verdicts of every runtime")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_folder(arguments.out)
    tables = []
    try:
        for number, path in enumerate(arguments.folds):
            bundle = arguments.bundles[number] if arguments.bundles else None
            judged, begun = _Fold(read_manifest(path), bundle, arguments.size, arguments.seed), time.process_time()
            print(f"fold {number}: fitted in {judged.seconds:.0f} s of processor time, {judged.fitted.fitted_on}")
            sets = all_sets(judged.test, arguments.every, arguments.phantoms, arguments.seed + number)
            tables += [judged.table(*each).assign(fold=number) for each in sets]
            if arguments.runtimes and bundle:
                print(f"fold {number}: verdicts that differ from float32: {judged.differing(bundle)}")
            print(f"fold {number}: judged in {time.process_time() - begun:.0f} s of processor time")
            write(pd.concat(tables, ignore_index=True), arguments.out)
    except CxrError as error:
        print(f"evaluate_gate: error [{error.code}]: {error}", file=sys.stderr)
        return 1
    return 0


class _Fold:
    """A gate fitted on the training and validation films of a manifest, with a bundle's network or without one."""

    def __init__(self, manifest: Manifest, bundle: str | None, size: int, seed: int) -> None:
        self.test, self._resize = manifest.part("test"), ResizeShortestd("image", size)
        begun = time.process_time()
        self.model = Model.open(bundle, gate="off") if bundle else None
        if self.model is not None:
            self.fitted = fit_gate_of(self.model, manifest, seed=seed)
            self.model = replace(self.model, gate=Gate(self.fitted, mode=GateMode.REVIEW))
        else:
            self.fitted = self._fit_by_pixels(manifest, seed)
        self.seconds = time.process_time() - begun

    def _fit_by_pixels(self, manifest: Manifest, seed: int) -> FittedGate:
        table = manifest.table
        rows = table["split"].isin(("train", "val")).to_numpy()
        observer, observed = FilmObserver(with_alterations=True), []
        with progress_bar(total=int(rows.sum()), desc="gate", unit="images") as bar:
            for path in (path for path, kept in zip(manifest.paths(), rows, strict=True) if kept):
                observed.append(observer({"image_plane": self._plane(read_film(path))[None]}))
                bar.update(1)
        is_child = (table["age"] < ADULT).to_numpy()[rows]
        observations, altered = (
            np.stack([entry[name].numpy() for entry in observed]) for name in ("observation", "altered")
        )
        patients, is_any = np.array(patient_keys(table))[rows], np.ones(len(observed), dtype=bool)
        return fit_gate(
            GateMaterial(observations, altered, None, patients, is_any, ~is_child, {CHILD: is_child}), seed=seed
        )

    def _plane(self, picture: np.ndarray) -> np.ndarray:
        plane = self._resize({"image": (picture.astype(np.float32) / 255)[None]})["image"].numpy()[0]
        return (np.rint(plane * 255) / 255).astype(np.float32)

    def _observed(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the observations of pictures, and the network's features of them."""
        observations, features = [], []
        if self.model is None:
            observer = FilmObserver()
            for picture in pictures:
                observations.append(observer({"image_plane": self._plane(picture)[None]})["observation"].numpy()[None])
            return np.concatenate(observations), None
        for batch in self.model.read(list(pictures)):
            kept, pooled = batch.readable, self.model.logits_and_features(batch.images)[1]
            observations.append(batch.observed["observation"][kept].numpy())
            features += [] if pooled is None else [pooled[kept].numpy()]
        return np.concatenate(observations), np.concatenate(features) if features else None

    def table(self, name: str, kind: str, codes: tuple[Code, ...], pictures: Sequence[np.ndarray]) -> pd.DataFrame:
        """Return a row a picture: set, kind, score, code, whether the code is one of the right ones; and its scores."""
        observations, features = self._observed(pictures)
        scores = self.fitted.scores(observations, features)
        answers = judge_films(self.fitted, observations, scores)
        return pd.DataFrame(
            {
                "set": name,
                "kind": kind,
                "score": self.fitted.worst(scores) / self.fitted.limits["refuse"],
                "gate": [str(answer.verdict) for answer in answers],
                "code": [str(answer.code or "") for answer in answers],
                "right": [answer.code in codes for answer in answers],
                **scores,
            }
        )

    def differing(self, bundle: str) -> dict[str, int]:
        """Return how many test films have another verdict under each runtime than in float32."""
        verdicts = {}
        for name, settings in RUNTIMES.items():
            model = replace(Model.open(bundle, gate="off", **settings), gate=Gate(self.fitted, mode=GateMode.REVIEW))
            table = model.predict(self.test.paths()).gate
            verdicts[name] = np.empty(0) if table is None else table["gate"].to_numpy()
        return {name: int((verdict != verdicts["float32"]).sum()) for name, verdict in verdicts.items()}


def read_film(path: Path) -> np.ndarray:
    """Return a picture as uint8 ``[H, W]``."""
    return np.asarray(Image.open(path).convert("L"))


def all_sets(
    test: Manifest, every: int, phantoms: Sequence[Path], seed: int
) -> Iterator[tuple[str, str, tuple[Code, ...], list[np.ndarray]]]:
    """Yield name, kind, right codes and pictures of every set."""
    is_child = (test.table["age"] < ADULT).to_numpy()
    films = [read_film(path) for path in test.paths()]
    good = [film for film, child in zip(films, is_child, strict=True) if not child]
    yield GOOD, GOOD, (), good
    yield CHILDREN, CHILDREN, (Code.GATE_CHILD,), [film for film, child in zip(films, is_child, strict=True) if child]
    for altered in altered_sets():
        step = every if altered.kind == FITTED else 3 * every
        copies = [as_levels(altered.of(film.astype(np.float32) / 255)) for film in good[::step]]
        yield altered.name, altered.kind, altered.codes, copies
    for name, pictures in foreign_sets(good[:: max(1, every // 2)], seed).items():
        yield name, "no chest radiographs", FOREIGN, pictures
    for folder in phantoms:
        pictures = [read_film(path) for path in sorted((folder / "images").glob("*.png"))[:100]]
        yield f"phantoms of {folder.name}", "phantoms", FOREIGN, pictures


def write(table: pd.DataFrame, out: Path) -> None:
    """Write and print the figures of all films so far."""
    good = table[table["set"] == GOOD]
    rows = []
    for name, films in table[table["set"] != GOOD].groupby("set", sort=False):
        row = {"set": name, "kind": films["kind"].iloc[0], "films": len(films), **_area(good["score"], films["score"])}
        flagged = films[films["code"] != ""]
        row["refused"], row["reviewed"] = (float((films["gate"] == verdict).mean()) for verdict in ("refuse", "review"))
        row["missed"] = 1 - row["refused"]
        row["right_reason"] = float(flagged["right"].mean()) if len(flagged) else np.nan
        row["codes"] = ", ".join(f"{code[5:]} {count}" for code, count in Counter(flagged["code"]).most_common(4))
        rows.append(row)
        own = {"mirrored": "mirrored", CHILDREN: CHILD}.get(str(name))
        if own in table and table[own].notna().all():
            rows.append({**row, "set": f"{name}, by {own!r} alone", **_area(good[own], films[own])})
    refused = binomtest(int((good["gate"] == "refuse").sum()), len(good))
    figures = {
        "good_films": len(good),
        "good_refused": refused.k,
        "good_refused_share": refused.statistic,
        "good_refused_upper_95": refused.proportion_ci(0.90, "exact").high,
        "good_reviewed_share": float((good["gate"] == "review").mean()),
        "good_codes": dict(Counter(good.loc[good["gate"] == "refuse", "code"])),
        "folds": int(table["fold"].nunique()),
    }
    result = pd.DataFrame(rows)
    write_durably(out / "gate.csv", result.to_csv(index=False).encode())
    write_durably(out / "gate.json", (json.dumps(figures, indent=2) + "\n").encode())
    write_durably(out / "gate_films.csv", table.to_csv(index=False).encode())
    print(json.dumps(figures))
    print(result.round(3).to_string(index=False), flush=True)


def _area(good: pd.Series, others: pd.Series) -> dict[str, float]:
    labels = np.repeat([0.0, 1.0], [len(good), len(others)])
    area = delong(np.concatenate([good, others]), labels)
    return {"auroc": area.value, "low": area.low, "high": area.high}


if __name__ == "__main__":
    sys.exit(main())
