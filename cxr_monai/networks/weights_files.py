"""Files of weights, read as data before anything loads them: what a pickle would make, and what tensors claim to hold.

examined = examine_weights(Path("model.pt"))
examined.objections          # empty for plain tensors that the file really holds
examined.program             # TorchScript: the file holds code that torch.jit runs

``torch.save`` writes a ZIP file with a pickle in it. A pickle is a program: its opcodes name functions and call them.
Here they are followed without calling anything, as far as plain tensors need them; all else is an objection. A tensor
may also claim a size that its storage in the file lacks: 1.6 KB that become gigabytes when they are loaded or copied.

Readers of ZIP files disagree on files that are not as their writers make them (torch looks names up without regard to
case, and takes anything that does not begin as a ZIP for a pickle of old). So the ZIP has one form here: entry behind
entry from the first byte on, then the directory that repeats them, then its end; each entry one that torch writes.

No module of this file imports torch: an inspection answers at once.
"""

import io
import itertools
import json
import os
import pickletools
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, NamedTuple

from cxr_monai.budget import OverBudget, check_time
from cxr_monai.plurals import counted

LARGEST_PICKLE = 32 << 20
"""Bytes of the pickle within a file of weights (it holds names and shapes; the numbers are beside it)."""
LARGEST_HEADER = 8 << 20
"""Bytes of the header of a safetensors file."""
LARGEST_PROGRAM = 16 << 20
"""Bytes of all sources within a TorchScript file."""
LARGEST_FILE = 0xFFFFFFFF
"""Bytes of a file of ``torch.save``: larger ones have a ZIP directory of another form."""
MOST_ENTRIES = 10_000
MOST_OPCODES = 1_000_000
MOST_DIMENSIONS = 16
LARGEST_NUMBER = 1 << 40
"""Of a size, a stride or an offset of a tensor."""
MOST_OBJECTIONS = 50


class Danger(StrEnum):
    """The kinds of objection to a file of weights."""

    FORM = "form"
    """Damaged, or not as torch or safetensors write it."""
    OBJECT = "object"
    """A pickled object that is no tensor: loading it could run code."""
    SIZE = "size"
    """A tensor that claims more than the file holds."""


class Objection(NamedTuple):
    """An objection to a file of weights: its kind, the object's name, the reason as a sentence."""

    danger: Danger
    text: str
    reason: str


@dataclass(frozen=True)
class Examined:
    """The result of examining a file of weights.

    Attributes:
        objections: at most 50 or so, in the order of the file.
        program: it is TorchScript, which holds code.
    """

    objections: tuple[Objection, ...]
    program: bool = False


