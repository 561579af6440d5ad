"""Films without a Modality, as VinDr's whitelist leaves them: every command that reads films can be told to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.data.dataset import RadiographDataset
from cxr_monai.data.manifest import build_manifest, read_manifest, write_manifest
from cxr_monai.errors import CxrError
from tests.data.test_radiograph_dicom import SIDE, dicom, written
from tests.support.bundle_runs import code_of, process_as_it_was, run, workflow
from tests.support.tiny_bundles import LABELS, tiny_bundle


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 24 films of 12 patients without Modality, half of them for training."""
    root = tmp_path_factory.mktemp("vindr")
    chance = np.random.default_rng(0)
    for number in range(24):
        pixels = chance.integers(0, 4096, (SIDE + 8, SIDE + 8)).astype(np.uint16)
        (root / f"{number}.dicom").write_bytes(written(dicom(pixels, bits=12, Modality=None)))
    owner = np.repeat(np.arange(12), 2)
    table = pd.DataFrame({"image": [f"{number}.dicom" for number in range(24)], "patient_id": owner.astype(str)})
    table["split"] = np.array(["train", "val", "test", "train"])[owner % 4]
    for number, finding in enumerate(LABELS):
        table[finding] = (np.arange(24) // (number + 1) % 2).astype(float)
    write_manifest(build_manifest(table, root, "local"), root / "M.csv")
    return root / "M.csv"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "B", 0)


