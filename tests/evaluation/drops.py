"""What a network loses between two samples, as the matrix of an external validation computes it."""

import pandas as pd

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.transfer import AurocDraws, drop_rows


def drop_between(home: Sample, there: Sample, intervals: Intervals) -> pd.DataFrame:
    """Return the drops of two samples that are drawn independently, one row a finding, then the mean."""
    drawn = [AurocDraws.of(sample, intervals) for sample in (home, there)]
    return pd.DataFrame(drop_rows(drawn[0], drawn[1], intervals.level))
