"""A gate in a bundle's folder: whatever happens to its files, it is read as it was written, or it is an error."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_monai.bundle.carried_gate import GATE, GATE_TENSORS
from cxr_monai.completion import seal
from cxr_monai.errors import Code, GateError
from cxr_monai.gate import storage
from cxr_monai.gate.bundle_gate import open_gate
from cxr_monai.gate.fitted_gate import NETWORK_DISTANCE, FittedGate
from cxr_monai.gate.observation import OBSERVED
from cxr_monai.gate.storage import has_gate, read_gate, write_gate
from tests.support.tiny_gates import FEATURES, tiny_gate

WEIGHTS = "ab" * 32


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    (root / "models").mkdir()
    write_gate(root, tiny_gate(), WEIGHTS)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def description(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / GATE).read_text())
    return content


def write_sealed(root: Path, content: dict[str, Any]) -> None:
    """Write a description as a forger would: with a seal that is right."""
    content.pop("complete", None)
    seal(content, root / "models", ["gate.safetensors"])
    (root / GATE).write_text(json.dumps(content))


def write_tensors(root: Path, header: bytes, numbers: bytes) -> None:
    (root / GATE_TENSORS).write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    write_sealed(root, description(root))


def tensors(root: Path) -> tuple[dict[str, Any], bytes]:
    content = (root / GATE_TENSORS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def refused(root: Path) -> str:
    with pytest.raises(GateError) as caught:
        read_gate(root)
    assert caught.value.code == Code.GATE_INVALID
    with pytest.raises(GateError):  # and whoever opens the bundle gets the error, not a gate that passes all
        open_gate(root, {})
    return str(caught.value)


def scores(gate: FittedGate) -> dict[str, np.ndarray]:
    observations = np.random.default_rng(1).normal(size=(3, OBSERVED)).astype("f4")
    return gate.scores(observations, np.ones((3, FEATURES), dtype="f4"))


def test_a_gate_is_read_as_it_was_written(written: Path) -> None:
    read = read_gate(written)
    assert read is not None
    gate, weights = read
    original = tiny_gate()
    assert weights == WEIGHTS
    assert (gate.limits, gate.promise, gate.layers) == (original.limits, original.promise, original.layers)
    assert (gate.scales, gate.fitted_on) == (original.scales, original.fitted_on)
    np.testing.assert_array_equal(gate.statistics_limits, original.statistics_limits)
    for name, values in scores(original).items():
        np.testing.assert_array_equal(scores(gate)[name], values)
    assert gate.heads["alteration"].classes == original.heads["alteration"].classes


def test_the_same_gate_is_the_same_bytes(written: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    read = read_gate(written)
    assert read is not None
    write_gate(tmp_path, *read)
    for name in (GATE, GATE_TENSORS):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_no_gate_is_none(tmp_path: Path) -> None:
    assert not has_gate(tmp_path)
    assert read_gate(tmp_path) is None


def test_nothing_is_unpickled(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickle(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a gate was unpickled")

    monkeypatch.setattr(torch, "load", unpickle)
    monkeypatch.setattr("pickle.loads", unpickle)
    monkeypatch.setattr("pickle.load", unpickle)
    assert read_gate(written) is not None


def test_a_pickle_is_no_gate(root: Path) -> None:
    torch.save({"statistics_limits": torch.zeros(23, 2)}, root / GATE_TENSORS)
    write_sealed(root, description(root))
    assert "header" in refused(root)


@pytest.mark.parametrize("name", [GATE, GATE_TENSORS])
def test_one_of_the_two_files(name: str, root: Path) -> None:
    (root / name).unlink()
    assert has_gate(root)
    assert "missing" in refused(root)
    (root / name).mkdir()
    refused(root)


@pytest.mark.parametrize("name", [GATE, GATE_TENSORS])
def test_links_lead_out_of_a_bundle(name: str, root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (root / name).rename(elsewhere)
    (root / name).symlink_to(elsewhere)
    refused(root)
    elsewhere.unlink()  # a link to nothing is no bundle without a gate either
    refused(root)


@pytest.mark.parametrize(
    ("name", "limit"), [(GATE, storage.LARGEST_DESCRIPTION), (GATE_TENSORS, storage.LARGEST_TENSORS)]
)
def test_large_files_are_not_read(name: str, limit: int, root: Path) -> None:
    with (root / name).open("r+b") as file:
        file.truncate(limit + 1)  # takes no room on the disk
    assert f"more than {limit:,} bytes" in refused(root)


@pytest.mark.parametrize("name", [GATE, GATE_TENSORS])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated(name: str, kept: float, root: Path) -> None:
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(kept * len(content))])
    refused(root)


def test_the_description_of_another_gate(root: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_gate(tmp_path, tiny_gate(7), WEIGHTS)
    shutil.copy(tmp_path / GATE_TENSORS, root / GATE_TENSORS)
    assert "another file" in refused(root)


def test_a_limit_that_was_changed_by_hand(root: Path) -> None:
    text = (root / GATE).read_text()
    (root / GATE).write_text(text.replace('"refuse": 1.5', '"refuse": 8.5'))
    assert "changed since it was written" in refused(root)


def test_a_seal_that_was_taken_away(root: Path) -> None:
    content = description(root)
    content["limits"]["refuse"] = 8.5
    for mark in ({}, None, ["gate.safetensors"], {"gate.safetensors": content["complete"]["gate.safetensors"]}):
        (root / GATE).write_text(json.dumps(content | {"complete": mark}))
        refused(root)


def change(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return apply


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": change("format", value=2),
    "a truth for a format": change("format", value=True),
    "a foreign key": change("run", value="$import os"),
    "a missing key": lambda content: content.pop("layers"),
    "a promise of nothing": change("promise", value=0),
    "a promise of all": change("promise", value=1.0),
    "a promise in words": change("promise", value="0.01"),
    "a promise that is a truth": change("promise", value=True),
    "a limit that is not finite": change("limits", "refuse", value=float("nan")),
    "a limit without end": change("limits", "far", value=float("inf")),
    "a limit that no float holds": change("limits", "far", value=10**400),
    "limits out of their order": change("limits", "refuse", value=0.5),
    "a film is not that far": change("limits", "far", value=1.2),
    "a limit missing": lambda content: content["limits"].pop("far"),
    "a limit more": change("limits", "accept", value=0.1),
    "limits as a list": change("limits", value=[1, 2, 3]),
    "layers that are one text": change("layers", value="features"),
    "layers that are no texts": change("layers", value=[1, 2]),
    "no layers for a distance of them": change("layers", value=[]),
    "a layer twice": change("layers", value=["features", "features"]),
    "a typical score below the median": change("scales", "alteration", value={"median": 3.5, "typical": 3.5}),
    "a scale of one number": change("scales", "alteration", value=3.5),
    "a scale with more": change("scales", "alteration", value={"median": 0, "typical": 1, "least": 0}),
    "a scale missing": lambda content: content["scales"].pop("mirrored"),
    "a scale of no score": change("scales", "child", value={"median": 0, "typical": 1}),
    "other statistics": lambda content: content["statistics"].reverse(),
    "no statistics": change("statistics", value=None),
    "a head without its tensors": change("heads", "child", value=["no child", "child"]),
    "a head of one class": change("heads", "mirrored", value=["intact"]),
    "a head with a class less": lambda content: content["heads"]["alteration"].pop(),
    "a head that begins otherwise": lambda content: content["heads"]["alteration"].reverse(),
    "classes that are numbers": change("heads", "mirrored", value=[0, 1]),
    "heads as a list": change("heads", value=["alteration", "mirrored"]),
    "an unknown score": lambda content: content["heads"].update(beauty=content["heads"].pop("mirrored")),
    "a distance less": lambda content: content["distances"].pop(),
    "a distance twice": lambda content: content["distances"].append("thumbnail_distance"),
    "distances as one text": change("distances", value="thumbnail_distance"),
    "films in words": change("fitted_on", value="all of them"),
    "weights of nobody": change("weights", value="$(rm)"),
    "weights that are a number": change("weights", value=12),
}


@pytest.mark.parametrize("forged", FORGED)
def test_forged_with_a_seal_that_is_right(forged: str, root: Path) -> None:
    content = description(root)
    FORGED[forged](content)
    write_sealed(root, content)
    refused(root)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"3", b'"gate"', b"{", b"\xff\xfe", b'{"format": 1, "format": 1}', b'{"\\ud800": 1}',
     b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"format": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_no_description_at_all(content: bytes, root: Path) -> None:
    (root / GATE).write_bytes(content)
    refused(root)


def test_parameters_that_are_not_finite(root: Path) -> None:
    header, numbers = tensors(root)
    begin, _ = header["distances.network_distance.precision"]["data_offsets"]
    spoilt = numbers[:begin] + struct.pack("<f", float("nan")) + numbers[begin + 4 :]
    write_tensors(root, json.dumps(header).encode(), spoilt)
    assert "not finite" in refused(root)


def reshape(header: dict[str, Any], name: str, shape: list[Any]) -> None:
    header[name]["shape"] = shape


TENSORS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a shape turned": lambda header: reshape(
        header, "heads.alteration.weights", header["heads.alteration.weights"]["shape"][::-1]
    ),
    "a shape of one dimension": lambda header: reshape(header, "statistics_limits", [46]),
    "a huge shape": lambda header: reshape(header, "statistics_limits", [1 << 40, 1 << 40]),
    "a negative shape": lambda header: reshape(header, "statistics_limits", [-23, -2]),
    "a shape of floats": lambda header: reshape(header, "statistics_limits", [23.0, 2.0]),
    "a thousand dimensions": lambda header: reshape(header, "statistics_limits", [1] * 1000 + [46]),
    "another type": lambda header: header["statistics_limits"].update(dtype="I32"),
    "an unknown type": lambda header: header["statistics_limits"].update(dtype="P32"),
    "offsets beyond the file": lambda header: header["statistics_limits"].update(data_offsets=[0, 1 << 50]),
    "offsets that are texts": lambda header: header["statistics_limits"].update(data_offsets=["0", "4"]),
    "a tensor that nothing needs": lambda header: header.update(more={**header.pop("statistics_limits")}),
    "a tensor of another head": lambda header: header.update(
        {"heads.child.weights": header.pop("heads.mirrored.weights")}
    ),
    "no header": lambda header: header.clear(),
}


@pytest.mark.parametrize("damage", TENSORS)
def test_tensors_that_are_not_what_they_say(damage: str, root: Path) -> None:
    header, numbers = tensors(root)
    TENSORS[damage](header)
    write_tensors(root, json.dumps(header).encode(), numbers)
    refused(root)


@pytest.mark.parametrize("length", [0, 7, (1 << 63) - 1, (1 << 64) - 1])
def test_a_header_as_long_as_it_likes(length: int, root: Path) -> None:
    content = (root / GATE_TENSORS).read_bytes()
    (root / GATE_TENSORS).write_bytes(struct.pack("<Q", length) + content[8:])
    write_sealed(root, description(root))
    refused(root)


def test_a_deep_header(root: Path) -> None:
    write_tensors(root, b"[" * 200_000, b"")
    refused(root)


def test_a_scale_of_zero_would_divide_by_it(root: Path) -> None:
    header, numbers = tensors(root)
    begin, end = header[f"distances.{NETWORK_DISTANCE}.scale"]["data_offsets"]
    write_tensors(root, json.dumps(header).encode(), numbers[:begin] + bytes(end - begin) + numbers[end:])
    refused(root)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a content with one of the faults that files get: flipped bits, lost, doubled or exchanged pieces."""
    place, length = chance.randrange(len(content)), chance.randrange(1, 40)
    piece = content[place : place + length]
    match chance.randrange(6):
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place] + content[place + length :]
        case 2:
            return content[:place] + piece + content[place:]
        case 3:
            return content[:place] + chance.randbytes(length) + content[place + length :]
        case 4:
            return content[:place]
        case _:
            other = chance.randrange(len(content))
            return content[:place] + content[other : other + length] + content[place + length :]


