"""Whose image it is by CheXpert's paths: ``train/patient00003/study1/view1_frontal.jpg`` (Irvin et al., AAAI 2019).

fields_of_paths(table["Path"])      # patient_id "patient00003", study_id "study1", view "FRONTAL"
parts_of_paths(table["Path"])       # part "train", and the rest of the path from the patient on
"""

import pandas as pd

_CHEXPERT = (
    r"(?:^|[/\\])(?P<patient_id>patient\d+)[/\\](?P<study_id>study\d+)[/\\]"
    r"(?:[^/\\]*_(?P<view>frontal|lateral))?[^/\\]*$"
)
_PARTS = (
    r"^(?P<release>.*?)[/\\]?(?:(?P<part>train|valid|val|test)[/\\])?"
    r"(?P<rest>patient\d+[/\\]study\d+(?:[/\\][^/\\]+)?)$"
)


def fields_of_paths(paths: pd.Series) -> pd.DataFrame:
    """Return the fields of paths: ``patient_id``, ``study_id``, ``view`` (``FRONTAL``, ``LATERAL``); ``""`` for none.

    Args:
        paths: text, of any system; their index is kept.
    """
    fields = paths.str.extract(_CHEXPERT).fillna("").astype("str")
    return fields.assign(view=fields["view"].str.upper())


def parts_of_paths(paths: pd.Series) -> pd.DataFrame:
    """Return the parts of paths: ``release`` (a folder's name), ``part`` (``train``, ...), and ``rest``, with ``/``.

    ``rest`` is what the releases agree on: ``patient00003/study1/view1_frontal.jpg``; ``""`` for a path that is not
    CheXpert's.

    Args:
        paths: text, of any system; their index is kept.
    """
    parts = paths.str.extract(_PARTS).fillna("").astype("str")
    return parts.assign(rest=parts["rest"].str.replace("\\", "/", regex=False))
