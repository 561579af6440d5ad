"""Which data sets show the same films."""

import pandas as pd
import pytest

from cxr_monai.data.overlaps import collections_of, overlap_of, overlaps_among, patient_keys


@pytest.mark.parametrize(
    ("first", "second", "collection"),
    [
        ("nih", "rsna", "nih"),
        ("SIIM", "rsna", "nih"),
        ("chexpert", "chexpert-plus", "chexpert"),
        ("mimic", "ms-cxr", "mimic"),
        ("cxr-lt", "padchest", "padchest"),
        ("cxr-lt", "siim", "nih"),
        ("tbx11k", "shenzhen", "shenzhen"),
        ("our hospital", "our hospital", "our hospital"),
    ],
)
def test_overlaps_both_ways(first, second, collection):
    there, back = overlap_of(first, second), overlap_of(second, first)
    assert there is not None
    assert back is not None
    assert there.collection == back.collection == collection
    assert there.why


@pytest.mark.parametrize(("first", "second"), [("nih", "chexpert"), ("rsna", "mimic"), ("shenzhen", "montgomery")])
def test_no_overlap(first, second):
    assert overlap_of(first, second) is None


def test_unknown_sources_overlap_with_nothing():
    assert overlaps_among(["nih", ""], ["", "chexpert"]) == []
    assert [overlap.second for overlap in overlaps_among(["nih"], ["rsna", "chexpert", "siim"])] == ["rsna", "siim"]


def test_a_patient_is_a_collection_and_a_number():
    table = pd.DataFrame({"source": ["nih", "siim", "openi", "nih"], "patient_id": ["1", "1", "1", "2"]})
    keys = patient_keys(table)
    assert keys[0] == keys[1]
    assert keys.nunique() == 3
    assert collections_of("openi") == ("openi",)
