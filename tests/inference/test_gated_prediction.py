"""The gate before every answer: what is refused, marked, mended, and what is remembered of a film."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from monai.transforms import Compose
from PIL import Image

from cxr_monai.data.formats.grey import exact_grey
from cxr_monai.errors import Code, CxrError
from cxr_monai.gate.alterations import GEOMETRY
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.training_index import preprocessing_digest, write_training_index
from cxr_monai.inference.model import Model
from cxr_monai.mlflow_model import BundleModel
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from tests.support.bundle_runs import code_of
from tests.support.geometry_gates import altered, film, save, with_geometry_gate
from tests.support.tiny_bundles import LABELS, tiny_bundle

UNDOABLE = [each.name for each in GEOMETRY if "mirrored" not in each.name]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_geometry_gate(tiny_bundle(tmp_path_factory.mktemp("gated") / "bundle", 0))


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return Model.open(bundle, amp=False, num_workers=0)


@pytest.fixture(scope="module")
def mending(bundle: Path) -> Model:
    return Model.open(bundle, amp=False, num_workers=0, mend="rotation,inversion")


def values_of(table: pd.DataFrame) -> np.ndarray:
    return table[list(LABELS)].to_numpy()


def test_a_refused_film_has_a_reason_and_no_probabilities(model: Model) -> None:
    films = [film(0), altered(film(1), "turned by 90 degrees"), b"no film", film(2)]
    result = model.predict(films, ["a", "b", "c", "d"])
    assert list(result.table["image"]) == ["a", "d"]
    (_, unreadable, _), (name, code, reason) = sorted(result.errors, key=lambda error: error[1], reverse=True)
    assert (unreadable, name, code) == ("radiograph-not-an-image", "b", "gate-rotated")
    assert reason.startswith("The film looks turned by 90 degrees (alteration: ")
    assert reason.endswith("--mend rotation would undo it.")
    assert result.gate is not None
    assert tuple(result.gate.columns) == GATE_COLUMNS
    rows = result.gate.set_index("image")
    assert list(rows.index) == ["a", "b", "d"]  # whatever could be read
    assert list(rows["gate"]) == ["accept", "refuse", "accept"]
    assert list(rows["code"]) == ["", "gate-rotated", ""]
    assert list(rows["mendable"]) == ["", "rotation", ""]
    assert (rows["score"] > 1).tolist() == [False, True, False]
    assert rows["network_distance"].isna().all()
    assert result.about["gate"]["films"] == {"accept": 2, "review": 0, "refuse": 1}
    alone = model.predict([film(0), film(2)])
    np.testing.assert_allclose(values_of(result.table), values_of(alone.table), rtol=0, atol=1e-6)


def test_batches_of_which_no_film_can_be_read(model: Model, mending: Model) -> None:
    for opened in (model, mending):
        assert (len(opened.predict([]).table), opened.predict([]).gate) == (0, None)
        result = opened.predict([b"x", b"y", film(0), film(1)], ["a", "b", "c", "d"], batch_size=2)
        assert result.gate is not None
        assert list(result.table["image"]) == list(result.gate["image"]) == ["c", "d"]
        assert [name for name, _, _ in result.errors] == ["a", "b"]
        nothing = opened.predict([b"x"], ["a"]).gate
        assert nothing is not None
        assert (len(nothing), tuple(nothing.columns)) == (0, GATE_COLUMNS)


def test_threads_workers_and_a_pickled_model_answer_alike(model: Model) -> None:
    films, names = [film(0), altered(film(1), "inverted"), film(2), film(3), film(3)], list("abcde")
    expected = model.predict(films, names).gate
    with ThreadPoolExecutor(4) as pool:
        results = [*pool.map(lambda _: model.predict(films, names), range(4))]
    results += [pickle.loads(pickle.dumps(model)).predict(films, names), model.predict(films, names, num_workers=2)]
    for result in results:
        pd.testing.assert_frame_equal(result.gate, expected)


def test_for_review_everything_is_predicted_and_off_nothing_is_judged(bundle: Path, model: Model) -> None:
    films = [film(0), altered(film(1), "inverted")]
    review = Model.open(bundle, amp=False, num_workers=0, gate="review").predict(films)
    assert (len(review.table), review.errors) == (2, [])
    assert review.gate is not None
    assert list(review.gate["gate"]) == ["accept", "refuse"]  # its own verdict, whatever the mode
    off = Model.open(bundle, amp=False, num_workers=0, gate="off").predict(films)
    assert (len(off.table), off.gate, off.about["gate"]) == (2, None, {"mode": "off"})
    np.testing.assert_array_equal(values_of(off.table), values_of(review.table))


def test_a_bundle_of_before_has_no_gate_and_says_so(tmp_path: Path) -> None:
    old = Model.open(tiny_bundle(tmp_path / "old", 0), amp=False, num_workers=0)
    result = old.predict([film(0), altered(film(0), "inverted")])
    assert (len(result.table), result.gate) == (2, None)
    assert "this bundle has no gate" in result.about["gate"]["missing"]
    assert "films" not in result.about["gate"]


@pytest.mark.parametrize("name", UNDOABLE)
def test_a_turned_or_inverted_film_is_mended_to_the_same_bits(mending: Model, name: str) -> None:
    upright, wrong = mending.predict([film(3)], ["a"]), mending.predict([altered(film(3), name)], ["a"])
    assert wrong.errors == []
    np.testing.assert_array_equal(values_of(wrong.table), values_of(upright.table))
    assert wrong.gate is not None
    assert upright.gate is not None
    what = ",".join(word for word, of in (("rotation", "turned"), ("inversion", "inverted")) if of in name)
    assert list(wrong.gate["mended"]) == [what]
    pd.testing.assert_frame_equal(wrong.gate.drop(columns="mended"), upright.gate.drop(columns="mended"))
    assert wrong.about["gate"]["films"] == {"accept": 1, "review": 0, "refuse": 0, "mended": {what: 1}}
    assert wrong.about["gate"]["mend"] == ["rotation", "inversion"]


def test_films_of_all_formats_are_mended(mending: Model, tmp_path: Path) -> None:
    upright, turned = film(4), altered(film(4), "turned by 270 degrees, inverted")
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(turned).save(png, "PNG")
    Image.fromarray(turned).save(jpeg, "JPEG", quality=95)
    nib.save(nib.Nifti1Image(turned.T[:, :, None], np.diag([-0.2, -0.3, 1, 1])), tmp_path / "a.nii.gz")
    deep = Image.fromarray(np.rint(turned.astype(np.float64) * 257).astype(np.uint16))
    deep.save(tmp_path / "deep.png")
    films: list[Any] = [
        save(tmp_path / "a.png", turned), str(tmp_path / "a.png"), png.getvalue(), turned,
        {"image": turned.T, "image_axes": "WH"}, {"image": exact_grey(turned / 255), "image_value_range": [0, 1]},
        tmp_path / "deep.png", tmp_path / "a.nii.gz", jpeg.getvalue(),
    ]  # fmt: skip
    result = mending.predict(films, [str(number) for number in range(len(films))])
    assert result.errors == []
    assert result.gate is not None
    assert set(result.gate["mended"]) == {"rotation,inversion"}
    expected = values_of(mending.predict([upright]).table)
    # the pixels are the same bits; in float32 the last bit of a sum depends on how many films a batch has
    np.testing.assert_allclose(values_of(result.table)[:5], np.repeat(expected, 5, axis=0), rtol=2**-22, atol=0)
    np.testing.assert_allclose(values_of(result.table), np.repeat(expected, len(films), axis=0), rtol=0, atol=2e-3)


def test_nothing_is_undone_that_was_not_asked_for(bundle: Path, mending: Model) -> None:
    both = altered(film(0), "turned by 180 degrees, inverted")
    rotating = Model.open(bundle, amp=False, num_workers=0, mend=("rotation",))
    result = rotating.predict([both, altered(film(1), "turned by 180 degrees")])
    ((_, code, reason),) = result.errors
    assert (code, reason.endswith("--mend rotation,inversion would undo it.")) == ("gate-inverted", True)
    assert len(result.table) == 1
    mirrored = [altered(film(0), each.name) for each in GEOMETRY if "mirrored" in each.name]
    refused = mending.predict(mirrored)  # whatever else was done to them: the heart may lie on the right
    assert len(refused.errors) == len(mirrored)
    assert not any("would undo it" in reason for _, _, reason in refused.errors)


def test_what_undoing_does_not_help_stays_refused_as_it_came(bundle: Path) -> None:
    """A gate that takes every film for turned by 180 degrees: undone, it is refused again."""
    never = Model.open(bundle, amp=False, num_workers=0, mend="rotation")
    fitted = never.gate.fitted
    assert fitted is not None
    head = fitted.heads["alteration"]
    intercepts = head.intercepts.copy()
    intercepts[head.classes.index("turned by 180 degrees")] = 1e4
    stubborn = replace(fitted, heads={"alteration": replace(head, intercepts=intercepts)})
    model = replace(never, gate=replace(never.gate, fitted=stubborn))
    result = model.predict([film(0)], ["a"])
    ((_, code, reason),) = result.errors
    assert (code, "would undo it" in reason) == ("gate-rotated", False)
    assert result.gate is not None
    assert result.gate.loc[0, ["gate", "mended", "mendable"]].tolist() == ["refuse", "", ""]


def test_only_films_that_are_mended_are_read_and_predicted_again(
    mending: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, passed = [], []
    load, forward = LoadRadiographd.__call__, Model.logits_and_features
    monkeypatch.setattr(LoadRadiographd, "__call__", lambda step, item: (read.append(1), load(step, item))[1])
    monkeypatch.setattr(
        Model, "logits_and_features", lambda model, images: (passed.append(len(images)), forward(model, images))[1]
    )
    wrong = [altered(film(5), "inverted"), altered(film(6), "turned by 90 degrees")]
    mending.predict([film(0), wrong[0], altered(film(7), "mirrored"), film(1), wrong[1], film(2)], batch_size=6)
    assert (len(read), passed) == (8, [6, 2])


def test_in_mode_review_a_film_is_mended_too(bundle: Path) -> None:
    model = Model.open(bundle, amp=False, num_workers=0, gate="review", mend="inversion")
    result = model.predict([altered(film(0), "inverted"), film(0)], ["a", "b"])
    np.testing.assert_array_equal(values_of(result.table)[0], values_of(result.table)[1])
    assert result.gate is not None
    assert list(result.gate["mended"]) == ["inversion", ""]
    assert list(result.gate["duplicate_of"]) == ["", "a"]  # as they are judged


# ---------------------------------------------------------------- what came before


def test_a_copy_is_marked_within_one_prediction_and_none_is_remembered_beyond(model: Model, tmp_path: Path) -> None:
    save(tmp_path / "copy.jpg", film(1))
    films = [film(1), film(2), film(3), film(1), tmp_path / "copy.jpg"]
    for _ in range(2):  # the second call has seen nothing
        result = model.predict(films, list("abcde"), batch_size=2)
        assert result.gate is not None
        assert list(result.gate["gate"]) == ["accept", "accept", "accept", "review", "review"]
        assert list(result.gate["duplicate_of"]) == ["", "", "", "a", "a"]
        assert list(result.table["image"]) == list("abcde")
    for _ in range(2):  # a service's single calls
        assert model.predict([film(1)]).about["gate"]["films"] == {"accept": 1, "review": 0, "refuse": 0}


def test_a_list_that_goes_on_knows_what_came_before(model: Model) -> None:
    earlier = model.gate.earlier_films()
    parts = list(model.predict_batches([film(1), film(2)], ["a", "b"], earlier=earlier))
    parts += model.predict_batches([film(2)], ["c"], earlier=earlier)
    assert [list(part.gate["duplicate_of"]) for part in parts if part.gate is not None] == [["", ""], ["b"]]


def test_a_film_of_the_training_is_marked(bundle: Path, model: Model, tmp_path: Path) -> None:
    trained = model.predict([film(1), film(2)], ["p1.png", "p2.png"]).gate
    assert trained is not None
    index, digest = tmp_path / "training.index.csv", preprocessing_digest(model.preprocessing)
    write_training_index(index, trained["image"], trained["pixel_digest"], trained["picture_hash"], digest)
    assert index.stat().st_mode & 0o077 == 0
    known = Model.open(bundle, amp=False, num_workers=0, training_index=index, any_modality=True)
    save(tmp_path / "copy.jpg", film(2))
    result = known.predict([film(0), film(1), tmp_path / "copy.jpg"], ["a", "b", "c"])
    assert result.gate is not None
    assert list(result.gate["gate"]) == ["accept", "review", "review"]
    assert list(result.gate["code"]) == ["", "gate-duplicate", "gate-duplicate"]
    assert list(result.gate["duplicate_of"]) == ["", "training: p1.png", "training: p2.png"]
    assert len(result.table) == 3
    assert len(result.about["gate"]["training_index"]) == 64
    assert pickle.loads(pickle.dumps(known)).gate.training.images == ["p1.png", "p2.png"]


@pytest.mark.parametrize("damage", ["another preprocessing", "a digest", "a column", "no rows", "no text", "none"])
def test_a_training_index_that_cannot_be_used_is_an_error(
    bundle: Path, model: Model, tmp_path: Path, damage: str
) -> None:
    index = tmp_path / "index.csv"
    digest = "0" * 64 if damage == "another preprocessing" else preprocessing_digest(model.preprocessing)
    rows = 0 if damage == "no rows" else 1
    write_training_index(index, ["a"] * rows, ["0" * 16] * rows, ["f" * 64] * rows, digest)
    if damage == "a digest":
        index.write_text(index.read_text().replace("0" * 16, "g" * 16))
    if damage == "a column":
        index.write_text(index.read_text().replace("pixel_digest", "digest"))
    if damage == "no text":
        index.write_bytes(b"\xff\xfe\x00")
    if damage == "none":
        index.unlink()
    with pytest.raises(CxrError, match="training index cannot be used") as error:
        Model.open(bundle, training_index=index)
    assert code_of(error) == "gate-invalid"


# ---------------------------------------------------------------- films and bundles at the edge


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (31, 33), (2, 5000)])
def test_a_plane_of_any_size_is_observed(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    entries = FilmObserver()({"image_plane": plane})
    assert entries["observation"].isfinite().all()
    assert (len(entries["pixel_digest"]), len(entries["picture_hash"])) == (16, 64)


def test_a_preprocessing_without_the_plane_that_the_gate_looks_at_is_an_error(model: Model) -> None:
    steps = [step for step in model.preprocessing.flatten().transforms if not hasattr(step, "kept_until_here")]
    with pytest.raises(CxrError, match="--gate off") as error:
        replace(model, preprocessing=Compose(steps))
    assert code_of(error) == Code.GATE_INVALID
    assert replace(model, preprocessing=Compose(steps), gate=type(model.gate)()).predict([film(0)]).gate is None


@pytest.mark.parametrize("settings", [{"mend": "mirroring"}, {"gate": "perhaps"}, {"gate": "off", "mend": "rotation"}])
def test_settings_that_cannot_be(bundle: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(CxrError) as error:
        Model.open(bundle, **settings)
    assert code_of(error) == "setting-invalid"


def test_mlflow_s_table_keeps_a_row_for_a_refused_film(model: Model) -> None:
    png = io.BytesIO()
    Image.fromarray(altered(film(0), "inverted")).save(png, "PNG")
    table = BundleModel(model).predict(pd.DataFrame({"image": [png.getvalue(), b"no film"]}))
    assert table[list(LABELS)].isna().all().all()
    assert [text.split(":")[0] for text in table["error"]] == ["gate-inverted", "radiograph-not-an-image"]
