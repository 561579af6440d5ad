"""Every command that writes: on a full disk, a read-only one, below a file, and where something is already.

Exit status and code are told with the path that the user gave, and what was there before is there, byte for byte.
"""

import argparse
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from cxr_monai.cli import COMMANDS, build_parser, main
from cxr_monai.data.phantom import make_phantoms
from cxr_monai.data.phantom.mark import CARD, FIRST_LINE
from cxr_monai.data.sources import SOURCES
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from tests.networks import originals
from tests.support.gates import with_gate
from tests.support.small_disks import fill, make_room, small_disk
from tests.support.tiny_bundles import tiny_bundle

MEGABYTE = 1 << 20


NAMES = {
    "nih": "nih", "labels": "labels.csv", "manifest": "manifest.csv", "boxes": "boxes.csv", "bundle": "bundle",
    "predictions": "predictions.csv", "evaluation": "evaluation", "maps": "maps", "theirs": "theirs.pth",
    "key": "keys/a.pem", "public": "keys/a.pub", "trusted": "trusted", "elsewhere": "elsewhere", "share": "share",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What commands read, in one folder: ``made.maps`` is the path of its maps."""

    root: Path
    image: str = ""

    def __getattr__(self, name: str) -> str:
        return str(self.root / NAMES[name])


def leave(path: Path, content: bytes = b"an earlier one\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@dataclass(frozen=True)
class Command:
    """One that writes.

    Attributes:
        words: given what there is to read, and the place to write to.
        earlier: what lies there, below that place, when an earlier result does; none is refused where None.
        early: only what is refused before the work begins is tried: it would take long, or train.
    """

    words: Callable[[Made, Path], list]
    earlier: str | None = ""
    early: bool = False


QUICK = ["--replicates", "10"]
WRITE = {
    "phantom": Command(lambda made, at: ["phantom", at / "p", "--count", 4, "--size", 64], "p/x"),
    "manifest nih": Command(lambda made, at: ["manifest", "nih", made.nih, "--out", at / "m.csv"], "m.csv"),
    "manifest folder": Command(
        lambda made, at: ["manifest", "folder", f"{made.nih}/images", "--labels", made.labels, "--out", at / "m.csv"],
        "m.csv",
    ),
    "manifest dicom": Command(
        lambda made, at: ["manifest", "dicom", f"{made.nih}/dicom", "--out", at / "m.csv"], "m.csv"
    ),
    "split": Command(lambda made, at: ["split", made.manifest, "--scheme", "random", "--out", at / "s.csv"], "s.csv"),
    "check": Command(lambda made, at: ["check", made.manifest, "--out", at], "check.txt"),
    "predict": Command(
        lambda made, at: ["predict", made.bundle, made.manifest, "--out", at / "p.csv", "--workers", 0], "p.csv"
    ),
    "predict --dicom-out": Command(
        lambda made, at: ["predict", made.bundle, f"{made.nih}/dicom", "--out", at / "p.csv", "--workers", 0,
                          "--dicom-out", at / "d", "--dicom-objects", "sc"],
        "d/objects.csv",
    ),
    "explain": Command(
        lambda made, at: ["explain", made.bundle, made.manifest, "--out", at, "--workers", 0], None
    ),
    "maps show": Command(
        lambda made, at: ["maps", "show", made.maps, "--images", made.image, "--finding", "Mass",
                          "--out", at / "a.png"],
        "a.png",
    ),
    "maps localise": Command(
        lambda made, at: ["maps", "localise", made.maps, "--boxes", made.boxes, "--manifest", made.manifest,
                          "--draws", 1, "--out", at, "--seen", "allow", *QUICK],
        "localisation.json",
    ),
    "maps faithful": Command(
        lambda made, at: ["maps", "faithful", made.bundle, made.manifest, "--count", 2, "--steps", 2, "--controls", 1,
                          "--samples", 0, "--stages", 0, "--draws", 1, "--out", at, *QUICK],
        "faithfulness.html",
    ),
    "maps agree": Command(
        lambda made, at: ["maps", "agree", made.maps, made.maps, "--count", 0, "--out", at, *QUICK], "agreement.html"
    ),
    "calibrate": Command(
        lambda made, at: ["calibrate", made.bundle, "--predictions", made.predictions, "--manifest", made.manifest,
                          "--method", "platt", "--out", at / "copy"],
        "copy/configs/metadata.json",
    ),
    "evaluate": Command(
        lambda made, at: ["evaluate", "--predictions", made.predictions, "--manifest", made.manifest,
                          "--out", at, *QUICK],
        "metrics.json",
    ),
    "external": Command(
        lambda made, at: ["external", "--manifests", made.manifest, "--predictions", f"net@manifest={made.predictions}",
                          "--split", "all", "--out", at, *QUICK],
        "external.json",
    ),
    "labels compare": Command(
        lambda made, at: ["labels", "compare", made.manifest, made.manifest, "--out", at, *QUICK], "labels.json"
    ),
    "drift": Command(
        lambda made, at: ["drift", made.bundle, made.predictions, "--reference", made.predictions, "--out", at],
        "drift.json", early=True,
    ),
    "gate fit": Command(
        lambda made, at: ["gate", "fit", made.bundle, "--trust-folder", "--manifest", made.manifest,
                          "--out", at / "copy", "--workers", 0],
        "copy/configs/metadata.json", early=True,
    ),
    "gate index": Command(
        lambda made, at: ["gate", "index", made.manifest, "--bundle", made.bundle, "--trust-folder",
                          "--out", at / "index.csv", "--workers", 0],
        "index.csv",
    ),
    "gate check": Command(
        lambda made, at: ["gate", "check", made.bundle, made.manifest, "--trust-folder", "--brief", "--out", at,
                          "--workers", 0],
        "gate.csv",
    ),
    "gate sheet": Command(
        lambda made, at: ["gate", "sheet", made.predictions, made.manifest, "--accepted", 2, "--out", at / "s.png"],
        "s.png",
    ),
    "finetune": Command(
        lambda made, at: ["finetune", "--parent", made.bundle, "--trust-folder", "--disease", "Edema", "--manifest",
                          made.manifest, "--out", at],
        None, early=True,
    ),
    "study": Command(
        lambda made, at: ["study", "normalisation", "--manifest", made.manifest, "--out", at], None, early=True
    ),
    "bundle new": Command(lambda made, at: ["bundle", "new", "cxr_nih14", at / "b"], "b/configs/metadata.json"),
    "bundle import": Command(
        lambda made, at: ["bundle", "import", made.theirs, at / "b"], "b/configs/metadata.json"
    ),
    "bundle card": Command(
        lambda made, at: ["bundle", "card", made.bundle, "--evaluation", made.evaluation, "--out", at / "b"],
        "b/configs/metadata.json",
    ),
    "bundle export": Command(lambda made, at: ["bundle", "export", made.bundle, "--out", at / "e"], "e/contract.json"),
    "bundle inspect": Command(
        lambda made, at: ["bundle", "inspect", made.bundle, "--json", at / "i.json"], "i.json"
    ),
    "bundle pack": Command(
        lambda made, at: ["bundle", "pack", made.bundle, "--metrics", made.evaluation, "--name", "a",
                          "--version", "0.1.0", "--out", at],
        "a-0.1.0.zip",
    ),
    "bundle keys": Command(
        lambda made, at: ["bundle", "keys", "c", "--out", at, "--trusted", at / "trusted"], "c.pem"
    ),
    "bundle sign": Command(lambda made, at: ["bundle", "sign", at / "a.zip", "--key", made.key], None),
    "bundle trust": Command(
        lambda made, at: ["bundle", "trust", made.public, "--name", "other", "--trusted", at], None
    ),
    "bundle install": Command(
        lambda made, at: ["bundle", "install", f"{made.share}/a-1.0.0.zip", "--trusted", made.trusted,
                          "--store", at], None
    ),
}  # fmt: skip
READ = {"track", "cache", "bundle list", "bundle verify", "bundle lineage", "doctor"}
"""These write no result: a few sent numbers, and what they take away."""
AS_NIH = {f"manifest {source}" for source in SOURCES} - {*WRITE}
"""These write what ``manifest nih`` writes, by the same function (`cxr_monai.workflows.collect`)."""
RUNS = {"run"}
"""What it writes its configuration decides: tests/bundles looks at each."""


def leaves(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield name
    for action in below:
        for word, sub in action.choices.items():
            yield from leaves(sub, f"{name} {word}".strip())


def test_every_command_of_the_parser_is_here() -> None:
    there = {name for command in COMMANDS for name in leaves(build_parser(command), "") if name.split()[0] == command}
    assert there == {*(name.partition(" --")[0] for name in WRITE), *READ, *AS_NIH, *RUNS}


def run(command: Command, made: Made, at: Path, *more: str) -> int:
    return main([*map(str, command.words(made, at)), *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """36 phantoms, a tiny bundle, what it predicts, explains and is worth, and a signed archive."""
    root = tmp_path_factory.mktemp("made")
    make_phantoms(root / "nih", 36, 64, seed=3, workers=1, masks=False, progress=False, dicom=True)
    has = Made(root)
    words = ["manifest", "nih", has.nih, "--out", has.manifest], ["split", has.manifest, "--scheme", "random"]
    assert [main([*each]) for each in words] == [0, 0]
    table = pd.read_csv(has.manifest, dtype="str")
    table[["image", "patient_id", "Mass"]].to_csv(has.labels, index=False)
    images = [image for image in table["image"] if Path(image).name in boxed(root / "nih")]
    shutil.copy(root / "nih" / "BBox_List_2017.csv", has.boxes)
    has = Made(root, images[0])
    tiny_bundle(root / "bundle", 1)
    with_gate(root / "bundle", 1e12)
    for words in (
        ["predict", has.bundle, has.manifest, "--raw", "--out", has.predictions, "--workers", "0"],
        ["evaluate", "--predictions", has.predictions, "--manifest", has.manifest, "--out", has.evaluation, *QUICK],
        ["explain", has.bundle, has.manifest, "--out", has.maps, "--workers", "0"],
    ):
        assert main(words) == 0
    torch.save(originals.chexnet_old(originals.state_dict(3, 14)), has.theirs)
    make_key("a", root / "keys")
    trust_key(Path(has.public), "a", has.trusted)
    pack_bundle(has.bundle, has.share, metrics=has.evaluation, name="a", version="1.0.0")
    sign_archive(f"{has.share}/a-1.0.0.zip", has.key)
    return has


def boxed(nih: Path) -> set[str]:
    lines = (nih / "BBox_List_2017.csv").read_text().splitlines()[1:]
    return {line.split(",")[0] for line in lines if line.split(",")[1] == "Mass"}


def prepare(name: str, made: Made, at: Path) -> None:
    """Lay there what a command needs in its place: the archive to sign."""
    at.mkdir(parents=True, exist_ok=True)
    if name == "bundle sign":
        pack_bundle(made.bundle, at, metrics=made.evaluation, name="a", version="1.0.0").path.rename(at / "a.zip")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below one, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def told(capsys: pytest.CaptureFixture[str], code: str, at: Path) -> None:
    """The code, the path that was given, and no temporary one."""
    said = capsys.readouterr().err
    assert f"error [{code}]: {at}" in said
    assert ".part" not in said


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own, of one megabyte; it needs the right to mount."""
    with small_disk(tmp_path_factory.mktemp("disk"), MEGABYTE) as place:
        yield place


@pytest.fixture
def place(disk: Path) -> Iterator[Path]:
    """The folder that commands write into, on that file system."""
    yield disk / "at"
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    shutil.rmtree(disk / "at", ignore_errors=True)
    make_room(disk)


EARLIER = [name for name, command in WRITE.items() if command.earlier is not None]


@pytest.mark.parametrize("name", WRITE)
def test_a_full_disk(name: str, made: Made, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(name, made, place)
    leave(place / "kept.txt")
    fill(place.parent)
    before = tree(place)
    assert run(WRITE[name], made, place) == 1
    told(capsys, "disk-full", place)
    assert tree(place) == before


@pytest.mark.parametrize("name", WRITE)
def test_a_read_only_disk(name: str, made: Made, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(name, made, place)
    leave(place / "kept.txt")
    before = tree(place)
    subprocess.run(["mount", "-o", "remount,ro", place.parent], check=True)
    assert run(WRITE[name], made, place) == 1
    told(capsys, "write-failed", place)
    assert tree(place) == before


@pytest.mark.parametrize("name", sorted(set(WRITE) - {"bundle sign"}))
def test_a_parent_that_cannot_be_written(
    name: str, made: Made, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder would have to be made in one that takes nothing new."""
    place.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", place.parent], check=True)
    assert run(WRITE[name], made, place / "new" / "deep") == 1
    told(capsys, "write-failed", place / "new" / "deep")
    assert tree(place) == {}


@pytest.mark.parametrize("name", sorted(set(WRITE) - {"bundle sign"}))
def test_a_parent_that_is_a_file(name: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "file")
    before = tree(tmp_path)
    assert run(WRITE[name], made, tmp_path / "file" / "new") == 1
    told(capsys, "write-failed", tmp_path / "file" / "new")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_result(name: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "at" / str(WRITE[name].earlier))
    before = tree(tmp_path)
    assert run(WRITE[name], made, tmp_path / "at") == 2
    told(capsys, "output-exists", tmp_path / "at")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "status"), [([], 0), (["--map-stride", 4], 2), (["--finding", "Mass"], 2), (["--method", "gradcam"], 2)]
)
def test_explain_into_a_folder_of_maps(
    words: list, status: int, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on with its own, and writes over others if it is told to."""
    shutil.copytree(made.maps, tmp_path / "at")
    shutil.copy(f"{made.maps}.gate.csv", tmp_path / "at.gate.csv")
    before = tree(tmp_path)
    command = Command(lambda made, at: [*WRITE["explain"].words(made, at), *words])
    assert run(command, made, tmp_path / "at") == status
    assert tree(tmp_path) == before
    if status:
        told(capsys, "output-exists", tmp_path / "at")
        assert run(command, made, tmp_path / "at", "--force") == 0
        assert tree(tmp_path)["at/maps.json"] != before["at/maps.json"]


@pytest.mark.parametrize("name", ["maps.csv", "maps.json", "maps_00000.npz", "pictures/a.png"])
def test_explain_writes_over_nobodys_files_unasked(
    name: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path / "at" / name)
    before = tree(tmp_path)
    assert run(WRITE["explain"], made, tmp_path / "at", "--pictures", "1") == 2
    told(capsys, "output-exists", tmp_path / "at")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("leaving", [6_000, 40_000, 120_000])
@pytest.mark.parametrize("name", [name for name, command in WRITE.items() if not command.early])
def test_a_disk_that_becomes_full(
    name: str, leaving: int, made: Made, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fits is whole; else nothing is there but what was before, an earlier result too."""
    command = WRITE[name]
    prepare(name, made, place)
    leave(place / "kept.txt")
    more = []
    if command.earlier is not None and name not in ("bundle pack", "bundle keys"):
        leave(place / command.earlier, json.dumps({"complete": []}).encode())
        more = ["--force"]
    if name == "phantom":
        leave(place / "p" / CARD, f"{FIRST_LINE}\n".encode())
    fill(place.parent, leaving)
    before = tree(place)
    if run(command, made, place, *more):
        told(capsys, "disk-full", place)
        after = tree(place)
        if name in ("predict", "explain"):  # what is done is kept, for the same command to go on
            after = {path: content for path, content in after.items() if path in before}
        assert after == before
    else:
        assert not [path for path in tree(place) if ".part" in path]
