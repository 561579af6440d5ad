"""The pictures as files: which are written, that they are whole, and that nothing of matplotlib's is left changed."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from PIL import Image

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.report.chart_png import write_plots
from tests.report.synthetic_evaluation import make_evaluation, make_sample

ALL = {
    "roc.png", "precision_recall.png", "reliability.png", "scores.png", "operating_points.png", "risk_coverage.png",
    "auroc.png", "subgroups.png", "comparison.png", "confusion.png", "cooccurrence.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots") / "new"
    before = dict(matplotlib.rcParams), dict(Gcf.figs)
    written = write_plots(evaluation, folder)
    assert (dict(matplotlib.rcParams), dict(Gcf.figs)) == before  # no setting changed, no figure of pyplot's left
    assert {path.name for path in written} == ALL
    return folder


def test_nothing_else_is_written(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_picture_is_whole_large_enough_and_not_empty(folder: Path, name: str) -> None:
    with Image.open(folder / name) as picture:
        picture.load()
        assert min(picture.size) >= 400
        assert max(picture.size) <= 2000
        grey = picture.convert("L")
        drawn = sum(grey.histogram()[:250])
        assert drawn > 0.01 * picture.size[0] * picture.size[1]
        # what touches the edge is cut off
        edges = [
            grey.crop(box)
            for box in (
                (0, 0, grey.width, 2),
                (0, grey.height - 2, grey.width, grey.height),
                (0, 0, 2, grey.height),
                (grey.width - 2, 0, grey.width, grey.height),
            )
        ]
        assert all(edge.getextrema() == (255, 255) for edge in edges)


def test_what_an_earlier_evaluation_left_goes_if_there_is_nothing_to_show(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    for name in ("comparison.png", "confusion.png", "subgroups.png", "roc.png", "mine.png"):
        (tmp_path / name).write_bytes(b"old")
    empty = pd.DataFrame()
    bare = replace(
        evaluation, operating_points=empty, subgroups=empty, comparison=None, comparison_names=None,
        risk_coverage=empty, reliability=empty, curves={},
    )  # fmt: skip
    written = {path.name for path in write_plots(bare, tmp_path)}
    assert written == {"scores.png", "operating_points.png", "auroc.png", "cooccurrence.png"}
    assert {path.name for path in tmp_path.iterdir()} == written | {"mine.png"}


@pytest.mark.parametrize("name", ["胸水", "$^$ 100 %"])
def test_names_that_the_font_lacks_or_that_look_like_a_formula(tmp_path: Path, name: str) -> None:
    # warnings are errors in tests: a missing glyph must not be one
    sample = make_sample(60, (name,))
    written = write_plots(make_evaluation(sample, comparison=False, subgroups=False), tmp_path)
    assert {path.name for path in written} >= {"roc.png", "scores.png", "auroc.png"}
