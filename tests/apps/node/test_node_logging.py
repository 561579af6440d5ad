"""The node's log: one form for all processes, and no UID in it, whoever writes."""

import json
import logging
from collections.abc import Iterator

import pytest

from apps.node.node_logging import FOREIGN, node_logger, set_up_logging


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in FOREIGN}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_line_has_time_part_level_and_text(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("receive")
    record = logging.makeLogRecord(
        {
            "msg": "film %s received",
            "args": ("3f9a1c0b7d24",),
            "levelno": logging.INFO,
            "levelname": "INFO",
            "created": 0,
        }
    )
    node_logger("receive").handle(record)

    assert capfd.readouterr().err == "1970-01-01T00:00:00Z receive INFO film 3f9a1c0b7d24 received\n"


def test_lines_of_json_are_objects(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("deliver", "json")
    node_logger("deliver").warning('a "word"\nand a line')

    line = json.loads(capfd.readouterr().err)
    assert set(line) == {"time", "part", "level", "text"}
    assert (line["part"], line["level"], line["text"]) == ("deliver", "WARNING", 'a "word"\nand a line')


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_uids_of_others_are_replaced_in_texts_and_tracebacks(
    capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    set_up_logging("analyse", log_format)
    try:
        raise ValueError("invalid UID 1.2.826.0.1.3680043.8.498.7")
    except ValueError:
        logging.getLogger("some.library").exception("copied from %s at 127.0.0.1", "2.25.123456789012345678")

    text = capfd.readouterr().err
    assert "1.2.826" not in text
    assert "2.25" not in text
    assert text.count("<uid>") == 3  # the text, the line of code that a traceback quotes, the error
    assert "127.0.0.1" in text


def test_libraries_that_write_data_sets_are_silent_below_their_level(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("analyse")
    for name in FOREIGN:
        logging.getLogger(f"{name}.module").info("Doe^John")
    logging.getLogger("pynetdicom.dimse").warning("Doe^John")

    assert capfd.readouterr().err == ""
