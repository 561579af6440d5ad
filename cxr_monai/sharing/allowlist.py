"""Which callables, modules and attributes a bundle's configuration may name; the lists themselves are ``allowed.json``.

Callables are listed one by one, never by package: ``torch.device`` says nothing about ``torch.load``. A name that is
not on a list is refused; a list of refused names exists to give the reason, not to decide.
"""

import json
from functools import cache
from importlib import resources
from typing import Any

from cxr_monai.sharing.remarks import Verdict


@cache
def lists() -> dict[str, Any]:
    """Return the lists: ``monai`` (bare names), ``callables``, ``attention``, ``refused``, ``modules``, ..."""
    return dict(json.loads((resources.files("cxr_monai.sharing") / "allowed.json").read_text(encoding="utf-8")))


def judge_callable(name: str) -> tuple[Verdict, str]:
    """Judge a callable by its full dotted name, or by MONAI's bare one (``DenseNet121``).

    Returns:
        the verdict, and a reason ("" where it is allowed).
    """
    known = lists()
    bare = name.rpartition(".")[2] if name.startswith("monai.") else name
    of_monai = "." not in name or name.startswith("monai.")
    refused = _refused(name)
    exact = known["refused"].get(name)
    if exact is not None:
        return Verdict.REFUSED, f"{name} {exact}."
    if of_monai and bare in known["attention"] and not _refused_module(name):
        return Verdict.ATTENTION, f"{bare} {known['attention'][bare]}."
    if name in known["attention"]:
        return Verdict.ATTENTION, f"{name} {known['attention'][name]}."
    if name in known["callables"] or (of_monai and bare in known["monai"] and not _refused_module(name)):
        return Verdict.ALLOWED, ""
    if refused:
        return Verdict.REFUSED, refused
    return Verdict.REFUSED, f"{name} is not on the list of callables that a bundle may use."


def judge_module(name: str) -> tuple[Verdict, str]:
    """Judge an ``import`` of a module; what is then used of it is judged on its own."""
    if name in lists()["modules"]:
        return Verdict.ALLOWED, ""
    refused = _refused(name)
    return Verdict.REFUSED, refused or f"{name} is not on the list of modules that a bundle may import."


def judge_attribute(name: str) -> tuple[Verdict, str]:
    """Judge an attribute of something whose type is not known here, such as ``@trainer.run``."""
    if name in lists()["attributes"]:
        return Verdict.ALLOWED, ""
    return Verdict.REFUSED, f".{name} is not on the list of attributes that an expression may use."


def is_reader(name: str) -> bool:
    """Tell whether MONAI's ``reader`` argument names one of MONAI's own readers: it calls anything by dotted name."""
    return name in lists()["readers"] or name.lower() in {reader.lower() for reader in lists()["readers"]}


def _refused_module(name: str) -> bool:
    return any(name == module or name.startswith(module + ".") for module in ("monai.bundle", "monai.apps"))


def _refused(name: str) -> str:
    """Return why the longest listed beginning of a name is refused; "" if none is listed."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        beginning = ".".join(parts[:count])
        if beginning in lists()["refused"]:
            reason = lists()["refused"][beginning]
            return f"{name}: {beginning} {reason}." if beginning != name else f"{name} {reason}."
    return ""
