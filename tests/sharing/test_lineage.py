"""Where bundles come from: over generations and sites, each link checked, whatever contradicts itself named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.bundle.digest import content_digest
from cxr_monai.cli import main
from cxr_monai.errors import SharingError
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.lineage import (
    LINEAGE,
    LineageNode,
    LinkState,
    bundles_at_hand,
    read_lineage,
    trace_lineage,
    write_lineage,
)
from tests.sharing.archives import Hospital, edit_metadata, make_bundle, signed_version

NOWHERE = Path("no-store")


def generation(folder: Path, name: str, *parents: Path) -> Path:
    root = make_bundle(folder / name, name=name)
    if parents:
        measured = {"finding": "Pneumonia", "auroc": 0.71234}
        write_lineage(
            root, parents, "cxr-monai finetune", data={"images": 30}, settings={"rate": 1e-4}, measured=measured
        )
    return root


@pytest.fixture
def family(tmp_path: Path) -> list[Path]:
    """Grandparent, parent, child."""
    made = [generation(tmp_path, "first")]
    for name in ("second", "third"):
        made.append(generation(tmp_path, name, made[-1]))
    return made


def states(tree: LineageNode) -> list[tuple[str, str]]:
    return [(node.generation.name if node.generation else "?", str(node.state)) for node in tree.walk()]


def edit(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    made = json.loads((root / LINEAGE).read_text())
    change(made)
    (root / LINEAGE).write_text(json.dumps(made))


def test_child_carries_what_its_ancestors_said(family: list[Path]) -> None:
    first, second, third = family
    lineage = read_lineage(third)
    assert lineage.generation.parents == (content_digest(second),)
    assert set(lineage.ancestors) == {content_digest(first), content_digest(second)}
    assert lineage.ancestors[content_digest(second)] == read_lineage(second).generation
    assert lineage.generation.software["cxr-monai"]
    assert lineage.generation.measured == {"finding": "Pneumonia", "auroc": 0.71234}


def test_lineage_is_part_of_the_digest(family: list[Path]) -> None:
    before = content_digest(family[1])
    edit(family[1], lambda made: made["own"]["data"].update(images=31))
    assert content_digest(family[1]) != before


def test_each_link_is_verified_where_the_parent_is_at_hand(family: list[Path]) -> None:
    first, second, third = family
    everything = trace_lineage(third, bundles_at_hand(NOWHERE, [first, second]))
    assert states(everything) == [("third", "itself"), ("second", "verified"), ("first", "verified")]
    some = trace_lineage(third, bundles_at_hand(NOWHERE, [first]))
    assert states(some) == [("third", "itself"), ("second", "not at hand"), ("first", "verified")]
    nothing = trace_lineage(third, [])
    assert states(nothing) == [("third", "itself"), ("second", "not at hand"), ("first", "not at hand")]


def test_a_folder_of_bundles_is_looked_through(family: list[Path], tmp_path: Path) -> None:
    assert [state for _, state in states(trace_lineage(family[2], bundles_at_hand(NOWHERE, [tmp_path])))] == [
        "itself", "verified", "verified",
    ]  # fmt: skip
    with pytest.raises(SharingError) as error:
        bundles_at_hand(NOWHERE, [tmp_path / "first" / "docs"])
    assert error.value.code == "lineage-invalid"


def test_tree_is_drawn(family: list[Path], tmp_path: Path) -> None:
    child = generation(tmp_path, "fourth", family[2], family[0])
    lines = trace_lineage(child, bundles_at_hand(NOWHERE, [family[0]])).lines()
    assert lines[0].startswith(f"fourth 0.1.0  {content_digest(child)[:12]}  itself")
    assert "│  measured: finding Pneumonia, auroc 0.7123" in lines
    assert [line[:6] for line in lines if "0.1.0" in line] == ["fourth", "├─ thi", "│  └─ ", "│     ", "└─ fir"]


def test_changed_parent_is_not_at_hand_and_the_changed_one_is_named(family: list[Path]) -> None:
    (family[1] / "docs" / "more.md").write_text("more")
    tree = trace_lineage(family[2], bundles_at_hand(NOWHERE, [family[1]]))
    assert states(tree)[1] == ("second", "not at hand")
    assert f"{family[1]} has its name and version, but another content" in "\n".join(tree.lines())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: next(iter(made["ancestors"].values()))["data"].update(images=1), "not what it says itself"),
        (lambda made: made["ancestors"].clear(), "not what it says itself"),
        (lambda made: made["own"].update(parents=["0" * 64]), "its child says nothing of it"),
    ],
)
def test_child_that_contradicts_its_parent_is_damaged(
    family: list[Path], change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    edit(family[1], change)
    tree = trace_lineage(family[1], bundles_at_hand(NOWHERE, [family[0]]))
    assert states(tree)[1][1] == LinkState.DAMAGED
    assert said in "\n".join(tree.lines())


def test_circle_is_named_and_ends(family: list[Path]) -> None:
    def circle(made: dict[str, Any]) -> None:
        first, second = (
            next(d for d, g in made["ancestors"].items() if g["name"] == name) for name in ("first", "second")
        )
        made["ancestors"][first]["parents"] = [second]

    edit(family[2], circle)
    tree = trace_lineage(family[2], [])
    assert states(tree)[-1] == ("second", "damaged")
    assert "a circle" in "\n".join(tree.lines())


def test_many_ways_to_one_ancestor_end_soon(family: list[Path]) -> None:
    """40 generations of two parents each, both with the same two: 2 ** 40 ways, were each of them followed."""

    def entangle(made: dict[str, Any]) -> None:
        one = next(iter(made["ancestors"].values()))
        digests = [[f"{side}{level:063x}" for side in "ab"] for level in range(40)]
        made["ancestors"] = {
            digest: {**one, "parents": digests[level + 1] if level < 39 else []}
            for level, both in enumerate(digests)
            for digest in both
        }
        made["own"]["parents"] = digests[0]

    edit(family[2], entangle)
    tree = trace_lineage(family[2], [])
    # itself, each of the 80 once with its parents, and of each second one of a level both parents once more
    assert len(list(tree.walk())) == 1 + 80 + 39 * 2 == len([line for line in tree.lines() if "0.1.0" in line])


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.update(format=2),
        lambda made: made.update(more=1),
        lambda made: made["own"].pop("data"),
        lambda made: made["own"].update(parents=["../../etc"]),
        lambda made: made["own"].update(parents="a"),
        lambda made: made["own"].update(measured=1),
        lambda made: made["own"].update(made_by=1),
        lambda made: made["ancestors"].update(short=made["own"]),
        lambda made: made.update(ancestors={f"{n:064x}": made["own"] for n in range(1000)}),
    ],
)
def test_lineage_of_another_form_is_refused(family: list[Path], change: Callable[[dict[str, Any]], Any]) -> None:
    edit(family[2], change)
    with pytest.raises(SharingError) as error:
        trace_lineage(family[2], [])
    assert error.value.code == "lineage-invalid"


def test_between_sites(hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B makes a child of what it installed from A; A, who has what it packed, verifies the link, and B's own too."""
    theirs = install_bundle(signed_version(hospital, tmp_path, "3.0.0"), trusted=hospital.trusted, store=tmp_path / "b")
    child = generation(tmp_path, "child", theirs.root)
    words = ["bundle", "lineage", str(child), "--strict", "--store"]
    assert main([*words, str(tmp_path / "b")]) == 0
    assert "verified: installed, cxr-a@3.0.0, signed by hospital-a" in capsys.readouterr().out
    # elsewhere
    assert main([*words, str(tmp_path / "empty")]) == 1
    assert "links: 1 not at hand" in capsys.readouterr().out
    # a child of the folder that A packed from, which is not at B
    own = generation(tmp_path, "own", tmp_path / "bundle-3.0.0")
    assert main(["bundle", "lineage", str(own), "--store", str(tmp_path / "b")]) == 0
    assert "signed by hospital-a, which was packed from it" in capsys.readouterr().out
    assert main(["bundle", "lineage", "cxr-a", "--store", str(tmp_path / "b")]) == 0
    assert "links: none" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "b" / "cxr-a")
    edit(own, lambda made: made["ancestors"].clear())
    assert main(["bundle", "lineage", str(own), "--store", str(tmp_path / "b")]) == 1


def test_new_version_of_a_bundle_keeps_its_lineage(family: list[Path]) -> None:
    edit_metadata(family[2], version="7.0")
    assert read_lineage(family[2]).generation.version == "7.0"
