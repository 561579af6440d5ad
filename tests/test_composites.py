"""Composite labels: unions of findings, their rule and their score."""

import numpy as np
import pytest

from cxr_monai.composites import COMPOSITES, union_score
from cxr_monai.labels import NIH14
from cxr_monai.schemes import label_scheme


@pytest.mark.parametrize("composite", COMPOSITES.values(), ids=str)
def test_a_composite_is_a_union_of_findings_in_their_order_and_none_of_them(composite):
    assert len(composite.members) > 1
    assert [name for name in NIH14 if name in composite.members] == list(composite.members)
    assert composite.name not in NIH14
    assert all(f"(1 - {member})" in composite.rule for member in composite.members)


@pytest.mark.parametrize("composite", COMPOSITES.values(), ids=str)
def test_a_composite_can_be_a_group_of_a_label_scheme(composite):
    content = {
        "groups": {composite.name: list(composite.members)},
        "leave_out": [name for name in NIH14 if name not in composite.members],
    }
    assert label_scheme(content).groups[composite.name] == composite.members


def test_the_score_is_that_of_any_of_independent_members():
    probabilities = np.array([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [1.0, 0.5, 0.0], [np.nan, 0.5, 0.5]])
    expected = [1 - 0.9 * 0.8 * 0.7, 0.0, 1.0, np.nan]
    np.testing.assert_allclose(union_score(probabilities), expected, rtol=0, atol=1e-15)
