"""Damage at random, by a seed: archives of bundles and configurations, as accident or malice would write them."""

import io
import json
import random
import shutil
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cxr_monai.sharing.package.file_list import FILE_LIST, SIGNATURE
from cxr_monai.sharing.trust.sign import sign_archive
from tests.sharing.archives import entry, manifest_again

CANARY = "CANARY"
"""The file that a program of the bundle would write, in the folder that is looked at."""

NAMES = (
    "",
    ".",
    "..",
    "/",
    "//",
    "a/",
    "../CANARY",
    "/CANARY",
    "configs/../../CANARY",
    "configs\\..\\CANARY",
    "C:CANARY",
    "configs/train.json/",
    "CONFIGS/train.json",
    "configs/train.json ",
    "configs/nul.json",
    "docs/e\u0301.md",
    "docs/\u202e.md",
    "docs/a\0b.md",
    "a" * 300,
    "a/" * 200 + "b",
    "a/" * 30_000,
    "x.dist-info/entry_points.txt",
    "evil.pth",
    "torch.py",
    "sitecustomize.py",
    ".git/config",
    "configs/logging.conf",
    "docs/a.svg",
    "docs/a.png",
    "models/more.pt",
    FILE_LIST,
    SIGNATURE,
)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NESTED = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 63 + b"]" * 63, b"[[],[]," * 20_000)


def damaged_archive(good: bytes, path: Path, key: Path, home: Path, chance: random.Random) -> str:
    """Write a damaged archive; return what was done to it.

    Args:
        good: a signed archive.
        path: where the damaged one goes.
        key: signs what is signed anew.
        home: a temporary folder; a program of the bundle would write ``CANARY`` there.
        chance: decides.
    """
    kind = chance.choices([*_OF_ARCHIVES], weights=[weight for weight, _ in _OF_ARCHIVES.values()])[0]
    path.write_bytes(_OF_ARCHIVES[kind][1](good, home, chance))
    if kind in ("members", "contents") and chance.random() < 0.3:
        kind = f"{kind}, signed anew" if _signed_anew(path, key, home) else kind
    return kind


def _bytes(good: bytes, home: Path, chance: random.Random) -> bytes:
    content = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _headers(good: bytes, home: Path, chance: random.Random) -> bytes:
    """Change fields of the directory, of entries or of the end: numbers, flags, sizes, offsets."""
    content = bytearray(good)
    marks = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    for _ in range(chance.choice((1, 1, 2, 4))):
        mark = chance.choice(marks)
        places = [at for at in range(0, len(content)) if content[at : at + 4] == mark] if len(content) < 1 << 17 else []
        at = chance.choice(places) if places else content.rfind(mark)
        width = chance.choice((1, 2, 4))
        offset = at + chance.randrange(4, 46 if mark == marks[0] else 30 if mark == marks[1] else 22)
        value = chance.choice(NUMBERS) & (256**width - 1)
        content[offset : offset + width] = value.to_bytes(width, "little")
    return bytes(content)


def _cut(good: bytes, home: Path, chance: random.Random) -> bytes:
    begin, end = sorted((chance.randrange(len(good) + 1), chance.randrange(len(good) + 1)))
    pieces = (good[:end], good[begin:], good[:begin] + good[end:], good[:end] + good[begin:], good + good[begin:end])
    return chance.choice(pieces)


def _members(good: bytes, home: Path, chance: random.Random) -> bytes:
    """Rename, double, leave out and add entries; change how they are packed."""
    with zipfile.ZipFile(io.BytesIO(good)) as opened:
        members = [(name, opened.read(name)) for name in opened.namelist()]
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(members))
        name, data = members[place]
        match chance.choice(("rename", "double", "drop", "add", "swap", "cut")):
            case "rename":
                members[place] = (chance.choice(NAMES), data)
            case "double":
                members.insert(place, (name, chance.choice((data, b"other"))))
            case "drop" if len(members) > 1:
                del members[place]
            case "add":
                members.append((chance.choice(NAMES), _evil(home, chance)))
            case "swap":
                members[place] = (name, chance.choice(members)[1])
            case "cut":
                members[place] = (name, data[: chance.randrange(len(data) + 1)])
    if chance.random() < 0.7:
        members.sort()
    return _zipped(members, chance)


