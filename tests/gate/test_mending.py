"""What is undone, exactly, and what never is."""

import numpy as np
import pytest

from cxr_monai.errors import Code, CxrError
from cxr_monai.gate.alterations import ALTERATIONS, GEOMETRY
from cxr_monai.gate.answer import Answer, GateVerdict
from cxr_monai.gate.mending import can_mend, parse_mends, swaps_sides, undo_alteration
from tests.support.bundle_runs import code_of


@pytest.mark.parametrize("alteration", GEOMETRY, ids=lambda each: each.name)
@pytest.mark.parametrize("shape", [(5, 5), (4, 7)])
def test_undoing_gives_the_film_back_to_the_bit(alteration, shape) -> None:
    plane = np.random.default_rng(0).integers(0, 2**24, shape) / np.float32(2**24)
    plane = plane.astype(np.float32)  # multiples of 2**-24, as every film is read
    altered = np.ascontiguousarray(alteration.of(plane))
    undone = undo_alteration(altered, alteration.name)
    np.testing.assert_array_equal(undone, plane)
    assert undone.flags["C_CONTIGUOUS"]
    assert swaps_sides(alteration.name) == (altered.shape != shape) or shape[0] == shape[1]


def test_what_has_no_way_back_is_not_mended() -> None:
    assert {each.name for each in ALTERATIONS if each.undo is not None} == {each.name for each in GEOMETRY}


@pytest.mark.parametrize(
    ("verdict", "mend", "mends", "can"),
    [
        (GateVerdict.REFUSE, ("rotation",), ("rotation", "inversion"), True),
        (GateVerdict.REFUSE, ("rotation", "inversion"), ("rotation",), False),
        (GateVerdict.REFUSE, (), ("rotation", "inversion"), False),
        (GateVerdict.REVIEW, ("rotation",), ("rotation",), False),
        (GateVerdict.REFUSE, ("rotation",), (), False),
    ],
)
def test_only_what_a_film_is_refused_for_is_undone(verdict, mend, mends, can) -> None:
    assert can_mend(Answer(verdict, Code.GATE_ROTATED, mend=mend), mends) is can


def test_names_are_parsed_and_mirroring_is_left_to_a_person() -> None:
    assert parse_mends("inversion, rotation") == parse_mends(["inversion", "rotation"]) == ("rotation", "inversion")
    assert parse_mends("") == parse_mends(()) == ()
    with pytest.raises(CxrError, match="heart may lie on the right") as error:
        parse_mends("mirroring")
    assert code_of(error) == "setting-invalid"
