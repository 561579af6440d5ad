"""The interface for Python: its names, lazy and typed; each gives what the command line gives."""

import ast
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cxr_monai
from cxr_monai.bundle.digest import file_digest
from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.evaluation.predictions import read_predictions
from cxr_monai.workflows.python_inputs import manifest_file
from tests.support.bundle_runs import SHIPPED, Phantoms, code_of, few, process_as_it_was, rewrite, run
from tests.support.tiny_bundles import LABELS, NETWORK, tiny_bundle

PACKAGE = Path(cxr_monai.__file__).parent
NAMES = [name for name in cxr_monai.__all__ if name != "__version__"]
PAST = {
    "agreeing", "calibrating", "card", "diary", "dicom", "evaluating", "explain", "explaining", "faithful", "fitting",
    "folder", "folding", "gaps", "judging", "likeness", "localising", "metrics", "names", "nifti", "page", "pictures",
    "places", "predict", "preparations", "relations", "report", "running", "showing", "site", "store", "studies",
    "tables", "trust", "weights", "workflow", "zoo",
}  # fmt: skip
"""Modules and packages that were once; ``import cxr_monai.PAST`` would take the place of a function of that name."""


def test_the_names_are_those_of_the_types() -> None:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: f"{node.module}" for node in imports for alias in node.names}
    assert typed == {name: f"cxr_monai.{module}" for name, module in cxr_monai._MODULES.items()}
    assert cxr_monai.__all__ == ["__version__", *cxr_monai._MODULES]


def test_no_name_is_that_of_a_module_or_package_past_or_present() -> None:
    modules = {path.stem for path in PACKAGE.rglob("*.py")} | {path.name for path in PACKAGE.rglob("*/")}
    assert not set(NAMES) & {*modules, *PAST}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_with_its_documentation(name: str) -> None:
    value = getattr(cxr_monai, name)
    assert value.__name__ == name
    assert value.__doc__


def test_another_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict_image'"):
        cxr_monai.predict_image  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, cxr_monai; dir(cxr_monai); print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "torch", "monai", "matplotlib", "mlflow"} & set(shown.stdout.split())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two findings with random weights."""
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", seed=0)


def test_predictions_are_those_of_the_command(bundle: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    out = tmp_path / "cli.csv"
    files = [str(file) for file in phantoms.files("test")[:3]]
    assert main(["predict", str(bundle), *files, "--out", str(out), "--workers", "0"]) == 0
    memory = cxr_monai.predict_images(bundle, files, workers=0)
    file = cxr_monai.predict_images(cxr_monai.Bundle.open(bundle), files, tmp_path / "python.csv", workers=0)
    assert out.read_bytes() == (tmp_path / "python.csv").read_bytes()
    expected = read_predictions(out).table
    pd.testing.assert_frame_equal(file.table, expected)
    pd.testing.assert_frame_equal(memory.table, expected, check_dtype=False, rtol=1e-7)
    assert memory.about == file.about


def test_a_manifest_in_memory_is_predicted_as_its_file_is(bundle: Path, phantoms: Phantoms) -> None:
    manifest = cxr_monai.read_manifest(phantoms.manifest)
    table = manifest.table.groupby("split").head(2).reset_index(drop=True)
    two = cxr_monai.predict_images(bundle, replace(manifest, table=table), split="test", workers=0)
    assert list(two.table["image"]) == list(table.loc[table["split"] == "test", "image"])


def test_files_that_cannot_be_read_are_told(bundle: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    result = cxr_monai.predict_images(bundle, [tmp_path / "bad.png", phantoms.files("test")[0]], workers=0)
    assert [code for _, code, _ in result.errors] == ["radiograph-not-an-image"]
    assert len(result.table) == 1


def test_maps_are_those_of_the_command(bundle: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    files = phantoms.files("test")[:2]
    words = ["explain", str(bundle), *map(str, files), "--finding", "mass", "--out", str(tmp_path / "cli")]
    assert main([*words, "--workers", "0"]) == 0
    explained = cxr_monai.explain_images(bundle, files, findings=["mass"], workers=0)
    assert explained.findings == ("Mass",)
    assert explained.left_out == 0
    theirs = cxr_monai.explain_images(bundle, files, tmp_path / "cli", findings=["mass"], workers=0)  # goes on: nothing
    for image in map(str, files):
        np.testing.assert_array_equal(explained.store.grid(image), theirs.store.grid(image))
    pd.testing.assert_frame_equal(explained.table, theirs.table)


def test_a_map_is_shown_as_a_picture(bundle: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    explained = cxr_monai.explain_images(bundle, phantoms.files("test")[0], workers=0)
    picture = explained.show(findings=["Mass"])
    assert picture._repr_png_().startswith(b"\x89PNG")
    picture.save(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
    with pytest.raises(CxrError) as error:
        explained.show("another.png")
    assert code_of(error) == "maps-invalid"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """A manifest of 40 patients, and two systems' predictions of it."""
    draw = np.random.default_rng(0)
    images = [f"{patient}.png" for patient in range(40)]
    truth = draw.integers(0, 2, (40, 2)).astype(float)
    columns = {
        "image": images,
        "patient_id": [f"p{at}" for at in range(40)],
        "Effusion": truth[:, 0],
        "Mass": truth[:, 1],
    }
    manifest = cxr_monai.data.manifest.build_manifest(pd.DataFrame(columns), "/nowhere", "local")
    file = tmp_path_factory.mktemp("judged") / "manifest.csv"
    cxr_monai.write_manifest(manifest, file)
    tables = [
        pd.DataFrame(np.clip(truth * share + draw.random((40, 2)) * (1 - share), 0, 1), columns=list(LABELS))
        for share in (0.2, 0.6)
    ]
    for table in tables:
        table.insert(0, "image", images)
    return file, tables[0], tables[1]


