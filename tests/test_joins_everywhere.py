"""Which image is which, wherever two tables meet: every consumer with every kind of pair of paths, by the right value.

A row's value is the position of its name, so that a name on another's image shows. What joins by ``image`` otherwise
than through ``cxr_monai.data.matching`` is found in the syntax, and stands here with its reason.
"""

import ast
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.agreement import compare_maps, compare_seeds
from cxr_monai.attribution.boxed_cases import read_boxed_cases
from cxr_monai.attribution.gallery import Gallery
from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.reference_boxes import boxed_findings, read_boxes
from cxr_monai.attribution.selection import images_to_explain
from cxr_monai.attribution.view import View
from cxr_monai.cli import main
from cxr_monai.data.manifest import Manifest, boxes_path, build_manifest, read_manifest, write_manifest
from cxr_monai.data.sources import dicom, folder
from cxr_monai.data.splits import lists
from cxr_monai.errors import Code, CxrError
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.finetune.box_comparison import boxed_images
from cxr_monai.studies import compare as study
from cxr_monai.studies.folds import out_of_fold
from cxr_monai.studies.plan import Job
from cxr_monai.workflows.evaluate import _Material, _with_second
from cxr_monai.workflows.map_results import manifest_rows
from tests.data.test_source_dicom import write as write_dicom

ROOT = Path(__file__).resolve().parents[1]
FINDINGS = ("Mass", "Nodule")
Found = tuple[dict[str, int], str]
"""The value of each image that got one, and what was said."""
Consumer = Callable[[Path, Sequence[str], Sequence[str], bool, pytest.LogCaptureFixture], Found]

AMBIGUOUS, NOTHING = "several fit", "nothing fits"
A, B = "siteA/0.png", "siteB/1.png"
# images, names, whether file names are identities, and of each image the position of its name; or why it is refused
KINDS: dict[str, tuple[list[str], list[str], bool, dict[str, int] | str]] = {
    "same paths": ([A, B], [B, A], False, {A: 1, B: 0}),
    "a prefix": ([A, B], [f"CheXpert-v1.0-small/{B}", f"CheXpert-v1.0-small/{A}"], False, {A: 1, B: 0}),
    "a prefix on this side": ([f"in/{A}", f"in/{B}"], [B, A], False, {f"in/{A}": 1, f"in/{B}": 0}),
    "absolute paths": ([A, B], [f"/mnt/old/{B}", f"/mnt/old/{A}"], False, {A: 1, B: 0}),
    "paths of Windows": ([A, B], ["D:\\cd\\siteB\\1.png", "\\\\pacs\\cd\\siteA\\0.png"], False, {A: 1, B: 0}),
    "bare names": ([A, B], ["1.png", "0.png"], False, {A: 1, B: 0}),
    "a bare name of two": (["siteA/0.png", "siteB/0.png"], ["0.png"], False, AMBIGUOUS),
    "other folders": ([A, B], ["siteC/0.png", "siteA/1.png"], False, NOTHING),
    "one in another folder": ([A, B], ["siteC/0.png", B], False, {B: 1}),
    "NIH's names": (["images-224/0.png", "images-224/1.png"], ["images_002/images/1.png", "images_001/images/0.png"],
                    True, {"images-224/0.png": 1, "images-224/1.png": 0}),
    "NIH's names, one of two": (["a/0.png", "b/0.png"], ["c/0.png"], True, AMBIGUOUS),
    "two of one": ([A, B], [f"x/{A}", A], False, AMBIGUOUS),
    "two of one, and all the others": ([A, B], [f"x/{A}", A, B], False, AMBIGUOUS),
    "a path and its stem": (["0.png", "1.png"], ["0.png", "0"], False, AMBIGUOUS),
    "a path and its stem, in folders": ([A, B], [A, "siteA/0"], False, AMBIGUOUS),
    "nothing": ([A, B], ["7.png", "other/8.png"], False, NOTHING),
    "some": ([A, B], ["7.png", "1.png"], False, {B: 1}),
}  # fmt: skip


