"""Files of weights, read as data: which Python objects a pickle would make, and how large its tensors claim to be.

``torch.save`` writes a ZIP file with a pickle in it. A pickle is a program: its opcodes name functions and call them.
Those that plain tensors need are known, and everything else is refused, without calling anything. A tensor may also
claim a size that its storage in the file lacks: 1.6 KB that become gigabytes when they are loaded or copied.
"""

import io
import json
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cxr_monai.sharing.remarks import Verdict

LARGEST_PICKLE = 32 << 20
"""Bytes of the pickle within a file of weights (it holds names and shapes; the numbers are beside it)."""
LARGEST_HEADER = 8 << 20
"""Bytes of the header of a safetensors file."""
LARGEST_PROGRAM = 16 << 20
"""Bytes of all sources within a TorchScript file."""
MOST_OPCODES = 2_000_000

Found = tuple[str, Verdict, str]
"""What was found, the verdict, the reason."""

# What a dictionary of tensors needs: module and name of each, as torch.save writes them.
_STORAGES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}  # fmt: skip
_REBUILDS = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}
_OF_PROGRAMS = {
    ("torch.jit._pickle", name)
    for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
}
_TYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
# What TorchScript programs can do beyond arithmetic: read, write or load.
_PROGRAM = re.compile(rb"from_file|aten\.save|torch\.save|\bopen\b|load_library|__import__|pickle")


def examine(path: Path) -> list[Found]:
    """Examine one file of weights by its suffix and content; an empty list means plain tensors of honest sizes.

    Args:
        path: ``.pt``, ``.pth`` or ``.ts`` of torch, or ``.safetensors``.
    """
    if path.suffix == ".safetensors":
        return list(_safetensors(path))
    try:
        with zipfile.ZipFile(path) as archive:
            return list(_archive(archive, path.stat().st_size))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        return [(path.name, Verdict.REFUSED, f"no file that torch.save of today writes, or a damaged one ({error}).")]


def _archive(archive: zipfile.ZipFile, size: int) -> Iterator[Found]:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        yield "two entries of one name", Verdict.REFUSED, "readers differ in which of them they take."
        return
    programs = [entry for entry in entries if "/code/" in entry.filename]  # the only thing that torch compresses
    stored = [entry for entry in entries if entry not in programs]
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in stored)
        or sum(entry.file_size for entry in stored) > size
        or sum(entry.file_size for entry in programs) > LARGEST_PROGRAM
    ):
        yield "a compressed entry", Verdict.REFUSED, "torch compresses no tensors; unpacked they may fill the memory."
        return
    pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
    if programs:
        yield from _programs(archive, programs)
    if not pickles:
        yield "no pickle", Verdict.REFUSED, "the file holds no tensors that torch.save wrote."
    # attributes of a TorchScript network are objects of its own types, which only its own loader makes
    for entry in pickles:
        yield from _pickle(archive, entry, {e.filename: e.file_size for e in entries}, bool(programs))


def _programs(archive: zipfile.ZipFile, programs: list[zipfile.ZipInfo]) -> Iterator[Found]:
    yield "TorchScript", Verdict.ATTENTION, "a program that torch.jit runs: the network itself, compiled."
    for entry in programs:
        found = _PROGRAM.search(archive.read(entry)) if entry.filename.endswith(".py") else None
        if found:
            yield found[0].decode(), Verdict.REFUSED, f"{entry.filename} reads or writes files."


def _pickle(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, sizes: dict[str, int], of_program: bool
) -> Iterator[Found]:
    if entry.file_size > LARGEST_PICKLE:
        yield entry.filename, Verdict.REFUSED, f"its pickle has {entry.file_size:,} bytes; {LARGEST_PICKLE:,} at most."
        return
    content = archive.read(entry)
    refused = list(_opcodes(content, of_program))
    yield from refused
    if not refused and not of_program:
        yield from _tensors(content, entry.filename.rpartition("/")[0], sizes)


def _opcodes(content: bytes, of_program: bool) -> Iterator[Found]:
    """Name every global that a pickle refers to and that tensors do not need."""
    said = set()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                yield f"more than {MOST_OPCODES:,} opcodes", Verdict.REFUSED, "a list of tensors has fewer."
                return
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                known = (module, name) in _known() or (of_program and module.startswith("__torch__"))
                text = f"{module}.{name}"
            elif opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                known = of_program and opcode.name in ("NEWOBJ",)
                text = f"{opcode.name} {argument or ''}".strip()
            else:
                continue
            if not known and text not in said:
                said.add(text)
                yield text, Verdict.REFUSED, "a pickle that makes more than tensors can run code."
    except Exception as error:  # whatever a broken pickle makes of pickletools
        yield "a damaged pickle", Verdict.REFUSED, f"{type(error).__name__}: {error}"[:200]


def _known() -> set[tuple[str, str]]:
    known = {("torch", name) for name in _STORAGES} | _REBUILDS | {("collections", "OrderedDict")}
    return known | {("torch.storage", "UntypedStorage"), *_OF_PROGRAMS}


class _Recorder(pickle.Unpickler):
    """Reads shapes out of a pickle of which only known globals are left; calls functions of this module alone."""

    def __init__(self, content: bytes, tensor: Callable[..., Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._tensor = tensor

    def find_class(self, module: str, name: str) -> Any:
        if name in _STORAGES:
            return name
        if name == "_rebuild_tensor_v2":
            return self._tensor
        if name == "OrderedDict":
            return _Table
        if name == "_rebuild_parameter":
            return lambda data, *rest: data
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid


class _Table(dict):
    """A dictionary that takes the attributes which torch gives a state dictionary (``_metadata``)."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensors(content: bytes, folder: str, sizes: dict[str, int]) -> Iterator[Found]:
    claims: list[Found] = []

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> None:
        kind, key, numbers = storage[1], storage[2], storage[4]
        there = sizes.get(f"{folder}/data/{key}")
        width = _STORAGES.get(str(kind), 1)
        extent = 1
        for count in size:
            extent *= max(int(count), 0)
        last = int(offset) + sum((int(n) - 1) * int(step) for n, step in zip(size, stride, strict=True)) + 1
        if there is None or int(numbers) * width > there or (extent and last > int(numbers)) or extent > int(numbers):
            claims.append((
                f"a tensor of {list(size)}", Verdict.REFUSED,
                f"it claims {extent:,} numbers, and the file holds {(there or 0) // width:,} of them.",
            ))  # fmt: skip

    try:
        _Recorder(content, tensor).load()
    except Exception as error:  # a hostile pickle may break its reader in any way
        yield "a damaged pickle", Verdict.REFUSED, f"{type(error).__name__}: {error}"[:200]
        return
    yield from claims[:5]


def _safetensors(path: Path) -> Iterator[Found]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(LARGEST_HEADER, size):
            yield path.name, Verdict.REFUSED, f"its header claims {length:,} bytes of {size:,}."
            return
        try:
            header = json.loads(file.read(length))
            tensors = {name: part for name, part in header.items() if name != "__metadata__"}
            for name, part in tensors.items():
                begin, end = part["data_offsets"]
                extent = _TYPES[part["dtype"]]
                for count in part["shape"]:
                    extent *= int(count)
                if not 0 <= begin <= end <= size - 8 - length or end - begin != extent:
                    yield name, Verdict.REFUSED, f"it claims {extent:,} bytes; the file holds {end - begin:,} for it."
                    return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield path.name, Verdict.REFUSED, f"its header cannot be read ({error!r})."
