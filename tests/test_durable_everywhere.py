"""Whatever outlives its process is written by ``cxr_monai.durable``: no other call that writes, but for these.

Read from the syntax; a call is recognised by its name, whatever it is called on.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for part in ("apps", "cxr_monai", "scripts")
    for path in (ROOT / part).rglob("*.py")
}
WRITER = "cxr_monai/durable.py"

WHOLE = "into a folder that appears whole, or a temporary one that goes away"
GROWS = "it grows, and a line that was cut off is told by its reader"
AWAY = "sets aside, by its name alone, what somebody may still want"
ALLOWED = {
    ("apps/node/spool.py", "os.replace"): "a film's file, which is on the disk, takes its place",
    ("cxr_monai/cli/__init__.py", "os.open"): "the null device",
    ("cxr_monai/data/cache/pixels.py", "self.pixels_path.open"): "the cache's pixels: known when they are on the disk",
    ("cxr_monai/data/phantom/dicom_film.py", "header.save_as"): WHOLE,
    ("cxr_monai/data/phantom/write.py", "Image.fromarray(pixels).save"): WHOLE,
    ("cxr_monai/data/phantom/write.py", "Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save"): WHOLE,
    ("cxr_monai/evaluation/streaming.py", "self.part.open"): GROWS,
    ("cxr_monai/outputs.py", "os.replace"): "a result's files, which are on the disk, take their places",
    ("cxr_monai/workflows/dicom_folder.py", "os.replace"): "objects, which are on the disk, take their places",
    ("cxr_monai/sharing/package/archive.py", "path.open"): WHOLE,
    ("cxr_monai/sharing/package/archive.py", "archive.open"): "an entry of the durable writer's archive",
    ("cxr_monai/sharing/package/download.py", "target.open"): WHOLE,
    ("cxr_monai/sharing/export/network_export.py", "zipfile.ZipFile"): WHOLE,
    ("cxr_monai/sharing/export/network_export.py", "onnx.save"): WHOLE,
    ("cxr_monai/sharing/export/network_export.py", "os.replace"): WHOLE,
    ("cxr_monai/sharing/trust/install.py", "tempfile.mkdtemp"): WHOLE,
    ("cxr_monai/sharing/trust/install.py", "(root / name).open"): WHOLE,
    ("cxr_monai/sharing/trust/install.py", "os.rename"): "a version, which is on the disk, takes its place",
    ("cxr_monai/sharing/trust/sign.py", "root.rename"): WHOLE,
    ("cxr_monai/sharing/trust/sign.py", "signature.rename"): WHOLE,
    ("cxr_monai/sharing/export/model_zoo.py", "path.rename"): WHOLE,
    ("cxr_monai/sharing/export/model_zoo.py", "ConfigParser.export_config_file"): WHOLE,
    ("cxr_monai/studies/jobs.py", "log.open"): "what a training prints, as it comes",
    ("cxr_monai/studies/run_experiment.py", "folder.rename"): AWAY,
    ("cxr_monai/training/checkpoints.py", "os.replace"): "the last checkpoint becomes the one before it",
    ("cxr_monai/training/journal.py", "self.path.open"): GROWS,
    ("cxr_monai/training/tracking.py", "os.replace"): AWAY,
    ("scripts/benchmarks/evaluation.py", "made.to_csv"): WHOLE,
    ("scripts/benchmark_receiver.py", "film(shape, number).save_as"): "a temporary folder of a trial, which goes away",
    ("scripts/benchmarks/prediction.py", "Image.fromarray(grey).save"): WHOLE,
    ("scripts/lowest_check.py", "dcmread(film).save_as"): "a temporary folder of a trial, which goes away",
    ("scripts/lowest_check.py", "nibabel.save"): "a temporary folder of a trial, which goes away",
    ("scripts/lowest_check.py", "(folder / 'node.toml').write_text"): "a temporary folder of a trial, which goes away",
    ("scripts/measure_node.py", "film.save_as"): "a temporary folder of a measurement",
    ("scripts/measure_node.py", "tempfile.mkdtemp"): "a temporary folder of a measurement",
    ("scripts/lowest_check.py", "dataset.save_as"): "a temporary folder of a trial, which goes away",
    ("scripts/lowest.py", "(folder / 'pins.txt').write_text"): "a temporary folder of a trial, which goes away",
    (
        "cxr_monai/workflows/explain.py",
        "tempfile.mkdtemp",
    ): "maps of a program that names no folder; they go with their store",
    ("scripts/make_golden.py", "(GOLDEN / 'golden.zip.xz').write_bytes"): "files under version control",
    ("scripts/make_golden.py", "shutil.copy"): "files under version control",
    ("scripts/make_golden.py", "expected.to_csv"): "files under version control",
    ("scripts/render_notebooks.py", "(out / picture).write_bytes"): "files under version control",
    ("scripts/render_notebooks.py", "(out / f'{name}.md').write_text"): "files under version control",
    ("scripts/render_notebooks.py", "(out / f'{name}.ipynb').write_text"): "files under version control",
    ("scripts/lowest.py", "RECORD.write_text"): "a record under version control",
    ("scripts/fuzz_bundles.py", "shutil.copytree"): "a temporary folder of a trial, which goes away",
    ("scripts/fuzz_bundles.py", "file.write_bytes"): "a temporary folder of a trial, which goes away",
    ("scripts/download_nih.py", "part.open"): "a download that goes on where it stopped",
    ("scripts/download_nih.py", "os.replace"): "a download that was checked takes its place, or is set aside",
    ("scripts/download_nih.py", "archive.extract"): "unpacked again unless it has its size",
}
"""File and call: why it may."""

WRITES = {
    "write_text", "write_bytes", "savefig", "savez", "savez_compressed", "save_as", "imwrite", "tofile", "to_parquet",
    "to_pickle", "to_excel", "to_json", "to_csv", "save_file", "export_config_file", "copy2", "copyfile", "copyfileobj",
    "copytree", "mkdtemp", "mkstemp", "dump", "touch", "extractall", "save", "extract", "ZipFile", "FileHandler",
}  # fmt: skip
MOVES = {"replace", "rename", "link", "move", "copy", "renames"}


def writing(source: str) -> Iterator[tuple[str, int]]:
    """Yield the calls of a source that write to a path, and their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if writes(node, *name.rpartition(".")[::2]):
                yield name, node.lineno