def examine_weights(path: Path, old: bool = False) -> Examined:
    """Examine one file of weights; nothing in it is called or loaded.

    Args:
        path: ``.safetensors``; anything else is read as what ``torch.save`` or ``torch.jit.save`` wrote.
        old: accept the form that ``torch.save`` wrote before version 1.6 too: pickles one behind the other.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix == ".safetensors":
                read_safetensors_header(file)
                return Examined(())
            zipped = file.read(4) == b"PK\x03\x04"  # the same test by which torch decides
            return Examined(tuple(_old(file, size))) if old and not zipped else _zipped(file, size)
    except Claim as error:
        return Examined((Objection(Danger.SIZE, str(error.args[0]), str(error.args[1])),))
    except (OSError, ValueError, struct.error, zlib.error) as error:
        reason = f"no file that torch or safetensors of today write, or a damaged one ({error})."
        return Examined((Objection(Danger.FORM, path.name, reason),))


class Claim(ValueError):
    """A tensor claims what the file does not hold: its name or shape, and the sentence."""


# ZIP, as torch writes it


@dataclass(frozen=True)
class _Entry:
    """One entry: where its bytes are, how many they are there and unpacked."""

    begin: int
    packed: int
    size: int
    compressed: bool


_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_DESCRIPTOR = struct.Struct("<4s3I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_FLAGS = 0x808
"""Names in UTF-8; sizes behind the bytes."""

_TENSORS = re.compile(
    r"data\.pkl|byteorder|version|\.data/serialization_id|\.format_version|\.storage_alignment|data/\d+"
)
# extra/: files that the network's author added; MONAI puts a bundle's metadata there
_PROGRAM_TOO = re.compile(r"(?:constants|traced_inputs)(?:\.pkl|/\d+)|code/[\w./-]+\.(?:py|debug_pkl)|extra/[\w./ -]+")
# What TorchScript programs can do beyond arithmetic: read, write or load.
_READS = re.compile(rb"from_file|aten\.save|torch\.save|\bopen\b|load_library|__import__|pickle")


def _zipped(file: IO[bytes], size: int) -> Examined:
    entries = _entries(file, size)
    program = "constants.pkl" in entries
    for name in entries:
        if not (_TENSORS.fullmatch(name) or (program and _PROGRAM_TOO.fullmatch(name))):
            raise ValueError(f"an entry that torch does not write: {name[:100]!r}")
    sources = {name: entry for name, entry in entries.items() if name.startswith("code/")}
    if any(entry.compressed for name, entry in entries.items() if name not in sources):
        raise ValueError("a compressed entry: torch compresses no tensors")
    if sum(entry.size for entry in sources.values()) > LARGEST_PROGRAM:
        raise ValueError(f"its program has more than {LARGEST_PROGRAM:,} bytes")
    if "data.pkl" not in entries:
        raise ValueError("it holds no tensors that torch.save wrote")
    objections: list[Objection] = []
    for name, entry in sources.items():
        if (reads := _READS.search(_content(file, entry))) and name.endswith(".py"):
            objections.append(Objection(Danger.OBJECT, reads[0].decode(), f"{name} reads or writes files."))
    for folder in ("data", "constants", "traced_inputs"):
        if (name := f"{folder}.pkl") in entries:
            if entries[name].size > LARGEST_PICKLE:
                raise ValueError(f"its pickle has {counted(entries[name].size, 'byte')}; {LARGEST_PICKLE:,} at most")
            stored_bytes = _held({key: entry.size for key, entry in entries.items()}, folder)
            objections += _Pickle(stored_bytes, program).read(io.BytesIO(_content(file, entries[name])))
    return Examined(tuple(objections), program)


def _held(sizes: Mapping[str, int], folder: str) -> Callable[[str, int], int]:
    if folder == "traced_inputs":  # shapes alone: torch writes no numbers of these, and loads none
        return lambda key, claim: claim
    return lambda key, claim: sizes.get(f"{folder}/{key}", 0)


def _entries(file: IO[bytes], size: int) -> dict[str, _Entry]:
    """Return the entries by name, without the one folder that they are all in."""
    start, length, count = _directory(file, size)
    file.seek(start)
    directory = file.read(length)
    entries: dict[str, _Entry] = {}
    seen: set[str] = set()
    top, cursor, place = "", 0, 0
    for _ in range(count):
        sign, _, _, flags, method, _, _, crc, packed, unpacked, letters, *rest = _CENTRAL.unpack_from(directory, cursor)
        extra, remark, disk, _, _, offset = rest
        raw = directory[cursor + _CENTRAL.size : cursor + _CENTRAL.size + letters]
        cursor += _CENTRAL.size + letters
        if sign != b"PK\x01\x02" or extra or remark or disk or flags & ~_FLAGS or method not in (0, 8):
            raise ValueError("an entry of another form: encrypted, with a remark, or packed in another way")
        if offset != place or (method == 0 and packed != unpacked):
            raise ValueError("its entries do not lie one behind the other")
        file.seek(place)
        local = _LOCAL.unpack(file.read(_LOCAL.size))
        same = local[:1] + local[2:4] + (file.read(local[9]),)
        sizes, described = (crc, packed, unpacked), flags & 8
        if same != (b"PK\x03\x04", flags, method, raw) or local[6:9] not in (sizes, (0, 0, 0) if described else sizes):
            raise ValueError("an entry and its line in the directory say different things")
        begin = place + _LOCAL.size + letters + local[10]
        place = begin + packed
        if described:
            file.seek(place)
            if file.read(_DESCRIPTOR.size) != _DESCRIPTOR.pack(b"PK\x07\x08", *sizes):
                raise ValueError("an entry and its line in the directory say different things")
            place += _DESCRIPTOR.size
        folder, slash, name = raw.decode("utf-8").partition("/")
        top = top or folder
        if not slash or not folder or folder != top:
            raise ValueError("its entries are not all in one folder")
        if f"{folder}/{name}".casefold() in seen:
            raise ValueError(f"two entries of one name, by some readers: {name[:100]!r}")
        seen.add(f"{folder}/{name}".casefold())
        entries[name] = _Entry(begin, packed, unpacked, method != 0)
    if cursor != length or place != start:
        raise ValueError("there is something between its entries and its directory")
    return entries


def _directory(file: IO[bytes], size: int) -> tuple[int, int, int]:
    """Return where the directory begins, its bytes, its entries; by an end that every reader finds alike."""
    if size > LARGEST_FILE:
        raise ValueError(f"it has {counted(size, 'byte')}; at most {LARGEST_FILE:,} are read")
    file.seek(max(size - _END.size - _LOCATOR.size - _END64.size, 0))
    tail = file.read()
    sign, disk, first, entries_here, count, length, start, remark = _END.unpack(tail[-_END.size :])
    if sign != b"PK\x05\x06" or disk or first or entries_here != count or remark:
        raise ValueError("it does not end as a ZIP file of torch does: truncated, or something follows it")
    end = size - _END.size
    locator = tail[-_END.size - _LOCATOR.size : -_END.size]
    if locator[:4] == b"PK\x06\x07":
        end -= _LOCATOR.size + _END64.size
        if locator != _LOCATOR.pack(b"PK\x06\x07", 0, end, 1):
            raise ValueError("its second end lies elsewhere")
        sign, record, _, _, *rest = _END64.unpack(tail[: _END64.size])
        if (sign, record, *rest) != (b"PK\x06\x06", _END64.size - 12, 0, 0, count, count, length, start):
            raise ValueError("its two ends say different things")
    if count > MOST_ENTRIES:
        raise ValueError(f"it has {counted(count, 'entry')}; at most {MOST_ENTRIES:,} are allowed")
    if start + length != end:
        raise ValueError("something lies before its first entry or behind its directory")
    return start, length, count


def _content(file: IO[bytes], entry: _Entry) -> bytes:
    file.seek(entry.begin)
    raw = file.read(entry.packed)
    if not entry.compressed:
        return raw
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacker.decompress(raw, entry.size + 1)
    if len(content) != entry.size or not unpacker.eof:
        raise ValueError("a compressed entry has another size than it says")
    return content


# pickles

_STORAGES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}  # fmt: skip
"""Bytes of a number in each."""
_DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
)  # fmt: skip
# What a dictionary of tensors needs: module and name of each, as torch.save writes them.
_KNOWN = {
    *((module, name) for module in ("torch", "torch.cuda") for name in _STORAGES),
    *(("torch", name) for name in (*_DTYPES, "Size", "device")),
    *(("torch._utils", name) for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")),
    ("torch.storage", "UntypedStorage"),
    *(("collections", name) for name in ("OrderedDict", "Counter")),
}
_KNOWN_TO_PROGRAMS = {
    ("torch.jit._pickle", name)
    for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
}


class _Global(NamedTuple):
    module: str
    name: str


class _Storage(NamedTuple):
    numbers: int
    available: int
    """Numbers that the file has of it."""


class _Made:
    """Something that a pickle makes and whose content does not matter: a list, a tensor, ..."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Pickle:
    """Follows the opcodes that torch's own restricted reader follows, and makes marks of what they would make."""

    def __init__(self, stored_bytes: Callable[[str, int], int], program: bool = False) -> None:
        # stored_bytes: the bytes that the file has of a storage, by its key and the bytes that it claims
        self.stored_bytes, self.program = stored_bytes, program
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.objections: dict[str, Objection] = {}
        self.content: Any = None

    def read(self, file: IO[bytes]) -> list[Objection]:
        """Read one pickle, up to and with its end; what it makes is in ``content``."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count % 256 == 0:
                    check_time()
                if count > MOST_OPCODES:
                    raise ValueError(f"more than {MOST_OPCODES:,} opcodes")
                if len(self.objections) >= MOST_OBJECTIONS or not self._step(opcode.name, argument):
                    break
        except Claim as error:
            self._object(Danger.SIZE, str(error.args[0]), str(error.args[1]))
        except OverBudget:
            raise
        except Exception as error:  # a hostile pickle may break its reader in any way
            if not self.objections:
                self._object(Danger.FORM, "a damaged pickle", f"{type(error).__name__}: {error}"[:200])
        return list(self.objections.values())

    def _object(self, danger: Danger, text: str, reason: str) -> None:
        self.objections.setdefault(text, Objection(danger, text, reason))

    def _unknown(self, text: str) -> None:
        self._object(Danger.OBJECT, text, "a pickle that makes more than tensors can run code.")

    def _step(self, name: str, argument: Any) -> bool:
        """Follow one opcode; False for one that tensors do not need."""
        stack = self.stack
        match name:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_SET":
                stack.append(_Made(name))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "MARK":
                self.marks.append(stack)
                self.stack = []
            case "TUPLE":
                self.stack = self.marks.pop()
                self.stack.append(tuple(stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND":
                stack.pop()
                self._must(stack[-1], "EMPTY_LIST")
            case "APPENDS":
                self.stack = self.marks.pop()
                self._must(self.stack[-1], "EMPTY_LIST")
            case "SETITEM":
                self._set(stack[-2:])
                del stack[-2:]
                self._must(stack[-1], "EMPTY_DICT")
            case "SETITEMS":
                self.stack = self.marks.pop()
                self._set(stack)
                self._must(self.stack[-1], "EMPTY_DICT")
            case "GLOBAL":
                module, _, rest = str(argument).partition(" ")
                stack.append(self._global(_Global(module, rest)))
            case "BINPERSID":
                stack.append(self._storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._reduce(function, arguments))
            case "BUILD":
                # torch gives a state dictionary attributes; of a tensor it would change the size
                stack.pop()
                self._must(stack[-1], "EMPTY_DICT", "object")
            case "NEWOBJ" if self.program or self.objections:
                arguments, function = stack.pop(), stack.pop()
                self._must(function, "object")
                stack.append(_Made("object"))
            case "STOP":
                self.content = stack.pop()
            case _:
                self._unknown(name)
                return False
        return True

    def _must(self, value: Any, *kinds: str) -> None:
        if not isinstance(value, _Made) or value.kind not in (*kinds, "unknown"):
            raise ValueError("an opcode for another kind of object")

    def _set(self, items: list[Any]) -> None:
        for key in itertools.islice(items, 0, None, 2):
            # others can be made to collide, or nested so that no reader ever has their hash
            if not (type(key) is str or (type(key) is int and 0 <= key < 1 << 31)):
                raise ValueError("a dictionary has names or small numbers for keys")

    def _global(self, name: _Global) -> Any:
        if name in _KNOWN or (self.program and name in _KNOWN_TO_PROGRAMS):
            return name
        if self.program and name.module.split(".")[0] == "__torch__":
            return _Made("object")
        self._unknown(f"{name.module}.{name.name}")
        return _Made("unknown")

    def _reduce(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, _Made):
            self._must(function)
            return function
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise ValueError("a call of something that is no function")
        match function.name:
            case "_rebuild_tensor" | "_rebuild_tensor_v2":
                return self._tensor(*arguments[:4])
            case "_rebuild_parameter" | "restore_type_tag":
                return arguments[0]
            case "OrderedDict" if arguments == ():
                return _Made("EMPTY_DICT")
            case "Counter":
                for argument in arguments:
                    self._must(argument, "EMPTY_DICT")
                return _Made("EMPTY_DICT")
            case "Size":
                return arguments[0]
            case "device":
                return _Made("device")
            case name if name.startswith("build_"):
                return _Made("EMPTY_LIST")
        raise ValueError(f"a call of {function.name}")

    def _storage(self, words: Any) -> _Storage:
        tag, kind, key, place, numbers, *_ = words
        if tag != "storage" or not isinstance(kind, _Global) or type(key) is not str or type(place) is not str:
            raise ValueError("a reference to something that is no storage of numbers")
        width = 1 if kind.name == "UntypedStorage" else _STORAGES[kind.name]
        _number(numbers)
        stored = self.stored_bytes(key, numbers * width) // width
        if numbers > stored:
            raise Claim(
                f"a storage of {numbers:,}", f"it claims {counted(numbers, 'number')}, and the file holds {stored:,}."
            )
        return _Storage(numbers, stored)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> _Made:
        if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
            raise ValueError("a tensor without storage, size and strides")
        extent = _extent(size, storage.numbers)
        last = _number(offset)
        for count, step in zip(size, stride, strict=True):
            last += max(count - 1, 0) * _number(step)
        if extent and last >= storage.numbers:
            raise Claim(
                f"a tensor of {list(size)}",
                f"it reaches beyond the {counted(storage.available, 'number')} that there are.",
            )
        return _Made("tensor")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_NUMBER:
        raise Claim("a size that no tensor has", f"sizes are whole numbers from 0 to {LARGEST_NUMBER:,}.")
    return value


def _extent(size: Any, available: int) -> int:
    """Return how many numbers a size means, if they are there.

    Raises:
        Claim: for more than ``available``, and for sizes that no tensor has.
    """
    if len(size) > MOST_DIMENSIONS:
        raise Claim(f"a tensor of {counted(len(size), 'dimension')}", f"at most {MOST_DIMENSIONS} are read.")
    extent = 1 if all(_number(count) for count in size) else 0
    for count in size:
        extent *= count
        if extent > available:
            raise Claim(
                f"a tensor of {list(size)}",
                f"it claims {counted(extent, 'number')} or more, and the file holds {available:,} of them.",
            )
    return extent


_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def _old(file: IO[bytes], size: int) -> Iterator[Objection]:
    """Read the form before torch 1.6: a number, a version, a machine, the content, keys; then the numbers of each."""
    claimed: dict[str, int] = {}
    remaining = size

    def held(key: str, claim: int) -> int:
        nonlocal remaining
        remaining -= max(claim - claimed.get(key, 0), 0)
        claimed[key] = max(claim, claimed.get(key, 0))
        return claim if remaining >= 0 else 0

    file.seek(0)
    content = io.BytesIO(file.read(LARGEST_PICKLE))
    for expected in (_MAGIC, _PROTOCOL, None, None, None):
        pickled = _Pickle(held)
        objections = pickled.read(content)
        yield from objections
        if objections:
            return
        if expected is not None and pickled.content != expected:
            raise ValueError("it begins with another pickle than torch.save's")


# safetensors (https://huggingface.co/docs/safetensors): eight bytes, a header in JSON, the numbers

TYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number of each type."""


