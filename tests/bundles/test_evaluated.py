"""What commands evaluate of a bundle is known before anything of it runs."""

import json
import re
from pathlib import Path

import pytest

import cxr_monai
from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.evaluated import EVALUATED, Reach, evaluated_items, mentions, only
from cxr_monai.errors import BundleError, Code
from tests.support.tiny_bundles import tiny_bundle


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("plain @a", []),
        ("@a", [("a",)]),
        ("@a#b::0", [("a", "b", "0")]),
        ("@#c", [("x", "c")]),
        ("@##c", [("c",)]),
        ("@####c", [()]),
        ("@", [()]),
        ("%", [()]),
        ("%a# b ", [("a", "b")]),
        ("%configs/train.json#a#b", [("a", "b")]),
        ("%configs/train.json", [()]),
        ("$@a#b.eval() + len(@c)", [("a", "b"), ("c",)]),
        ("$'@a'", [("a",)]),
    ],
)
def test_ids_that_a_text_mentions(text: str, ids: list[tuple[str, ...]]) -> None:
    assert mentions(text, ("x", "y")) == ids


CONFIG = {
    "imports": ["$import os"],
    "a": {"b": ["@c", {"d": "$len(@e#f)"}], "own": "@never"},
    "c": 1,
    "e": {"f": "%g", "other": "@never"},
    "g": [{"h": "@#k"}],
    "k": {"also": "@never"},
    "never": {"_target_": "SaveImage"},
    "copied": "%a",
    "run": ["$@never.run()"],
}


def test_what_is_reached_is_kept_and_nothing_else() -> None:
    kept = only(CONFIG, ["a::b"])
    assert kept == {
        "imports": ["$import os"], "a": {"b": CONFIG["a"]["b"]}, "c": 1, "e": {"f": "%g"}, "g": [{"h": "@#k"}],
    }  # fmt: skip


def test_a_text_in_the_place_of_what_is_asked_for_leads_to_all_that_it_says() -> None:
    reached = Reach(evaluated_items(CONFIG)).of(["copied::b"])
    assert reached.covers(("a", "own"))
    assert reached.covers(("never", "_target_"))
    assert not reached.covers(("run", "0"))


def test_a_copy_of_the_last_of_a_list_reaches_the_list() -> None:
    reached = Reach(evaluated_items({"a": "%b#-1", "b": [1, "@c"], "c": 2})).of(["a"])
    assert reached.covers(("b", "1"))
    assert reached.covers(("c",))


def test_commands_ask_for_these_ids_and_their_parser_has_no_others(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "bundle", 0))
    parser = bundle.parser()
    for name in EVALUATED:
        parser.get_parsed_content(name)
    assert head_of(parser).outputs == len(bundle.labels)
    for name in ("evaluator", "handlers", "postprocessing", "dataset", "run"):
        asked = "dataset#data" if name == "dataset" else name
        with pytest.raises(BundleError) as caught:
            parser.get_parsed_content(asked)
        assert caught.value.code == Code.BUNDLE_INVALID


def test_no_other_id_of_a_bundle_is_asked_for_anywhere() -> None:
    package = Path(cxr_monai.__file__).parent
    asked = set()
    for path in sorted(package.rglob("*.py")):
        source = path.read_text()
        if ".parser()" in source or "head_of(" in source:
            asked |= set(re.findall(r'get_parsed_content\(\s*"([^"]+)"', source))
    asked.discard("init_weights")  # of a training that runs, in a module that opens the bundle it leaves as well
    assert {name.replace("#", "::") for name in asked} == set(EVALUATED)


LOOPS = {
    "a loop": {"in_channels": "@out", "out": "@network_def#in_channels"},
    "a missing item": {"in_channels": "@missing"},
    "1,000 references": {"in_channels": "@r0"} | {f"r{n}": f"@r{n + 1}" for n in range(1000)} | {"r1000": 1},
    "a level too high": {"in_channels": "@#####x"},
}


@pytest.mark.parametrize("name", LOOPS)
def test_what_cannot_be_evaluated_is_an_error_with_a_code(tmp_path: Path, name: str) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    added = dict(LOOPS[name])
    for file in sorted((root / "configs").glob("*.json")):
        config = json.loads(file.read_text())
        if "network_def" in config:
            config["network_def"]["in_channels"] = added["in_channels"]
            config |= {key: value for key, value in added.items() if key != "in_channels"}
            file.write_text(json.dumps(config))
    with pytest.raises(BundleError) as caught:
        Bundle.open(root).parser().get_parsed_content("network_def")
    assert caught.value.code == Code.BUNDLE_INVALID
    assert "inference.json" in str(caught.value)
