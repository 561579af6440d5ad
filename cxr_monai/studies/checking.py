"""Check all variants before the first one trains: a misspelt setting must not be noticed after a night.

Each variant's ``train.json`` is parsed by MONAI with its overrides, and everything is made that a training makes before
its first step: data sets, network, loss, optimiser, schedule. Nothing is trained and nothing written.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.data.meta_obj import get_track_meta
from monai.utils import set_determinism

from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.named_network import written_out
from cxr_monai.bundle.setting_checks import check_ranges
from cxr_monai.bundle.unknown_settings import refuse_unknown
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, CxrError, SettingError, StudyError, ours
from cxr_monai.progress import progress_bar
from cxr_monai.studies.plan import Experiment

NOT_OF_EVALUATION = (
    "manifest", "output_dir", "bundle_root", "run_name", "experiment", "weights", "split", *MEANING,
)  # fmt: skip
"""Settings that an experiment's evaluations take from the experiment or from the trained bundle."""


@dataclass(frozen=True, eq=False)
class Checked:
    """The checked settings of a variant.

    Attributes:
        overrides: of its ``train.json``, a network's name written out (`cxr_monai.bundle.named_network.written_out`).
        findings: its labels, in the order of the network's channels.
        manifest: the table that it reads, with the labels that its scheme derives.
        settings: what decides its course (`cxr_monai.training.settings.course`), without the seed.
        epochs: at most.
        seconds: estimated time of one training; None without ``estimate``.
    """

    overrides: Mapping[str, Any]
    findings: tuple[str, ...]
    manifest: Manifest
    settings: Mapping[str, str]
    epochs: int
    seconds: float | None


def check(study: Experiment, bundle: Path, manifest: Path, *, estimate: bool = False) -> dict[str, Checked]:
    """Set up every variant's training without running it, and check the settings of the evaluation.

    Args:
        study: the experiment.
        bundle: the folder that trainings start from.
        manifest: that of one training.
        estimate: run a few images through each network, to estimate how long a training will take.

    Returns:
        the checked settings of each variant, by name.

    Raises:
        CxrError: the error that a training would raise for its settings, images or labels, with the variant's name.
    """
    checked = {}
    with _process_as_it_was():
        variants = study.variants
        for variant, overrides in progress_bar(
            variants.items(), total=len(variants), desc="checking the variants", unit="variants"
        ):
            try:
                checked[variant] = _try(study, bundle, overrides, manifest, estimate)
            except Exception as error:
                raise _named(error, variant) from error
        _check_evaluation(study, bundle)
    return checked


def _try(study: Experiment, bundle: Path, overrides: Mapping[str, Any], manifest: Path, estimate: bool) -> Checked:
    files = [bundle / "configs" / "train.json", *study.files]
    overrides = written_out(overrides, files)
    parser = _parser(bundle, files, overrides | {"manifest": str(manifest)})
    with tempfile.TemporaryDirectory() as folder:
        parser.update({"output_dir": str(Path(folder) / "OUT")})
        parser.parse(reset=True)
        for index in range(len(parser["initialize"])):
            parser.get_parsed_content(f"initialize::{index}")
            # as MONAI does: an item may have changed settings, and what comes next must be parsed anew
            parser.ref_resolver.remove_resolved_content(f"initialize::{index}")
        training = parser.get_parsed_content("training")
        seconds = training.preflight.run() if estimate else None
    epochs = int(parser.get_parsed_content("epochs"))
    # more epochs, or a batch in other parts, continue a training; to an experiment they are another one
    settings = training.checkpoints.settings | {"epochs": str(epochs)}
    if parser.config.get("accumulate", 1) != 1:
        settings |= {"accumulate": str(parser.config["accumulate"])}
    settings.pop("seed", None)
    return Checked(overrides, tuple(training.findings), training.manifest, settings, epochs, seconds)


def _check_evaluation(study: Experiment, bundle: Path) -> None:
    """Refuse settings of the evaluation that do not exist, or that the experiment or the trained bundle sets."""
    reserved = [key for key in study.evaluate_overrides if re.split("#|::", key)[0] in NOT_OF_EVALUATION]
    if reserved:
        raise StudyError(
            Code.STUDY_INVALID,
            f"evaluate_overrides set {', '.join(reserved)}, which the study sets, or which are part of what weights "
            "mean.",
            fix="Leave them out; what weights mean is set for the training, in the variants.",
            where="evaluation",
        )
    files = [bundle / "configs" / "evaluate.json", *study.evaluate_files]
    parser = _parser(bundle, files, study.evaluate_overrides)
    try:
        refuse_unknown(parser)
        check_ranges(parser.config)
    except CxrError as error:
        raise _named(error, "evaluation") from error


def _parser(bundle: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    # a copy: MONAI changes what it is given
    parser.update({"bundle_root": str(bundle), **json.loads(json.dumps(overrides))})
    return parser


def _named(error: Exception, name: str) -> CxrError:
    """Return the error with the variant's name; other errors come from a value that a component refused."""
    cause = ours(error)
    if cause is not None:
        message = f"{cause.where}: {cause.message}" if cause.where else cause.message
        return type(cause)(cause.code, message, fix=cause.fix, where=name)
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return SettingError(
        Code.SETTING_INVALID,
        f"its settings cannot be trained with: {type(error).__name__}: {' '.join(str(error).split())}.",
        fix="Correct the override that this names.",
        where=name,
    )


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Restore the settings of the whole process that setting up a training changes."""
    tracked, threads = get_track_meta(), torch.get_num_threads()
    try:
        yield
    finally:
        set_determinism(None)
        set_track_meta(tracked)
        torch.set_num_threads(threads)
