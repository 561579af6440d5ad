"""The demo goes on where it was stopped, does anew what other settings change, and deletes nothing of anybody else."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
PHANTOMS, MANIFEST, SPLIT, TRAINING = "Synthetic", "The manifest", "A split", "Training"
EVALUATION, EXPLANATION = "Evaluation", "What it looked at"
ALL = [PHANTOMS, MANIFEST, SPLIT, TRAINING, EVALUATION, EXPLANATION]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["demo"]


class Demo:
    """Runs the demo with commands that only leave their files; ``stop`` names the step in which it ends early."""

    def __init__(self, script: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script, self.out, self.monkeypatch = script, out, monkeypatch
        self.ran: list[str] = []
        self.found: dict[str, bool] = {}
        self.stop, self.error = "", 0
        monkeypatch.setattr(script, "run_step", self._step)

    def __call__(self, *words: str) -> int:
        self.ran, self.found = [], {}
        self.monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(self.out), *words])
        return int(self.script.main())

    def _step(self, title: str, words: list[str], folder: Path) -> tuple[int, float]:
        name = next(name for name in ALL if title.startswith(name))
        self.ran.append(name)
        parts = {
            PHANTOMS: ("phantoms/1.png", "phantoms/README.txt"),
            MANIFEST: ("manifest.boxes.csv", "manifest.csv"),
            SPLIT: (),
            TRAINING: ("train/checkpoints/last.pt", "train/bundle/models/model.pt"),
            EVALUATION: ("evaluate/metrics.csv", "evaluate/report.html"),
            EXPLANATION: ("explanations/maps.json", "explanations/sheet.png"),
        }[name]
        self.found[name] = any((folder / part).exists() for part in parts)
        if name == SPLIT:
            assert (folder / "manifest.csv").is_file()
        stopped = name == self.stop
        for part in parts[: 1 if stopped else None]:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).write_text(" ".join(words))
        if stopped and not self.error:
            raise KeyboardInterrupt
        return (self.error if stopped else 0), 60.0


@pytest.fixture
def demo(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    return Demo(script, tmp_path / "demo", monkeypatch)


def test_a_complete_demo_says_where_to_look_and_does_nothing(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo() == 0
    assert demo.ran == ALL
    capsys.readouterr()
    assert demo() == 0
    assert demo.ran == []
    told = capsys.readouterr().out
    assert "Everything is there already; 'make demo DEMO_ARGS=--restart' does it all anew." in told
    assert "evaluate/report.html" in told
    assert "Done in 6.0 minutes" in told
    assert "workflowType=machine_learning" in told
    assert demo("--restart") == 0
    assert demo.ran == ALL
    assert not any(demo.found.values())


@pytest.mark.parametrize("error", [0, 3])
@pytest.mark.parametrize("stop", ALL)
def test_a_demo_that_was_stopped_goes_on(demo: Demo, capsys: pytest.CaptureFixture[str], stop: str, error: int) -> None:
    demo.stop, demo.error = stop, error
    assert demo() == (error or 130)
    assert demo.ran == ALL[: ALL.index(stop) + 1]
    assert "The same command goes on from here" in capsys.readouterr().err
    demo.stop = ""
    assert demo() == 0
    assert demo.ran == ALL[ALL.index(stop) :]
    assert capsys.readouterr().out.count(": done before") == ALL.index(stop)
    # a training goes on from what it left; what others left half-done is gone when they begin
    assert demo.found[demo.ran[0]] == (stop == TRAINING)
    assert not any(demo.found[name] for name in demo.ran[1:])


@pytest.mark.parametrize(
    ("words", "first"),
    [(("--count", "9"), PHANTOMS), (("--epochs", "2"), TRAINING), (("--image-size", "64"), TRAINING)],
)
def test_other_settings_do_anew_what_they_change(
    demo: Demo, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], first: str
) -> None:
    demo()
    mine = demo.out / "notes.txt"
    mine.write_text("mine")
    (demo.out / "mlflow.db").write_text("runs")
    assert demo(*words) == 0
    assert demo.ran == ALL[ALL.index(first) :]
    assert not any(demo.found.values())  # other settings never go on from what was left
    assert "done anew, since its settings are others" in capsys.readouterr().out
    assert mine.read_text() == "mine"
    assert (demo.out / "mlflow.db").exists() == (first == TRAINING)  # runs to compare with


def test_a_training_of_other_settings_that_was_stopped_is_not_gone_on_with(demo: Demo) -> None:
    demo.stop = TRAINING
    demo("--epochs", "2")
    demo.stop = ""
    assert demo("--epochs", "3") == 0
    assert demo.ran == ALL[3:]
    assert not demo.found[TRAINING]


def test_a_result_that_was_deleted_is_made_again(demo: Demo) -> None:
    demo()
    (demo.out / "evaluate" / "report.html").unlink()
    assert demo() == 0
    assert demo.ran == ALL[4:]


def test_more_real_images_are_read_again(demo: Demo, tmp_path: Path) -> None:
    images = tmp_path / "nih" / "images"
    images.mkdir(parents=True)
    (images / "1.png").write_bytes(b"")
    for expected in (ALL[1:], [], ALL[1:]):
        assert demo("--data", str(tmp_path / "nih")) == 0
        assert demo.ran == expected
        if not expected:
            (images / "2.png").write_bytes(b"")


def test_a_folder_that_is_not_the_demos_is_left_alone(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    demo.out.mkdir()
    for name in ("train", "thesis.txt"):
        (demo.out / name).write_text("mine")
    assert demo("--restart") == 2
    assert "holds something that is not a demo's" in capsys.readouterr().err
    assert (demo.ran, sorted(path.name for path in demo.out.iterdir())) == ([], ["thesis.txt", "train"])


def test_a_damaged_record_means_that_nothing_is_done(demo: Demo) -> None:
    demo()
    (demo.out / "done.json").write_text("{")
    assert demo() == 0
    assert demo.ran == ALL


def test_two_demos_do_not_share_a_folder(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    demo()
    with FileLock(demo.out / "demo.lock"):
        assert demo("--restart") == 1
    assert demo.ran == []
    assert "another demo is at work" in capsys.readouterr().err
