"""One form of log for all processes of a node, on standard error; no identifier of a received film stands in it.

2026-11-30T22:50:00Z receive INFO 3f9a1c0b7d24: received, 524,288 bytes
"""

import json
import logging
import re
import sys
import time

FOREIGN = {"pynetdicom": logging.ERROR, "pydicom": logging.ERROR, "highdicom": logging.WARNING}
"""Libraries whose own messages may hold UIDs or whole data sets, and the least level at which they speak."""

_UID = re.compile(r"(?<![\w.])(?:[0-2](?:\.\d+){3,}|2\.25\.\d{9,})")


def node_logger(part: str) -> logging.Logger:
    """Return the logger of a part: ``receive``, ``analyse``, ``deliver`` or ``supervisor``."""
    return logging.getLogger(f"cxr-monai-node.{part}")


def without_uids(text: str) -> str:
    """Return a text in which what looks like a DICOM UID is replaced.

    >>> without_uids("stored 1.2.840.10008.5.1.4.1.1.7 (0.0.0.0, v2.1) as 2.25.31415926535897932384")
    'stored <uid> (0.0.0.0, v2.1) as <uid>'
    """
    return _UID.sub(lambda match: match[0] if _is_address(match[0]) else "<uid>", text)


def _is_address(text: str) -> bool:
    return len(parts := text.split(".")) == 4 and all(int(part) < 256 for part in parts)


class LineFormatter(logging.Formatter):
    """Formats records as lines of text, or as lines of JSON.

    Args:
        part: of the node.
        as_json: whether each line is a JSON object.
    """

    def __init__(self, part: str, as_json: bool) -> None:
        super().__init__()
        self.part, self.as_json = part, as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; what looks like a UID is replaced, in tracebacks too."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        text = without_uids(super().format(record))
        if self.as_json:
            return json.dumps({"time": moment, "part": self.part, "level": record.levelname, "text": text})
        return f"{moment} {self.part} {record.levelname} {text}"


def set_up_logging(part: str, log_format: str = "text") -> None:
    """Send all log records of this process to standard error, in the node's form.

    Args:
        part: of the node, as it stands in the lines.
        log_format: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(part, log_format == "json"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name, level in FOREIGN.items():
        logging.getLogger(name).setLevel(level)