class TensorSpan(NamedTuple):
    """A tensor of a safetensors file: its type, its shape, where its bytes begin and end within the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors_header(file: IO[bytes]) -> dict[str, TensorSpan]:
    """Read the header of a safetensors file; the tensors lie one behind the other and fill the file.

    Raises:
        ValueError: if it is none; :class:`Claim` for a tensor whose bytes are not there.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {counted(length, 'byte')} of {size:,}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_once)
        if not isinstance(header, Mapping):
            raise ValueError("its header is no object")
        header = {name: part for name, part in header.items() if name != "__metadata__"}
        parts = {name: _part(name, part, 8 + length, size - 8 - length) for name, part in header.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header cannot be read ({type(error).__name__}: {error})") from error
    place = 8 + length
    for part in sorted(parts.values(), key=lambda one: (one.begin, one.end)):
        if part.begin != place:
            raise ValueError("its tensors share bytes, or leave some out")
        place = part.end
    if place != size:
        raise ValueError("something follows its tensors")
    return parts


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice in its header")
    return mapping


def _part(name: str, part: Any, start: int, available: int) -> TensorSpan:
    begin, end = part["data_offsets"]
    width = TYPES[part["dtype"]]
    if not 0 <= _number(begin) <= _number(end) <= available:
        raise Claim(name[:100], "its place is outside of the file.")
    extent = _extent(part["shape"], available // width)
    if end - begin != extent * width:
        raise Claim(name[:100], f"it claims {counted(extent * width, 'byte')}; the file holds {end - begin:,} for it.")
    return TensorSpan(part["dtype"], tuple(part["shape"]), start + begin, start + end)