def writes(node: ast.Call, on: str, name: str) -> bool:
    """Tell whether a call writes: ``on`` is what it is called on, with its arguments."""
    if name in ("open", "fdopen"):
        mode = next((word.value for word in node.keywords if word.arg == "mode"), None)
        words = [mode, *node.args[:2]]
        texts = [one.value for word in words if word for one in ast.walk(word) if isinstance(one, ast.Constant)]
        modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")]
        flags = ast.unparse(node)
        return any(set(text) & set("wax+") for text in modes) or "O_WRONLY" in flags or "O_RDWR" in flags
    if name in MOVES:
        # of a path: one argument; texts, tables and data classes have others
        return on in ("os", "shutil") or (name in ("replace", "rename") and len(node.args) == 1 and not node.keywords)
    if name not in WRITES or any(map(in_memory, node.args)):
        return False
    return not (name in ("to_csv", "to_json") and not node.args)  # those return the text


def in_memory(node: ast.expr) -> bool:
    """A stream in memory, or the durable writer's: they are called so everywhere."""
    return isinstance(node, ast.Name) and node.id in ("buffer", "content", "file", "stream")


# what is called like a writer and writes nothing, or through the durable one
OTHERS = {
    ("cxr_monai/workflows/collect.py", "key.save"),
    ("cxr_monai/evaluation/groups.py", "ids.str.extract"),
    ("cxr_monai/data/sources/_paths.py", "paths.str.extract"),
    ("cxr_monai/data/tables.py", "zipfile.ZipFile"),
    ("cxr_monai/sharing/package/privacy.py", "zipfile.ZipFile"),
    ("cxr_monai/training/checkpoints.py", "self.save"),
    ("cxr_monai/training/runs.py", "self.checkpoints.save"),
    ("scripts/download_nih.py", "extract"),
    ("scripts/fetch_public_tables.py", "zipfile.ZipFile"),
}


@pytest.mark.parametrize("name", sorted(set(FILES) - {WRITER}))
def test_no_module_writes_in_another_way(name: str) -> None:
    calls = [(call, line) for call, line in writing(FILES[name].read_text("utf-8"))]
    found = [f"{call}, line {line}" for call, line in calls if (name, call) not in {*ALLOWED, *OTHERS}]
    assert found == [], "write it with cxr_monai.durable, or say in ALLOWED why not"


def test_every_exception_is_still_needed() -> None:
    there = {(name, call) for name, path in FILES.items() for call, _ in writing(path.read_text("utf-8"))}
    assert {*ALLOWED, *OTHERS} <= there


@pytest.mark.parametrize(
    "source",
    [
        "path.write_text('x')",
        "table.to_csv(path)",
        "open(path, 'w')",
        "path.open(mode='ab')",
        "path.open('r+b')",
        "path.open('ab' if there else 'wb')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.fdopen(number, 'wb')",
        "figure.savefig(path, dpi=100)",
        "torch.save(state, path)",
        "np.save(path, array)",
        "np.savez_compressed(path, maps=maps)",
        "image.save(path)",
        "shutil.copy(source, path)",
        "copytree(source, path)",
        "os.replace(part, path)",
        "part.rename(path)",
        "zipfile.ZipFile(path, 'w')",
        "json.dump(content, path.open('w'))",
        "tempfile.mkdtemp()",
    ],
)
def test_no_way_to_write_is_overlooked(source: str) -> None:
    assert [call for call, _ in writing(source)]


@pytest.mark.parametrize(
    "source",
    [
        "path.open('rb')",
        "open(path)",
        "table.to_csv(index=False)",
        "'a'.replace('b', 'c')",
        "replace(sample, table=table)",
        "table.rename(columns={'a': 'b'})",
        "figure.savefig(content, format='png')",
        "torch.save(state, file)",
        "values.copy()",
    ],
)
def test_reading_is_no_writing(source: str) -> None:
    assert list(writing(source)) == []
