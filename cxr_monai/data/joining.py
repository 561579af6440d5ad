"""Join of another table (predictions, boxes, maps) to a manifest's by image, and the images without a partner.

    joined = join_on_image(manifest.table, predictions, by_name=manifest.by_name)
    joined.table                                    # the columns of both
    joined.notes("predicted images", "the manifest")    # "2 of 10 predicted images are not in the manifest ..."

Which image is which is decided in `cxr_monai.data.matching` alone.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_monai.data.matching import Matches, examples, match_images, require_clear
from cxr_monai.errors import Code, ManifestError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Joined:
    """Two tables side by side.

    Attributes:
        table: the columns of both.
        matches: which image of the right table is which of the left one.
    """

    table: pd.DataFrame
    matches: Matches

    def notes(self, subject: str, target: str) -> list[str]:
        """Return a sentence on the images of the right table that fit none of the left one, or nothing.

        Examples go to the log: sentences end up in pages that are shared, so they name no image.

        Args:
            subject: the right table's images, such as ``"predicted images"``.
            target: the left table, such as ``"the manifest"``.
        """
        lost, near = self.matches.lost, self.matches.near_misses()
        if not lost:
            return []
        logger.warning("not in %s: %s%s", target, examples(lost), f"; {near}" if near else "")
        return [f"{len(lost):,} of {len(self.matches.names):,} {subject} are not in {target} and are left out."]

    def unnamed_notes(self, subject: str, lack: str) -> list[str]:
        """Return a sentence on the images of the left table that the right one lacks, or nothing.

        Args:
            subject: the left table's images, such as ``"images of the manifest"``.
            lack: what they lack, such as ``"a prediction"``.
        """
        return without(self.matches.unnamed, len(self.matches.images), subject, lack)


def without(images: Sequence[str], total: int, subject: str, lack: str) -> list[str]:
    """Return a sentence on the images that have no partner in another table, or nothing; examples go to the log.

    Args:
        images: those without a partner.
        total: how many images the table has.
        subject: the images in words, such as ``"predicted images"``.
        lack: what they lack, such as ``"prediction"``.
    """
    if not images:
        return []
    logger.warning("without %s: %s", lack, examples(images))
    return [f"{len(images):,} of {total:,} {subject} have no {lack} and are left out."]


def join_on_image(
    left: pd.DataFrame,
    right: pd.DataFrame,
    *,
    by_name: bool = False,
    path: str | Path | None = None,
    root: Path | Mapping[str, Path] | None = None,
) -> Joined:
    """Join another table to a manifest's on ``image``, by the rule of `cxr_monai.data.matching`.

    Args:
        left: a table with ``image``; its ``image`` is kept.
        right: a table with ``image``, any number of rows an image (boxes).
        by_name: file names are identities; as in a manifest's ``by_name``.
        path: the right table's file, for messages.
        root: the absolute folder that the images of ``left`` are relative to, or those of a manifest's ``roots``; an
            absolute path inside it in ``right`` means exactly that file.

    Returns:
        The columns of both (where a name is in both, the right one gets ``_right``), and the matches.

    Raises:
        ManifestError: ``manifest-invalid`` if nothing fits; ``images-ambiguous`` if a row fits several images, or
            several images of ``right`` fit one.

    >>> left = pd.DataFrame({"image": ["x/a.png", "x/b.png"], "sex": ["F", "M"]})
    >>> right = pd.DataFrame({"image": ["b.png"], "Mass": [0.7]})
    >>> join_on_image(left, right).table.values.tolist()
    [['x/b.png', 'M', 0.7]]
    """
    matches = match_images(
        right["image"].astype(str), left["image"].astype(str), by_name=by_name, spare_names=True, root=root
    )
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the images of one table", path)
    image_of = matches.image_of
    if not image_of:
        one, other = (f"{len(names):,} such as {names[0]!r}" if names else "none" for names in (
            matches.images, matches.names
        ))  # fmt: skip
        near = matches.near_misses()
        raise ManifestError(
            Code.MANIFEST_INVALID,
            f"the two tables have no image in common ({one}, against {other})" + (f": {near}" if near else "") + ".",
            fix="Give both tables the same 'image' paths"
            + (", or say --match-names if a file name alone tells who it is." if near else "."),
            where=path,
        )
    matched = right.assign(image=right["image"].astype(str).map(image_of))
    matched = matched[matched["image"].notna()]
    return Joined(left.merge(matched, on="image", suffixes=("", "_right")), matches)
