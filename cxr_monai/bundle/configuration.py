"""The configuration that MONAI is running, as a component of it sees it; and two of them compared."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow

from cxr_monai.errors import BundleError, Code

T = TypeVar("T")


def running_parser() -> ConfigParser:
    """Return the parser of the configuration whose component is being made.

    MONAI hands no component its parser, so this looks for it among the calls that led here (docs/decisions/0002).

    Raises:
        BundleError: ``bundle-invalid`` if no configuration is being run.
    """
    parser = _caller(ConfigParser)
    if parser is None:
        raise BundleError(Code.BUNDLE_INVALID, "this works only inside a configuration that MONAI is running.")
    return parser


def settle_bundle_root(parser: ConfigParser) -> None:
    """Put the bundle of the configuration that is being run in the place of ``"."``, if its ``configs`` hold it.

    A bundle's own ``bundle_root`` means the working directory to MONAI, but ``monai.bundle.load``, ``create_workflow``
    and ``MonaiAlgo`` run a configuration where it lies and name no bundle.
    """
    workflow = _caller(ConfigWorkflow)
    if workflow is None or parser.config.get("bundle_root") != ".":
        return
    folder = Path(workflow.config_root_path).resolve()
    if folder.name == "configs" and (folder / "metadata.json").is_file() and folder.parent != Path.cwd():
        parser["bundle_root"] = str(folder.parent)  # MONAI reads all anew after this


def _caller(kind: type[T]) -> T | None:
    """Return the nearest object of a class whose method is among the calls that led here."""
    frame = sys._getframe()
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, kind):
            return candidate
        frame = frame.f_back  # type: ignore[assignment]
    return None


def same(one: Any, other: Any) -> bool:
    """Compare two pieces of configuration; MONAI rewrites ``#`` to ``::`` in what it runs.

    What a program put there (arrays, a network) is the same as itself alone.
    """
    return text(one) == text(other)


def text(config: Any) -> str:
    """Return a piece of configuration as text; equal pieces have equal texts, and see :func:`same`."""
    return json.dumps(config, sort_keys=True, default=lambda thing: f"object {id(thing)}").replace("#", "::")


def strings(config: Any) -> Iterator[str]:
    """Yield every text of a configuration, at any depth."""
    if isinstance(config, str):
        yield config
    elif isinstance(config, Mapping | list):
        for value in config.values() if isinstance(config, Mapping) else config:
            yield from strings(value)