def table_of(root: Path, images: Sequence[str], by_name: bool, **columns: object) -> Manifest:
    table = pd.DataFrame({"image": list(images), "patient_id": [f"of {image}" for image in images]})
    columns = {"split": "test", **dict.fromkeys(FINDINGS, 1.0), **columns}
    manifest = build_manifest(table.assign(**columns), root, "local")
    return replace(manifest, key="name") if by_name else manifest  # as the user's word makes it


def scored(names: Sequence[str]) -> pd.DataFrame:
    values = np.arange(len(names)) / 10
    return pd.DataFrame({"image": list(names), **dict.fromkeys(FINDINGS, values)})


def of_scores(table: pd.DataFrame, scores: np.ndarray) -> dict[str, int]:
    return {image: round(10 * score) for image, score in zip(table["image"], scores[:, 0], strict=True)}


def store_of(path: Path, names: Sequence[str]) -> MapStore:
    """Maps of 48x48 images: the probability is a tenth of the name's position, the map hot at its column."""
    writer = MapWriter(path, {"findings": list(FINDINGS), "points": None})
    for at, name in enumerate(names):
        maps = np.full((2, 6, 6), 0.1, np.float32)
        maps[:, :, at] = 1
        writer.add(name, View(48, 48, 0, 0, 48, 48), np.full(2, at / 10, np.float32), maps)
    return writer.finish()


def boxes_of(path: Path, names: Sequence[str]) -> Path:
    rows = "".join(f"{name},Mass,{at},1,2,3,48,48\n" for at, name in enumerate(names))
    path.write_text("image,finding,x,y,width,height,image_width,image_height\n" + rows)
    return path


def images_on_disk(root: Path, images: Sequence[str]) -> Path:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(b"")
    return root


def labels_of_a_folder(tmp_path, images, names, by_name, caplog) -> Found:
    root = images_on_disk(tmp_path / "root", images)
    labels = tmp_path / "labels.csv"
    labels.write_text("image,patient_id,Mass\n" + "".join(f"{name},{at},1\n" for at, name in enumerate(names)))
    source = folder.read(root, labels=labels, available_only=True, match_names=by_name)
    return dict(zip(source.table["image"], source.table["patient_id"].astype(int), strict=True)), str(source.notes)


def labels_of_dicom(tmp_path, images, names, by_name, caplog) -> Found:
    for image in images:
        write_dicom(tmp_path / "root" / image.replace(".png", ".dcm"))
    labels = tmp_path / "labels.csv"
    labels.write_text("image,Mass\n" + "".join(f"{name},{at}\n" for at, name in enumerate(names)))
    source = dicom.read(tmp_path / "root", key=None, labels=labels, match_names=by_name)
    known = source.table[source.table["Mass"].notna()]
    values = zip(known["image"], known["Mass"].astype(int), strict=True)
    return {image.replace(".dcm", ".png"): value for image, value in values}, str(source.notes)


def predictions(tmp_path, images, names, by_name, caplog) -> Found:
    sample, notes = join(PredictionsFile(scored(names)), table_of(tmp_path, images, by_name), "test")
    return of_scores(sample.table, sample.scores), str(notes)


def second_system(tmp_path, images, names, by_name, caplog) -> Found:
    manifest = table_of(tmp_path, images, by_name)
    first = PredictionsFile(scored(images))
    material = _Material(join(first, manifest)[0], manifest, "manifest.csv", first, None, None, ())
    both = _with_second(material, PredictionsFile(scored(names)), {})
    assert both.second is not None
    return of_scores(both.second.table, both.second.scores), str(both.notes)


def boxes_of_maps(tmp_path, images, names, by_name, caplog) -> Found:
    stored = pd.DataFrame({"image": images, "height": 48, "width": 48})
    table, notes = read_boxes(boxes_of(tmp_path / "b.csv", names), stored, FINDINGS, by_name=by_name)
    return dict(zip(table["image"], table["x"].astype(int), strict=True)), str(notes)


