"""The vocabulary: NIH's order, the spellings that are forgiven, and a command line's strings."""

import pytest

from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14, NO_FINDING, canonical, parse_labels


def test_the_order_is_nihs() -> None:
    assert NIH14 == (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
        "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
    )  # fmt: skip
    assert NO_FINDING not in NIH14


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        *((finding, finding) for finding in NIH14),
        ("hernia", "Hernia"),
        (" EDEMA\t", "Edema"),
        ("Infiltrate", "Infiltration"),
        ("infiltrate", "Infiltration"),
        ("Pleural Thickening", "Pleural_Thickening"),
        ("PLEURAL_THICKENING", "Pleural_Thickening"),
        ("Effusions", "Effusion"),
    ],
)
def test_spellings_that_are_forgiven(spelt: str, name: str) -> None:
    assert canonical(spelt) == name


@pytest.mark.parametrize("spelt", ["", "Pneumo", "No Finding", "Edema|Mass", "Effusion.", "Pleural-Thickening"])
def test_an_unknown_finding_is_refused_and_the_known_ones_are_listed(spelt: str) -> None:
    with pytest.raises(ManifestError) as caught:
        canonical(spelt)
    assert caught.value.code == Code.UNKNOWN_FINDING
    assert repr(spelt) in str(caught.value)
    assert all(finding in str(caught.value) for finding in NIH14)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("Pneumonia", ["Pneumonia"]),  # nine letters, one finding
        ("Pneumonia,Effusion", ["Pneumonia", "Effusion"]),
        (" mass , NODULE ", ["Mass", "Nodule"]),
        (["Hernia", "Edema"], ["Hernia", "Edema"]),
        (("Infiltrate",), ["Infiltration"]),
        (iter(["Edema", "Mass"]), ["Edema", "Mass"]),
        (["Tuberculosis"], ["Tuberculosis"]),  # a hospital's own finding: its manifest says whether it exists
        (NIH14, list(NIH14)),
    ],
)
def test_a_setting_becomes_names_in_its_order(given: str | list[str], names: list[str]) -> None:
    assert parse_labels(given) == names


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "name no finding"),
        ([], "name no finding"),
        ("Mass,", "name no finding"),
        ("Mass,,Edema", "name no finding"),
        ("Mass,mass", "name Mass twice"),
        (["Infiltrate", "Infiltration"], "name Infiltration twice"),
    ],
)
def test_empty_names_and_repetitions_are_refused(given: str | list[str], said: str) -> None:
    with pytest.raises(ManifestError, match=said) as caught:
        parse_labels(given)
    assert caught.value.code == Code.UNKNOWN_FINDING
    assert "--labels" in str(caught.value)


def test_blanks_around_the_names_of_a_list_are_forgiven_as_in_a_string() -> None:
    assert parse_labels(["Mass ", " edema"]) == parse_labels("Mass , edema") == ["Mass", "Edema"]
