"""Sentences on the origin of labels and images: NIH's own, synthetic, or a table of unknown origin.

A manifest says it by its label version, and by ``source`` for each image; a bundle by ``trained_on`` in its metadata.
No sentence presumes a data set: NIH's layout is used by many tables that are not NIH's, the phantoms' first of all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cxr_monai.errors import BundleError, Code
from cxr_monai.plurals import be, counted

PHANTOM_LABELS, PHANTOM_SOURCE = "phantom-v1", "phantom"
"""Label version and source of what ``cxr-monai phantom`` draws."""
NIH_LABELS = {"nih-v2020": "in the revision of 2020", "nih-2017": "as first published in 2017"}
"""Label versions of NIH's own tables. A table in NIH's form under another name (``nih-other``) may be anyone's."""

READ_BY_RADIOLOGISTS = {
    "rsna-2018": "radiologists read each film for opacities that are suspicious for pneumonia (Shih et al. 2019, "
    "doi:10.1148/ryai.2019180041)",
    "google-2020": "three radiologists read each film, and discussed or voted where they differed (Majkowska et al. "
    "2020, doi:10.1148/radiol.2019191293)",
    "google-14-2021": "three radiologists read each film, and their majority counts (Nabulsi et al. 2021, "
    "doi:10.1038/s41598-021-93967-2)",
    "siim-2019": "radiologists outlined each pneumothorax (Filice et al. 2020, doi:10.1007/s10278-019-00299-9)",
    "vindr-any": "radiologists read each film, and one who sees a finding is enough (Nguyen et al. 2022, "
    "doi:10.1038/s41597-022-01498-w)",
    "vindr-majority": "radiologists read each film, and their majority counts (Nguyen et al. 2022, "
    "doi:10.1038/s41597-022-01498-w)",
    "vindr-all": "radiologists read each film, and a finding counts where all of them see it (Nguyen et al. 2022, "
    "doi:10.1038/s41597-022-01498-w)",
    "chexpert-v1.0-radiologists": "radiologists read each study, and their majority counts (Irvin et al. 2019)",
}
"""How radiologists made the labels of a version, as a clause; versions are those of `cxr_monai.data.sources`."""
MINED_FROM_REPORTS = {
    "chexpert-v1.0": "CheXpert's labeller, a program, read each written report (Irvin et al. 2019)",
    "mimic-chexpert": "CheXpert's labeller, a program, read each written report (Johnson et al. 2019, "
    "doi:10.13026/jsn5-t979)",
    "mimic-negbio": "NegBio, a program, read each written report (Johnson et al. 2019, doi:10.13026/jsn5-t979)",
    "padchest": "physicians read a quarter of the written reports, and a network that learned from them the others "
    "(Bustos et al. 2020, doi:10.1016/j.media.2020.101797)",
    "padchest-physician": "physicians read the written reports (Bustos et al. 2020, doi:10.1016/j.media.2020.101797)",
    "openi-mesh": "indexers read the written reports (Demner-Fushman et al. 2016, doi:10.1093/jamia/ocv080)",
}
"""How written reports became the labels of a version, as a clause."""

SYNTHETIC = (
    "These images are synthetic: a program drew them (cxr-monai phantom), and they show nobody. The figures say that "
    "the software works, and nothing of how well a model reads radiographs of people."
)
"""The sentence that is shown with all figures of synthetic images."""
ONLY_TRIED = "To try the software out: it has learned from drawn images. Not a medical device; not for diagnosis."
"""The intended use of a network that was trained on phantoms alone."""


def is_nih(label_version: str) -> bool:
    """Return whether labels are those of one of NIH's own tables.

    >>> is_nih("nih-v2020"), is_nih("local")
    (True, False)
    """
    return label_version in NIH_LABELS


def is_synthetic(label_version: str) -> bool:
    """Return whether labels are those of drawn images."""
    return all(version.startswith("phantom-") for version in label_version.split(", "))


