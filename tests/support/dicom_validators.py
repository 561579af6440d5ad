"""Validators of DICOM objects that others wrote, as Debian packages them: dicom3tools' dciodvfy and PixelMed's.

    errors_of_dciodvfy(result_object.content, tmp_path)     # [] of a valid object
    errors_of_pixelmed(report.content, tmp_path)            # one SR a test run: it takes half a minute

A test that calls one carries the marker ``hospital``; it is skipped, saying so, where the program is not installed.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

_JAVA_17 = " ".join(f"-Djdk.xml.xpath{limit}=0" for limit in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit"))
"""PixelMed's style sheets exceed the limits of Java 17, which would end it without a verdict (JAXP0801003)."""


def errors_of_dciodvfy(content: bytes | Path, folder: Path) -> list[str]:
    """Return the lines that dciodvfy begins with "Error", of any object.

    Args:
        content: the file, or its content.
        folder: a file is written to it.
    """
    return [line for line in lines_of_dciodvfy(content, folder) if line.startswith("Error")]


def lines_of_dciodvfy(content: bytes | Path, folder: Path) -> list[str]:
    """Return all lines of dciodvfy about an object: the name of its IOD, errors and warnings."""
    lines = _lines(["dciodvfy", str(_file(content, folder))], {})
    assert any(re.fullmatch(r"\w+", line) for line in lines), f"no verdict, since the IOD is unknown: {lines}"
    return lines


def errors_of_pixelmed(content: bytes | Path, folder: Path) -> list[str]:
    """Return the lines that PixelMed's DicomSRValidator begins with "Error": IHE's AI Results profile is tested by it.

    Args:
        content: of a structured report: the file, or its content.
        folder: a file is written to it.
    """
    lines = _lines(["DicomSRValidator", str(_file(content, folder))], {"JAVA_TOOL_OPTIONS": _JAVA_17})
    assert "IOD validation complete" in lines, f"no verdict: {lines}"
    assert not any("unrecognized" in line for line in lines), f"no structured report: {lines}"
    return [line for line in lines if line.startswith("Error")]


def dump_of_report(content: bytes | Path, folder: Path) -> str:
    """Return what dcmtk's dsrdump shows of a structured report, codes included; it must read it without complaint."""
    return "\n".join(_lines(["dsrdump", "+Pc", str(_file(content, folder))], {}, succeeds=True))


def _file(content: bytes | Path, folder: Path) -> Path:
    if isinstance(content, Path):
        return content
    path = folder / "validated.dcm"
    path.write_bytes(content)
    return path


def _lines(command: list[str], environment: dict[str, str], succeeds: bool = False) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: dcmtk, dicom3tools, pixelmed-apps)")
    result = subprocess.run(
        command, env={**os.environ, **environment}, text=True, errors="replace", timeout=300, check=succeeds,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return result.stdout.splitlines()
