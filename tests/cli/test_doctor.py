"""``cxr-monai doctor``: what it prints and returns."""

import json
from collections.abc import Iterator

import pytest

from cxr_monai import doctor
from cxr_monai.cli import main
from cxr_monai.doctor import CheckResult, CheckStatus

RESULTS = [
    CheckResult("torch", CheckStatus.OK, "2.0"),
    CheckResult("DICOM JPEG-LS", CheckStatus.WARN, "no decoder", "Install decoders."),
    CheckResult("DICOM RLE", CheckStatus.WARN, "no decoder", "Install decoders."),
    CheckResult("packages", CheckStatus.OK, " ".join(["package 1.0,"] * 20)),
    CheckResult("load", CheckStatus.UNKNOWN, "could not be looked at (OSError: none)"),
]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[CheckResult]:
    """What the machine is found to have; tests may add to it."""
    found = list(RESULTS)

    def check() -> Iterator[CheckResult]:
        yield from found

    monkeypatch.setattr(doctor, "CHECKS", {"all": check})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # which the command sets: put back after the test
    return found


def test_rows_are_aligned_and_fit_the_terminal(results: list[CheckResult], capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "ok       torch                     2.0",
        "warn     DICOM JPEG-LS             no decoder",
        "warn     DICOM RLE                 no decoder",
    ]
    start = len("ok       torch                     ")
    table = lines[: lines.index("What to do") - 1]
    assert len(table) > len(results)  # the packages take several lines
    assert all(len(line) <= 80 for line in table)
    assert all(line[start - 1] == " " and line[start] != " " for line in table)


def test_an_advice_stands_once_with_all_that_it_is_for(
    results: list[CheckResult], capsys: pytest.CaptureFixture
) -> None:
    main(["doctor"])
    output = capsys.readouterr().out
    assert "What to do\n  DICOM JPEG-LS, DICOM RLE: Install decoders.\n" in output
    assert output.splitlines()[-1] == "Nothing required is missing; 2 worth a look."


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_only_what_is_required_and_missing_fails(
    results: list[CheckResult], capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    assert main(["doctor", *words]) == 0
    results.append(CheckResult("monai", CheckStatus.MISSING, "not installed", "Install it."))
    assert main(["doctor", *words]) == 1


def test_nothing_to_do_is_not_announced(results: list[CheckResult], capsys: pytest.CaptureFixture) -> None:
    del results[1:]
    main(["doctor"])
    assert capsys.readouterr().out.split("\n", 1)[1] == "\nNothing required is missing; 0 worth a look.\n"


def test_json_is_every_result_and_nothing_else(results: list[CheckResult], capsys: pytest.CaptureFixture) -> None:
    main(["doctor", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content[1] == {
        "name": "DICOM JPEG-LS",
        "status": "warn",
        "found": "no decoder",
        "advice": "Install decoders.",
    }
    assert [row["name"] for row in content] == [result.name for result in results]
