"""Files of weights are judged by reading: honest ones pass, what a reader could be deceived by is refused unloaded."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_monai.errors import CxrError
from cxr_monai.networks.weight_loading import load_state_dict, load_weights
from cxr_monai.networks.weights_files import Danger, examine_weights
from tests.support.work import counted

CALLS = 500_000
BYTES = 64 << 20


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


def saved(content: Any, **words: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **words)
    return buffer.getvalue()


def zipped(entries: Mapping[str, bytes], **methods: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in entries.items():
            made.writestr(name, content, methods.get(name.rpartition("/")[2].partition(".")[0], zipfile.ZIP_STORED))
    return buffer.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as given:
        return {name: given.read(name) for name in given.namelist()}


def pickled(body: bytes) -> bytes:
    """A file whose pickle is of these opcodes, with a storage of one number."""
    return zipped({"m/data.pkl": b"\x80\x02" + body + b".", "m/data/0": bytes(4)})


STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + size + stride + b"\x89}tR"


def long(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


GOOD = saved({"weight": torch.arange(3.0)})
ENTRIES = unzipped(GOOD)


def program(change: Callable[[dict[str, bytes]], Any] = lambda entries: None) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    entries = unzipped(buffer.getvalue())
    change(entries)
    return zipped(entries)


def patched(position: Callable[[bytes], int], data: bytes, source: bytes = GOOD) -> bytes:
    made = bytearray(source)
    at = position(source)
    made[at : at + len(data)] = data
    return bytes(made)


def gap(data: bytes) -> bytes:
    """Eight bytes between the entries and the directory, all offsets right."""
    start = struct.unpack("<I", data[-6:-2])[0]
    made = data[:start] + b"evil" * 2 + data[start:]
    end = bytearray(made)
    end[-6:-2] = struct.pack("<I", start + 8)
    return bytes(end)


PLAIN = zipped(ENTRIES)  # without the second end that torch writes
BAD: dict[str, tuple[Danger, Callable[[Path], bytes]]] = {
    # two readers, two contents
    "an old pickle before it": (
        Danger.FORM, lambda c: saved(Evil(c), _use_new_zipfile_serialization=False) + GOOD
    ),
    "a pickle before it": (Danger.FORM, lambda c: pickle.dumps(Evil(c), 2) + GOOD),
    "a pickle in capitals": (
        Danger.FORM,
        lambda c: zipped({"archive/DATA.PKL": pickle.dumps(Evil(c), 2), "archive/x.pkl": pickle.dumps({}, 2)}),
    ),
    "a pickle in capitals too": (Danger.FORM, lambda c: zipped({**ENTRIES, "archive/DATA.PKL": b"\x80\x02}."})),
    "a pickle twice": (Danger.FORM, lambda c: zipped({**ENTRIES, "archive/Data.pkl": ENTRIES["archive/data.pkl"]})),
    "a second folder": (Danger.FORM, lambda c: zipped({**ENTRIES, "other/data.pkl": b"\x80\x02}."})),
    "another entry": (Danger.FORM, lambda c: zipped({**ENTRIES, "archive/other.pkl": b"\x80\x02}."})),
    "an entry that leaves": (Danger.FORM, lambda c: zipped({**ENTRIES, "archive/data/../../x": b""})),
    "something behind it": (Danger.FORM, lambda c: GOOD + b"evil"),
    "a remark that is missing": (Danger.FORM, lambda c: PLAIN[:-2] + b"\x04\x00"),
    "something before the end": (Danger.FORM, lambda c: PLAIN[:-22] + b"evil" + PLAIN[-22:]),
    "encrypted, said twice": (
        Danger.FORM,
        lambda c: patched(lambda d: 6, b"\x01", patched(lambda d: d.index(b"PK\x01\x02") + 8, b"\x01", PLAIN)),
    ),
    "sources of one name": (
        Danger.FORM, lambda c: program(lambda e: e.update({"archive/code/a.py": b"", "archive/code/A.py": b""}))
    ),
    "a remark": (Danger.FORM, lambda c: PLAIN[:-2] + b"\x04\x00evil"),
    "something between": (Danger.FORM, lambda c: gap(PLAIN)),
    "another name inside": (Danger.FORM, lambda c: patched(lambda d: d.index(b"/data.pkl"), b"/data.pkx")),
    "another size inside": (Danger.FORM, lambda c: patched(lambda d: 22, b"\x01", PLAIN)),
    "another size behind it": (Danger.FORM, lambda c: patched(lambda d: d.index(b"PK\x07\x08") + 8, b"\x01")),
    "another size in the directory": (Danger.FORM, lambda c: patched(lambda d: d.index(b"PK\x01\x02") + 24, b"\x01")),
    "encrypted": (Danger.FORM, lambda c: patched(lambda d: d.index(b"PK\x01\x02") + 8, b"\x09")),
    "two entries in one place": (Danger.FORM, lambda c: patched(lambda d: d.rindex(b"PK\x01\x02") + 42, bytes(4))),
    "two ends that differ": (Danger.FORM, lambda c: patched(lambda d: d.index(b"PK\x06\x06") + 32, b"\x01")),
    "a second end elsewhere": (Danger.FORM, lambda c: patched(lambda d: d.index(b"PK\x06\x07") + 8, b"\x00")),
    "a part of several": (Danger.FORM, lambda c: patched(lambda d: len(d) - 18, b"\x01")),
    "compressed": (Danger.FORM, lambda c: zipped(ENTRIES, data=zipfile.ZIP_DEFLATED)),
    "compressed otherwise": (Danger.FORM, lambda c: zipped(ENTRIES, data=zipfile.ZIP_LZMA)),
    "no entries": (Danger.FORM, lambda c: zipped({})),
    "20,000 entries": (Danger.FORM, lambda c: zipped({**ENTRIES, **{f"archive/data/{n}": b"" for n in range(20_000)}})),
    "a folder of its name alone": (Danger.FORM, lambda c: zipped({"archive": b"", **ENTRIES})),
    # claims
    "sources beside a claim": (
        Danger.FORM,
        lambda c: zipped({
            **unzipped(saved({"w": torch.zeros(1).as_strided((10**9,), (0,))})), "archive/code/x.py": b"1"
        }),
    ),
    "10^9 in a view": (Danger.SIZE, lambda c: saved({"w": torch.zeros(1).as_strided((10**9,), (0,))})),
    "10^9 in a view of a program": (
        Danger.SIZE,
        lambda c: program(lambda e: e.update(
            {name: data.replace(b"(K\x02K\x02t", b"(J\x00\xca\x9a\x3bK\x02t", 1)
             for name, data in e.items() if name.endswith("/data.pkl")}
        )),
    ),
    "more than its storage": (Danger.SIZE, lambda c: pickled(tensor(b"K\x02\x85", b"K\x01\x85"))),
    "beyond its storage": (Danger.SIZE, lambda c: pickled(tensor(b"K\x01\x85", b"K\x01\x85", b"K\x01"))),
    "before its storage": (Danger.SIZE, lambda c: pickled(tensor(b"K\x01\x85", b"K\x01\x85", long(-1)))),
    "negative strides": (Danger.SIZE, lambda c: pickled(tensor(b"K\x01\x85", long(-1) + b"\x85"))),
    "10,000 sizes of 250 bytes": (
        Danger.SIZE, lambda c: pickled(tensor(b"(" + long(1 << 1990) * 10_000 + b"t", b"(" + b"K\x00" * 10_000 + b"t"))
    ),
    "a size of 250 bytes": (Danger.SIZE, lambda c: pickled(tensor(long(1 << 1990) + b"\x85", b"K\x00\x85"))),
    "a size of true": (Danger.SIZE, lambda c: pickled(tensor(b"\x88\x85", b"K\x01\x85"))),
    "a storage that is not there": (Danger.SIZE, lambda c: pickled(STORAGE.replace(b"U\x010", b"U\x011"))),
    # pickles
    "an object": (Danger.OBJECT, lambda c: saved({"w": Evil(c)})),
    "a call of a storage": (Danger.FORM, lambda c: pickled(b"ctorch\nFloatStorage\n" + long(10**12) + b"\x85R")),
    "a tensor that is built anew": (
        Danger.FORM,
        lambda c: pickled(
            tensor(b"K\x01\x85", b"K\x01\x85") + b"(" + STORAGE + b"K\x00" + long(10**9) + b"\x85K\x01\x85tb"
        ),
    ),
    "names that nobody ever has the hash of": (Danger.FORM, lambda c: pickled(b"})" + b"h\x000q\x00\x86".replace(
        b"h\x000", b"q\x00h\x00") * 200 + b"K\x00s")),
    "names that collide": (
        Danger.FORM,
        lambda c: pickled(b"}(" + b"".join(long(n * ((1 << 61) - 1)) + b"K\x00" for n in range(1, 9)) + b"u"),
    ),
    "a dictionary of pairs": (
        Danger.FORM, lambda c: pickled(b"ccollections\nOrderedDict\n](K\x01K\x02\x86e\x85R")
    ),
    "an object of a program": (Danger.OBJECT, lambda c: pickled(b"c__torch__.a\nB\n)\x81")),
    "an end too early": (Danger.FORM, lambda c: pickled(b"")),
    "a call by another opcode": (Danger.OBJECT, lambda c: zipped({"m/data.pkl": pickle.dumps(Evil(c), 4)})),
    # programs
    "a program that reads": (
        Danger.OBJECT,
        lambda c: program(lambda e: e.update({"archive/code/a.py": b"def f(self): return torch.from_file('/x')"})),
    ),
    "a program whose sources are damaged": (
        Danger.FORM,
        lambda c: patched(lambda d: d.index(b"a.py") + 4, b"\xff" * 40, zipped(
            unzipped(program(lambda e: e.update({"archive/code/a.py": b"a" * 5000}))), a=zipfile.ZIP_DEFLATED
        )),
    ),
    "a program whose sources are a bomb": (
        Danger.FORM,
        lambda c: zipped(
            unzipped(program(lambda e: e.update({"archive/code/a.py": b"a" * (50 << 20)}))), a=zipfile.ZIP_DEFLATED
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_deceives_a_reader_or_claims_too_much_is_refused(name: str, tmp_path: Path) -> None:
    danger, make = BAD[name]
    path, canary = tmp_path / "bad.pt", tmp_path / "canary"
    path.write_bytes(make(canary))
    tracemalloc.start()
    with counted() as calls:
        examined = examine_weights(path)
    assert calls.count < CALLS
    assert tracemalloc.get_traced_memory()[1] < BYTES
    tracemalloc.stop()
    assert [one.danger for one in examined.objections][:1] == [danger], examined
    assert all(one.reason.endswith(".") or one.danger == Danger.FORM for one in examined.objections)
    with pytest.raises(CxrError) as error:
        load_state_dict(path)
    assert error.value.code in ("weights-unsafe", "weights-mismatch")
    assert not canary.exists()


def test_the_largest_memo_takes_no_memory(tmp_path: Path) -> None:
    """A place of 2^31 in the table of what a pickle refers to again: Python's own reader would make that table."""
    path = tmp_path / "w.pt"
    path.write_bytes(pickled(b"}r\xff\xff\xff\x7f"))
    tracemalloc.start()
    assert examine_weights(path).objections == ()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