def test_tables_are_judged_as_files_are(judged: tuple[Path, pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    manifest, table, _ = judged
    table.to_csv(tmp_path / "p.csv", index=False, float_format="%.8g")
    of_file = cxr_monai.evaluate_predictions(tmp_path / "p.csv", manifest, replicates=20)
    in_memory = cxr_monai.evaluate_predictions(
        table, cxr_monai.read_manifest(manifest, check_files=False), fit_on="half", replicates=20
    )
    again = cxr_monai.evaluate_predictions(table, manifest, replicates=20)
    pd.testing.assert_frame_equal(of_file.findings, again.findings)
    assert len(in_memory.operating_points)
    assert len(of_file.operating_points) == 0


def test_two_systems_are_compared(judged: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    manifest, first, second = judged
    table = cxr_monai.compare_predictions(first, second, manifest, replicates=50, margin=0.1)
    assert list(table["finding"]) == [*LABELS, "mean"]
    assert (table["difference"] > 0).all()
    assert list(table["verdict"].iloc[-1:]) == ["too few to say"]


def test_a_table_that_is_no_predictions_is_refused_with_its_row(
    judged: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    manifest, table, _ = judged
    with pytest.raises(CxrError, match=r"line 3: '1\.5' is no probability") as error:
        cxr_monai.evaluate_predictions(table.assign(Mass=[0.5, 1.5, *[0.1] * 38]), manifest)
    assert code_of(error) == "predictions-invalid"


def test_a_training_leaves_the_weights_of_the_command(phantoms: Phantoms, tmp_path: Path) -> None:
    manifest = rewrite(phantoms.manifest, tmp_path / "few.csv", few)
    settings = {
        "epochs": 1, "image_size": 32, "batch_size": 4, "num_workers": 0, "labels": list(LABELS),
        "network_def": NETWORK, "tracker#enabled": False,
    }  # fmt: skip
    run(SHIPPED, "train", manifest=str(manifest), output_dir=str(tmp_path / "monai"), **settings)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    settings.pop("tracker#enabled")
    result = cxr_monai.train_bundle(cxr_monai.read_manifest(manifest), tmp_path / "python", track=False, **settings)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert file_digest(result.bundle.weights) == file_digest(tmp_path / "monai/bundle/models/model.pt")
    assert result.bundle.labels == LABELS
    assert list(result.metrics["finding"]) == [*LABELS, "mean"]
    assert len(result.predictions.table) == 4
    assert "mean" in result._repr_html_()


def test_a_setting_that_does_not_exist_is_refused(phantoms: Phantoms, tmp_path: Path) -> None:
    with process_as_it_was(), pytest.raises(CxrError, match="Did you mean --epochs") as error:
        cxr_monai.train_bundle(phantoms.manifest, tmp_path / "OUT", epoch=1)
    assert code_of(error) == "override-unknown"


def test_a_split_is_that_of_the_command(phantoms: Phantoms, tmp_path: Path) -> None:
    whole = replace(cxr_monai.read_manifest(phantoms.manifest), split=None)
    cxr_monai.write_manifest(whole, tmp_path / "m.csv")
    assert main(["split", str(tmp_path / "m.csv"), "--scheme", "random", "--seed", "3"]) == 0
    ours = cxr_monai.split_manifest(whole, seed=3)
    assert ours.split == cxr_monai.read_manifest(tmp_path / "m.csv").split


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda table: cxr_monai.split_manifest(table, "randomly"), "there is no scheme 'randomly'"),
        (lambda table: cxr_monai.split_manifest(table, "kfold", fractions=(1, 0, 0)), "has no fractions; it has k"),
    ],
)  # fmt: skip
def test_a_split_of_another_scheme_is_refused(act: Callable, words: str, phantoms: Phantoms) -> None:
    with pytest.raises(CxrError, match=words) as error:
        act(phantoms.manifest)
    assert code_of(error) == "usage"


def test_a_manifest_is_that_of_the_command(phantoms: Phantoms, tmp_path: Path) -> None:
    assert main(["manifest", "nih", str(phantoms.root), "--out", str(tmp_path / "cli.csv")]) == 0
    manifest = cxr_monai.make_manifest("nih", phantoms.root, tmp_path / "python.csv")
    assert (tmp_path / "cli.csv").read_bytes() == (tmp_path / "python.csv").read_bytes()
    assert (tmp_path / "cli.boxes.csv").read_bytes() == (tmp_path / "python.boxes.csv").read_bytes()
    assert len(cxr_monai.make_manifest("nih", phantoms.root)) == len(manifest)


@pytest.mark.parametrize("name", ["output_dir", "bundle_root", "config_file"])
def test_settings_that_a_call_makes_itself_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CxrError, match=f"'{name}' is not a setting here"):
        cxr_monai.train_bundle("manifest.csv", tmp_path / "OUT", **{name: "elsewhere"})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_in_memory_replaces_no_other_table(tmp_path: Path, phantoms: Phantoms) -> None:
    manifest = cxr_monai.make_manifest("nih", phantoms.root)
    place = manifest_file(manifest, tmp_path)
    before = place.read_bytes()
    assert manifest_file(manifest, tmp_path) == place  # an equal one stays
    place.write_bytes(before + b"\n")
    with pytest.raises(CxrError, match="another table") as error:
        manifest_file(manifest, tmp_path)
    assert error.value.code == "output-exists"
    assert place.read_bytes() == before + b"\n"


def test_a_model_of_a_received_folder_is_not_opened(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    (bundle / "bundle.manifest.json").write_text("{}")
    with pytest.raises(CxrError) as error:
        cxr_monai.open_model(bundle)
    assert error.value.code == "bundle-untrusted"
    assert cxr_monai.open_model(bundle, trust_folder=True).labels == LABELS
