"""The page's drawings: every place computed by hand, every text escaped."""

import re

import numpy as np
import pytest
from markupsafe import Markup

from cxr_monai.report import chart_svg
from cxr_monai.report.charts import Axis, ChartPanel, Forest, ForestRow, Mark, unit_axis

NAN = float("nan")
# a panel's axes: 26 to 182 across, 130 (bottom) to 18 (top)
X, Y = unit_axis("x"), unit_axis("y")


def drawn(*marks: Mark, title: str = "Mass", y: Axis = Y) -> Markup:
    return chart_svg.panel_svg(ChartPanel(title, "0.8", X, y, marks))


def path(markup: Markup, kind: str) -> str:
    return re.findall(rf'<path class="{kind}" d="([^"]*)"', markup)[0]


def test_a_line_goes_where_its_points_are() -> None:
    markup = drawn(Mark("line", np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 0.5])))
    assert path(markup, "line first") == "M26.0 130.0L104.0 18.0L182.0 74.0"


def test_a_line_has_a_gap_where_there_is_no_value_and_stays_inside() -> None:
    markup = drawn(Mark("line", np.array([0.0, 0.25, 0.5, 2.0]), np.array([0.0, NAN, 0.5, -3.0]), tone="third"))
    assert path(markup, "line third") == "M26.0 130.0M104.0 74.0L182.0 130.0"


def test_a_band_is_closed_around_its_ends() -> None:
    ends = np.array([0.0, 1.0])
    markup = drawn(Mark("band", ends, low=np.array([0.0, 0.5]), high=np.array([0.5, 1.0]), tone="second"))
    assert path(markup, "band second") == "M26.0 74.0L182.0 18.0L182.0 74.0L26.0 130.0Z"
    assert "band" not in drawn(Mark("band", ends, low=np.full(2, NAN), high=np.full(2, NAN)))


def test_an_area_stands_on_the_axis() -> None:
    markup = drawn(Mark("area", np.array([0.0, 1.0]), np.array([0.5, 0.5]), tone="quiet"))
    assert path(markup, "band quiet") == "M26.0 74.0L182.0 74.0L182.0 130L26.0 130Z"
    assert path(markup, "line quiet") == "M26.0 74.0L182.0 74.0"


def test_points_have_error_bars_and_those_without_a_value_are_left_out() -> None:
    x, y = np.array([0.5, 0.1]), np.array([0.5, NAN])
    markup = drawn(Mark("points", x, y, np.array([0.25, 0.0]), np.array([0.75, 1.0])))
    assert re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', markup) == [("104.0", "74.0")]
    assert path(markup, "line first thin") == "M104.0 102.0V46.0"


def test_verticals_have_letters() -> None:
    markup = drawn(Mark("verticals", np.array([0.5]), tone="quiet", letters=("Y",)))
    assert path(markup, "line quiet thin") == "M104.0 18V130"
    assert '<text x="104.0" y="14" text-anchor="middle">Y</text>' in markup


def test_texts_are_escaped_and_drawings_are_not() -> None:
    markup = drawn(title='<A & "b">', y=Axis("<y>", 0, 1, ((0.5, "<t>"),)))
    assert 'aria-label="&lt;A &amp; &#34;b&#34;&gt;. 0.8"' in markup
    assert "&lt;y&gt;" in markup
    assert "&lt;t&gt;" in markup
    assert "<A" not in markup
    assert "&lt;path" not in markup


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    x = np.linspace(0, 1, 5001)
    line = path(drawn(Mark("line", x, x)), "line first")
    assert line.count("L") < 120
    assert line.startswith("M26.0 130.0L")
    assert line.endswith("L182.0 18.0")


@pytest.mark.parametrize("filled", [0, 1, 81, 100])
def test_a_hundred_dots(filled: int) -> None:
    rest, full = re.findall(r' d="([^"]*)"', chart_svg.hundred_dots(filled))
    places = re.findall(r"M(\d+) (\d+)h0", full + rest)
    assert len(places) == len(set(places)) == 100
    assert full.count("M") == filled
    assert all(int(x) % 10 == 5 and int(y) % 10 == 5 for x, y in places)


def forest(*rows: ForestRow) -> Forest:
    return Forest("f", "F", "", Axis("gap", -0.1, 0.1, ()), 0.0, rows)


def test_a_bar_stands_in_percent_of_its_cell() -> None:
    row = ForestRow("AP", 0.05, 0.0, 0.1, strong=True)
    markup = chart_svg.bar_svg(row, forest(row))
    assert path(markup, "line reference") == "M50.0 0V20"
    assert path(markup, "line first interval") == "M50.0 10H92.0"
    assert path(markup, "dot first") == "M71.0 10h0"
    assert chart_svg.percent_of(Axis("", -0.1, 0.1, ()), -0.1) == 8
    assert "quiet" in chart_svg.bar_svg(ForestRow("AP", 0.05, 0.0, 0.1), forest(row))


def test_no_value_no_bar_and_no_interval_no_line() -> None:
    assert chart_svg.bar_svg(ForestRow("AP"), forest()) == ""
    assert "interval" not in chart_svg.bar_svg(ForestRow("AP", 0.05), forest())


@pytest.mark.parametrize(
    ("kind", "tag"), [("line", "path"), ("verticals", "path"), ("points", "circle"), ("band", "rect")]
)
def test_a_legends_key(kind: str, tag: str) -> None:
    mark = Mark(kind, np.zeros(1), tone="fourth", dashed=True)  # type: ignore[arg-type]
    assert re.search(rf'<{tag} class="\w+ fourth dashed"', chart_svg.legend_key(mark))