def boxes_to_explain(tmp_path, images, names, by_name, caplog) -> Found:
    path = boxes_of(tmp_path / "b.csv", names)
    text = path.read_text().replace(",Mass,1,", ",Nodule,1,")  # the second name's finding
    path.write_text(text)
    boxed, notes = boxed_findings(path, images, by_name=by_name)
    return {image: FINDINGS.index(*of) for image, of in boxed.items()}, str(notes)


def boxes_beside_a_manifest(tmp_path, images, names, by_name, caplog) -> Found:
    path = tmp_path / "m.csv"
    write_manifest(table_of(images_on_disk(tmp_path, images), images, by_name), path)
    boxes_of(boxes_path(path), names)
    examples = images_to_explain(None, str(path), None, "test", None, FINDINGS)
    boxed = {example.name: example.boxes for example in examples if example.boxes}
    return {image: round(boxes[0][1] * 48) for image, boxes in boxed.items()}, caplog.text


def boxed_cases(tmp_path, images, names, by_name, caplog) -> Found:
    store = store_of(tmp_path / "maps", names)
    part, notes = read_boxed_cases(
        store.folder, boxes_of(tmp_path / "b.csv", names), table_of(tmp_path, images, by_name)
    )
    at = {name: position for position, name in enumerate(names)}
    mine = zip(part.table["patient_id"], part.table["image"], strict=True)
    return {patient.removeprefix("of "): at[name] for patient, name in mine}, str(notes)


def two_folders_of_maps(tmp_path, images, names, by_name, caplog) -> Found:
    cases = compare_maps(store_of(tmp_path / "a", images), store_of(tmp_path / "b", names), by_name=by_name)
    cases = cases[cases["finding"] == "Mass"]
    alike = {image: at for at, image in enumerate(images)}
    for image, value, agreement in cases[["image", "second_probability", "rank_correlation"]].itertuples(index=False):
        assert (agreement > 0.99) == (alike[image] == round(10 * value))  # the maps themselves, too
    return dict(zip(cases["image"], (10 * cases["second_probability"]).round().astype(int), strict=True)), ""


def three_seeds(tmp_path, images, names, by_name, caplog) -> Found:
    stores = [store_of(tmp_path / name, of) for name, of in (("a", images), ("b", names), ("c", images))]
    table = compare_seeds(stores, by_name=by_name)
    told = dict(zip(table["image"], table["pairs"], strict=True))
    position = {image: at for at, image in enumerate(images)}
    means = table[table["finding"] == "Mass"].set_index("image")["rank_correlation"]
    both = {image for image, pairs in told.items() if pairs == 3}
    if not both:
        raise CxrError(Code.MAPS_INVALID, "no image of all three")
    # one of three pairs is of the image with itself; so are all, if the name is at the image's own place
    return {image: position[image] if means[image] > 0.99 else 1 - position[image] for image in both}, ""


def pictures_side_by_side(tmp_path, images, names, by_name, caplog) -> Found:
    gallery = Gallery([store_of(tmp_path / "a", images), store_of(tmp_path / "b", names)], by_name=by_name)
    other = gallery.stores[1]
    found = {image: round(10 * other.probability(image, "Mass")) for image in images if image in other.images}
    if not found:
        raise CxrError(Code.MAPS_INVALID, "no picture of both")
    return found, ""


def labels_of_pictures(tmp_path, images, names, by_name, caplog) -> Found:
    gallery = Gallery([store_of(tmp_path / "maps", names)], manifest=table_of(tmp_path, images, by_name))
    assert gallery.labels is not None
    rows = gallery.labels["patient_id"].dropna()
    at = {name: position for position, name in enumerate(names)}
    return {patient.removeprefix("of "): at[name] for name, patient in rows.items()}, str(gallery.notes)


def pictures_by_name(tmp_path, images, names, by_name, caplog) -> Found:
    gallery = Gallery([store_of(tmp_path / "maps", images)], by_name=by_name)
    found: dict[str, int] = {}
    errors: list[CxrError] = []
    for at, name in enumerate(names):
        try:
            found[gallery.find(name)] = at
        except CxrError as error:
            errors.append(error)
    if errors and not found:
        raise errors[0]
    return found, str(errors)


