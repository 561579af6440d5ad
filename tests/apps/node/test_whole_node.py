"""From a sender to a real archive and back: the node as hospitals run it, killed, cut off, lied to. No stand-ins.

One story, told once, since three processes and an archive take seconds to start: films with distinctive identifiers
arrive while receiver, analyser and deliverer are killed, one of two archives is away, and what is no film for the node
comes between. The tests look at what is there in the end.
"""

import json
import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from cxr_monai.data.phantom import make_phantoms
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.objects import film_digest
from cxr_monai.workflows.predict import predict_images
from tests.support.dicom_validators import errors_of_dciodvfy
from tests.support.gates import with_gate
from tests.support.hospital_network import Orthanc
from tests.support.running_node import RunningNode, send_films, send_until_acknowledged, wait_for
from tests.support.tiny_bundles import LABELS, tiny_bundle

pytestmark = pytest.mark.hospital

REPORT, CAPTURE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
GOOD, SEED = 8, 19
STORED, SHOWN = GOOD + 3, GOOD + 1
"""Films on the disk: a lateral, a knee and a truncated one among them; and those that have a report and a picture."""
POINTS = {LABELS[0]: {"youden": 0.125}, LABELS[1]: {"youden": 0.875}}
SECRET = {
    "PatientName": "Zwyntelbach^Quorra", "PatientID": "PID-7f3q91", "PatientBirthDate": "19430817",
    "AccessionNumber": "ACC7Q55X", "ReferringPhysicianName": "Drumgoole^Xaviera", "InstitutionName": "Klinik Vhyrn",
    "InstitutionAddress": "Oberqualgasse 7", "StudyID": "SID93X", "StudyDescription": "THORAX-QJ7",
    "SeriesDescription": "PA-QJ8", "OperatorsName": "Wexlerqvist^Ib", "StationName": "STNQ77",
    "DeviceSerialNumber": "SER-Q41",
    "OtherPatientIDs": "OID-55zq", "PatientAddress": "Zillweg 9q", "PerformingPhysicianName": "Yttrolf^Pim",
    "StudyDate": "19871123", "StudyTime": "031727.114",
}  # fmt: skip
"""Of every film; no other text has these values."""


@dataclass
class Story:
    """What happened.

    Attributes:
        node: that ran, ended now.
        films: that a network can answer, by digest.
        statuses: of what was sent besides, by name.
        first, second: objects of the two archives, by SOP Instance UID.
        texts: logs, status, names of files, the database.
        again: films that were sent more than once.
    """

    node: RunningNode
    bundle: Path
    films: dict[str, Path]
    statuses: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Dataset] = field(default_factory=dict)
    second: dict[str, Dataset] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    again: int = 0
    kills: Counter = field(default_factory=Counter)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle whose gate refuses nothing, with operating points of its own."""
    folder = with_gate(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 0), 1e12)
    calibrators = {LABELS[0]: (Calibrator("temperature", {"temperature": 2.0}),), LABELS[1]: ()}
    Fitted(calibrators, POINTS, {}, {}).write(folder / "models" / "calibration.json")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Films with the secrets; and, by name, some that are refused once they are stored, or at once."""
    folder = tmp_path_factory.mktemp("films")
    make_phantoms(folder / "P", GOOD, 64, seed=5, workers=1, masks=False, dicom=True, progress=False)
    drawn = sorted((folder / "P" / "dicom").rglob("*.dcm"))[:GOOD]
    paths = {f"film{number}": _saved(folder, f"film{number}", path) for number, path in enumerate(drawn)}
    paths["knee"] = _saved(folder, "knee", drawn[0], BodyPartExamined="KNEE")
    paths["truncated"] = _saved(folder, "truncated", drawn[1])
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:-3000])
    paths["lateral"] = _saved(folder, "lateral", drawn[4], ViewPosition="LL")
    paths["ct"] = _saved(folder, "ct", drawn[2], SOPClassUID=CT, Modality="CT")
    paths["no study"] = _saved(folder, "no_study", drawn[3], StudyInstanceUID=None)
    return paths


def _saved(folder: Path, name: str, path: Path, **changes: Any) -> Path:
    film = dcmread(path)
    for keyword, value in (SECRET | changes).items():
        setattr(film, keyword, value)
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if keyword not in changes:
            setattr(film, keyword, generate_uid(entropy_srcs=[name, keyword]))
    if changes.get("StudyInstanceUID", "") is None:
        del film.StudyInstanceUID
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    target = folder / f"{name}.dcm"
    film.save_as(target, enforce_file_format=True)
    return target


