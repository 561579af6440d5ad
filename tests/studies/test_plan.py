"""A study as it is read: what is merged, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.errors import StudyError
from cxr_monai.studies.plan import Published, read_study
from cxr_monai.studies.questions import QUESTIONS
from tests.support.bundle_runs import SHIPPED, read


def written(folder: Path, content: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_overrides_come_from_base_then_settings_then_variant(tmp_path: Path) -> None:
    content = {
        "_desc_": "no setting",
        "base": {"_desc_": "nor this", "epochs": 1, "batch_size": 8, "schedule": "cosine"},
        "variants": {"plain": {}, "fast": {"batch_size": 2, "optimizer#name": "sgd"}},
        "baseline": "fast",
    }
    study = read_study(written(tmp_path, content), SHIPPED, settings={"epochs": 2, "batch_size": 4})
    common = {"epochs": 2, "batch_size": 4, "schedule": "cosine"}
    assert study.variants == {"plain": common, "fast": common | {"batch_size": 2, "optimizer#name": "sgd"}}
    assert (study.name, study.baseline, study.seeds, study.folds) == ("mine", "fast", (0,), None)


def test_the_first_variant_is_the_baseline_and_published_findings_are_spelled_as_here(tmp_path: Path) -> None:
    published = {"b": {"source": "arXiv 1711.05225", "auroc": {"Infiltrate": 0.7, "mean": 1}}}
    published["b"]["auroc"]["_desc_"] = "a comment anywhere"  # type: ignore[index]
    study = read_study(written(tmp_path, {"variants": {"b": {}, "a": {}}, "published": published}), SHIPPED)
    assert study.baseline == "b"
    assert study.published == {"b": Published("arXiv 1711.05225", {"Infiltration": 0.7, "mean": 1.0})}


def test_overlays_are_looked_for_beside_the_file_then_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("{}")
    content = {"variants": {"a": {}}, "files": ["own.json", "one_cycle.json"], "evaluate_overlay": "ten_crop.json"}
    study = read_study(written(tmp_path, content), SHIPPED)
    assert study.files == (tmp_path / "own.json", SHIPPED / "configs" / "one_cycle.json")
    assert study.evaluate_files == (SHIPPED / "configs" / "ten_crop.json",)


def test_jobs_go_seed_by_seed_into_folders_of_their_own(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, {"variants": {"a": {}, "b": {"epochs": 3}}}), SHIPPED, seeds=(4, 7), folds=3)
    jobs = study.jobs(tmp_path)
    assert [(job.seed, job.variant, job.fold) for job in jobs] == [
        (seed, variant, fold) for seed in (4, 7) for variant in "ab" for fold in range(3)
    ]
    assert jobs[3].folder == tmp_path / "trainings" / "b-seed4-fold0"
    assert jobs[3].overrides == {"epochs": 3}
    assert len({job.folder for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "a study is a JSON object"),
        ({"variants": {}}, "it has no variants"),
        ({"variants": ["a"]}, r"variants is \['a'\]; it must be a JSON object"),
        ({"variant": {"a": {}}}, "a study has no 'variant'; .* Did you mean 'variants'"),
        ({"variants": {"a": {}}, "base": 3}, "base is 3"),
        ({"variants": {"a": []}}, r"a is \[\]"),
        ({"variants": {"a/b": {}}}, "the variant 'a/b'"),
        ({"variants": {"a": {"seed": 1}}}, "the variant 'a' sets seed"),
        ({"variants": {"a": {}}, "base": {"output_dir": "x", "manifest": "y"}}, "sets output_dir, manifest"),
        ({"variants": {"finding": {}}}, "the variant 'finding' has the name of a column"),
        ({"variants": {"a": {}, "positives": {}}}, "the variant 'positives' has the name of a column"),
        ({"variants": {"a": {}}, "baseline": ["a"]}, r"baseline is \['a'\]; it must be a text"),
        ({"variants": {"plain": {}}, "baseline": "plane"}, "the baseline is 'plane'; .* Did you mean 'plain'"),
        ({"variants": {"a": {}}, "published": {"b": {}}}, "published is 'b'; there are a"),
        ({"variants": {"a": {}}, "published": {"a": {"source": "x", "auroc": {"Mass": 80}}}}, "numbers from 0 to 1"),
        ({"variants": {"a": {}}, "published": {"a": {"source": "x", "auroc": {"Mass": True}}}}, "numbers from 0 to 1"),
        ({"variants": {"a": {}}, "published": {"a": {"auroc": {}}}}, "the source of 'a' is None"),
        ({"variants": {"a": {}}, "files": "x.json"}, "files is 'x.json'; it must be a list"),
        ({"variants": {"a": {}}, "files": ["gone.json"]}, "there is no overlay .*gone.json or .*configs/gone.json"),
        ({"variants": {"a": {}}, "question": ""}, "question is ''"),
        ({"variants": {"a": {}}, "seeds": [0, 0]}, r"the seeds are \[0, 0\]"),
        ({"variants": {"a": {}}, "seeds": []}, "the seeds are"),
        ({"variants": {"a": {}}, "seeds": [-1]}, "the seeds are"),
        ({"variants": {"a": {}}, "folds": 2}, "folds is 2; it is 'auto' or a whole number of at least 3"),
        ({"variants": {"a": {}}, "folds": True}, "folds is True"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(StudyError, match=rf"(?s)mine\.json: .*{said}") as error:
        read_study(written(tmp_path, content), SHIPPED)
    assert error.value.code == "study-invalid"


def test_neither_a_question_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="questions are normalisation, heads"):
        read_study("normalization", SHIPPED)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(StudyError, match="cannot be read as JSON"):
        read_study(tmp_path / "x.json", SHIPPED)


def test_a_variant_that_stands_twice_is_no_accident(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"variants": {"a": {"epochs": 1}, "b": {}, "a": {"epochs": 2}}}')
    with pytest.raises(StudyError, match="'a' stands there twice"):
        read_study(tmp_path / "x.json", SHIPPED)


def test_losses_are_compared_without_what_watches_the_validation_loss() -> None:
    """Plateau schedule and stop follow plain cross-entropy, which some losses raise while the ranking improves."""
    study = read_study("losses", SHIPPED, settings={"epochs": 50})
    for overrides in study.variants.values():
        assert overrides["schedule"] == "cosine"
        assert overrides["epochs"] == 50
        assert overrides["patience"] > 50


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_questions_of_the_package_set_what_exists(name: str) -> None:
    study = read_study(name, SHIPPED)
    settings = read(SHIPPED, "train")
    assert study.question.endswith("?")
    assert [key for overrides in study.variants.values() for key in overrides if key not in settings] == []
