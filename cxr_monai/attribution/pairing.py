"""Folders of maps under one set of names: which image of one is which of another (`cxr_monai.data.matching`).

first, second = named_alike([MapStore.open("A/maps"), MapStore.open("B/maps")])
second.grid(first.images[0])
"""

from collections.abc import Sequence

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.errors import Code


def named_alike(stores: Sequence[MapStore], by_name: bool = False) -> list[MapStore]:
    """Return stores that name their images as the first one does; images that it lacks keep their names.

    Args:
        stores: of other models or methods on the same images, which may have been given by other paths.
        by_name: file names are identities, whatever their folders.

    Raises:
        ManifestError: ``images-ambiguous`` if an image of one fits several of the first, or several of one fit one.
    """
    alike = list(stores[:1])
    for store in stores[1:]:
        matches = match_images(store.images, stores[0].images, by_name=by_name)
        require_clear(matches, Code.IMAGES_AMBIGUOUS, "these maps' images", store.folder)
        alike.append(store.renamed(matches.image_of))
    return alike
