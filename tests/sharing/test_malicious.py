"""Archives and folders made to harm: each refused with its code, in bounded time and memory, nothing left outside."""

import base64
import json
import os
import socket
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.errors import SharingError
from cxr_monai.sharing.package.file_list import FILE_LIST, SIGNATURE
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import read_signer
from cxr_monai.sharing.trust.sign import sign_archive
from cxr_monai.sharing.trust.verify import verify_bundle
from tests.sharing.archives import Hospital, content_of, entry, manifest_again, plain_zip, rewritten
from tests.support.bundle_runs import content
from tests.support.work import counted

CALLS = 5_000_000
BYTES = 64 << 20
WEIGHTS = "models/model.pt"


@pytest.fixture(autouse=True)
def no_sockets(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **more: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def bounded() -> Iterator[None]:
    """Little work and memory, whatever the archive says."""
    tracemalloc.start()
    try:
        with counted() as calls:
            yield
        assert calls.count < CALLS
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


def refused(source: Path, hospital: Hospital, home: Path, code: str) -> SharingError:
    """``verify_bundle`` (where it is what decides) and ``install_bundle`` refuse; nothing is installed or left."""
    before = content(home)
    with pytest.raises(SharingError) as error:
        install_bundle(source, trusted=hospital.trusted, store=home / "store")
    assert error.value.code == code, str(error.value)
    assert content(home) == {
        **before,
        **{name: digest for name, digest in content(home).items() if name == "store/.lock"},
    }
    assert [path.name for path in (home / "store").iterdir()] in ([], [".lock"])
    if code != "bundle-refused":
        with pytest.raises(SharingError) as error:
            verify_bundle(source, hospital.trusted)
        assert error.value.code == code
    return error.value


# archives that are not of the one form


def with_entry(name: str, **more: Any) -> Callable[[Path, Path], None]:
    def make(good: Path, bad: Path) -> None:
        with zipfile.ZipFile(bad, "w") as opened:
            for known, data in content_of(good).items():
                opened.writestr(entry(known), data)
            opened.writestr(entry(name, **more), b"evil")

    return make


def patched(change: Callable[[bytearray], None]) -> Callable[[Path, Path], None]:
    def make(good: Path, bad: Path) -> None:
        data = bytearray(good.read_bytes())
        change(data)
        bad.write_bytes(data)

    return make


def central(data: bytearray, name: bytes) -> int:
    """Return where an entry's line of the directory begins."""
    return data.rindex(name) - 46


def flag(data: bytearray) -> None:
    data[central(data, b"LICENSE") + 8] |= 1


def method(data: bytearray) -> None:
    data[central(data, b"LICENSE") + 10] = 8


def claim(data: bytearray) -> None:
    at = central(data, b"models/model.pt")
    data[at + 20 : at + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)


def elsewhere(data: bytearray) -> None:
    """The directory names one file, the entry itself another."""
    at = data.index(b"docs/README.md")
    data[at : at + 14] = b"docs/README.mx"


def overlapping(data: bytearray) -> None:
    """Two lines of the directory for one entry."""
    first, second = central(data, b"configs/flip.json"), central(data, b"configs/train.json")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]


def disks(data: bytearray) -> None:
    data[-18:-14] = struct.pack("<HH", 1, 1)


def mode(data: bytearray) -> None:
    at = central(data, b"LICENSE")
    data[at + 38 : at + 42] = struct.pack("<I", 0o100755 << 16)


def moment(data: bytearray) -> None:
    data[central(data, b"LICENSE") + 12] ^= 1


def flip(data: bytearray) -> None:
    data[data.index(b"Apache License")] ^= 1


def behind(data: bytearray) -> None:
    data += b"#!/bin/sh\n"


def before(data: bytearray) -> None:
    data[:0] = b"#!/bin/sh\n"


def remark(data: bytearray) -> None:
    data[-2:] = b"\x04\x00evil"