FAITHFUL = (
    "--steps",
    "1",
    "--controls",
    "1",
    "--samples",
    "0",
    "--stages",
    "0",
    "--replicates",
    "5",
    "--count",
    "4",
    "--finding",
    *LABELS,
)
COMMANDS: dict[str, Callable[[Path, Path, Path], list[object]]] = {
    "predict": lambda bundle, films, out: ["predict", bundle, films, "--workers", "0", "--out", out / "p.csv"],
    "explain": lambda bundle, films, out: ["explain", bundle, films, "--workers", "0", "--out", out / "maps"],
    "maps faithful": lambda bundle, films, out: ["maps", "faithful", bundle, films, *FAITHFUL, "--out", out / "faith"],
    "check --pixels": lambda bundle, films, out: ["check", films, "--pixels", "--out", out / "check"],
    "manifest dicom": lambda bundle, films, out: ["manifest", "dicom", films.parent, "--out", out / "M.csv",
                                                  "--patient-per-study"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_the_switch_reads_what_is_refused_without_it(
    command: str, bundle: Path, films: Path, tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(word) for word in COMMANDS[command](bundle, films, tmp_path)]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "is missing" in told.out + told.err or "--any-modality" in told.err
    if command == "check --pixels":
        words.append("--force")
    assert main([*words, "--any-modality"]) == 0


def settings(films: Path, **more: Any) -> dict[str, Any]:
    return {"manifest": str(films), "output_dir": "out", "num_workers": 0, "batch_size": 8, "force": True, **more}


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "inference": {},
    "explain": {"count": 2, "methods": "cam", "pictures": 0},
}


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_the_setting_of_the_bundles_configurations(config: str, bundle: Path, films: Path, elsewhere: Path) -> None:
    given = {**settings(films), **CONFIGURATIONS[config]}
    if config == "explain":
        del given["num_workers"], given["batch_size"]
    with pytest.raises(CxrError) as caught:
        run(bundle, config, **given)
    assert code_of(caught).startswith(("radiograph-", "no-images", "preflight")), code_of(caught)
    run(bundle, config, any_modality=True, **given)
    with pytest.raises(CxrError) as caught:
        run(bundle, config, any_modality="yes", **given)
    assert code_of(caught) == "setting-invalid"


@pytest.mark.parametrize("any_modality", [False, True])
def test_an_evaluation_reads_them(any_modality: bool, bundle: Path, films: Path) -> None:
    with process_as_it_was():
        parser = workflow(bundle, "evaluate", any_modality=any_modality, **settings(films)).parser
        dataset = parser.get_parsed_content("dataset")
    assert [bool(dataset[row]["error"]) for row in range(3)] == [not any_modality] * 3


def test_a_training(films: Path, bundle: Path, elsewhere: Path) -> None:
    given = settings(films, epochs=1, calibration="none", image_size=32, cache_dir=str(elsewhere / "cache"))
    del given["force"]
    with pytest.raises(CxrError) as caught:
        run(bundle, "train", **given)
    assert code_of(caught) == "preflight-failed"
    run(bundle, "train", any_modality=True, restart=True, **given)
    assert Bundle.open("out/bundle").weights.is_file()
    assert Path("out/pictures/network_input.png").stat().st_size > 10000, "films are drawn on the sheet"
    assert not list(Path("out").glob("*.errors.csv"))


def test_what_is_read_is_in_the_key_of_the_cache(films: Path, bundle: Path, tmp_path: Path) -> None:
    data = [{"image": str(films.parent / "0.dicom"), "label": np.zeros(2, np.float32), "name": "0"}]
    folders = set()
    for any_modality in (False, True, False):
        transform = Bundle.open(bundle).parser().get_parsed_content("preprocessing")
        dataset = RadiographDataset(data, transform, (1, 32, 32), tmp_path, any_modality=any_modality)
        dataset.prepare(workers=0)
        assert dataset.cache is not None
        folders.add(dataset.cache.folder)
        assert bool(dataset[0]["error"]) is not any_modality
    assert len(folders) == 2


@pytest.mark.parametrize("switch", [False, True])
def test_finetune_hands_it_to_the_training_and_to_the_judge(
    switch: bool, films: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TrainingError(Exception):
        pass

    def training(root: Path, configurations: list[str], overrides: dict[str, Any]) -> None:
        assert overrides.get("any_modality", False) is switch
        raise TrainingError

    monkeypatch.setattr("cxr_monai.finetune.whole_network.run_configuration", training)
    words = ["finetune", "--parent", bundle, "--trust-folder", "--disease", "Mass", "--manifest", films]
    words += ["--out", tmp_path / "out", *(["--any-modality"] if switch else [])]
    with pytest.raises(TrainingError):
        main([str(word) for word in words])


def test_fine_tuning_reads_them_everywhere(
    films: Path, bundle: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_monai import components
    from cxr_monai.finetune import child

    given: list[Any] = []

    class Judge(child.ChildBundle):
        def run(self) -> None:
            given.append(self.any_modality)

    monkeypatch.setattr(components, "ChildBundle", Judge)
    shipped = Path(__file__).parents[2] / "bundles" / "cxr_transfer"
    wanted = settings(films, parent=str(bundle), disease="Effusion", against="others", trust_folder=True, epochs=1)
    del wanted["force"]
    run(shipped, "train", any_modality=True, head_epochs=1, calibration="none", cache_dir="none", **wanted)
    assert given == [True]


def test_a_child_is_judged_on_them(films: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_monai.finetune import child

    judged: dict[str, Any] = {}
    monkeypatch.setattr(child, "finish_child", lambda *given: judged.update(given[4]))
    one = object.__new__(child.ChildBundle)
    one.parent, one.manifest, one.manifest_path, one.dataset_dir = bundle, read_manifest(films), str(films), None
    one.output_dir, one.amp = tmp_path, False
    one.boxes, one.match_names, one.any_modality, one.settings = None, False, True, {}
    tiny_bundle(tmp_path / "bundle", 1)
    one.run()
    assert [len(judged[who]) for who in ("child", "parent")] == [6, 6]


def test_heads_are_trained_on_them(films: Path, bundle: Path) -> None:
    from cxr_monai.inference.model import Model
    from cxr_monai.inference.pooled_features import features_of

    manifest = read_manifest(films)
    with pytest.raises(CxrError) as caught:
        features_of(Model.open(bundle, num_workers=0), manifest)
    assert code_of(caught) == "preflight-failed"
    assert len(features_of(Model.open(bundle, num_workers=0, any_modality=True), manifest).images) == 24


def test_a_study_gives_it_to_every_training(
    films: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_monai.studies import run_experiment as studies

    class StudyError(Exception):
        pass

    def stub(study: Any, *_: object, **__: object) -> None:
        assert {overrides["any_modality"] for overrides in study.variants.values()} == {True}
        raise StudyError

    monkeypatch.setattr(studies, "run_study", stub)
    words = ["study", "losses", "--manifest", films, "--out", tmp_path / "out", "--any-modality"]
    with pytest.raises(StudyError):
        main([str(word) for word in words])


def test_every_command_that_reads_films_has_the_switch(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        ["predict"],
        ["explain"],
        ["check"],
        ["manifest", "dicom"],
        ["finetune"],
        ["study"],
        ["maps", "faithful"],
    ]
    for command in commands:
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        assert "--any-modality" in capsys.readouterr().out, command


def test_every_configuration_has_the_setting() -> None:
    for path in sorted((Path(__file__).parents[2] / "bundles").glob("*/configs/*.json")):
        text = path.read_text(encoding="utf-8")
        reads = text.count("RadiographDataset") + text.count("components.ExplanationRun")
        assert text.count('"any_modality": "@any_modality"') >= reads, path
        assert json.loads(text).get("any_modality", None) is (False if reads else None), path
