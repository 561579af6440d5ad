"""``cxr-monai run``: which bundles run, what is said, how it ends; and once in a process of its own."""

import json
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from monai.bundle import scripts

from cxr_monai.bundle.running import CheckedWorkflow
from cxr_monai.cli import main
from cxr_monai.errors import Code, SettingError
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.open_trusted import ONLY_INSTALLED
from tests.sharing.archives import Hospital, make_bundle
from tests.support.bundle_runs import SHIPPED, Phantoms, plain_environment
from tests.support.tiny_bundles import tiny_bundle


class Ran:
    """Stands in for MONAI's ``run``: what it was given, and how it ends."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.ends: Any = lambda: None

    def __call__(self, workflow_name: type[CheckedWorkflow], **given: Any) -> None:
        assert workflow_name is CheckedWorkflow
        self.given = given
        self.ends()


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    """MONAI's ``run`` is replaced; nobody is trusted, nothing is installed."""
    stand_in = Ran()
    monkeypatch.setattr(scripts, "run", stand_in)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", ONLY_INSTALLED, "CXR_MONAI_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("CXR_MONAI_BUNDLES", str(tmp_path / "store"))
    return stand_in


@pytest.fixture
def installed(hospital: Hospital, ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hospital A's bundle, installed, by somebody who trusts it."""
    trusted = Path(shutil.copytree(hospital.trusted, tmp_path / "trusted"))
    monkeypatch.setenv("CXR_MONAI_TRUSTED", str(trusted))
    return install_bundle(hospital.archive, trusted=trusted, store=tmp_path / "store").root


def files_of(root: Path, name: str = "train") -> dict[str, str]:
    configs = root / "configs"
    return {
        "config_file": str(configs / f"{name}.json"),
        "meta_file": str(configs / "metadata.json"),
        "bundle_root": str(root),
        "logging_file": str(configs / "logging.conf"),
    }


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["run", *words]) == 1
    return capsys.readouterr().err


def test_bundle_of_this_package_runs_by_its_name_from_anywhere(
    ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONLY_INSTALLED, "1")
    assert main(["run", "cxr_nih14", "train", "--epochs", "2", "--labels", "['Mass']"]) == 0
    assert ran.given == {**files_of(SHIPPED), "epochs": 2, "labels": ["Mass"]}
    first, second, command = capsys.readouterr().out.splitlines()
    assert first == "cxr_nih14: comes with this package, inspected"
    assert "without these checks" in second
    assert command.startswith(f"  python -m monai.bundle run --config_file {SHIPPED}/configs/train.json --meta_file")


