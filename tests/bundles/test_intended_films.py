"""Which films a bundle is meant for: what metadata may say, what a training writes, what a child takes over."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cxr_monai.bundle.bundle_folder import METADATA, Bundle
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.bundle.intended_films import INTENDED_FILMS, IntendedFilms
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.bundle.trained import intended_films_in, write_intended_films
from cxr_monai.errors import BundleError, CxrError, SettingError
from tests.support.bundle_runs import code_of, read
from tests.support.tiny_bundles import tiny_bundle

PLAIN: dict[str, Any] = {
    "minimum_age": 13, "maximum_age": None, "views": ["PA", "AP", "AP supine"],
    "modalities": ["CR", "DX", "DR", "RG"], "devices": [],
}  # fmt: skip


@pytest.mark.parametrize("name", ["cxr_nih14", "cxr_categories", "cxr_transfer"])
def test_a_shipped_bundle_is_meant_for_frontal_films_from_13_years_on(name: str) -> None:
    bundle = Bundle.open(shipped_bundles()[name])
    assert bundle.intended_films == IntendedFilms()
    assert bundle.metadata[INTENDED_FILMS] == PLAIN == IntendedFilms().to_json()


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["cxr_nih14", "cxr_categories", "cxr_transfer"])
def test_metadata_follow_monais_own_schema(name: str, realdata: Path) -> None:
    schema = json.loads((realdata / "monai" / "meta_schema_20240725.json").read_text())
    metadata = read(shipped_bundles()[name], "metadata")
    jsonschema.validate(metadata, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: value for key, value in metadata.items() if key != "version"}, schema)


@pytest.mark.parametrize(
    "change",
    [
        {"minimum_age": -1}, {"minimum_age": True}, {"minimum_age": "13"}, {"minimum_age": 40, "maximum_age": 18},
        {"maximum_age": 1000}, {"views": []}, {"views": ["PA", "HAND"]}, {"views": "PA"}, {"views": [1]},
        {"modalities": []}, {"modalities": "CR"}, {"devices": [""]}, {"devices": [["x"]]}, {"devices": None},
        {"smallest_age": 3},
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_are_no_bundle(change: dict[str, Any], tmp_path: Path) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    metadata = read(root, "metadata")
    (root / METADATA).write_text(json.dumps(metadata | {INTENDED_FILMS: PLAIN | change}))
    with pytest.raises(BundleError, match="intended_films") as error:
        Bundle.open(root)
    assert code_of(error) == "bundle-invalid"
    assert str(error.value.where) == str(root / METADATA)


@pytest.mark.parametrize("content", ["adults", ["PA"], 13])
def test_what_is_no_object_is_no_bundle(content: Any) -> None:
    with pytest.raises(BundleError, match="intended_films"):
        IntendedFilms.of({INTENDED_FILMS: content})


def test_what_metadata_leave_out_is_the_default_and_nothing_is_nothing() -> None:
    assert IntendedFilms.of({INTENDED_FILMS: {"views": ["LATERAL"]}}) == IntendedFilms(views=("LATERAL",))
    assert IntendedFilms.of({}) is None


@pytest.mark.parametrize(
    ("views", "minimum_age", "expected"),
    [
        (None, None, IntendedFilms(18, 90, ("PA", "LATERAL"), ("DX",), ("Acme",))),
        ("ap", None, IntendedFilms(18, 90, ("AP",), ("DX",), ("Acme",))),
        (["PA", "AP supine"], 0, IntendedFilms(None, 90, ("PA", "AP supine"), ("DX",), ("Acme",))),
        ("best-frontal", 3.5, IntendedFilms(3.5, 90, ("PA", "AP", "AP supine"), ("DX",), ("Acme",))),
    ],
)
def test_a_training_changes_what_it_was_told(views: Any, minimum_age: float | None, expected: IntendedFilms) -> None:
    before = IntendedFilms(18, 90, ("PA", "LATERAL"), ("DX",), ("Acme",))
    assert before.as_trained(views, minimum_age) == expected


def test_a_training_for_no_view_is_refused() -> None:
    with pytest.raises(SettingError):
        IntendedFilms().as_trained("HAND")


@pytest.mark.parametrize(
    ("minimum", "maximum", "words", "inside", "outside"),
    [
        (13, None, "13 years and over", [13, 90], [12.9, 0]),
        (None, None, "any age", [0, 120], []),
        (0, None, "any age", [0], []),
        (None, 17, "0 to 17 years", [0, 17], [17.5]),
        (18, 90, "18 to 90 years", [18, 90], [17, 91]),
    ],
)
def test_ages(
    minimum: float | None, maximum: float | None, words: str, inside: list[float], outside: list[float]
) -> None:
    intended = IntendedFilms(minimum, maximum)
    assert intended.ages_in_words() == words
    assert all(map(intended.covers_age, inside))
    assert not any(map(intended.covers_age, outside))


def test_an_ensemble_is_meant_for_what_all_members_are(tmp_path: Path) -> None:
    roots = [tiny_bundle(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    write_intended_films(roots[0], IntendedFilms(None, 90, ("PA", "AP"), devices=("Acme", "Röntgen")))
    write_intended_films(roots[1], IntendedFilms(18, None, ("AP", "LATERAL"), ("DX",)))
    joint = ensemble_bundle(roots, tmp_path / "joint")
    assert joint.intended_films == IntendedFilms(18, 90, ("AP",), ("DX",), ("Acme", "Röntgen"))
    write_intended_films(roots[0], IntendedFilms(views=("PA",)))
    with pytest.raises(CxrError, match="no film is meant for both") as error:
        ensemble_bundle(roots, tmp_path / "none")
    assert code_of(error) == "bundle-disagrees"
    for root in roots:  # bundles of before say nothing, and so does the mean of them
        metadata = read(root, "metadata")
        del metadata[INTENDED_FILMS]
        (root / METADATA).write_text(json.dumps(metadata))
        assert intended_films_in(root) == IntendedFilms()
    assert ensemble_bundle(roots, tmp_path / "before").intended_films is None
