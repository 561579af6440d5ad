"""Nothing of a film in the logs: the texts of pynetdicom and pydicom may hold UIDs, names and whole data sets.

with quiet_network():
    ...   # what they report is one line that says where in their code, and not what
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import _config

from cxr_monai.data.formats.dicom_library import disable_value_validation

logger = logging.getLogger(__name__)

_NOISY = ("pynetdicom", "pydicom")


class _PlaceOnly(logging.Handler):
    """Reports that something was logged, where, and of which error, without a word of its text."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        error = f" ({kind.__name__})" if kind else ""
        logger.warning("%s, %s line %d: %s%s", record.name, record.filename, record.lineno, record.levelname, error)


@contextmanager
def quiet_network() -> Iterator[None]:
    """Keep the texts of pynetdicom and pydicom, their warnings and the errors of their threads out of log and terminal.

    It holds for the whole process as long as the block runs. pynetdicom's own report of each PDU, which costs time and
    writes data sets, is off.
    """
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [(noisy.level, noisy.propagate, noisy.handlers[:]) for noisy in loggers]
    log_level, excepthook = _config.LOG_HANDLER_LEVEL, threading.excepthook
    _config.LOG_HANDLER_LEVEL, threading.excepthook = "none", _report_thread
    for noisy in loggers:
        noisy.propagate, noisy.handlers = False, [_PlaceOnly()]
        noisy.setLevel(logging.ERROR)
    try:
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _config.LOG_HANDLER_LEVEL, threading.excepthook = log_level, excepthook
        for noisy, (level, propagate, handlers) in zip(loggers, before, strict=True):
            noisy.propagate, noisy.handlers = propagate, handlers
            noisy.setLevel(level)


def _report_thread(report: threading.ExceptHookArgs) -> None:
    name = report.thread.name if report.thread else "?"
    logger.error("thread %s ended: %s", name.partition("@")[0], report.exc_type.__name__)
