"""Synthetic chest radiographs with known lesions: the demo's data, the tests' data, the truth for heat maps.

`make_phantoms` writes a folder in NIH ChestX-ray14's layout; `draw_phantom` draws one picture, its masks and its boxes;
`contact_sheet` shows one row a finding. A picture is built in the order in which a real one comes about:

    cohort         who is there: patients, studies, ages, views, findings that co-occur and last
    anatomy        the chest, drawn from curves in the patient's own coordinates
    child_anatomy  its proportions at a child's age, where asked for
    lateral        the same chest from its side, where asked for
    lesions        each finding, drawn where and as large as it occurs
    film           exposure, scatter, noise, collimation, side marker
    hospital       what differs between two of them: prevalences, the look of films, a marker that goes with a finding
"""

from cxr_monai.data.phantom.cohort import PREVALENCE, Study, held_out_patients, make_cohort
from cxr_monai.data.phantom.draw import Phantom, draw_phantom, tight_box
from cxr_monai.data.phantom.film_mix import FilmMix
from cxr_monai.data.phantom.hospital import Hospital, Look
from cxr_monai.data.phantom.sheet import contact_sheet
from cxr_monai.data.phantom.write import PhantomSet, make_phantoms

__all__ = [
    "FilmMix",
    "Hospital",
    "Look",
    "PREVALENCE",
    "Phantom",
    "PhantomSet",
    "Study",
    "contact_sheet",
    "draw_phantom",
    "make_cohort",
    "make_phantoms",
    "held_out_patients",
    "tight_box",
]
