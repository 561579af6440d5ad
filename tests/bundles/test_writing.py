"""A new bundle is whole or not there, and a copy leaves behind what is of its source alone."""

from pathlib import Path

import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.digest import PARTS
from cxr_monai.bundle.writing import CONFIGURATION, check_new_bundle, copy_parts, new_bundle
from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from tests.support.bundle_runs import code_of, content
from tests.support.tiny_bundles import tiny_bundle

LEFT_BEHIND = ("bundle.sig", "bundle.manifest.json", "metrics.json", "docs/__pycache__/a.pyc", "notes/patients.csv")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tiny_bundle(tmp_path_factory.mktemp("source") / "bundle", 0)
    for name in (*LEFT_BEHIND, "lineage.json"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("{}")
    return root


def test_a_copy_has_the_parts_of_its_source_and_what_the_block_adds(source: Path, tmp_path: Path) -> None:
    before = content(source)
    with new_bundle(tmp_path / "copy", source) as folder:
        assert not (tmp_path / "copy").exists()
        (folder / "docs" / "card.md").write_text("new")
    after = content(tmp_path / "copy")
    assert (tmp_path / "copy" / "docs" / "card.md").read_text() == "new"
    del after["docs/card.md"]
    assert after == {name: text for name, text in before.items() if name not in LEFT_BEHIND}
    assert content(source) == before


@pytest.mark.parametrize("broken", ["configs/inference.json", "configs/metadata.json"])
def test_what_is_no_bundle_after_the_block_never_takes_its_place(source: Path, tmp_path: Path, broken: str) -> None:
    with pytest.raises(CxrError) as error, new_bundle(tmp_path / "copy", source) as folder:
        (folder / broken).write_text("[]")
    assert code_of(error) == "bundle-invalid"
    assert str(tmp_path / "copy" / broken) in str(error.value)  # and not the temporary folder's name
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_what_was_there(source: Path, tmp_path: Path) -> None:
    old = tiny_bundle(tmp_path / "old", 1)
    before = content(old)
    with pytest.raises(RuntimeError, match="stop"), new_bundle(old, source, force=True):
        raise RuntimeError("stop")
    assert content(old) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_other_weights_take_the_configuration_alone(source: Path, tmp_path: Path) -> None:
    with new_bundle(tmp_path / "copy", source, parts=CONFIGURATION):
        pass
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"configs", "docs", "LICENSE"}


def test_a_copy_of_all_parts_is_the_same_bundle(tmp_path: Path) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    (root / "metrics.json").write_text("{}")
    copy_parts(root, tmp_path / "copy", PARTS)
    assert Bundle.open(tmp_path / "copy").digest == Bundle.open(root).digest


@pytest.mark.parametrize(
    ("place", "force"), [("bundle", False), ("bundle", True), ("bundle/inside", False), ("other", True)]
)
def test_a_place_is_refused_before_the_work(tmp_path: Path, place: str, force: bool) -> None:
    source = tiny_bundle(tmp_path / "bundle", 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")  # no bundle: nobody's --force replaces it
    with pytest.raises(CxrError) as error:
        check_new_bundle(tmp_path / place, [source], force)
    assert code_of(error) == "output-exists"


def test_force_replaces_an_earlier_bundle(source: Path, tmp_path: Path) -> None:
    old = tiny_bundle(tmp_path / "old", 1)
    assert main(["bundle", "new", "cxr_nih14", str(old)]) == 2
    assert main(["bundle", "new", "cxr_nih14", str(old), "--force"]) == 0
    assert not (old / "models").exists()


def test_the_digest_is_that_of_the_bundle_that_was_opened(tmp_path: Path) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    bundle = Bundle.open(root)
    digest = bundle.digest
    bundle.calibration.write_text("{}")
    assert bundle.digest == digest != Bundle.open(root).digest
