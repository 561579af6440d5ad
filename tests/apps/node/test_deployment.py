"""What stands in deploy/: an example of the settings, a systemd unit, a Containerfile."""

import configparser
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from apps.node.command import build_parser
from apps.node.settings import KEYS, Destination, NodeSettings, TlsSettings, read_settings
from apps.node.supervisor import END_S

CLONE = Path(__file__).resolve().parents[3]
DEPLOY = CLONE / "deploy"
TEXT = (DEPLOY / "node.toml").read_text("utf-8")


def test_the_example_has_the_defaults() -> None:
    settings = read_settings(DEPLOY / "node.toml")
    defaults = NodeSettings(spool=DEPLOY / "spool", analyse=settings.analyse, destinations=settings.destinations)

    assert settings == defaults
    assert settings.destinations == (Destination("archive"),)
    expected = get_type_hints(NodeSettings)["analyse"](bundle="bundle")
    assert settings.analyse == expected


def test_the_example_names_every_key() -> None:
    commented = "\n".join(
        line.removeprefix("# ") if " = " in line or "[" in line else line for line in TEXT.splitlines()
    )
    content = tomllib.loads(commented.split("\n", 3)[3])

    def keys_of(kind: Any) -> set[str]:
        return {KEYS.get(one.name, one.name) for one in fields(kind)}

    assert content.keys() == keys_of(NodeSettings)
    hints = get_type_hints(NodeSettings)
    for name in ("receive", "analyse", "keep"):
        assert is_dataclass(hints[name])
        assert content[name].keys() == keys_of(hints[name])
    assert content["receive"]["tls"].keys() == keys_of(TlsSettings)
    assert set().union(*content["destination"]) == keys_of(Destination)


def test_the_unit_starts_a_command_that_there_is_and_waits_for_its_end() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "cxr-monai-node.service")
    program, *words = parser["Service"]["ExecStart"].split()

    assert Path(program).name == "cxr-monai-node"
    assert build_parser().parse_args(words).config == "/etc/cxr-monai/node.toml"
    assert int(parser["Service"]["TimeoutStopSec"]) > 3 * END_S
    assert parser["Service"]["NoNewPrivileges"] == "yes"


def test_the_containerfile_copies_what_there_is_and_pins_torch_as_constraints_do() -> None:
    lines = [line for line in (DEPLOY / "Containerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    pin = next(
        line for line in (CLONE / "constraints.txt").read_text("utf-8").splitlines() if line.startswith("torch==")
    )

    assert [name for name in copied if not (CLONE / name).exists()] == []
    assert any(line.startswith("RUN ") and line.endswith(f" {pin}") for line in lines)
    assert lines[0] == "FROM python:3.11-slim"
    assert any(line.startswith("USER ") and line != "USER root" for line in lines)