def is_phantom(source: str) -> bool:
    """Return whether a manifest's ``source`` says that an image was drawn: ``phantom``, or ``phantom <hospital>``.

    >>> is_phantom("phantom"), is_phantom("phantom north"), is_phantom("nih")
    (True, True, False)
    """
    return source == PHANTOM_SOURCE or source.startswith(f"{PHANTOM_SOURCE} ")


def official_split(label_version: str) -> str:
    """Return whose split ``--scheme official`` is: it takes the two lists that lie with the images."""
    if is_nih(label_version):
        return "NIH's official split"
    if is_synthetic(label_version):
        return "the split that was drawn with the phantoms"
    return "the split of two lists that lay with the images"


def labels_of(label_version: str) -> list[str]:
    """Return sentences on the origin of labels: what agreement with them means, and what it does not."""
    if is_nih(label_version):
        return [
            "'Has the label' is not 'has the disease'. These labels are NIH ChestX-ray14's, "
            f"{NIH_LABELS[label_version]}: a program read each radiograph's written report and noted which of 14 "
            "findings it mentions. No radiologist looked at the image for them.",
            "Their authors expect more than 90 of 100 to match the reports (Wang et al. 2017, "
            "doi:10.1109/CVPR.2017.369). A radiologist who compared samples with the images found clearly poorer "
            "agreement for several findings (Oakden-Rayner 2020, doi:10.1016/j.acra.2019.10.006). A report can also "
            "leave out what is old or well known.",
            "So a 'miss' here can be a wrong label, and so can a 'false report'. The figures say how well the model "
            "agrees with these labels, not how well it reads.",
        ]
    if is_synthetic(label_version):
        return [
            "These are phantoms: a program drew each image with its findings (cxr-monai phantom), so every label is "
            "right, and nobody is shown.",
            "A drawn finding looks alike each time and is far easier to learn than a disease. The figures say that the "
            "software works, and nothing of how well a model reads radiographs of people.",
        ]
    if label_version in MINED_FROM_REPORTS:
        return [
            "'Has the label' is not 'has the disease'. The labels come from written reports: "
            f"{MINED_FROM_REPORTS[label_version]}. Nobody looked at the image for them, and a report can leave out "
            "what is old or well known.",
            "So a 'miss' here can be a wrong label, and so can a 'false report'. The figures say how well the model "
            "agrees with these labels, not how well it reads.",
        ]
    if label_version in READ_BY_RADIOLOGISTS:
        return [
            "'Has the label' is what was seen on the film, not 'has the disease': "
            f"{READ_BY_RADIOLOGISTS[label_version]}.",
            "Radiologists differ among themselves, for some findings widely. The figures say how well the model agrees "
            "with these readers.",
        ]
    return [
        "'Has the label' is not 'has the disease'. The labels are those of the table that the model was judged by "
        f"(label version '{label_version}'). This report can't tell who made them, or from what: a radiologist's "
        "reading of the image, a written report, or a diagnosis made later. Ask before you rely on it.",
    ]


def training_origin(
    label_version: str, images: int, phantoms: int, public_sources: Iterable[str] = (), views: str = ""
) -> dict[str, Any]:
    """Return ``trained_on`` of a bundle's metadata: no names of people or hospitals, no paths.

    Args:
        label_version: of the manifest.
        images: number of images of training and validation.
        phantoms: how many of them are synthetic.
        public_sources: the public data sets among the images' sources; they tell what the network may not be called
            externally tested on.
        views: what was chosen of the images' views; empty for all.
    """
    record: dict[str, Any] = {"label_version": label_version, "images": images, "synthetic_images": phantoms}
    sources = sorted(set(public_sources))
    return record | ({"sources": sources} if sources else {}) | ({"views": views} if views else {})