def truncate(data: bytearray) -> None:
    del data[len(data) // 2 :]


def second_end(data: bytearray) -> None:
    data[-22:-22] = b"PK\x06\x07" + bytes(16)


def bomb(good: Path, bad: Path) -> None:
    """128 MB of zeros in 128 KB."""
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("models/model.pt", "w") as file:
        for _ in range(32):
            file.write(bytes(4 << 20))


def many(count: int) -> Callable[[Path, Path], None]:
    def make(good: Path, bad: Path) -> None:
        names = [f"docs/{number:06}".encode() for number in range(count)]
        with bad.open("wb") as file:
            file.writelines(b"PK\3\4" + bytes(22) + struct.pack("<HH", 11, 0) + name for name in names)
            file.writelines(
                b"PK\1\2" + bytes(24) + struct.pack("<H", 11) + bytes(12) + struct.pack("<I", 41 * number) + name
                for number, name in enumerate(names)
            )
            said = min(count, 0xFFFF)
            file.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, said, said, 57 * count, 41 * count, 0))

    return make


def twice(good: Path, bad: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        with_entry("models/model.pt")(good, bad)


def other_order(good: Path, bad: Path) -> None:
    with zipfile.ZipFile(bad, "w") as opened:
        for name, data in reversed(content_of(good).items()):
            opened.writestr(entry(name), data)


ARCHIVES: dict[str, Callable[[Path, Path], Any]] = {
    "leaves the folder": with_entry("models/../../evil"),
    "leaves the folder at once": with_entry("../evil"),
    "absolute name": with_entry("/tmp/evil"),
    "backslashes": with_entry("models\\..\\..\\evil"),
    "drive letter": with_entry("C:evil"),
    "empty name": with_entry(""),
    "name of dots": with_entry(".."),
    "name of a slash": with_entry("/"),
    "30,000 folders deep": with_entry("a/" * 30_000 + "b"),
    "zero byte in a name": patched(lambda data: data.__setitem__(central(data, b"docs/README.md") + 46 + 4, 0)),
    "control character": with_entry("docs/a\nb"),
    "bidirectional override": with_entry("docs/\u202egnp.exe"),
    "name in two normal forms": with_entry("docs/e\u0301.md"),
    "dot at the end": with_entry("configs/train.json."),
    "space at the end": with_entry("configs/train.json "),
    "device of Windows": with_entry("configs/NUL.json"),
    "stream of Windows": with_entry("configs/train.json:evil"),
    "hidden folder": with_entry(".git/config"),
    "hidden file": with_entry("models/.evil"),
    "name of 5,000 letters": with_entry("docs/" + "a" * 5000),
    "50 folders deep": with_entry("a/" * 50 + "evil"),
    "name in other letters": with_entry("CONFIGS/train.json"),
    "file where a folder is": with_entry("configs"),
    "empty folder": with_entry("models/empty/"),
    "link": with_entry("models/link", mode=0o120777),
    "pipe": with_entry("models/pipe", mode=0o010644),
    "block device": with_entry("models/disk", mode=0o060644),
    "extra field": with_entry("models/more", extra=b"\x75\x70\x04\x00evil"),
    "remark of an entry": with_entry("models/more", comment=b"evil"),
    "name that stands twice": twice,
    "encrypted": patched(flag),
    "says that it is compressed": patched(method),
    "bomb": bomb,
    "claims 4 GB": patched(claim),
    "two names of one entry": patched(elsewhere),
    "two entries in one place": patched(overlapping),
    "executable": patched(mode),
    "another time": patched(moment),
    "flipped bit": patched(flip),
    "one of several disks": patched(disks),
    "program before it": patched(before),
    "program behind it": patched(behind),
    "program in its remark": patched(remark),
    "second end": patched(second_end),
    "truncated": patched(truncate),
    "another order": other_order,
    "20,000 entries": many(20_000),
    "100,000 entries": many(100_000),
    "nothing": lambda good, bad: bad.write_bytes(b""),
    "no entries": lambda good, bad: plain_zip(bad, {}),
    "no archive": lambda good, bad: bad.write_bytes(b"\x1f\x8b" + bytes(1000)),
}


@pytest.mark.parametrize("make", ARCHIVES.values(), ids=ARCHIVES)
def test_archive_of_another_form_is_refused(
    make: Callable[[Path, Path], Any], hospital: Hospital, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bad = tmp_path / "bad.zip"
    make(hospital.archive, bad)
    request.getfixturevalue("bounded")
    error = refused(bad, hospital, tmp_path, "archive-invalid")
    assert error.where == str(bad)


# archives of the right form with other files


def sets(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.__setitem__(name, data)


def renames(files: dict[str, bytes]) -> None:
    files["docs/other.md"] = files.pop("docs/README.md")


def flips(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        data = bytearray(files[name])
        data[len(data) // 2] ^= 1
        files[name] = bytes(data)

    return change


FILES: dict[str, tuple[str, Callable[[dict[str, bytes]], None]]] = {
    "flipped weight": ("bundle-altered", flips(WEIGHTS)),
    "other size": ("bundle-altered", lambda files: files.update({WEIGHTS: files[WEIGHTS] + b"\0"})),
    "added file": ("bundle-altered", sets("configs/more.json", b"{}")),
    "added module": ("bundle-altered", sets("captum.py", b"import os")),
    "missing file": ("bundle-altered", lambda files: files.pop("configs/flip.json") and None),
    "renamed file": ("bundle-altered", renames),
    "no manifest": ("archive-invalid", lambda files: files.pop(FILE_LIST) and None),
    "no signature": ("signature-missing", lambda files: files.pop(SIGNATURE) and None),
    "no JSON for a signature": ("signature-invalid", sets(SIGNATURE, b"\x30\x82")),
    "empty signature": ("signature-invalid", sets(SIGNATURE, b"{}")),
    "signature of 100,000 brackets": ("signature-invalid", sets(SIGNATURE, b"[" * 100_000)),
}


@pytest.mark.parametrize(("code", "change"), FILES.values(), ids=FILES)
def test_other_files_than_those_that_were_signed_are_refused(
    code: str, change: Callable[[dict[str, bytes]], None], hospital: Hospital, tmp_path: Path, bounded: None
) -> None:
    bad = rewritten(hospital.archive, tmp_path / "bad.zip", change)
    assert refused(bad, hospital, tmp_path, code).where == str(bad)


def edits(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def edit(manifest: bytes) -> bytes:
        made = json.loads(manifest)
        change(made)
        return (json.dumps(made, indent=1) + "\n").encode()

    return edit


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "key twice": lambda manifest: manifest.replace(b'"format": 1,', b'"format": 1, "format": 1,'),
    "other spaces": lambda manifest: manifest.replace(b"\n ", b"\n  "),
    "no JSON": lambda manifest: manifest[:-10],
    "20,000 levels": lambda manifest: b'{"format": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "five megabytes": lambda manifest: manifest + b" " * (5 << 20),
    "later format": edits(lambda made: made.update(format=2)),
    "true for a number": edits(lambda made: made.update(format=True)),
    "more keys": edits(lambda made: made.update(run="rm")),
    "name that leaves the store": edits(lambda made: made.update(name="../../evil")),
    "name of the store's own": edits(lambda made: made.update(name=".lock")),
    "version that leaves the store": edits(lambda made: made.update(version="../1.0")),
    "version of 100,000 digits": edits(lambda made: made.update(version="9" * 100_000 + ".0")),
    "negative size": edits(lambda made: made["files"][0].update(size=-1)),
    "size that is no number": edits(lambda made: made["files"][0].update(size="11357")),
    "sizes of more than 2 GB": edits(lambda made: made["files"][0].update(size=3 << 30)),
    "digest that is none": edits(lambda made: made["files"][0].update(sha256="A" * 64)),
    "file that leaves the bundle": edits(lambda made: made["files"][0].update(name="../LICENSE")),
    "file twice": edits(lambda made: made["files"].append(made["files"][-1])),
    "another order": edits(lambda made: made["files"].reverse()),
    "lists itself": edits(lambda made: made["files"].insert(1, {**made["files"][0], "name": FILE_LIST})),
    "no files": edits(lambda made: made.update(files=[])),
    "files that are none": edits(lambda made: made.update(files={"LICENSE": 1})),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_manifest_that_is_not_as_pack_writes_it_is_refused(
    change: Callable[[bytes], bytes], hospital: Hospital, tmp_path: Path, bounded: None
) -> None:
    bad = rewritten(
        hospital.archive, tmp_path / "bad.zip", lambda files: files.update({FILE_LIST: change(files[FILE_LIST])})
    )
    refused(bad, hospital, tmp_path, "archive-invalid")


# signatures


def envelope(files: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    made = json.loads(files[SIGNATURE])
    change(made)
    files[SIGNATURE] = json.dumps(made).encode()


def statement(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
    """Change what is stated, under the old signature."""

    def edit(made: dict[str, Any]) -> None:
        stated = json.loads(base64.b64decode(made["dsseEnvelope"]["payload"]))
        change(stated)
        made["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(stated).encode()).decode()

    return lambda files: envelope(files, edit)


def other_signature(made: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(made["dsseEnvelope"]["signatures"][0]["sig"]))
    raw[-1] ^= 1
    made["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode()


SIGNATURES: dict[str, Callable[[dict[str, bytes]], None]] = {
    "flipped": lambda files: envelope(files, other_signature),
    "none in it": lambda files: envelope(files, lambda made: made["dsseEnvelope"].update(signatures=[])),
    "two in it": lambda files: envelope(
        files, lambda made: made["dsseEnvelope"]["signatures"].append(made["dsseEnvelope"]["signatures"][0])
    ),
    "two envelopes": lambda files: envelope(files, lambda made: made.update(dsse_envelope=made["dsseEnvelope"])),
    "key twice": lambda files: files.update(
        {SIGNATURE: files[SIGNATURE].replace(b'"mediaType"', b'"mediaType": "", "mediaType"', 1)}
    ),
    "other kind of payload": lambda files: envelope(
        files, lambda made: made["dsseEnvelope"].update(payloadType="text")
    ),
    "no hint": lambda files: envelope(files, lambda made: made["verificationMaterial"].update(publicKey={})),
    "certificate instead": lambda files: envelope(
        files, lambda made: made.update(verificationMaterial={"certificate": {"rawBytes": ""}, "tlogEntries": []})
    ),
    "states fewer files": statement(lambda made: made["predicate"]["resources"].pop()),
    "states more files": statement(
        lambda made: made["predicate"]["resources"].append({**made["predicate"]["resources"][0], "name": "evil"})
    ),
    "leaves files out": statement(lambda made: made["predicate"]["serialization"].update(ignore_paths=["models"])),
    "follows links": statement(lambda made: made["predicate"]["serialization"].update(allow_symlinks=True)),
    "weaker digest": statement(lambda made: made["predicate"]["resources"][0].update(algorithm="md5")),
    "no list of resources": statement(lambda made: made["predicate"].update(resources=5)),
    "no object of settings": statement(lambda made: made["predicate"].update(serialization=5)),
    "a list for a name": statement(lambda made: made["predicate"]["resources"][0].update(name=[])),
    "a list for a predicate": statement(lambda made: made.update(predicate=[])),
    "a number for a hint": lambda files: envelope(
        files, lambda made: made["verificationMaterial"]["publicKey"].update(hint=5)
    ),
    "early form": statement(lambda made: made.update(predicateType="https://model_signing/Digests/v0.1")),
}


@pytest.mark.parametrize("change", SIGNATURES.values(), ids=SIGNATURES)
def test_signature_of_another_form_or_of_other_files_is_refused(
    change: Callable[[dict[str, bytes]], None], hospital: Hospital, tmp_path: Path, bounded: None
) -> None:
    bad = rewritten(hospital.archive, tmp_path / "bad.zip", change)
    refused(bad, hospital, tmp_path, "signature-invalid")


def test_weights_and_manifest_changed_together_are_refused(hospital: Hospital, tmp_path: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        flips(WEIGHTS)(files)
        manifest_again(files, tmp_path)

    bad = rewritten(hospital.archive, tmp_path / "bad.zip", change)
    assert "is not what its manifest lists" in str(refused(bad, hospital, tmp_path, "signature-invalid"))


def stranger_signs(hospital: Hospital, folder: Path) -> Path:
    def change(files: dict[str, bytes]) -> None:
        del files[SIGNATURE]

    bad = rewritten(hospital.archive, folder / "bad.zip", change)
    sign_archive(bad, hospital.keys / "stranger.pem")
    return bad


def test_another_key_is_refused_and_those_that_are_trusted_are_named(hospital: Hospital, tmp_path: Path) -> None:
    bad = stranger_signs(hospital, tmp_path)
    told = str(refused(bad, hospital, tmp_path, "signer-unknown"))
    assert "hospital-a" in told
    assert read_signer(hospital.keys / "stranger.pub").fingerprint in told


def test_another_key_under_a_trusted_fingerprint_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        trusted = read_signer(hospital.keys / "hospital-a.pub").fingerprint
        envelope(files, lambda made: made["verificationMaterial"]["publicKey"].update(hint=trusted))

    bad = rewritten(stranger_signs(hospital, tmp_path), tmp_path / "worse.zip", change)
    refused(bad, hospital, tmp_path, "signature-invalid")


def test_what_the_library_leaves_out_by_itself_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    """A trusted key, the library's own defaults: files of git are not signed, and the signature says so."""
    from model_signing import hashing, signing

    root = tmp_path / "root"
    for name, data in content_of(hospital.archive).items():
        if name != SIGNATURE:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    config = signing.Config().use_elliptic_key_signer(private_key=hospital.key)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[WEIGHTS])).sign(root, root / SIGNATURE)
    refused(root, hospital, tmp_path, "signature-invalid")


# folders


def adds_git(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]\n\tfsmonitor = touch canary")


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "git": adds_git,
    "ignored by git": lambda root: (root / ".gitignore").write_text("*"),
    "hidden file": lambda root: (root / "models" / ".evil").write_text("x"),
    "module": lambda root: (root / "torch.py").write_text("raise SystemExit"),
    "empty folder": lambda root: (root / "models" / "empty").mkdir(),
    "link to a file": lambda root: (root / "docs" / "link.md").symlink_to("/etc/passwd"),
    "link to a folder": lambda root: (root / "more").symlink_to("/"),
    "link instead of a file": lambda root: (
        (root / WEIGHTS).rename(root.parent / "weights"),
        (root / WEIGHTS).symlink_to(root.parent / "weights"),
    ),
    "dangling link": lambda root: (root / "docs" / "link.md").symlink_to("nowhere"),
    "pipe": lambda root: os.mkfifo(root / "models" / "pipe"),
    "missing file": lambda root: (root / "LICENSE").unlink(),
    "changed file": lambda root: (root / "LICENSE").write_text("none"),
    "20 folders deep": lambda root: (root / "/".join("abcdefghijklmnopqrst")).mkdir(parents=True),
}


@pytest.mark.parametrize("spoil", FOLDERS.values(), ids=FOLDERS)
def test_folder_with_anything_more_or_less_is_refused(
    spoil: Callable[[Path], Any], hospital: Hospital, tmp_path: Path, bounded: None
) -> None:
    root = tmp_path / "received"
    with zipfile.ZipFile(hospital.archive) as opened:
        opened.extractall(root)
    assert verify_bundle(root, hospital.trusted).signer.name == "hospital-a"
    spoil(root)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "store")}
    for check in (
        lambda: verify_bundle(root, hospital.trusted),
        lambda: install_bundle(root, trusted=hospital.trusted, store=tmp_path / "store"),
    ):
        with pytest.raises(SharingError) as error:
            check()
        assert error.value.code == "bundle-altered"
    assert [path.name for path in (tmp_path / "store").iterdir()] in ([], [".lock"])
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "store")} == before


# a trusted hospital's bundle that would run code: it may have been deceived itself


CODE: dict[str, tuple[str, bytes]] = {
    "expression": ("configs/more.json", b"{\"a\": \"$__import__('os').system('touch CANARY')\"}"),
    "callable": ("configs/more.json", b'{"a": {"_target_": "subprocess.getoutput", "cmd": "touch CANARY"}}'),
    "import": ("configs/more.json", b'{"imports": ["$import os"], "initialize": "$os.system(\'touch CANARY\')"}'),
    "module": ("captum.py", b"open('CANARY', 'w')"),
    "logging": ("configs/logging.conf", b"# \r[handlers]\rkeys=a\r[handler_a]\rclass=%(x)s\rx=open('CANARY', 'w')\n"),
    "pickle": ("models/more.pt", b"cos\nsystem\n(S'touch CANARY'\ntR."),
}


@pytest.mark.parametrize(("name", "data"), CODE.values(), ids=CODE)
def test_code_is_refused_though_it_is_signed(
    name: str, data: bytes, hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: None
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.chdir(tmp_path)

    def change(files: dict[str, bytes]) -> None:
        files[name] = data.replace(b"CANARY", str(canary).encode())
        del files[SIGNATURE]
        manifest_again(files, tmp_path)

    bad = rewritten(hospital.archive, tmp_path / "bad.zip", change)
    sign_archive(bad, hospital.key)
    assert verify_bundle(bad, hospital.trusted).signer.name == "hospital-a"
    assert name in str(refused(bad, hospital, tmp_path, "bundle-refused"))
    assert not canary.exists()
