"""Only some views of a table: those that a setting names, or each study's best frontal image.

    manifest = of_views(manifest, "PA,AP")            # also 'best-frontal'; the log says what is left out
    is_kept, sentence = select_views(manifest.table, "best-frontal")

The best frontal image of a study is PA before AP before AP supine, and the first by name among equals. Images without a
study id are a study each; studies without an image that is known to be frontal are left out.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.views import FRONTAL, parse_views
from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import out_of

BEST_FRONTAL = "best-frontal"

logger = logging.getLogger(__name__)


def of_views(manifest: Manifest, views: str | Iterable[str] | None) -> Manifest:
    """Return the images of some views; all where None.

    Args:
        manifest: the table.
        views: see `select_views`.

    Raises:
        SettingError: as `select_views`.
    """
    if views is None:
        return manifest
    is_kept, sentence = select_views(manifest.table, views)
    logger.info("%s", sentence)
    return replace(manifest, table=manifest.table[is_kept].reset_index(drop=True), views=views_in_words(views))


def views_in_words(views: str | Iterable[str]) -> str:
    """Return what a setting chooses, as results and metadata name it.

    >>> views_in_words("pa,AP supine"), views_in_words("best-frontal")
    ('PA, AP supine', 'best-frontal')
    """
    return BEST_FRONTAL if views == BEST_FRONTAL else ", ".join(parse_views(views))


def select_views(table: pd.DataFrame, views: str | Iterable[str]) -> tuple[np.ndarray, str]:
    """Return which images are of some views, bool ``[N]``, and a sentence with the counts of what is left out.

    Args:
        table: a manifest's, or a sample's: ``image, patient_id, study_id, view`` and perhaps ``source``.
        views: names of views, or one text with commas between; or ``best-frontal``, one image a study.

    Raises:
        SettingError: ``setting-invalid`` for what is no view, or where no image is left, with the views that there are.
    """
    names = views_in_words(views)
    view = table["view"].reset_index(drop=True)
    is_kept = _best_frontal(table) if names == BEST_FRONTAL else view.isin(names.split(", ")).to_numpy()
    counts = view[~is_kept].replace("", "of unknown view").value_counts()
    others = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    if not is_kept.any():
        raise SettingError(
            Code.SETTING_INVALID,
            f"views {names}: no image is of them; there are {others or 'no images'}.",
            fix="Choose views that the manifest has ('cxr-monai check' counts them), or leave the setting out.",
        )
    chosen = "the best frontal image of each study" if names == BEST_FRONTAL else f"the views {names}"
    left_out = f"; left out are {others}" if others else ""
    return is_kept, f"Only {chosen}: {out_of(int(is_kept.sum()), len(table), 'image')}{left_out}."


def _best_frontal(table: pd.DataFrame) -> np.ndarray:
    rank = table["view"].map({view: place for place, view in enumerate(FRONTAL)}).to_numpy(dtype=float)
    rows = pd.DataFrame({
        "patient": patient_names(table).to_numpy(),
        # an image without a study id is a study of its own, which no id can be: it has a line break
        "study": table["study_id"].where(table["study_id"] != "", "\n" + table["image"]).to_numpy(),
        "rank": rank,
        "image": table["image"].to_numpy(),
        "place": np.arange(len(table)),
    })  # fmt: skip
    best = rows.dropna(subset="rank").sort_values(["rank", "image"], kind="stable")
    best = best.drop_duplicates(["patient", "study"])
    return np.isin(np.arange(len(table)), best["place"])
