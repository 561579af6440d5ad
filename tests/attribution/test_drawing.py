"""Pictures of maps: what lies where, what is written, that it is legible, and the same file for the same input."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from cxr_monai.attribution.drawing import (
    PICTURE_DPI,
    MapPanel,
    compare_figure,
    draw_overlay,
    map_colours,
    save_picture,
    sheet_figure,
)
from cxr_monai.attribution.regions import Threshold, above_threshold
from cxr_monai.errors import Code, SettingError
from cxr_monai.labels import NIH14

GREY = np.full((40, 80), 0.5, np.float32)


def heat_at(row: int, column: int, shape: tuple[int, int] = (20, 40)) -> np.ndarray:
    heat = np.zeros(shape, np.float32)
    heat[row, column] = 3
    return heat


def panel(finding: str = "Effusion", **changes: object) -> MapPanel:
    heat = np.random.default_rng(len(finding)).random((8, 8), dtype=np.float32)
    made = MapPanel(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64), heat, finding, 0.714, 0.35)
    return replace(made, **changes)


def drawn(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def overlay(made: MapPanel, **options: object) -> Axes:
    figure = Figure(figsize=(4, 4), dpi=100)
    axes = figure.add_axes((0.05, 0.05, 0.9, 0.8))
    draw_overlay(axes, made, **options)  # type: ignore[arg-type]
    return axes


def words_of(figure: Figure) -> list[Text]:
    ticks = [tick for axes in figure.axes if axes.axison for tick in (*axes.get_yticklabels(), axes.yaxis.label)]
    return [text for text in (*figure.texts, *(axes.title for axes in figure.axes), *ticks) if text.get_text()]


def written(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in words_of(figure))


def contour_points(axes: Axes) -> list[np.ndarray]:
    sets = [made for made in axes.collections if isinstance(made, ContourSet)]
    return [points for made in sets for path in made.get_paths() for points in path.to_polygons(closed_only=False)]


@pytest.mark.parametrize(("row", "column"), [(0, 0), (5, 30), (19, 0), (10, 39)])
def test_a_hot_point_is_seen_where_it_is(row: int, column: int) -> None:
    axes = overlay(MapPanel(GREY, heat_at(row, column)), contours=False, boxes=False)
    picture = drawn(axes.figure)  # type: ignore[arg-type]
    yellow = picture[..., 0] - picture[..., 2]
    y, x = np.argwhere(yellow > 0.9 * yellow.max()).mean(0)
    found = axes.transData.inverted().transform((x + 0.5, picture.shape[0] - y - 0.5))
    # a point of the map is two pixels wide, and drawn smoothly up to the image's border
    assert found == pytest.approx((2 * column + 1, 2 * row + 1), abs=1.0)


def test_a_map_says_where_whatever_its_unit_and_one_of_zeros_says_nothing() -> None:
    once, often = (drawn(overlay(panel(heat=scale * panel().heat)).figure) for scale in (1, 1000))  # type: ignore[arg-type,operator]
    np.testing.assert_allclose(once, often, atol=1)
    none, zeros = (drawn(overlay(panel(heat=heat)).figure) for heat in (None, np.zeros((8, 8))))  # type: ignore[arg-type]
    np.testing.assert_array_equal(none, zeros)
    assert np.ptp(none, axis=2).max() == 0  # a radiograph without colours


def test_colours_grow_lighter_on_a_lung_and_more_opaque() -> None:
    made = map_colours(np.linspace(0, 1, 101))
    assert made[0, 3] == 0
    assert (np.diff(made[:, 3]) > 0).all()
    for lung in (0.05, 0.2, 0.35):
        mixed = made[:, :3] * made[:, 3:] + lung * (1 - made[:, 3:])
        lightness = mixed @ [0.299, 0.587, 0.114]
        assert (np.diff(lightness) > -1e-3).all()
        assert lightness[-1] > lung + 0.3


@pytest.mark.parametrize("threshold", [Threshold(0.5), Threshold(1.0), Threshold(0.3, "area"), Threshold(1.0, "area")])
@pytest.mark.parametrize("kind", ["random", "plateau", "border"])
def test_the_contour_goes_around_the_strongest_pixels(threshold: Threshold, kind: str) -> None:
    heat = {
        "random": np.random.default_rng(3).random((10, 20), dtype=np.float32),
        "plateau": np.ones((10, 20), np.float32),
        "border": np.outer(np.ones(10), np.linspace(0, 1, 20)).astype(np.float32),
    }[kind]
    axes = overlay(MapPanel(GREY, heat), threshold=threshold, boxes=False)
    lines = contour_points(axes)
    assert lines
    assert all(np.allclose(line[0], line[-1]) for line in lines)  # closed, at the image's border as well
    points = np.concatenate(lines)
    assert (points >= 0).all()
    assert (points <= [80, 40]).all()
    centres = np.stack(np.meshgrid((np.arange(20) + 0.5) * 4, (np.arange(10) + 0.5) * 4), -1).reshape(-1, 2)
    inside = np.zeros(200, dtype=int)
    for line in lines:
        inside += matplotlib.path.Path(line).contains_points(centres)
    np.testing.assert_array_equal(inside % 2 == 1, above_threshold(heat, threshold).ravel())


def test_boxes_of_parts_and_of_radiologists_lie_in_pixels_of_the_image() -> None:
    heat = heat_at(2, 30)
    heat[2:5, 30:34] = 3
    made = MapPanel(GREY, heat, truth=[(10, 20, 30, 8)])
    axes = overlay(made)
    part, truth = (patch.get_bbox().bounds for patch in axes.patches)  # type: ignore[attr-defined]
    assert part == (60, 4, 8, 6)
    assert truth == (10, 20, 30, 8)
    assert not overlay(replace(made, truth=()), boxes=False).patches
    assert not contour_points(overlay(made, contours=False))
    assert contour_points(overlay(made))


def test_a_share_of_the_area_below_one_pixel_draws_no_line() -> None:
    axes = overlay(MapPanel(GREY, heat_at(3, 3)), threshold=Threshold(0.0001, "area"))
    assert not contour_points(axes)
    assert not axes.patches


def test_pixels_that_are_not_square_keep_their_shape() -> None:
    assert MapPanel(GREY).tall == 0.5
    assert MapPanel(GREY, spacing=(0.4, 0.1)).tall == 2
    axes = overlay(MapPanel(GREY, spacing=(0.4, 0.1)))
    drawn(axes.figure)  # type: ignore[arg-type]
    shape = axes.get_window_extent()
    assert shape.height / shape.width == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["Effusion", "0.71, reported from 0.35"]),
        ({"operating_point": None}, ["Effusion", "0.71, no operating point"]),
        ({"operating_point": 0.0123}, ["0.714, reported from 0.012"]),
        ({"title": "cam, $a_b$"}, ["cam, $a_b$", "Effusion"]),
    ],
)
def test_finding_probability_and_operating_point_are_written(changes: dict, words: list[str]) -> None:
    figure = compare_figure([[panel(**changes)]])
    assert [line for line in words if line not in written(figure)] == []
    assert not any(text.get_parse_math() for text in words_of(figure))  # a name may hold '$'


def test_what_is_not_known_is_not_written() -> None:
    text = written(compare_figure([[panel(probability=None)]]))
    assert "reported" not in text
    assert "nan" not in text.lower()
    assert "None" not in text


@pytest.mark.parametrize(
    ("threshold", "told"), [(Threshold(0.8), "at least 0.8 of the maximum"), (Threshold(0.1, "area"), "strongest 10 %")]
)
def test_the_legend_says_what_is_drawn_and_no_more(threshold: Threshold, told: str) -> None:
    text = written(compare_figure([[panel(truth=[(1, 1, 9, 9)])]], threshold=threshold))
    assert told in text
    assert "annotated box" in text
    assert "connected part" in text
    text = written(compare_figure([[panel()]], threshold=threshold, contours=False, boxes=False))
    assert told not in text
    assert "annotated" not in text


def overlaps(figure: Figure) -> Iterator[str]:
    """Yield words that lie on other words or on a picture, or reach out of the figure."""
    figure.set_dpi(PICTURE_DPI)  # letters are as wide as whole dots: fewer dots, wider letters
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        axes.apply_aspect()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in words_of(figure)]
    pictures = [axes.get_window_extent(renderer) for axes in figure.axes]
    for text, box in boxes:
        if not (figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1):
            yield f"{text!r} reaches out"
        if box.y1 > figure.bbox.y1 + 1:
            yield f"{text!r} reaches out above"
    for (text, box), (other, second) in combinations(boxes, 2):
        if common(box, second) > 0.5:
            yield f"{text!r} on {other!r}"
    for text, box in boxes:
        if any(common(box, picture) > 0.5 for picture in pictures):
            yield f"{text!r} on a picture"


def common(first: Bbox, second: Bbox) -> float:
    both = Bbox.intersection(first, second)
    return 0.0 if both is None else both.width * both.height


LONG = "Pleural_Thickening_of_the_whole_left_hemithorax_with_calcification_and_scars"


@pytest.mark.parametrize("finding", ["Pleural_Thickening", LONG])
@pytest.mark.parametrize("across", [1, 4])
def test_words_of_a_comparison_never_overlap(finding: str, across: int) -> None:
    row = [panel(finding, title=f"model {number}, gradcam++, {LONG}", truth=[(0, 0, 9, 9)]) for number in range(across)]
    figure = compare_figure([row, row[:1]], heading=f"{LONG} {LONG}", note="How it was made. " * 20)
    assert list(overlaps(figure)) == []


@pytest.mark.parametrize("findings", [NIH14[:3], NIH14, [*NIH14, LONG]])
@pytest.mark.parametrize("heading", ["", "A model"])
def test_words_of_a_sheet_never_overlap(findings: list[str], heading: str) -> None:
    small = panel(pixels=np.eye(32, dtype=np.float32))
    rows = {"Normal": [replace(small, finding=name) for name in ("Pleural_Thickening", LONG, "Mass", "Edema")]}
    rows |= {name: [replace(small, finding=name)] * 4 for name in findings}
    figure = sheet_figure(rows, heading=heading, note="How these were chosen. " * 9)
    assert list(overlaps(figure)) == []
    wide, tall = figure.get_size_inches()
    assert wide < 7.5
    assert tall < 11  # a page of A4 or letter


def test_a_sheet_has_a_row_for_each_finding_with_what_its_panels_say() -> None:
    rows = {
        "Normal": [panel("Hernia", probability=0.02), panel(heat=None, finding="", probability=None)],
        "Effusion": [panel(probability=0.9), panel(probability=0.8), panel(probability=0.7), panel(probability=0.6)],
        "Mass": [],
    }
    figure = sheet_figure(rows)
    text = written(figure)
    assert "Effusion, reported from 0.35" in text
    assert "Hernia\n0.02" in text
    assert text.count("Effusion") == 1  # in the heading alone
    assert "no example" in text
    assert len(figure.axes) == 6 + 1  # and the colour bar
    tops = [axes.get_position().y1 for axes in figure.axes[:6]]
    assert tops[0] == tops[1] > tops[2] == tops[5]


def test_more_than_eight_rows_stand_in_two_columns_side_by_side() -> None:
    rows = {name: [panel(name)] for name in NIH14[:9]}
    places = [axes.get_position() for axes in sheet_figure(rows).axes[:9]]
    assert [place.x0 > 0.4 for place in places] == [False] * 5 + [True] * 4
    assert places[0].y1 == places[5].y1
    assert places[4].y1 < places[3].y1


def test_every_row_of_a_comparison_has_its_panels_side_by_side() -> None:
    figure = compare_figure([[panel(heat=None), panel(), panel()], [panel(), panel()]])
    places = [axes.get_position() for axes in figure.axes[:5]]
    assert places[0].y0 == places[2].y0 > places[3].y1
    lefts = [round(float(place.x0), 6) for place in places]
    assert lefts[0] == lefts[3] < lefts[1] == lefts[4] < lefts[2]
    assert figure.axes[5].get_ylabel() == "share of the map's maximum"


def test_more_rows_than_a_picture_can_hold_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(SettingError, match="500 rows") as caught:
        compare_figure([[panel()]] * 500)
    assert caught.value.code == Code.SETTING_INVALID


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        save_picture(compare_figure([[panel(), panel("Mass")]]), tmp_path / f"{name}{suffix}")
    content = (tmp_path / f"one{suffix}").read_bytes()
    assert content == (tmp_path / f"two{suffix}").read_bytes()
    assert b"CreationDate" not in content


def test_a_png_has_300_dots_an_inch(tmp_path: Path) -> None:
    figure = compare_figure([[panel()]])
    save_picture(figure, tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as image:
        assert image.size == pytest.approx([300 * inches for inches in figure.get_size_inches()], abs=1)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_text_of_a_pdf_is_text(tmp_path: Path) -> None:
    save_picture(compare_figure([[panel("Mass")]]), tmp_path / "one.PDF")
    content = (tmp_path / "one.PDF").read_bytes()
    streams = [part.split(b"endstream")[0] for part in re.split(rb"stream\r?\n", content)]
    pages = []
    for stream in streams:
        try:
            pages.append(zlib.decompress(stream))
        except zlib.error:
            continue
    letters = b"".join(re.findall(rb"\((.*?)\)", b"".join(page for page in pages if b" Tf" in page))).replace(
        b"\0", b""
    )
    assert b"/FontFile2" in content  # letters of a font, which programs can edit, and no drawings of letters
    assert b"Mass" in letters
    assert b"reported" in letters


@pytest.mark.parametrize("name", ["one.jpg", "one", "one.svg"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        save_picture(compare_figure([[panel()]]), tmp_path / name)
    assert ".png or .pdf" in str(caught.value)
    assert not (tmp_path / name).exists()


def test_large_radiographs_are_drawn_in_the_dots_that_are_printed() -> None:
    pixels = np.zeros((2000, 3000), np.float32)
    pixels[1000:, :] = 1
    axes = overlay(MapPanel(pixels))
    shown = axes.images[0].get_array()
    assert shown is not None
    assert 300 * 3.6 <= shown.shape[0] < 2000 or shown.shape == (2000, 3000)
    assert axes.images[0].get_extent() == [0, 3000, 2000, 0]
    small = compare_figure([[MapPanel(pixels)]], inches=1.0).axes[0].images[0].get_array()
    assert small is not None
    assert small.shape == (334, 500)  # reduced by six: no fewer than 300 dots


def test_no_state_of_matplotlib_is_left() -> None:
    before = dict(matplotlib.rcParams)
    drawn(sheet_figure({"Mass": [panel("Mass")]}))
    assert dict(matplotlib.rcParams) == before