def test_installed_bundle_is_verified_every_time(
    installed: Path, ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONLY_INSTALLED, "1")
    for name in ("cxr-a", "cxr-a@1.0.0", str(installed)):
        ran.given = {}
        assert main(["run", name, "evaluate", "--manifest", "M.csv"]) == 0
        assert ran.given == {**files_of(installed, "evaluate"), "manifest": "M.csv"}
        assert capsys.readouterr().out.startswith("cxr-a 1.0.0: as hospital-a signed it, inspected\n")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("configs/train.json", "bundle-altered"),
        ("models/model.pt", "bundle-altered"),
        ("bundle.manifest.json", "bundle-altered"),
        ("bundle.sig", "signature-invalid"),
        ("more.py", "bundle-altered"),
        ("the key", "signer-unknown"),
    ],
)
def test_installed_bundle_that_is_not_as_it_was_signed_does_not_run(
    change: str, code: str, installed: Path, ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if change == "the key":
        (tmp_path / "trusted" / "hospital-a.pub").unlink()
    else:
        path = installed / change
        path.write_bytes((path.read_bytes() if path.is_file() else b"") + b"x")
    assert f"error [{code}]" in refused(["cxr-a", "train"], capsys)
    assert ran.given == {}


def test_bundle_that_todays_inspection_refuses_does_not_run_although_it_was_installed(
    installed: Path, ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_monai.sharing.inspection.bundle_inspection import Inspection, inspect_bundle
    from cxr_monai.sharing.inspection.remarks import Remark, Verdict
    from cxr_monai.sharing.package import pack

    found = Remark("docs/a.svg", "", "file", "a.svg", Verdict.REFUSED, "a hole that was found later.")
    monkeypatch.setattr(pack, "inspect_bundle", lambda root: Inspection(root, (*inspect_bundle(root).remarks, found)))
    assert "error [bundle-refused]" in (told := refused(["cxr-a", "train"], capsys))
    assert "a hole that was found later" in told
    assert main(["predict", "cxr-a", str(SHIPPED / "LICENSE"), "--out", "p.csv"]) == 1
    assert "error [bundle-refused]" in capsys.readouterr().err
    assert ran.given == {}


def test_folder_of_ones_own_is_inspected_and_attention_is_said(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_bundle(tmp_path / "own")
    Path("mine.json").write_text("{}")
    assert main(["run", "../own", "train,mine.json"]) == 0
    assert ran.given["config_file"] == [str(own / "configs" / "train.json"), str(Path("mine.json").resolve())]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "../own: a folder of your own, inspected"
    assert lines[1].startswith("attention: these write files or may use the network: BestBundleWeights, ")
    assert lines[1].endswith("'cxr-monai bundle inspect ../own' says where")
    assert lines[2] == "not inspected, your own: mine.json"
    ran.given = {}
    (own / "configs" / "more.json").write_text('{"a": "$__import__(\'os\')"}')
    assert "error [bundle-refused]" in refused([str(own), "train"], capsys)
    (own / "configs" / "more.json").unlink()
    monkeypatch.setenv(ONLY_INSTALLED, "1")
    assert "error [bundle-untrusted]" in refused([str(own), "train"], capsys)
    assert ran.given == {}


@pytest.mark.parametrize("file", ["bundle.manifest.json", "bundle.sig"])
def test_received_folder_is_refused_with_what_installs_it(
    file: str, hospital: Hospital, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(hospital.archive) as opened:
        opened.extractall("received")
    for name in {"bundle.manifest.json", "bundle.sig"} - {file}:
        Path("received", name).unlink()
    told = refused(["received", "train", "--trust_folder", "True"], capsys)
    assert "error [bundle-untrusted]" in told
    assert "'cxr-monai bundle install received'" in told
    assert ran.given == {}


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["cxr_nih15", "train"], 1, "bundle-invalid"),
        (["cxr-b", "train"], 1, "bundle-invalid"),
        (["cxr_nih14", "trian"], 2, "usage"),
        (["cxr_nih14", "train", "--config_file", "x.json"], 2, "usage"),
        (["cxr_nih14", "train", "epochs"], 2, "usage"),
    ],
)
def test_wrong_use(
    words: list[str],
    status: int,
    code: str,
    ran: Ran,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["run", *words]) == status
    assert capsys.readouterr().err.startswith(f"cxr-monai run: error [{code}]: ")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first process of the machine says it
    assert main(["run", *words]) == status
    assert capsys.readouterr() == ("", "")
    assert ran.given == {}


def raising(error: BaseException, cause: BaseException | None = None) -> Any:
    def ends() -> None:
        raise error from cause

    return ends


def caused() -> None:
    """As MONAI wraps an error that came while another was handled: that other one is not the reason."""
    try:
        try:
            next(iter([]))
        except StopIteration:
            raise LookupError("the place")  # noqa: B904  as importlib.metadata does
    except LookupError as error:
        raise RuntimeError("MONAI's") from error


SETTING = SettingError(Code.OVERRIDE_UNKNOWN, "nothing reads the setting --epoch.")


@pytest.mark.parametrize(
    ("ends", "status", "said"),
    [
        (raising(RuntimeError("MONAI's"), SETTING), 1, "error [override-unknown]: nothing reads the setting --epoch."),
        (raising(RuntimeError("MONAI's"), KeyError("x")), 1, "error [run-failed]: the run ended with KeyError: 'x'. "),
        (caused, 1, "error [run-failed]: the run ended with LookupError: the place. "),
        (raising(ValueError("two\n lines")), 1, "error [run-failed]: the run ended with ValueError: two lines. "),
        (raising(SystemExit(3)), 1, "error [run-failed]: the run ended with SystemExit: 3. "),
        (lambda: signal.raise_signal(signal.SIGTERM), 143, "interrupted (SIGTERM)"),
        (lambda: signal.raise_signal(signal.SIGINT), 130, "interrupted (Ctrl-C)"),
    ],
)
def test_it_ends_as_the_run_does_in_one_line(
    ends: Any, status: int, said: str, ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    ran.ends = ends
    assert main(["run", "cxr_nih14", "train"]) == status
    err = capsys.readouterr().err.lstrip("\n")
    assert err.startswith(f"cxr-monai run: {said}")
    assert len(err.splitlines()) == 1


def test_traceback_is_there_for_who_asks(
    ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_MONAI_TRACEBACK", "1")
    ran.ends = raising(ValueError("deep"))
    assert main(["run", "cxr_nih14", "train"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_of_several_processes_the_first_speaks(
    ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "cxr_nih14", "train,multi_gpu_train"]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["run", "cxr_nih14", "train,multi_gpu_train"]) == 0
    assert "torchrun --nproc_per_node=2 -m monai.bundle run --config_file '['" in capsys.readouterr().out


@pytest.mark.parametrize("bundle", ["cxr_nih14", "folder"])
def test_help_lists_the_settings_of_that_bundle(bundle: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SHIPPED, "folder")
    Path("folder", "bundle.sig").write_text("{}")  # it is read, not run
    assert main(["run", bundle, "train", "--help"]) == 0
    told = capsys.readouterr().out
    config = json.loads((SHIPPED / "configs" / "train.json").read_text())
    assert config["_desc_"].split(".")[0] in told
    for name in ("epochs", "learning_rate", "labels", "manifest"):
        assert f"  --{name} {json.dumps(config[name])[:40]}" in told
    assert "of everything random" in told
    assert "--bundle_root" not in told
    assert ran.given == {}


def test_command_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "cxr-monai run cxr_nih14 train --manifest manifest.csv --output_dir OUT --epochs 2" in told
    assert "torchrun" in told


def test_in_a_process_of_its_own_nothing_of_the_working_directory_is_imported(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    """As ``python -m``, which puts the working directory before the libraries; the real MONAI runs here."""
    bundle = tiny_bundle(tmp_path / "bundle", seed=0)
    home = tmp_path / "home"
    home.mkdir()
    for library in ("ignite", "torch", "monai", "numpy"):
        (home / f"{library}.py").write_text("raise SystemExit('planted')")
    manifest = str(phantoms.manifest)
    words = ["run", str(bundle), "inference", "--manifest", manifest, "--output_dir", "out", "--amp", "False"]
    process = subprocess.run(
        [sys.executable, "-m", "cxr_monai.cli", *words],
        cwd=home,
        env=plain_environment() | {"PYTHONPATH": str(SHIPPED.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert "parsing config_file" not in process.stderr
    table = pd.read_csv(home / "out" / "predictions.csv")
    expected = home / "predicted.csv"
    assert main(["predict", str(bundle), manifest, "--float32", "--workers", "0", "--out", str(expected)]) == 0
    pd.testing.assert_frame_equal(table, pd.read_csv(expected), rtol=0, atol=1e-6)
