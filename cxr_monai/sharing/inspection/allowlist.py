"""Which callables, modules and attributes a bundle's configuration may name; the lists themselves are ``allowed.json``.

Callables are listed one by one, never by package: ``torch.device`` says nothing about ``torch.load``. A name that is
not on a list is refused; a list of refused names exists to give the reason, not to decide.
"""

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from cxr_monai.bundle.component_names import COMPONENTS
from cxr_monai.sharing.inspection.remarks import Verdict

_OF_MONAI = re.compile(
    r"monai\.(data|engines|handlers|inferers|losses|metrics|networks|optimizers|transforms|utils)(\.[a-z]\w*)*\.\w+"
)


@cache
def allowed_lists() -> dict[str, Any]:
    """Return the lists.

    ``monai`` (bare names), of which ``functions`` may stand in expressions and ``pretrained`` download by default;
    ``callables`` and ``attention`` (full names); ``evaluates``, those of ``monai`` and ``callables`` that read and
    compute and do nothing else, which the file lists under this alone; ``refused``, ``modules``, ``attributes``, and
    what the arguments ``readers``, ``writers`` and ``mergers`` and the variables of the ``environment`` may be.
    """
    lists = json.loads((resources.files("cxr_monai.sharing.inspection") / "allowed.json").read_text(encoding="utf-8"))
    evaluates = {kind: frozenset(names) for kind, names in lists["evaluates"].items()}
    allowed = {kind: names.union(lists[kind]) for kind, names in evaluates.items()}
    return {**lists, **allowed, "evaluates": frozenset().union(*evaluates.values())}


def judge_callable(name: str, evaluated: bool = False) -> tuple[Verdict, str]:
    """Judge a callable by its full dotted name, or by MONAI's bare one (``DenseNet121``).

    Args:
        name: of it.
        evaluated: whether commands evaluate what it stands in (``cxr_monai.bundle.evaluated``): only what reads and
            computes may stand there.

    Returns:
        the verdict, and a reason ("" where it is allowed).
    """
    verdict, reason = _judge_callable(name)
    short = bare_name(name)
    if verdict == Verdict.REFUSED or not evaluated or short in allowed_lists()["evaluates"]:
        return verdict, reason
    subject = f"{reason.rstrip('.')}, and" if reason else short
    return (
        Verdict.REFUSED,
        f"{subject} stands in what predict, explain and calibrate evaluate, which reads and computes.",
    )


def _judge_callable(name: str) -> tuple[Verdict, str]:
    lists = allowed_lists()
    short = bare_name(name)
    exact = lists["refused"].get(short)
    if exact is not None:
        return Verdict.REFUSED, f"{short} {exact}."
    if short in lists["attention"]:
        return Verdict.ATTENTION, f"{short} {lists['attention'][short]}."
    if name in lists["callables"] or short in lists["monai"]:
        return Verdict.ALLOWED, ""
    if name.startswith(f"{COMPONENTS}."):
        return Verdict.REFUSED, "this version of cxr-monai has no such component."
    refused = _refused(name)
    return Verdict.REFUSED, refused or f"{name} is not on the list of callables that a bundle may use."


def judge_value(name: str, called: bool = False, evaluated: bool = False) -> tuple[Verdict, str]:
    """Judge a callable in an expression, where more can be done with it than in a ``_target_``.

    MONAI's classes take readers, writers and more by name, in any position; those are allowed in ``_target_`` alone,
    whose arguments have names. Callables that write or connect may be called, so that their arguments are visible, but
    not passed on as values.

    Args:
        name: its full dotted name, or MONAI's bare one.
        called: the expression calls it; else it is passed on as a value.
        evaluated: as in :func:`judge_callable`.

    Returns:
        the verdict, and a reason ("" where it is allowed).
    """
    verdict, reason = judge_callable(name, evaluated)
    short = bare_name(name)
    if verdict != Verdict.REFUSED and is_target_only(name):
        return Verdict.REFUSED, f"{short} is for a _target_, where its arguments have names, not for an expression."
    if verdict == Verdict.ATTENTION and not called:
        return Verdict.REFUSED, f"{short} {allowed_lists()['attention'][short]}; it is not called here, but handed on."
    return verdict, reason


def is_target_only(name: str) -> bool:
    """Return whether a name is one of ours or of MONAI's classes or networks, allowed in ``_target_`` alone."""
    short = bare_name(name)
    if short.startswith("cxr_monai."):
        return True
    return "." not in short and short in {*allowed_lists()["monai"], *allowed_lists()["attention"]} - {
        *allowed_lists()["functions"]
    }


def bare_name(name: str) -> str:
    """Return the name by which MONAI finds a callable of its own (``DenseNet121``); any other name as it is."""
    return name.rpartition(".")[2] if _OF_MONAI.fullmatch(name) else name


def judge_module(name: str) -> tuple[Verdict, str]:
    """Judge an ``import`` of a module; what is then used of it is judged on its own."""
    if name in allowed_lists()["modules"]:
        return Verdict.ALLOWED, ""
    refused = _refused(name)
    return Verdict.REFUSED, refused or f"{name} is not on the list of modules that a bundle may import."


def judge_attribute(name: str) -> tuple[Verdict, str]:
    """Judge an attribute of something whose type is not known here, such as ``@trainer.run``."""
    if name in allowed_lists()["attributes"]:
        return Verdict.ALLOWED, ""
    return Verdict.REFUSED, f".{name} is not on the list of attributes that an expression may use."


def _refused(name: str) -> str:
    """Return why the longest listed beginning of a name is refused; "" if none is listed."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        beginning = ".".join(parts[:count])
        if beginning in allowed_lists()["refused"]:
            reason = allowed_lists()["refused"][beginning]
            return f"{name}: {beginning} {reason}." if beginning != name else f"{name} {reason}."
    return ""
