"""The configuration that is being run, for the components that it makes.

MONAI hands no component the configuration that it is part of. :class:`CheckedWorkflow` does, where it is the workflow
(``cxr-monai run``, experiments and fine-tuning use it; ``--workflow_name cxr_monai.components.CheckedWorkflow`` asks
MONAI's own command for it). Under a plain ``python -m monai.bundle run`` the configuration is looked for among the
calls that led to the component (docs/decisions/0002).
"""

import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow

from cxr_monai.bundle.component_names import incompatible, refuse_unknown_components, unknown_components
from cxr_monai.errors import BundleError, Code, ours
from cxr_monai.stopping import as_interrupted, handle_signals

T = TypeVar("T")

_RUNNING: ContextVar["CheckedWorkflow | None"] = ContextVar("the workflow that is running", default=None)
_MONAIS = frozenset(inspect.signature(ConfigWorkflow).parameters)


class CheckedWorkflow(ConfigWorkflow):
    """MONAI's workflow of a configuration, known to its components, with our errors instead of MONAI's around them.

    Args:
        config_file, options: as ``monai.bundle.ConfigWorkflow`` takes them; options that it does not name are
            overrides of the configuration, in the order in which they are applied.

    Attributes:
        overrides: those of the configuration.

    Raises:
        CxrError: by :meth:`initialize`, :meth:`run` and :meth:`finalize`; ``bundle-incompatible`` before anything is
            made, if the configuration names components that this version does not have.
    """

    def __init__(self, config_file: Any, **options: Any) -> None:
        super().__init__(config_file, **options)
        self.overrides = {name: value for name, value in options.items() if name not in _MONAIS}

    def initialize(self) -> Any:
        """Check the names of the components, then do what the configuration's ``initialize`` says."""
        refuse_unknown_components(self.parser.get(), self.parser.get("_meta_"))
        with self._running():
            return super().initialize()

    def run(self) -> Any:
        """Return the results of what the configuration's ``run`` lists."""
        with self._running():
            return super().run()

    def finalize(self) -> Any:
        """Do what the configuration's ``finalize`` says, if anything."""
        with self._running():
            return super().finalize()

    @contextmanager
    def _running(self) -> Iterator[None]:
        token = _RUNNING.set(self)
        try:
            yield
        except Exception as error:
            cause = ours(error)
            if cause is None or cause is error:
                raise
            raise cause from None
        finally:
            _RUNNING.reset(token)


def running_parser() -> ConfigParser:
    """Return the parser of the configuration whose component is being made.

    Raises:
        BundleError: ``bundle-invalid`` if no configuration is being run.
    """
    workflow = _RUNNING.get()
    parser = _caller(ConfigParser) if workflow is None else workflow.parser
    if parser is None:
        raise BundleError(Code.BUNDLE_INVALID, "this works only inside a configuration that MONAI is running.")
    return parser


def running_overrides() -> Mapping[str, Any]:
    """Return the overrides of the configuration that is being run, in their order; none where they cannot be found.

    MONAI keeps no record of them: where the workflow is MONAI's own they are those of ``monai.bundle.run``, looked for
    among the calls that led here.
    """
    if workflow := _RUNNING.get():
        return workflow.overrides
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "monai.bundle.scripts":
            return dict(frame.f_locals.get("override", {}))
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def unknown_component(name: str) -> BundleError:
    """Return the error of a component that does not exist, with what is known of the configuration that names it."""
    errors_in_one_line()
    workflow = _RUNNING.get()
    parser = workflow.parser if workflow is not None else _caller(ConfigParser)
    config = parser.get() if parser is not None else {}
    return incompatible(unknown_components(config) or [name], config.get("_meta_"))


def settle_bundle_root(parser: ConfigParser) -> None:
    """Put the bundle of the configuration that is being run in the place of ``"."``, if its ``configs`` hold it.

    A bundle's own ``bundle_root`` means the working directory to MONAI, but ``monai.bundle.load``, ``create_workflow``
    and ``MonaiAlgo`` run a configuration where it lies and name no bundle.
    """
    workflow = _RUNNING.get() or _caller(ConfigWorkflow)
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


def silence_mlflow() -> None:
    """Switch MLflow's usage reporting off, also where MONAI has imported MLflow already (importing sends nothing)."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    if "mlflow.telemetry" in sys.modules:
        sys.modules["mlflow.telemetry"].set_telemetry_client()


def errors_in_one_line() -> None:
    """Under ``python -m monai.bundle``, end with our error instead of MONAI's chain of wrappers around it.

    Signals end it so as well, see ``cxr_monai.stopping``.
    """
    main = sys.modules.get("__main__")
    if getattr(getattr(main, "__spec__", None), "name", "") != "monai.bundle.__main__":
        return
    sys.excepthook = _excepthook
    handle_signals()


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        interrupted = as_interrupted(error)
        sys.stdout.flush()
        print(f"\n{interrupted}", file=sys.stderr)
        raise SystemExit(interrupted.status)
    cause = ours(error)
    if cause is None or os.environ.get("CXR_MONAI_TRACEBACK"):
        sys.__excepthook__(kind, error, traceback)
    if cause is not None:
        sys.stdout.flush()
        print(f"\nerror [{cause.code}]: {cause}", file=sys.stderr)