def whose_maps(tmp_path, images, names, by_name, caplog) -> Found:
    rows, notes = manifest_rows(names, table_of(tmp_path, images, by_name))
    at = {name: position for position, name in enumerate(names)}
    return {patient.removeprefix("of "): at[name] for name, patient in rows["patient_id"].items()}, str(notes)


def folds(tmp_path, images, names, by_name, caplog) -> Found:
    job = Job("base", 0, 0, {}, tmp_path)
    (tmp_path / "test").mkdir()
    scored(names).to_csv(tmp_path / "test" / "predictions.csv", index=False)
    table = out_of_fold([job], table_of(tmp_path, images, by_name, fold=0))
    return of_scores(table, table[["Mass"]].to_numpy()), ""


def variants_of_a_study(tmp_path, images, names, by_name, caplog) -> Found:
    result = SimpleNamespace(
        predictions={"one": [scored(images)], "other": [scored(names)]},
        truth=table_of(tmp_path, images, by_name),
        findings=FINDINGS,
    )
    samples, notes = study._in_common(result, "test")  # type: ignore[arg-type]
    return of_scores(samples["other"][0].table, samples["other"][0].scores), str(notes)


def listed_splits(tmp_path, images, names, by_name, caplog) -> Found:
    files = [tmp_path / f"{side}.txt" for side in ("train", "val", "test")]
    for file, name in zip(files, [*names, "no.png", "none.png"][:3], strict=True):
        file.write_text(f"{name}\n")
    table = lists(table_of(tmp_path, images, False, split=""), *files, match_names=by_name).table
    table = table[table["split"] != ""]
    return dict(zip(table["image"], table["split"].map({"train": 0, "val": 1}), strict=True)), caplog.text


