"""Arguments that do harm whatever callable takes them, by their names: each must be a literal known to be harmless.

MONAI imports whatever a ``reader`` names, ``allow_pickle`` makes a loader of pictures run programs, ``pretrained``
downloads. A value that is computed (an expression, a reference, a macro) says nothing here, so for most of these names
it is refused.
"""

import re
from collections.abc import Callable
from typing import Any

from cxr_monai.sharing.inspection.allowlist import allowed_lists
from cxr_monai.sharing.inspection.logging_file import LOGGING_FILE as LOGGING_FILE
from cxr_monai.sharing.inspection.places import leads_elsewhere


class Computed:
    """A value that is known only when the bundle runs."""


COMPUTED = Computed()
CALLABLES = {"reader": "readers", "writer": "writers", "merger_cls": "mergers"}
"""Arguments whose text names a callable, and the list of those that it may name."""


def judge_argument(name: str, value: Any) -> str:
    """Judge the value of an argument.

    Args:
        name: of the argument.
        value: a literal, a text of a configuration included (``@id``), or ``COMPUTED``.

    Returns:
        why it is refused, a sentence; "" if it is not.
    """
    if name in CALLABLES:
        values = value if isinstance(value, list | tuple) else [value]
        listed = all(element is None or isinstance(element, dict) or is_listed(name, element) for element in values)
        return "" if listed else f"MONAI calls whatever a {name} names; this is none of its own {CALLABLES[name]}."
    if name in _LITERAL:
        is_allowed, reason = _LITERAL[name]
        return "" if is_allowed(value) else f"{name} {reason}."
    return ""


def is_listed(name: str, value: Any) -> bool:
    """Return whether a callable that an argument names is on the list of that argument.

    Args:
        name: of the argument, one of `CALLABLES`.
        value: of the argument: a bare name or MONAI's full one; whatever is no text is not listed.
    """
    if not isinstance(value, str):
        return False
    bare = re.sub(r"^monai\.(data|inferers)\.", "", value)
    return bare.lower() in {listed.lower() for listed in allowed_lists()[CALLABLES[name]]}


def _one_of(*literals: Any) -> Callable[[Any], bool]:
    """Return a test whether a value equals one of some literals and has its type: 1 is not true."""
    return lambda value: any(type(value) is type(literal) and value == literal for literal in literals)


def _is_local(value: Any) -> bool:
    if value is None or (isinstance(value, str) and re.fullmatch(r"@(\w*(::|#))*tracking_uri", value)):
        return True
    if not isinstance(value, str) or value[:1] in ("$", "@", "%"):
        return False
    path = re.sub(r"^sqlite:///", "", value)
    return not re.match(r"(?i)[a-z][a-z0-9+.-]*:|databricks|uc$", path) and not leads_elsewhere(path)


_LITERAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "allow_pickle": (_one_of(False, None), "lets a loader of images run programs; it must be false"),
    "weights_only": (_one_of(True), "keeps a loader of weights from running programs; it must be true"),
    "pickle_module": (_one_of("pickle", None), "may be a program; it must be absent"),
    "trust_repo": (_one_of(False, None), "runs programs from the network; it must be false"),
    "pretrained": (_one_of(False, None), "downloads weights; it must be false, the bundle has its own"),
    "pretrained_url": (_one_of(None), "downloads weights; it must be absent"),
    "pretrained_path": (_one_of(None), "loads another file; it must be absent"),
    "trust_folder": (_one_of(False, None, "@trust_folder"), "is for the person who runs the bundle to say"),
    "tracking_uri": (_is_local, "may send results over the network: whoever runs the bundle gives it"),
    "artifact_location": (_is_local, "may send files over the network: whoever runs the bundle gives it"),
    "artifacts": (_one_of(None), "sends files to the tracking server; it must be absent"),
    "formatter": (_one_of(None), "writes a text of the bundle's into a log; it must be absent"),
    "init_method": (_one_of("env://", None), "opens connections; it must be 'env://'"),
    "logging_file": (_one_of(None, False, LOGGING_FILE), f"is evaluated in part; it must be '{LOGGING_FILE}'"),
    "compile_kwargs": (_one_of(None), "names what compiles a network; it must be absent"),
    "_debug_": (_one_of(), "starts a debugger"),
}