@pytest.fixture(scope="module")
def story(
    hospital: None, bundle: Path, films: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    folder, chance = tmp_path_factory.mktemp("story"), random.Random(SEED)
    good = [films[f"film{number}"] for number in range(GOOD)]
    with Orthanc(folder / "first") as first, Orthanc(folder / "second", "SECOND") as second:
        second.stop()  # away, from the start
        node = RunningNode(folder / "node", bundle, {"first": first, "second": second})
        told = Story(node, bundle, {film_digest(path): path for path in good})
        with node:
            _send_while_parts_are_killed(told, good, chance)
            _send_what_is_refused(told, films)
            wait_for(lambda: node.rows("SELECT count(*) FROM deliveries WHERE attempts AND destination = 'second' "
                     "AND state = 'waiting'") == [(2 * SHOWN,)], "all waits for the second archive")  # fmt: skip
            told.texts["status while away"] = node.command("status").stdout
            second.start()
            assert node.command("retry").returncode == 0
            node.wait_until_done(STORED)
            told.first, told.second = _content(first), _content(second)
            _send_results_back(told, folder)
            told.statuses["echo after all"] = send_films(node.port, good[:1])
            for words in (["status"], ["status", "--json"]):
                told.texts[" ".join(words)] = node.command(*words).stdout
        told.first = _content(first)
        told.texts["log"] = node.log.read_text()
        told.texts["names"] = "\n".join(str(path.relative_to(node.spool)) for path in node.spool.rglob("*"))
        database = [path for path in node.spool.iterdir() if path.name.startswith("node.db")]
        told.texts["database"] = "".join(path.read_bytes().decode("latin-1") for path in database)
        yield told


def _send_while_parts_are_killed(told: Story, good: list[Path], chance: random.Random) -> None:
    """Films arrive; meanwhile, at a moment that chance decides, one part after the other is killed."""
    for number, part in enumerate(("receive", "analyse", "deliver", "receive")):
        if part != "receive":  # what is killed is not still starting
            wait_for(lambda sent=2 * number: told.node.is_at_work(sent), "the films so far are answered")
        pids: list[int] = []
        killer = threading.Timer(chance.uniform(0, 0.3), lambda part=part, pids=pids: pids.append(told.node.kill(part)))
        killer.start()
        told.again += send_until_acknowledged(told.node.port, good[2 * number : 2 * number + 2])
        killer.join()
        told.node.wait_for_another(part, pids[0])
        told.kills[part] += 1


def _send_what_is_refused(told: Story, films: dict[str, Path]) -> None:
    port = told.node.port
    told.statuses |= {
        name: send_films(port, [films[name]]) for name in ("lateral", "knee", "truncated", "ct", "no study")
    }
    told.statuses["wrong title"] = _storescu(port, films["film0"], "-aec", "OTHER")
    told.statuses["cut"] = _cut(port)
    told.statuses["garbage"] = _garbage(port)


def _storescu(port: int, film: Path, *options: str) -> str:
    words = ["storescu", "-v", *options, "127.0.0.1", str(port), str(film)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return ran.stdout + ran.stderr


def _cut(port: int) -> bytes:
    """Send half an association request and leave."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x01\x00half")
    return b""


def _garbage(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(60)
        peer.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return peer.recv(100)


def _send_results_back(told: Story, folder: Path) -> None:
    for sop_class, name in ((CAPTURE, "own picture"), (REPORT, "own report")):
        path = folder / f"{sop_class}.dcm"
        next(one for one in told.first.values() if one.SOPClassUID == sop_class).save_as(path, enforce_file_format=True)
        told.statuses[name] = send_films(told.node.port, [path])


def _content(archive: Orthanc) -> dict[str, Dataset]:
    identifiers = archive.get("/instances")
    objects = [dcmread(BytesIO(archive.content(identifier))) for identifier in identifiers]
    assert len({one.SOPInstanceUID for one in objects}) == len(objects)
    return {one.SOPInstanceUID: one for one in objects}


def _by_film(objects: dict[str, Dataset]) -> dict[str, Counter]:
    """Return how many objects of each SOP class refer to each film's study."""
    counts: dict[str, Counter] = {}
    for one in objects.values():
        counts.setdefault(one.StudyInstanceUID, Counter())[one.SOPClassUID] += 1
    return counts


def test_every_acknowledged_film_has_one_report_and_one_picture_in_both_archives(story: Story) -> None:
    studies = {dcmread(path).StudyInstanceUID for path in story.films.values()}
    for objects in (story.first, story.second):
        counts = _by_film(objects)
        assert {study: counts[study] for study in studies} == {study: {REPORT: 1, CAPTURE: 1} for study in studies}
        assert len(counts) == SHOWN
        assert all(count == {REPORT: 1, CAPTURE: 1} for count in counts.values())
    assert story.first.keys() == story.second.keys()
    assert story.kills == {"receive": 2, "analyse": 1, "deliver": 1}


def test_answers_are_those_that_films_deserve(story: Story) -> None:
    answers = story.node.answers()
    others = [answer for digest, answer in answers.items() if digest not in story.films]

    assert {answers[digest] for digest in story.films} == {("answered", "")}
    assert sorted(others) == [
        ("refused", "gate-lateral"),
        ("refused", "radiograph-truncated"),
        ("refused", "radiograph-wrong-modality"),
    ]


def test_refusals_have_the_statuses_of_the_reference_and_the_node_goes_on(story: Story) -> None:
    statuses = {name: list(value.values()) for name, value in story.statuses.items() if isinstance(value, dict)}

    assert statuses == {
        "lateral": [0x0000],  # stored, answered with the reason
        "knee": [0x0000],  # stored, shown as refused
        "truncated": [0x0000],
        "ct": [],  # no accepted context
        "no study": [0xA900],
        "own picture": [0x0124],  # not authorised: a result is no film
        "own report": [],
        "echo after all": [0x0000],
    }
    assert "Called AE Title Not Recognized" in story.statuses["wrong title"]
    assert story.statuses["garbage"] == b"" or story.statuses["garbage"][0] == 7  # closed, or A-ABORT (PS3.8 9.3.8)
    assert len(story.node.rows("SELECT digest FROM films")) == STORED


def test_reports_read_back_say_what_predict_says(story: Story, tmp_path: Path) -> None:
    predictions = predict_images(story.bundle, list(story.films.values()), out=tmp_path / "p.csv")
    by_study = {dcmread(path).StudyInstanceUID: path.name for path in story.films.values()}
    table = predictions.table.set_index("image") if hasattr(predictions, "table") else predictions
    for report in (one for one in story.first.values() if one.SOPClassUID == REPORT):
        if report.StudyInstanceUID not in by_study:
            continue
        content = highdicom.sr.srread(BytesIO(_file(report)))
        values = [_numbers(group) for group in content.content.get_image_measurement_groups()]
        row = next(row for name, row in table.iterrows() if Path(str(name)).name == by_study[report.StudyInstanceUID])
        assert [value["Probability"] for value in values] == pytest.approx([row[label] for label in LABELS], abs=1e-4)
        assert [value["Threshold Value"] for value in values] == [POINTS[label]["youden"] for label in LABELS]


def _file(one: Dataset) -> bytes:
    stream = BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _numbers(group: Any) -> dict[str, float]:
    return {measurement.name.meaning: measurement.value for measurement in group.get_measurements()}


def test_no_object_has_an_error_of_dciodvfy(story: Story, tmp_path: Path) -> None:
    kinds = Counter(one.SOPClassUID for one in story.first.values())
    errors = {uid: errors_of_dciodvfy(_file(one), tmp_path) for uid, one in story.first.items()}

    assert kinds == {REPORT: SHOWN, CAPTURE: SHOWN}
    assert {uid: lines for uid, lines in errors.items() if lines} == {}


def identifying_values(films: list[Path]) -> set[str]:
    """Return the values of all identifying attributes of films, all their UIDs included."""
    values = set()
    for path in films:
        film = dcmread(path, stop_before_pixels=True)
        for element in film.iterall():
            is_identifier = element.VR == "UI" and not str(element.value).startswith("1.2.840.10008.")
            if element.keyword in SECRET or is_identifier:
                values.add(str(element.value))
        values |= {
            part for name in ("PatientName", "ReferringPhysicianName") for part in str(film[name].value).split("^")
        }
    return {value for value in values if value}


def test_no_log_status_name_or_row_holds_an_identifier(story: Story, films: dict[str, Path]) -> None:
    values = identifying_values(list(films.values()))
    found = {(place, value) for place, text in story.texts.items() for value in values if value in text}

    assert len(values) > 50
    assert found == set()
    assert all(len(text) > 100 for text in story.texts.values())  # there was something to look through


def test_the_status_names_the_archive_that_was_away_and_counts_all_when_it_is_back(story: Story) -> None:
    away, back = story.texts["status while away"], json.loads(story.texts["status --json"])

    assert "second" in away
    assert {name: place["waiting"] for name, place in back["destinations"].items()} == {"first": 0, "second": 0}
    assert [place["sent"] for place in back["destinations"].values()] == [2 * SHOWN] * 2