# each consumer: its codes for what several fit and what nothing fits (None: no error), and how it says that some fit
CONSUMERS: dict[str, tuple[Consumer, Code, Code | None, str]] = {
    "manifest folder": (labels_of_a_folder, Code.SOURCE_INVALID, Code.NO_IMAGES, "left out 1 that are not (such as "),
    "manifest dicom": (labels_of_dicom, Code.SOURCE_INVALID, Code.SOURCE_INVALID, "1 row of the labels fits none: "),
    "evaluate": (predictions, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 predicted images are not in"),
    "evaluate --compare": (second_system, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "for 1 of the 2 images"),
    "maps localise --boxes": (boxes_of_maps, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 boxes are of"),
    "explain --boxes": (boxes_to_explain, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 boxed images are not"),
    "M.boxes.csv": (boxes_beside_a_manifest, Code.IMAGES_AMBIGUOUS, None, "not in the manifest: "),
    "maps localise": (boxed_cases, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 boxed cases are not in"),
    "maps agree": (two_folders_of_maps, Code.IMAGES_AMBIGUOUS, Code.MAPS_INVALID, ""),
    "maps agree --seeds": (three_seeds, Code.IMAGES_AMBIGUOUS, Code.MAPS_INVALID, ""),
    "maps show MAPS OTHER": (pictures_side_by_side, Code.IMAGES_AMBIGUOUS, Code.MAPS_INVALID, ""),
    "maps show --manifest": (labels_of_pictures, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 explained"),
    "maps show --images": (pictures_by_name, Code.MAPS_INVALID, Code.MAPS_INVALID, "there are no maps of an image"),
    "maps faithful": (whose_maps, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 images are not in"),
    "study --folds": (folds, Code.IMAGES_AMBIGUOUS, Code.PREDICTIONS_INVALID, ""),
    "study": (variants_of_a_study, Code.IMAGES_AMBIGUOUS, Code.MANIFEST_INVALID, "1 of 2 predicted images have no"),
    "split --scheme lists": (listed_splits, Code.IMAGES_AMBIGUOUS, Code.SPLIT_INVALID, "listed images are not in the"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_every_consumer_with_every_kind(
    consumer: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    take, ambiguous, nothing, said = CONSUMERS[consumer]
    images, names, by_name, expected = KINDS[kind]
    if consumer == "study --folds" and isinstance(expected, dict) and len(expected) < len(names):
        expected = NOTHING  # a fold's predictions are of its images, every one
    looked_up = consumer == "maps show --images" and kind.startswith(("two of one", "a path and its stem"))
    if looked_up:
        expected = {A: 1, B: 2} if B in names else {images[0]: 1}  # each by itself: both are of it
    if consumer == "M.boxes.csv" and kind == "NIH's names, one of two":
        ambiguous = Code.MANIFEST_INVALID  # its record cannot say that names are identities
    code = {AMBIGUOUS: ambiguous, NOTHING: nothing}.get(str(expected))
    if code is not None:
        with pytest.raises(CxrError) as caught:
            take(tmp_path, images, names, by_name, caplog)
        assert caught.value.code == code
        return
    found, text = take(tmp_path, images, names, by_name, caplog)
    assert found == ({} if isinstance(expected, str) else expected)
    if not found:
        assert "no box is drawn: " in text
    elif len(found) < len(names) and not looked_up:
        assert said in text


def test_nihs_own_list_of_boxes_is_joined_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "BBox_List_2017.csv"
    path.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n1.png,Infiltrate,128,0,64,64,,,\n")
    stored = pd.DataFrame({"image": ["images_001/images/0.png", "elsewhere/1.png"], "height": 512, "width": 512})
    table, _ = read_boxes(path, stored, ("Infiltration",))
    assert table[["image", "x", "width"]].to_numpy().tolist() == [["elsewhere/1.png", 64, 32]]


def test_boxes_of_finetune(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest(table_of(images_on_disk(tmp_path, [A, B]), [A, B], False), path)
    boxes = boxes_of(tmp_path / "b.csv", ["elsewhere/0.png", B])
    assert boxed_images(boxes, read_manifest(path), "Mass") == [B]
    assert boxed_images(boxes, read_manifest(path, match_names=True), "Mass") == [A, B]


@pytest.fixture
def lists_of_another_folder(tmp_path: Path) -> list[str]:
    write_manifest(table_of(images_on_disk(tmp_path, [A, B]), [A, B], False, split=""), tmp_path / "m.csv")
    words = ["split", str(tmp_path / "m.csv"), "--scheme", "lists"]
    for side, name in (("train", "x/0.png"), ("val", "y/1.png"), ("test", "none.png")):
        (tmp_path / f"{side}.txt").write_text(f"{name}\n")
        words += [f"--{side}", str(tmp_path / f"{side}.txt")]
    return words


def test_the_users_word_for_split_lists(lists_of_another_folder: list[str], tmp_path: Path, capsys) -> None:
    assert main(lists_of_another_folder) == 1
    told = capsys.readouterr().err
    assert "none of the 3 listed images is in the manifest" in told
    assert "'x/0.png' is not 'siteA/0.png': the folders differ" in told
    assert "--match-names" in told
    assert main([*lists_of_another_folder, "--match-names"]) == 0
    assert read_manifest(tmp_path / "m.csv").table["split"].tolist() == ["train", "val"]
    assert "1 listed image is not in the manifest." in capsys.readouterr().out


def test_every_command_that_joins_takes_the_users_word() -> None:
    """Those with a manifest, boxes or labels beside other names of images."""
    words = ("add_match_names(", "MATCH_NAMES_HELP")
    commands = {path.stem: path.read_text() for path in (ROOT / "cxr_monai/cli").glob("*.py")}
    asking = {stem for stem, text in commands.items() if any(word in text for word in words)}
    assert asking - {"shared_arguments"} == {
        "calibrate", "drift", "evaluate", "explain", "external", "finetune", "labels_compare", "manifest", "maps_agree",
        "maps_faithful", "maps_localise", "maps_show", "split",
    }  # fmt: skip


OWN = "the rows of one table, by its own names"
SAME = "names that the one function gave"
# where tables meet by their images' names, without the one function: why that is right
ALLOWED: Mapping[str, str] = {
    "data/sources/nih.py: frame['image'].map(places)": "NIH's names are identities; _index refuses one in two folders",
    "data/sources/nih.py: set(frame['image'])": "NIH's names are identities",
    "data/sources/nih.py: readers['image'].map(image_of)": "NIH's names are identities",
    "data/sources/_reference.py: frame['image'].isin(self.labels.index)": "NIH's names are identities",
    "data/sources/_nih_films.py: read_data_entry(nih_table)[0].set_index('image')": "NIH's names are identities",
    "data/sources/_headers.py: boxes['image'].map(sizes[side])": OWN,
    "data/sources/openi.py: films['image'].map(headers['view'])": "the uid makes one film of each form of a name",
    "evaluation/readers.py: readers.table['image'].map(dict(zip(matches.names, matches.places, strict=True)))": SAME,
    "attribution/reference_boxes.py: table['image'].map({name: row for row, name in enumerate(stored['image'])})": SAME,
    "attribution/reference_boxes.py: table.merge(sizes, on='image')": SAME,
    "evaluation/predictions.py: split_images.isin(joined['image'])": SAME,
    "evaluation/transfer_gate.py: cell.sample.table['image'].isin(set(refused))": SAME,
    "attribution/agreement.py: between.dropna(subset=[RANK]).merge(within, on=['image', 'finding'], "
    "suffixes=('_between', '_within'))": "named_alike before",
    "attribution/gallery.py: by_side.table.drop(columns='image').set_index('named')": SAME,
    "attribution/gallery.py: store.table.set_index('image')": OWN,
    "mlflow_model.py: predicted.table.set_index('image')": OWN,
    "finetune/linear_probe.py: self.features.parent.set_index('image')": "features of one manifest's images",
    "finetune/against_parent.py: set(child.table['image'])": SAME,
    "finetune/against_parent.py: set(parent.table['image'])": SAME,
    "finetune/against_parent.py: one.table['image'].isin(both)": SAME,
    "finetune/box_comparison.py: base.table['image'].isin(images)": SAME,
    "finetune/box_comparison.py: part.table.set_index('image')": "maps that were made of one manifest's images",
    "workflows/agree.py: cases['image'].isin(labels.index)": SAME,
    "workflows/evaluate.py: manifest.table.set_index('image')": SAME,
    "workflows/evaluate.py: sample.table['image'].isin(second.table['image'])": SAME,
    "workflows/drift_films.py: cells.merge(table, on='image', how='outer', sort=False)": SAME,
    "workflows/gate_sheet.py: left_out['image'].isin(judged['image'])": SAME,
    "workflows/localise.py: cases.table.drop_duplicates('image').set_index('image')": OWN,
    "workflows/localise.py: cases.table['image'].isin(present.index[halves == 0])": OWN,
    "attribution/localisation_scoring.py: map(str, store.grid(table['image'].iloc[0]).shape[1:])": OWN,
    "attribution/case_means.py: cases['image'].isin(patients.index)": SAME,
    "attribution/case_means.py: cases['image'].map(patients)": SAME,
    "studies/compare.py: sample.table['image'].isin(shared)": SAME,
    "studies/compare.py: set(sample.table['image'])": SAME,
    "studies/folds.py: file.table['image'].map(image_of)": SAME,
    "studies/folds.py: table.set_index('image')": SAME,
    "studies/folds.py: tables[0].set_index('image')": SAME,
    "data/validation.py: text['image'].str.partition('/')[0].isin(list(roots))": OWN,
}


def joins() -> set[str]:
    """Return ``file: source`` of the calls that look rows up by ``image``."""
    found = set()
    for path in sorted((ROOT / "cxr_monai").rglob("*.py")):
        name = path.relative_to(ROOT / "cxr_monai").as_posix()
        if name in ("data/matching.py", "data/joining.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            text = ast.unparse(node)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if method in ("merge", "isin", "map", "set_index", "set", "intersection") and "'image'" in text:
                found.add(f"{name}: {text}")
    return found


def test_nothing_else_joins_by_name() -> None:
    assert joins() == set(ALLOWED)