def same_meaning(content: bytes, original: bytes) -> bool:
    """Return whether a description says the same in other bytes (a space more)."""
    try:
        return bool(json.loads(content) == json.loads(original))
    except (ValueError, RecursionError):
        return False


@pytest.mark.parametrize("name", [GATE, GATE_TENSORS])
def test_no_damage_passes(name: str, written: Path, root: Path) -> None:
    original, chance = (written / name).read_bytes(), random.Random(f"a gate {name}")
    refusals = 0
    for _ in range(250):
        content = damaged(original, chance)
        if content == original or same_meaning(content, original):
            continue
        (root / name).write_bytes(content)
        with pytest.raises(GateError):
            read_gate(root)
        refusals += 1
    assert refusals > 220


def test_damage_under_a_seal_that_is_right_is_an_error_or_a_gate_that_judges(written: Path, root: Path) -> None:
    """Who forges both files may loosen a limit, which the bundle's signature is for; nothing else comes out."""
    original, chance = description(written), random.Random(18)
    header, numbers = tensors(written)
    leaves = [*places(original), *((("header",), *place) for place in places(header))]
    values: list[Any] = [None, True, -1, 0, 3, 1e308, 10**400, "", "x", "$exec", [], {}, [[]], {"a": 1}, [1, 2]]
    refusals = 0
    for _ in range(300):
        content, changed = json.loads(json.dumps(original)), json.loads(json.dumps(header))
        place = chance.choice(leaves)
        change(*(place[1:] if place[0] == ("header",) else place), value=chance.choice(values))(
            changed if place[0] == ("header",) else content
        )
        text = json.dumps(changed).encode()
        (root / GATE_TENSORS).write_bytes(struct.pack("<Q", len(text)) + text + numbers)
        write_sealed(root, content)
        try:
            read = read_gate(root)
        except GateError:
            refusals += 1
        else:
            assert read is not None
            assert all(np.isfinite(values).all() for values in scores(read[0]).values())
    assert refusals > 200


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values of a JSON, but the seal's."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    below = [place for key, value in pairs if key != "complete" for place in places(value, (*path, key))]
    return [path, *below] if path else below


def test_the_digest_is_of_the_tensors(written: Path) -> None:
    mark = description(written)["complete"]
    assert mark["gate.safetensors"] == sha256((written / GATE_TENSORS).read_bytes()).hexdigest()
