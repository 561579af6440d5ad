"""What may be called an external test, and what may not."""

import pandas as pd
import pytest

from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.film_relation import Relation, home_among, relation_of, sources_of_films


def films(*sources: str, patients: str = "known") -> Manifest:
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(len(sources))], "source": sources, "Mass": 1.0})
    return build_manifest(table.assign(patient_id=table["image"]), ".", "local", patients=patients)  # type: ignore[arg-type]


def nobody(patients: object) -> set[str]:
    return set()


def everybody(patients: object) -> set[str]:
    return set(patients)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("learned", "sources", "name", "words"),
    [
        (["nih"], ["padchest"], "external", "no shared films are known of"),
        (["nih", "chexpert"], ["padchest", "vindr"], "external", "no shared films are known of"),
        (["nih"], ["folder"], "external", "its source 'folder' names no public data set"),
        (["folder"], ["rsna"], "external", "no shared films are known of"),
        (["folder"], ["folder"], "unverified", "whose films those of M are"),
        ([], ["padchest"], "unverified", "what A learned from"),
        (["nih"], [""], "unverified", "whose films those of M are"),
        (["phantom"], ["phantom"], "external", "drawn by a program"),
    ],
)
def test_films_of_another_source(learned: list[str], sources: list[str], name: str, words: str) -> None:
    relation = relation_of("A", learned, "M", films(*sources))
    assert relation.name == name
    assert words in relation.sentence


@pytest.mark.parametrize("source", ["rsna", "RSNA", "siim", "google-14", "nih"])
def test_films_of_the_same_collection_need_proof(source: str) -> None:
    def refused(**more: object) -> str:
        with pytest.raises(EvaluationError) as error:
            relation_of("A", ["nih"], "M", films(source, **more), seen=seen)  # type: ignore[arg-type]
        assert error.value.code == Code.OVERLAPPING_SOURCES
        return str(error.value)

    seen = everybody
    assert "1 patient of M is among those that it learned from" in refused()
    seen = nobody
    assert "whose films they are is not known of M" in refused(patients="unknown")
    assert "whose films they are is not known of M" in refused(patients="assumed"), "a word is no proof"
    seen = lambda patients: None  # type: ignore[assignment,return-value]  # noqa: E731
    assert "no list of the patients that it learned from lies beside it" in refused()
    disjoint = relation_of("A", ["nih"], "M", films(source), seen=nobody)
    assert (disjoint.name, "The institution is the same." in disjoint.sentence) == ("other patients", True)
    assert relation_of("A", ["nih"], "M", films(source), keep_internal=True).name == "internal"


def test_one_overlapping_source_of_several_is_enough() -> None:
    with pytest.raises(EvaluationError, match="SIIM-ACR's films were chosen from NIH"):
        relation_of("A", ["chexpert", "rsna"], "M", films("padchest", "siim"))


def test_home_is_the_source_itself_and_is_checked_for_patients() -> None:
    manifests = {"n": films("nih"), "r": films("rsna"), "both": films("nih", "padchest")}
    assert home_among(["nih"], manifests) == "n"
    assert home_among(["NIH", "padchest"], {"both": manifests["both"], "r": manifests["r"]}) == "both"
    assert home_among(["chexpert"], manifests) is None
    assert home_among([], {"unknown": films("")}) is None
    with pytest.raises(EvaluationError, match="--home A=n"):
        home_among(["nih"], manifests | {"again": films("nih")}, "A")
    assert relation_of("A", ["nih"], "n", manifests["n"], is_home=True, seen=nobody).name == "home"
    with pytest.raises(EvaluationError) as error:
        relation_of("A", ["nih"], "n", manifests["n"], is_home=True, seen=everybody)
    assert error.value.code == Code.PATIENTS_SHARED
    unknown = relation_of("A", ["nih"], "n", manifests["n"], is_home=True)
    assert unknown == Relation(
        "home", "n is the home of A; that it learned from others than these is known by its split alone."
    )


def test_sources_stand_in_the_order_of_the_table() -> None:
    assert sources_of_films(films("rsna", "nih", "rsna", "")) == ("rsna", "nih", "")
