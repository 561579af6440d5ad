"""Whose image it is by CheXpert's paths: ``train/patient00003/study1/view1_frontal.jpg`` (Irvin et al., AAAI 2019).

fields_of_paths(table["Path"])      # patient_id "patient00003", study_id "study1", view "FRONTAL"
"""

import pandas as pd

_CHEXPERT = (
    r"(?:^|[/\\])(?P<patient_id>patient\d+)[/\\](?P<study_id>study\d+)[/\\]"
    r"(?:[^/\\]*_(?P<view>frontal|lateral))?[^/\\]*$"
)


def fields_of_paths(paths: pd.Series) -> pd.DataFrame:
    """Return the fields of paths: ``patient_id``, ``study_id``, ``view`` (``FRONTAL``, ``LATERAL``); ``""`` for none.

    Args:
        paths: text, of any system; their index is kept.
    """
    fields = paths.str.extract(_CHEXPERT).fillna("").astype("str")
    return fields.assign(view=fields["view"].str.upper())
