"""Pages from templates: whatever is put into one is escaped, and what is missing is an error.

template("study.html.j2").render(title="...")
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cxr_monai.report import words

_ENVIRONMENT = Environment(
    loader=PackageLoader("cxr_monai.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def template(name: str) -> Template:
    """Return one of the templates of ``cxr_monai/report/templates``."""
    return _ENVIRONMENT.get_template(name)


def flat(book: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return bookkeeping as pairs; what is nested gets the names above it."""
    pairs: list[tuple[str, str]] = []
    for key, entry in book.items():
        name = f"{above}{str(key).replace('_', ' ')}"
        if isinstance(entry, Mapping):
            pairs += flat(entry, f"{name}: ")
        elif isinstance(entry, bool):
            pairs.append((name, "yes" if entry else "no"))
        elif isinstance(entry, int):
            pairs.append((name, f"{entry:,}" if above != "split: " or key != "seed" else str(entry)))
        elif entry is None:
            pairs.append((name, words.DASH))
        else:
            pairs.append((name, ", ".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)))
    return pairs