def sources_trained_on(trained_on: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the public data sets that a bundle and its parents learned from; empty where nothing records them.

    Bundles of before there was such a record tell it by their label version, if it is NIH's.

    Args:
        trained_on: of the bundle's metadata, see `training_origin`.

    Raises:
        BundleError: as `learned_from`.

    >>> sources_trained_on({"label_version": "nih-v2020", "images": 8, "synthetic_images": 0})
    ('nih',)
    """
    if not trained_on:
        return ()
    record = _checked(trained_on)
    sources = [str(source) for source in record.get("sources", ())]
    if not sources and is_nih(str(record["label_version"])):
        sources = ["nih"]
    return tuple(dict.fromkeys([*sources, *sources_trained_on(record.get("parent"))]))


def is_drawn(trained_on: Mapping[str, Any] | None) -> bool:
    """Return whether any image of ``trained_on``, or of what its parent was trained on, is a phantom."""
    return trained_on is not None and (_drawn(trained_on) > 0 or is_drawn(trained_on.get("parent")))


def learned_from(trained_on: Mapping[str, Any] | None) -> str:
    """Return the sentence that must stand beside a bundle that has learned from phantoms; empty for any other.

    Raises:
        BundleError: ``bundle-invalid`` for metadata that a training does not write.
    """
    return f"Trained on {source_of(trained_on)}." if trained_on and is_drawn(_checked(trained_on)) else ""


def _checked(trained_on: Any) -> Mapping[str, Any]:
    """Return ``trained_on`` of a bundle's metadata if it has the form that `training_origin` makes."""
    if isinstance(trained_on, Mapping) and isinstance(trained_on.get("label_version"), str):
        counts = [trained_on.get("images"), trained_on.get("synthetic_images", 0)]
        sources = trained_on.get("sources", [])
        named = isinstance(sources, list) and all(isinstance(source, str) for source in sources)
        named = named and isinstance(trained_on.get("views", ""), str)
        if named and all(type(count) is int and count >= 0 for count in counts):
            if trained_on.get("parent"):
                _checked(trained_on["parent"])
            return trained_on
    raise BundleError(
        Code.BUNDLE_INVALID,
        "'trained_on' of its metadata is not what a training writes.",
        fix="It has label_version (text), images and synthetic_images (numbers), sources (a list of names), views "
        "(text), and its parent's; or leave it out.",
    )


def _drawn(trained_on: Mapping[str, Any]) -> int:
    return int(trained_on.get("synthetic_images") or 0)


def source_of(trained_on: Mapping[str, Any]) -> str:
    """Return the metadata's ``data_source`` for ``trained_on``: what the network has seen.

    Raises:
        BundleError: as `learned_from`.
    """
    _checked(trained_on)
    version, images, phantoms = str(trained_on["label_version"]), int(trained_on["images"]), _drawn(trained_on)
    if images and phantoms >= images:
        text = "synthetic images, drawn by a program (cxr-monai phantom); no patient is among them"
    elif is_nih(version):
        text = "NIH ChestX-ray14 (Wang et al., CVPR 2017, doi 10.1109/CVPR.2017.369)"
    else:
        text = f"a table of images with labels of version '{version}'; whose images they are is not recorded"
    if 0 < phantoms < images:
        text += (
            f"; {phantoms:,} of the {counted(images, 'image')} {be(phantoms)} synthetic, "
            "drawn by a program (cxr-monai phantom)"
        )
    if views := trained_on.get("views"):
        text += f"; of their views only {views}"
    parent = trained_on.get("parent")
    return f"{text}; its parent was trained on {source_of(parent)}" if parent else text


def labelled_by(trained_on: Mapping[str, Any]) -> str:
    """Return how the labels of ``trained_on`` came about, as a phrase."""
    version = str(trained_on["label_version"])
    if is_synthetic(version):
        return "labels were drawn with the images and are exactly known"
    if is_nih(version):
        return f"labels are NIH's, mined from written reports by a program ({NIH_LABELS[version]})"
    if version in READ_BY_RADIOLOGISTS or version in MINED_FROM_REPORTS:
        return f"labels are of version '{version}': {(READ_BY_RADIOLOGISTS | MINED_FROM_REPORTS)[version]}"
    return f"labels are of version '{version}'; who made them, and from what, is not recorded"
