"""The default name of a bundle: one that ends in ``classification``.

MONAI Label tells the task from the name of a bundle's folder (``BundleInferTask._get_type``): whatever does not say
classification is taken for a segmentation, and its probabilities for a mask.
"""

import re

_OTHER_TASKS = ("deepedit", "deepgrow", "detection", "segmentation")  # read before classification
LONGEST_NAME = 64
"""Characters of a name."""


def default_name(title: str, separator: str) -> str:
    """Return the default name of a bundle: the words of its title, then ``classification``.

    Args:
        title: the bundle's name in its metadata; characters other than letters a-z and digits separate words.
        separator: put between the words.

    Returns:
        at most 64 characters, unless the first word is longer; words at the end are dropped.

    >>> default_name("Chest X-ray, 14 findings", "_")
    'chest_x_ray_14_findings_classification'
    """
    words = [
        word
        for word in re.findall("[a-z0-9]+", title.lower())
        if word != "classification" and not any(task in word for task in _OTHER_TASKS)
    ]
    if not words or words[0][0].isdigit():
        words.insert(0, "cxr")
    while len(separator.join([*words, "classification"])) > LONGEST_NAME and len(words) > 1:
        words.pop()
    return separator.join([*words, "classification"])


def says_classification(name: str) -> bool:
    """Return whether MONAI Label takes a folder of this name for a classification."""
    name = name.lower()
    return "classification" in name and not any(task in name for task in _OTHER_TASKS)
