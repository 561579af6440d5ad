"""An error in a log: its type and its place in the code, never its text, which may quote a film's header.

error_place(error)                          # "ValueError at structured_report.py:120 (build_report)"
"""

import traceback
from pathlib import Path


def error_place(error: BaseException) -> str:
    """Return an error's type and where it was raised; those of its cause, too.

    >>> try:
    ...     int("Doe^John")
    ... except ValueError as error:
    ...     error_place(error).partition(" at ")[0]
    'ValueError'
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} ({frames[-1].name})" if frames else ""
    cause = f", of {error_place(error.__cause__)}" if error.__cause__ is not None else ""
    return f"{type(error).__name__}{place}{cause}"