HONEST: dict[str, Any] = {
    "tensors": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7), "none": torch.zeros(0, 3)},
    "a view": {"weight": torch.arange(6.0).reshape(2, 3).T, "row": torch.arange(6.0)[4:]},
    "a state dictionary": torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict(),
    "parameters": dict(torch.nn.Linear(2, 3).named_parameters()),
    "every type": {str(kind): torch.zeros(2, dtype=kind) for kind in (
        torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
        torch.bool, torch.complex64,
    )},
    "a training's": {
        "state_dict": OrderedDict(w=torch.ones(3)), "epoch": 3, "loss": 0.5, "best": None, "done": True,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "params": [0, 1]}]},
        "milestones": Counter([3, 4]), "size": torch.Size([1, 2]), "type": torch.float32, "device": torch.device("cpu"),
        "large": 1 << 70, "pair": (1, "two"),
    },
}  # fmt: skip


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", HONEST)
def test_honest_files_pass_and_are_loaded_exactly(name: str, old: bool, tmp_path: Path) -> None:
    path = tmp_path / "a file (1).pth.tar"
    torch.save(HONEST[name], path, _use_new_zipfile_serialization=not old)
    assert examine_weights(path, old=True).objections == ()
    assert (examine_weights(path).objections == ()) is not old
    expected = HONEST[name].get("state_dict", HONEST[name])
    found = load_state_dict(path)
    assert list(found) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value.detach(), rtol=0, atol=0)


