"""A bundle has a few kinds of files, each in its place and with the content that its place says, and nothing else."""

import io
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from cxr_monai.sharing.inspection import picture_files, texts
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.kinds import kind_of
from cxr_monai.sharing.inspection.texts import markdown_problems


def picture(form: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 24)).save(buffer, form, **more)
    return buffer.getvalue()


PNG, JPEG = picture("PNG"), picture("JPEG")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("__main__.py", "open('canary', 'w')")
    return buffer.getvalue()


def weights() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A picture with a chunk more, before its end."""
    return PNG[:-12] + chunk(kind, data) + PNG[-12:]


def bundle_with(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / "bundle" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return tmp_path / "bundle"


# places

PLACES = {
    "configs/train.json": b"{}",
    "models/model.pt": weights(),
    "models/model_2.pt": weights(),
    "models/calibration.json": b"{}",
    "docs/README.md": b"# A bundle",
    "docs/card.md": b"# Limits",
    "docs/import.json": b"{}",
    "docs/data_license.txt": b"None.\r\n",
    "docs/images/roc.png": PNG,
    "docs/roc.jpg": JPEG,
    "docs/roc.jpeg": JPEG,
    "LICENSE": b"Apache License",
    "README.md": b"A bundle.",
    "lineage.json": b"{}",
    "metrics.json": b"{}",
    "bundle.manifest.json": b"{}",
    "bundle.sig": b"{}",
    "large_files.yml": b"large_files: []\n",
}


@pytest.mark.parametrize("name", PLACES)
def test_what_a_bundle_has_passes_in_its_place(tmp_path: Path, name: str) -> None:
    assert inspect_bundle(bundle_with(tmp_path, name, PLACES[name])).refused == ()


ELSEWHERE = [
    "train.json", "models/train.json", "docs/more.json", "configs/sub/train.json", "Configs/train.json",
    "configs/train.JSON", "configs/other.conf", "logging.conf", "docs/logging.conf", "configs/LOGGING.CONF",
    "configs/train.yaml", "configs/README.md", "configs/a.pt", "model.pt", "docs/model.pt", "models/sub/model.pt",
    "models/model.pth", "models/model.pkl", "models/model.npy", "models/model.bin", "models/model.ckpt",
    "models/gate.csv", "docs/gate.json",
    "models/README.md", "docs/table.csv", "docs/page.html", "docs/page.htm", "docs/page.xml", "docs/picture.svg",
    "docs/picture.SVG", "docs/picture.svgz", "docs/picture.gif", "docs/page.pdf", "docs/notes.ipynb", "picture.png",
    "x.dist-info/entry_points.txt", "x.dist-info/METADATA", "docs/x.dist-info/e.py", "x.egg-info/PKG-INFO",
    "x.egg-info", "x.egg-link", "evil.pth", "docs/evil.pth", "sitecustomize.py", "usercustomize.py", "sitecustomize",
    "sitecustomize/__init__.py", "native.so", "native.abi3.so", "native.pyd", "captum.py", "captum.pyc", "captum.pyi",
    "captum/README.md", "torch/LICENSE", "scripts/run.py", "__pycache__/captum.cpython-311.pyc", "run.sh", "Makefile",
    "pyproject.toml", "setup.cfg", "pytest.ini", "conftest.py", "mlruns/a.txt", "bundle.patients.json",
]  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("content", [b"{}", PNG], ids=["text", "picture"])
def test_what_has_no_place_is_refused_whatever_it_holds(tmp_path: Path, name: str, content: bytes) -> None:
    refused = {remark.file: remark.reason for remark in inspect_bundle(bundle_with(tmp_path, name, content)).refused}
    assert name in refused
    assert kind_of(name) is None
    assert refused[name].endswith(".")


@pytest.mark.parametrize("name", ["captum", "torch/nn", "scripts", ".git", "__pycache__", "x.dist-info", "models/sub"])
def test_folders_that_python_or_others_would_take_are_refused_though_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    assert name in {remark.file for remark in inspect_bundle(tmp_path).refused}


NAMES = [
    ".hidden.md", "docs/.hidden.md", "docs/.git/a.md", ".pth", "docs/README.md.", "docs/README .md", "docs/a\tb.md",
    "docs/a\nb.md", "docs/a\x1b[2Jb.md", "docs/\u202ecod.md", "docs/e\u0301.md", "docs/\u00e9.md", "docs/caf\u00e9.png",
    "configs/con.json", "configs/NUL.json", "configs/com1.json", "docs/aux.md", "docs/lpt9.x.md", "docs/a:b.md",
    "docs/a\\b.md", "docs/a~1?.md", "configs/a b.json", "docs/" + "a" * 198 + ".md", "docs/" + "a/" * 8 + "b.md",
    "configs/$x.json", "configs/-x.json", "docs/a\u200b.md",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_mean_something_else_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    refused = inspect_bundle(bundle_with(tmp_path, name, b"{}")).refused
    assert "is no name for a file" in refused[-1].reason or "is longer than" in refused[-1].reason
    assert all(f"{remark.file}{remark.text}{remark.reason}".isprintable() for remark in refused)


@pytest.mark.parametrize("other", ["docs/readme.md", "docs/README.MD", "Docs/README.md"])
def test_two_names_that_are_one_on_some_systems_are_refused(tmp_path: Path, other: str) -> None:
    root = bundle_with(tmp_path, "docs/README.md", b"A")
    try:
        (root / other).parent.mkdir(exist_ok=True)
        (root / other).write_bytes(b"B")
    except OSError:
        pytest.skip("this file system takes the two for one")
    assert any(
        "one name on some systems" in remark.reason or remark.file == other for remark in inspect_bundle(root).refused
    )


# pictures

BAD_PICTURES = {
    "a page": (".png", b"<html><script>alert(1)</script>"),
    "a picture of another kind": (".jpg", PNG),
    "a picture of another kind, too": (".png", JPEG),
    "nothing": (".png", b""),
    "the first bytes alone": (".png", PNG[:8]),
    "the first bytes of a JPEG": (".jpg", JPEG[:3]),
    "a cut PNG": (".png", PNG[:-1]),
    "a PNG without its end": (".png", PNG[:-12]),
    "a cut JPEG": (".jpg", JPEG[:-1]),
    "half a JPEG": (".jpg", JPEG[: len(JPEG) // 2]),
    "a PNG and an archive": (".png", PNG + archive()),
    "a JPEG and an archive": (".jpg", JPEG + archive()),
    "a JPEG and a page": (".jpeg", JPEG + b"<script>"),
    "a JPEG and a JPEG": (".jpg", JPEG + JPEG),
    "a PNG and a byte": (".png", PNG + b"\0"),
    "a PNG behind an archive": (".png", archive() + PNG),
    "a PNG that is an archive": (".png", with_chunk(b"tEXt", archive() + b"\0")),
    "a JPEG that is an archive": (".jpg", picture("JPEG", comment=archive())),
    "a chunk that nobody knows": (".png", with_chunk(b"pyTH", b"import os")),
    "an animation": (".png", with_chunk(b"acTL", bytes(8))),
    "another checksum": (".png", PNG[:-16] + bytes(4) + PNG[-12:]),
    "a chunk of 4 GB": (".png", PNG[:8] + b"\xff\xff\xff\xff" + PNG[12:]),
    "no pixels": (".png", PNG[:33] + PNG[-12:]),
    "two beginnings": (".png", PNG[:33] + PNG[8:]),
    "a JPEG without pixels": (".jpg", b"\xff\xd8\xff\xd9"),
    "a segment of no length": (".jpg", b"\xff\xd8\xff\xe0\x00\x00" + JPEG[2:]),
    "fill bytes alone": (".jpg", b"\xff\xd8" + b"\xff" * 1000),
    "text": (".png", b"no picture"),
}  # fmt: skip


@pytest.mark.parametrize(("suffix", "content"), BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_what_is_no_picture_or_more_than_one_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (remark,) = inspect_bundle(bundle_with(tmp_path, f"docs/a{suffix}", content)).refused
    assert "picture" in remark.reason


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_pictures_of_every_writer_pass(tmp_path: Path, form: str, mode: str) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "Matplotlib")
    more = {"pnginfo": notes, "dpi": (100, 100)} if form == "PNG" else {"progressive": True, "comment": b"by hand"}
    buffer = io.BytesIO()
    Image.effect_noise((300, 200), 80).convert(mode).save(buffer, form, **more)
    root = bundle_with(tmp_path, f"docs/a.{'png' if form == 'PNG' else 'jpg'}", buffer.getvalue())
    assert inspect_bundle(root).refused == ()


def test_a_picture_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "LARGEST_PICTURE", len(PNG) - 1)
    (remark,) = inspect_bundle(bundle_with(tmp_path, "docs/a.png", PNG)).refused
    assert "at most" in remark.reason


# texts

BAD_TEXTS = {
    "zero": b"a\0b", "escape": b"a\x1b[2J", "lone carriage return": b"a\rb", "form feed": b"a\x0cb", "bell": b"\x07",
    "delete": b"\x7f", "next line": "a\u0085b".encode(), "line separator": "a\u2028b".encode(),
    "reversed": "a\u202eb".encode(), "isolated": "a\u2067b".encode(), "another encoding": "\u00e9".encode("latin-1"),
    "two bytes a letter": "text".encode("utf-16"), "a pickle": b"\x80\x04\x95", "a mark within": "a\ufeffb".encode(),
    "an archive": archive(),
}  # fmt: skip


@pytest.mark.parametrize("content", BAD_TEXTS.values(), ids=BAD_TEXTS)
@pytest.mark.parametrize("name", ["docs/README.md", "LICENSE", "docs/data_license.txt", "large_files.yml"])
def test_texts_hold_nothing_that_is_not_seen(tmp_path: Path, name: str, content: bytes) -> None:
    assert [remark.file for remark in inspect_bundle(bundle_with(tmp_path, name, content)).refused] == [name]


def test_texts_in_any_language_pass(tmp_path: Path) -> None:
    text = "\ufeff# R\u00f6ntgen\r\n\tthorax \u80f8\u90e8 \u0633\u064a\u0646\u064a\u0629 \U0001fac1 \u2265 0.5\n"
    assert inspect_bundle(bundle_with(tmp_path, "docs/README.md", text.encode())).refused == ()


def test_a_text_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LARGEST_TEXT", 10)
    assert inspect_bundle(bundle_with(tmp_path, "docs/a.md", b"a" * 10)).refused == ()
    assert [remark.file for remark in inspect_bundle(bundle_with(tmp_path / "b", "docs/a.md", b"a" * 11)).refused] == [
        "docs/a.md"
    ]


RUNNING = [
    "<script>alert(1)</script>", "<SCRIPT src=//evil.example>", "<script", "a <script\n>alert(1)", "<scr<script>ipt>",
    "<svg onload=alert(1)>", "<svg/onload=alert(1)>", "<svg><script>1</script></svg>", "<svg:script>", "<math>",
    "<img src=x onerror=alert(1)>", "<img src=x\nonerror\n=\nalert(1)>", '<img src="x" OnErRoR="alert(1)">',
    "<img alt='>' src=x onerror=alert(1)>", '<b "<x onmouseover=alert(1)>', "<b onclick=alert(1)",
    "<b/onclick=alert(1)>",    "<x onclick=alert(1)>",
    "<my-tag onclick=alert(1)>", "<pre\n\nonclick=alert(1)>", "</b onclick=alert(1)>",
    "<iframe src='https://evil.example'>", "<object data=x>", "<embed src=x>", "<link rel=stylesheet href=x>",
    "<base href=x>", "<form action=x>", "<style>*{}</style>", "<p style='background:url(x)'>", "<!DOCTYPE html>",
    "<?php echo 1 ?>", "<![CDATA[x]]>", "<!--><script>alert(1)</script>", "<!-- <script> -->",
    "<template><b>", "<textarea>", "<title></title>", "<noscript><p title='</noscript><img src=x onerror=1>'>",
    "[a](javascript:alert(1))", "[a](JaVaScRiPt:alert(1))", "[a]( javascript:alert(1))", "[a](java\nscript:alert(1))",
    "[a](java\tscript:alert(1))", "[a](javascript&colon;alert(1))", "[a](javascript&#58;alert(1))",
    "[a](&#106;avascript:alert(1))", "[a](&#x6a;avascript:alert(1))", "[a](javascript\\:alert(1))",
    "[a](java&Tab;script:alert(1))", "[a](java&NewLine;script:alert(1))", "<javascript:alert(1)>",
    "[a]: javascript:alert(1)", "[a]:\njavascript:alert(1)", "![a](vbscript:x)", "<a href='javascript:alert(1)'>a</a>",
    "<a href=' javascript:alert(1)'>a</a>", "[a](data:text/html,<b>)", "[a](data:text/html;base64,PHM+)",
    "[a](<data: text/html,x>)", "![a](data:image/svg+xml,x)", "[a](DATA:application/xhtml+xml,x)",
]  # fmt: skip


@pytest.mark.parametrize("text", RUNNING)
def test_markdown_that_a_browser_could_run_is_refused_wherever_it_stands(tmp_path: Path, text: str) -> None:
    for written in (text, f"# A bundle\n\nIt sees {text}\n", f"```\n{text}\n```\n"):
        assert list(markdown_problems(written))
    root = bundle_with(tmp_path, "README.md", text.encode())
    assert [remark.file for remark in inspect_bundle(root).refused] == ["README.md"]


HARMLESS = [
    "0.3 < p < 0.5, n<k and k>n, a <- b, x <= y, <3", "p<a, if a<b and c>d", "`cxr-monai predict <bundle> <images>`",
    "<path to the checkpoint>", "List<int>", "<https://a.example/?b=c&d=e#f>", "<who@a.example>", "<br>", "<br/>",
    '<p align="center">\n<img src="docs/roc.png" alt="ROC" width=300>\n</p>', "<sub>2</sub> <b>bold</b> </b>",
    '<a href="https://a.example/?x=1">a</a>', "<!-- a remark: x = 1 -->", "<details><summary>More</summary></details>",
    '<table border="1"><tr><td colspan="2">a</td></tr></table>', "online = 1, onset=3, onnx==1.17, once = 2",
    "[a](https://a.example)", "![a](roc.png)", "Data: DICOM/PNG, 1024 pixels (data: NIH/RSNA)",
    "![a](data:image/png;base64,x)", "JavaScript is not used", "a metadata:text",
    "<image>, <input> and <output>", "> quoted < less", "a\\<b\\>",
]  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS)
def test_markdown_that_only_shows_something_passes(text: str) -> None:
    assert list(markdown_problems(text)) == []


@pytest.mark.parametrize("text", ["<a", "<a ", '<a href="', "<b <b", "&#", "javascript ", '" ', "<!--", "<a b"])
def test_no_text_is_read_again_and_again(tmp_path: Path, text: str) -> None:
    """Read in linear time it takes little; else it would spend the budget, which is a refusal."""
    root = bundle_with(tmp_path, "docs/a.md", (text * (200_000 // len(text))).encode())
    assert "time" not in {remark.kind for remark in inspect_bundle(root).refused}
