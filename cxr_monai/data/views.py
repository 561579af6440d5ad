"""The projections of a chest radiograph, as a manifest's column ``view`` names them.

``PA``, ``AP``, ``AP supine`` (lying, the beam horizontal in PadChest's words), ``LATERAL``; anything else is unknown,
an empty cell, or a word of the hospital's own in capitals.
"""

from collections.abc import Iterable

from cxr_monai.errors import Code, SettingError

PA, AP, AP_SUPINE, LATERAL = "PA", "AP", "AP supine", "LATERAL"
VIEWS = (PA, AP, AP_SUPINE, LATERAL)
FRONTAL = (PA, AP, AP_SUPINE)
"""The better one first: a standing patient, the beam from behind, shows the heart least enlarged."""

# DICOM's codes for the two lateral projections (PS3.3 C.8.1.1 View Position: LL left lateral, RL right lateral)
_SPELLINGS = {"LL": LATERAL, "RL": LATERAL, "LAT": LATERAL, "AP SUPINE": AP_SUPINE, "AP_SUPINE": AP_SUPINE}


def view_name(view: str) -> str:
    """Return a view as manifests spell it.

    >>> view_name("ll"), view_name(" ap supine "), view_name("pa"), view_name("Oblique")
    ('LATERAL', 'AP supine', 'PA', 'OBLIQUE')
    """
    upper = view.strip().upper()
    return _SPELLINGS.get(upper, upper)


def known_view(view: str) -> str:
    """Return a view as manifests spell it, ``""`` for what is none of `VIEWS`.

    >>> known_view("RL"), known_view("Frontal")
    ('LATERAL', '')
    """
    name = view_name(view)
    return name if name in VIEWS else ""


def parse_views(views: str | Iterable[str]) -> tuple[str, ...]:
    """Return the views that a setting names.

    Args:
        views: names, or one string with commas between (``--views PA,AP``).

    Raises:
        SettingError: ``setting-invalid`` for no name, one that is no view, or one that stands twice.

    >>> parse_views("pa, AP supine")
    ('PA', 'AP supine')
    """
    names = [view_name(view) for view in (views.split(",") if isinstance(views, str) else views)]
    wrong = [name for name in names if name not in VIEWS or names.count(name) > 1]
    if wrong or not names:
        raise SettingError(
            Code.SETTING_INVALID,
            f"views {views!r} name " + (f"{wrong[0]!r}, which is no view or stands twice." if wrong else "no view."),
            fix=f"Name one or more of {', '.join(VIEWS)} with commas between.",
        )
    return tuple(names)
