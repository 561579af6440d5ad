"""A hospital whose table has two findings, none or some of them NIH's, follows the README to the end."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fire.parser import DefaultParseValue

from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.labels import NIH14, parse_labels
from tests.support.bundle_runs import SHIPPED, TINY, Phantoms, code_of, run
from tests.support.tiny_bundles import NETWORK


def hospital(own: tuple[str, str], phantoms: Phantoms) -> dict[str, Any]:
    """Follow the README as far as the training: the phantoms' Cardiomegaly and Effusion under the hospital's names."""
    table = phantoms.table
    made = pd.DataFrame({"image": table["image"], "patient": table["patient_id"]})
    for name, finding in zip(own, ("Cardiomegaly", "Effusion"), strict=True):
        made[name] = table[finding].astype(int)
    made.to_csv("labels.csv", index=False)
    words = ["--labels", "labels.csv", "--findings", ",".join(own), "--out", "M.csv"]
    assert main(["manifest", "folder", str(phantoms.root), *words]) == 0
    assert main(["split", "M.csv", "--scheme", "random", "--fractions", "0.5,0.25,0.25"]) == 0
    assert main(["bundle", "new", "cxr_nih14", "B"]) == 0
    return {**TINY, "manifest": "M.csv", "output_dir": "OUT", "epochs": 1}


def refused(train: dict[str, Any]) -> list[str]:
    """Train with the bundle's own labels and return the settings that the error offers; nothing was begun."""
    with pytest.raises(CxrError) as error:
        run(Path("B"), "train", **train)
    assert code_of(error) == "unknown-finding"
    assert not Path("OUT").exists()
    return re.findall(r"add (--labels .*)", str(error.value))


@pytest.mark.parametrize(
    ("own", "settings"),
    [
        (("Cardiomegaly", "Effusion"), ["--labels Cardiomegaly,Effusion"]),
        (("Big heart (CTR)", "Effusion"), ["--labels Effusion", "--labels 'Big heart (CTR),Effusion'"]),
        (("Fracture", "Device"), ["--labels Fracture,Device"]),
    ],
)
def test_the_error_has_the_setting_to_paste(
    own: tuple[str, str], settings: list[str], phantoms: Phantoms, elsewhere: Path
) -> None:
    offered = refused(hospital(own, phantoms))
    assert offered == settings
    _, value = shlex.split(offered[-1])  # as a shell, then MONAI's command line, take it
    assert parse_labels(DefaultParseValue(value)) == list(own)


def test_from_a_label_table_to_predictions(phantoms: Phantoms, elsewhere: Path) -> None:
    own = ("Fracture", "Effusion")
    train = hospital(own, phantoms)
    _, value = shlex.split(refused(train)[-1])
    run(Path("B"), "train", **train, labels=DefaultParseValue(value), network_def={**NETWORK, "out_channels": 2})
    run(Path("OUT/bundle"), "evaluate", manifest="M.csv", output_dir="EVALUATION", num_workers=0, replicates=20)
    assert list(pd.read_csv("EVALUATION/metrics.csv")["finding"]) == [*own, "mean"]
    assert main(["predict", "OUT/bundle", "M.csv", "--out", "predictions.csv"]) == 0
    assert list(pd.read_csv("predictions.csv").columns) == ["image", *own]


def test_a_misspelt_label_is_told_beside_what_there_is(phantoms: Phantoms, elsewhere: Path) -> None:
    with pytest.raises(CxrError) as error:
        run(SHIPPED, "train", manifest=str(phantoms.manifest), labels="Hernia,Broken_Rib")
    assert str(error.value) == (
        f"{phantoms.manifest}: it has no column for Broken_Rib, which this training is to learn (1 of 2 labels); it has"
        " Atelectasis, Cardiomegaly, Effusion, Infiltration and 10 more. To train on what both have, add --labels"
        f" Hernia\nTo train on all that it has, add --labels {','.join(NIH14)}"
    )