def _contents(good: bytes, home: Path, chance: random.Random) -> bytes:
    """Damage what is in one member: JSON, weights, texts."""
    with zipfile.ZipFile(io.BytesIO(good)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    name = chance.choice([*members, FILE_LIST, SIGNATURE, "models/model.pt", "configs/logging.conf"])
    if name.endswith((".json", ".sig")) and chance.random() < 0.8:
        members[name] = damaged_configuration(json.loads(members[name]), home, chance)
    else:
        members[name] = chance.choice((_bytes, _cut))(members[name], home, chance)
    if chance.random() < 0.2:
        members[chance.choice(("lineage.json", "metrics.json", "models/calibration.json"))] = chance.choice(NESTED)
    return _zipped(sorted(members.items()), chance, plain=True)


def _evil(home: Path, chance: random.Random) -> bytes:
    canary = str(home / CANARY)
    return chance.choice(
        (
            f"open({canary!r}, 'w')".encode(),
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"cos\nsystem\n(S'touch " + canary.encode() + b"'\ntR.",
            f"# \r[handlers]\rkeys=a\r[handler_a]\rclass=StreamHandler\rargs=(open({canary!r}, 'w'),)\n".encode(),
            f'<svg onload="{canary}"/>'.encode(),
            chance.choice(NESTED),
        )
    )


def _zipped(members: list[tuple[str, bytes]], chance: random.Random, plain: bool = False) -> bytes:
    buffer = io.BytesIO()
    odd = not plain and chance.random() < 0.2
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as opened:
        warnings.simplefilter("ignore", UserWarning)  # names that stand twice
        for name, data in members:
            one = entry(name.encode("utf-8", "replace").decode())
            if odd and chance.random() < 0.3:
                one.compress_type = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                one.external_attr = chance.choice((0, 0o120777 << 16, 0o040755 << 16, 0o100755 << 16))
                one.comment = chance.choice((b"", b"evil"))
                one.extra = chance.choice((b"", struct.pack("<HH", 1, 4) + b"evil", b"odd"))
            opened.writestr(one, data)
    return buffer.getvalue()


def _signed_anew(path: Path, key: Path, home: Path) -> bool:
    """Make manifest and signature fit, as somebody would whom the receiver trusts; False where that cannot be."""
    with zipfile.ZipFile(path) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    files.pop(SIGNATURE, None)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        try:
            manifest_again(files, Path(folder))
            path.write_bytes(_zipped(sorted(files.items()), random.Random(0), plain=True))
            sign_archive(path, key)
        except Exception:  # it is no bundle any more, and stays unsigned
            return False
        finally:
            shutil.rmtree(Path(folder) / "again", ignore_errors=True)
    return True


_OF_ARCHIVES: dict[str, tuple[int, Callable[[bytes, Path, random.Random], bytes]]] = {
    "bytes": (2, _bytes),
    "headers": (3, _headers),
    "cut": (1, _cut),
    "members": (3, _members),
    "contents": (4, _contents),
}
"""By name: how often, and what does it."""


def damaged_configuration(config: Any, home: Path, chance: random.Random) -> bytes:
    """Return a configuration as JSON with some of its values and keys replaced."""
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        places = list(_places(config))
        if not places:
            break
        section, key = chance.choice(places)
        match chance.choice(("value", "value", "value", "key", "copy", "drop", "add")):
            case "value":
                section[key] = _value(home, chance, section[key])
            case "key" if isinstance(section, dict):
                section[_key(chance, str(key))] = section.pop(key)
            case "copy":
                section[key] = json.loads(json.dumps(_get(chance.choice(places))))
            case "drop":
                del section[key]
            case "add" if isinstance(section, dict):
                section[_key(chance, str(key))] = _value(home, chance, section[key])
    text = json.dumps(config, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        nested = chance.choice(NESTED)
        place = chance.randrange(len(text) + 1)
        text = text[:place] + nested + text[place:]
    if chance.random() < 0.1:
        text = chance.choice((_bytes, _cut))(text, home, chance) if text else text
    return text


def would_run(content: bytes) -> bool:
    """Tell whether a configuration holds a text that writes the canary where MONAI evaluates it."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return False
    values = [_get(place) for place in _places(config)]
    return any(isinstance(value, str) and value.startswith("$") and CANARY in value for value in values)


def _places(config: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [config]
    while waiting:
        section = waiting.pop()
        keys = section.keys() if isinstance(section, dict) else range(len(section)) if isinstance(section, list) else ()
        for key in keys:
            yield section, key
            waiting.append(section[key])


def _get(place: tuple[Any, Any]) -> Any:
    return place[0][place[1]]


def _key(chance: random.Random, key: str) -> str:
    other = ("_target_", "_mode_", "_disabled_", "_requires_", "imports", "run", "reader", "output_dir", "path", "")
    return chance.choice(
        (
            key + "#a",
            "a#" + key,
            "+" + key,
            "~" + key,
            key + "::b",
            "#",
            "::",
            "##" + key,
            key + "\u0301",
            "\ud800",
            key.upper(),
            "k" * 2000,
            "configs/train.json",
            "docs/x.json",
            key + "\n",
            "$" + key,
            "@" + key,
            "%" + key,
            *other,
        )
    )


def _value(home: Path, chance: random.Random, value: Any) -> Any:
    canary = str(home / CANARY)
    harmless: tuple[Any, ...] = (
        None,
        True,
        False,
        0,
        -1,
        10**400,
        1e308,
        float("nan"),
        "",
        "a",
        [],
        {},
        [value],
        {"a": value},
        str(value),
        [[[[]]]],
        {"_target_": value},
        "\ud800",
        "\u0000",
        "a" * 100_000,
        [0] * 5000,
        {str(n): n for n in range(2000)},
    )
    references = (
        "@",
        "@a",
        "@#a",
        "@##",
        "@imports",
        "@bundle_root",
        "@preprocessing",
        "%",
        "%a",
        "%#a",
        "%configs/train.json#x",
        "%docs/README.md",
        "%/etc/passwd.json#a",
        "@network_def#in_channels",
        "$@a",
        "$@x + @y",
        "$import os",
        "$import torch",
        "$from os import path",
        "$import subprocess",
        "@" + "a" * 5000,
        "$" + "@a" * 1000,
        "$" + "(" * 500 + ")" * 500,
        "$" + "-" * 20_000 + "1",
        "$[0] * 10**9",
        "$9**9**9",
        "$lambda: 0",
        "$[x for x in @a]",
        "$(",
        "$",
        "$\ud800",
        "$\x00",
    )
    programs = (
        f"$open({canary!r}, 'w')",
        f"$__import__('pathlib').Path({canary!r}).touch()",
        f"$(lambda: open({canary!r}, 'w'))()",
        f"$[open({canary!r}, 'w') for open in [open]]",
        f"$__import__('os').system('touch {canary}')",
        f"$torch.save(1, {canary!r})",
        f"$print(1, file=open({canary!r}, 'w'))",
        f"$np.save({canary!r}, 1)",
        f"$().__class__.__base__.__subclasses__()[0]({canary!r})",
        f"$os.mkdir({canary!r})",
    )
    targets: tuple[Any, ...] = (
        {"_target_": "subprocess.getoutput", "cmd": f"touch {canary}"},
        {"_target_": "open", "file": canary, "mode": "w"},
        {"_target_": "os.mkdir", "path": canary},
        {"_target_": "DenseNet121", "_mode_": "debug"},
        {"_target_": "LoadImage", "reader": "os.system"},
        {"_target_": "SaveImage", "output_dir": "/"},
    )
    return chance.choice(chance.choice((harmless, references, programs, targets)))
