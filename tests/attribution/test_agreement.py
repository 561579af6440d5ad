"""Two folders of maps of the same images: what is compared, on what, and what of a difference is just the seed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cxr_monai.attribution.agreement import (
    RANK,
    agreement_measures,
    compare_maps,
    compare_seeds,
    seed_cases,
)
from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.view import View
from cxr_monai.errors import Code, EvaluationError

WHOLE = View(64, 64, 0, 0, 64, 64)
NAN = float("nan")


def stored(
    folder: Path,
    maps: Mapping[str, np.ndarray],
    findings: tuple[str, ...] = ("Mass", "Nodule"),
    view: View = WHOLE,
    probability: float = 0.25,
) -> MapStore:
    writer = MapWriter(folder, {"findings": list(findings), "points": None})
    for image, made in maps.items():
        writer.add(image, view, np.full(len(findings), probability), made)
    return writer.finish()


def drawn(seed: int, side: int = 8, findings: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((findings, side, side)).astype(np.float32)


def test_the_same_maps_in_another_unit(tmp_path: Path) -> None:
    maps = {"b.png": drawn(1), "a.png": drawn(2)}
    first = stored(tmp_path / "A", maps)
    second = stored(tmp_path / "B", {image: 70 * made for image, made in maps.items()}, probability=0.75)
    table = compare_maps(first, second, (0.5, 0.8))
    assert list(table.columns) == [
        "image", "finding", "first_probability", "second_probability", "kept", "rank_correlation", "iou_0.5", "iou_0.8",
    ]  # fmt: skip
    assert list(zip(table["image"], table["finding"], strict=True)) == [
        (image, finding) for image in ("b.png", "a.png") for finding in ("Mass", "Nodule")
    ]
    assert table["kept"].eq("both").all()
    assert (table["first_probability"].eq(0.25) & table["second_probability"].eq(0.75)).all()
    # float16 on the way makes a few ties
    np.testing.assert_allclose(table[RANK], 1, atol=1e-5)
    np.testing.assert_allclose(table[["iou_0.5", "iou_0.8"]], 1, atol=0.02)


def test_other_maps_place_by_place(tmp_path: Path) -> None:
    """On a grid as fine as the raster nothing is enlarged: the figures are those of the maps themselves."""
    one, other = drawn(1, 64, 1), drawn(2, 64, 1)
    other += one  # related
    table = compare_maps(
        stored(tmp_path / "A", {"a": one}, ("Mass",)), stored(tmp_path / "B", {"a": other}, ("Mass",)), (0.7,)
    )
    expected = spearmanr(one.ravel(), other.ravel()).statistic
    assert 0.4 < expected < 0.9
    assert table[RANK].item() == pytest.approx(expected, abs=1e-3)
    above = [made >= 0.7 * made.max() for made in (one, other)]
    assert table["iou_0.7"].item() == pytest.approx((above[0] & above[1]).sum() / (above[0] | above[1]).sum(), abs=5e-3)


def test_findings_by_name_not_by_place(tmp_path: Path) -> None:
    maps = drawn(1, findings=3)
    first = stored(tmp_path / "A", {"a": maps}, ("Mass", "Nodule", "Hernia"))
    second = stored(tmp_path / "B", {"a": maps[[1, 0]]}, ("Nodule", "Mass"))
    table = compare_maps(first, second)
    assert list(table["finding"]) == ["Mass", "Nodule"]
    np.testing.assert_allclose(table[RANK], 1, atol=1e-5)
    assert list(compare_maps(first, second, findings=["Nodule"])["finding"]) == ["Nodule"]
    with pytest.raises(
        EvaluationError, match=r"B: there are no maps of Hernia; here are maps of Nodule, Mass"
    ) as caught:
        compare_maps(first, second, findings=["Hernia"])
    assert caught.value.code == Code.MAPS_INVALID
    with pytest.raises(EvaluationError, match="any finding that the other has"):
        compare_maps(first, stored(tmp_path / "C", {"a": maps[:1]}, ("Edema",)))


def test_maps_that_were_not_kept_and_maps_that_are_empty(tmp_path: Path) -> None:
    names = ("Mass", "Nodule", "Hernia", "Edema", "Fibrosis", "Effusion")
    first, second = drawn(1, findings=6), drawn(1, findings=6)
    first[1], second[2] = np.nan, np.nan
    first[3], second[3] = np.nan, np.nan
    first[4], second[4] = 0, 0
    second[5] = 0
    table = compare_maps(stored(tmp_path / "A", {"a": first}, names), stored(tmp_path / "B", {"a": second}, names))
    assert dict(zip(table["finding"], table["kept"], strict=True)) == {
        "Mass": "both", "Nodule": "second", "Hernia": "first", "Fibrosis": "both", "Effusion": "both",
    }  # fmt: skip
    for name in agreement_measures((0.5,)):
        np.testing.assert_allclose(table[name], [1, NAN, NAN, NAN, 0], atol=1e-5)


def test_images_of_other_sizes_and_grids(tmp_path: Path) -> None:
    fine = np.add.outer(np.arange(16.0), 3 * np.arange(16.0)).astype(np.float32)[None]
    coarse = fine.reshape(1, 4, 4, 4, 4).mean((2, 4))
    first = stored(tmp_path / "A", {"a": fine}, ("Mass",), View(1000, 800, 0, 0, 1000, 800))
    second = stored(tmp_path / "B", {"a": coarse}, ("Mass",), View(333, 267, 0, 0, 333, 267))  # rounded from 266.4
    assert compare_maps(first, second)[RANK].item() > 0.97


def test_only_what_both_networks_see_is_compared(tmp_path: Path) -> None:
    # the second network sees the left half alone; on the right the first one has what it likes
    shared = drawn(1, 8, 1)
    left = View(64, 64, 0, 0, 64, 32)
    for name, right in (("A", 0.0), ("B", 1.0)):
        maps = np.concatenate([np.repeat(np.repeat(shared, 8, 1), 4, 2), np.full((1, 64, 32), right, np.float32)], 2)
        whole = stored(tmp_path / name, {"a": maps}, ("Mass",))
        half = stored(tmp_path / f"{name}-left", {"a": np.repeat(np.repeat(shared, 8, 1), 4, 2)}, ("Mass",), left)
        assert compare_maps(whole, half)[RANK].item() > 0.98
    apart = stored(tmp_path / "right", {"a": shared}, ("Mass",), View(64, 64, 0, 32, 64, 32))
    with pytest.raises(EvaluationError, match="no part of the image 'a' is seen by both"):
        compare_maps(half, apart)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    first = stored(tmp_path / "A", {"a.png": drawn(1)})
    with pytest.raises(EvaluationError, match=r"1, such as a\.png.*1, such as b\.png") as caught:
        compare_maps(first, stored(tmp_path / "B", {"b.png": drawn(1)}))
    assert caught.value.code == Code.MAPS_INVALID
    with pytest.raises(EvaluationError, match="64x64 in one and 64x80 in the other"):
        compare_maps(first, stored(tmp_path / "C", {"a.png": drawn(1)}, view=View(80, 64, 0, 0, 80, 64)))


def test_images_of_one_alone_are_left_out(tmp_path: Path) -> None:
    first = stored(tmp_path / "A", {"x": drawn(1), "a": drawn(2)})
    second = stored(tmp_path / "B", {"a": drawn(2), "y": drawn(1)})
    assert compare_maps(first, second)["image"].unique().tolist() == ["a"]


def test_seeds_are_compared_pair_by_pair(tmp_path: Path) -> None:
    stores = []
    for seed in range(3):
        maps = drawn(seed)
        if seed == 2:
            maps[1] = np.nan  # kept by two alone: one pair
        stores.append(stored(tmp_path / str(seed), {"a": maps}))
    table = compare_seeds(stores, (0.5,)).set_index("finding")
    assert table["pairs"].to_dict() == {"Mass": 3, "Nodule": 1}
    pairs = [compare_maps(stores[one], stores[other]).set_index("finding") for one, other in ((0, 1), (0, 2), (1, 2))]
    for name in agreement_measures((0.5,)):
        assert table.loc["Mass", name] == pytest.approx(np.mean([pair.loc["Mass", name] for pair in pairs]))
        assert table.loc["Nodule", name] == pytest.approx(pairs[0].loc["Nodule", name])


@pytest.mark.parametrize("names", [("A", "B"), ("A", "A", "B"), ("A", "B", "C", "A")])
def test_seeds_need_three_different_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in set(names):
        stored(tmp_path / name, {"a": drawn(1)})
    with pytest.raises(EvaluationError, match="three trainings or more") as caught:
        compare_seeds([MapStore.open(tmp_path / name) for name in names])
    assert caught.value.code == Code.MAPS_INVALID


def test_disagreements_of_the_cases_that_have_both(tmp_path: Path) -> None:
    stores = [stored(tmp_path / str(seed), {"a": drawn(seed), "b": drawn(seed + 9)}) for seed in range(4)]
    alone = stored(tmp_path / "alone", {"b": drawn(20), "c": drawn(21)})
    between, within = compare_maps(alone, stores[3]), compare_seeds(stores[:3])
    table = seed_cases(between, within)
    assert list(table.columns) == [
        "image", "finding", "between_rank_correlation", "within_rank_correlation", "between_iou_0.5", "within_iou_0.5",
    ]  # fmt: skip
    assert table["image"].tolist() == ["b", "b"]
    np.testing.assert_allclose(table["between_rank_correlation"], 1 - between[RANK])
    expected = 1 - within.loc[within["image"] == "b", "iou_0.5"]
    np.testing.assert_allclose(table["within_iou_0.5"], expected)
    with pytest.raises(EvaluationError, match="the same images"):
        seed_cases(between.assign(image="c"), within)