def old_claim(numbers: int) -> bytes:
    """A file of the form before torch 1.6 whose storage claims so many numbers."""
    made = saved({"w": torch.zeros(3)}, _use_new_zipfile_serialization=False)
    assert made.count(b"K\x03N") == 1
    return made.replace(b"K\x03N", long(numbers) + b"N")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda c: old_claim(10**9), "weights-unsafe"),
        (lambda c: old_claim(1 << 1990), "weights-unsafe"),
        (lambda c: saved({"w": Evil(c)}, _use_new_zipfile_serialization=False), "weights-unsafe"),
        (lambda c: saved({"w": torch.zeros(1).as_strided((10**9,), (0,))}, _use_new_zipfile_serialization=False),
         "weights-unsafe"),
        (lambda c: pickle.dumps({"w": 1}, 2), "weights-mismatch"),
        (lambda c: old_claim(3).replace(b"l\xfc\x9cF", b"evil", 1),
         "weights-mismatch"),
        (lambda c: b"no weights", "weights-mismatch"),
        (lambda c: b"", "weights-mismatch"),
        (lambda c: program(), "weights-mismatch"),
    ],
    ids=["claim", "long claim", "object", "view", "another pickle", "another number", "text", "nothing", "program"],
)  # fmt: skip
def test_old_files_that_claim_too_much_or_are_none_are_refused(
    make: Callable[[Path], bytes], code: str, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(make(tmp_path / "canary"))
    examined = examine_weights(tmp_path / "w.pth", old=True)
    assert examined.objections or examined.program
    with pytest.raises(CxrError) as error:
        load_state_dict(tmp_path / "w.pth")
    assert error.value.code == code
    assert not (tmp_path / "canary").exists()


def test_a_program_is_told_and_its_claims_are_read(tmp_path: Path) -> None:
    class Constant(torch.nn.Module):
        """With what programs may hold: a constant, lists, a module within."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.sizes, self.names = torch.nn.Linear(3, 2), [1, 2], ["a"]
            self.tensors = [torch.zeros(2)]
            self.constant = torch.tensor([1.0, 2.0])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + self.constant + self.tensors[0] + self.sizes[0]

    for made in (torch.jit.script(Constant()), torch.jit.trace(Constant().eval(), torch.zeros(1, 3))):
        torch.jit.save(made, tmp_path / "m.ts", _extra_files={"metadata.json": b"{}"})
        examined = examine_weights(tmp_path / "m.ts")
        assert examined.program
        assert examined.objections == ()


# safetensors


def safetensors(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def part(shape: Any, *places: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(places)}


BAD_SAFETENSORS: dict[str, tuple[Danger, bytes]] = {
    "1e999": (Danger.SIZE, safetensors(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', bytes(4))),
    "infinity": (Danger.SIZE, safetensors(b'{"w":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,4]}}', bytes(4))),
    "10^9": (Danger.SIZE, safetensors({"w": part([10**9], 0, 4)}, bytes(4))),
    "long sizes": (Danger.SIZE, safetensors({"w": part([int("9" * 4000)] * 400, 0, 4)}, bytes(4))),
    "many sizes": (Danger.SIZE, safetensors({"w": part([1] * 17, 0, 4)}, bytes(4))),
    "true": (Danger.SIZE, safetensors({"w": part([True], 0, 4)}, bytes(4))),
    "a negative size": (Danger.SIZE, safetensors({"w": part([-1, -1], 0, 4)}, bytes(4))),
    "no list": (Danger.SIZE, safetensors({"w": part("1", 0, 4)}, bytes(4))),
    "outside": (Danger.SIZE, safetensors({"w": part([1], 4, 8)}, bytes(4))),
    "one place of two": (Danger.FORM, safetensors({"v": part([1], 0, 4), "w": part([1], 0, 4)}, bytes(4))),
    "a hole": (Danger.FORM, safetensors({"w": part([1], 4, 8)}, bytes(8))),
    "something behind": (Danger.FORM, safetensors({"w": part([1], 0, 4)}, bytes(5))),
    "a name twice": (Danger.FORM, safetensors(b'{"__metadata__": {}, "__metadata__": {}}')),
    "an unknown type": (Danger.FORM, safetensors({"w": part([1], 0, 4, dtype="PY")}, bytes(4))),
    "no type": (Danger.FORM, safetensors({"w": part([1], 0, 4, dtype=[])}, bytes(4))),
    "no object": (Danger.FORM, safetensors(b"[1]")),
    "a long number": (Danger.FORM, safetensors(b'{"w": ' + b"9" * 100_000 + b"}")),
    "brackets": (Danger.FORM, safetensors(b"[" * 100_000)),
    "a header without end": (Danger.FORM, safetensors(b"{}", length=1 << 60)),
    "seven bytes": (Danger.FORM, b"\0" * 7),
    "nothing": (Danger.FORM, b""),
}


@pytest.mark.parametrize("name", BAD_SAFETENSORS)
def test_safetensors_that_claim_too_much_or_are_none_are_refused(name: str, tmp_path: Path) -> None:
    danger, data = BAD_SAFETENSORS[name]
    (tmp_path / "w.safetensors").write_bytes(data)
    with counted() as calls:
        assert [one.danger for one in examine_weights(tmp_path / "w.safetensors").objections] == [danger]
    assert calls.count < CALLS
    with pytest.raises(CxrError) as error:
        load_state_dict(tmp_path / "w.safetensors")
    assert error.value.code == ("weights-unsafe" if danger == Danger.SIZE else "weights-mismatch")


def test_safetensors_give_the_numbers_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    data = struct.pack("<6f", *range(6)) + struct.pack("<q", 7) + b"\x01\x00"
    header = {
        "__metadata__": {"format": "pt"},
        "flags": part([2], 32, 34, dtype="BOOL"),
        "weight": part([2, 3], 0, 24),
        "count": part([], 24, 32, dtype="I64"),
        "none": part([0, 4], 34, 34),
    }
    path.write_bytes(safetensors(header, data))
    found = load_state_dict(path)
    assert {name: value.dtype for name, value in found.items()} == {
        "flags": torch.bool, "weight": torch.float32, "count": torch.int64, "none": torch.float32,
    }  # fmt: skip
    assert torch.equal(found["weight"], torch.arange(6.0).reshape(2, 3))
    assert (found["count"].shape, found["count"].item()) == ((), 7)
    assert found["flags"].tolist() == [True, False]
    assert found["none"].shape == (0, 4)


def test_a_network_takes_its_weights_from_safetensors(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2, bias=False)
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors({"weight": part([2, 3], 0, 24)}, struct.pack("<6f", *range(6))))
    assert torch.equal(load_weights(network, path).weight, torch.arange(6.0).reshape(2, 3))  # type: ignore[arg-type]
