"""Which path is which: by hand for every rule, for every kind of path, and for any tables at all."""

import itertools
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.joining import join_on_image
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.errors import Code, ManifestError

SITES = ("siteA/000.png", "siteA/001.png", "siteB/002.png")


def found(names, images, **options) -> dict[str, str]:
    matches = match_images(names, images, **options)
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the names")
    return matches.image_of


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("siteA/000.png", "siteA/000.png"),
        ("./siteA/000.png", "siteA/000.png"),
        ("siteA//000.png", "siteA/000.png"),
        ("x/../siteA/000.png", "siteA/000.png"),
        ("../siteA/000.png", "siteA/000.png"),
        ("siteA\\000.png", "siteA/000.png"),
        ("C:\\cd\\siteA\\000.PNG", "siteA/000.png"),
        ("\\\\server\\share\\siteA\\000.png", "siteA/000.png"),
        ("/data/siteA/000.png", "siteA/000.png"),
        ("/root/siteA/000.png", "siteA/000.png"),
        ("file:///data/siteA/000.png", "siteA/000.png"),
        ("CheXpert-v1.0-small/siteA/000.png", "siteA/000.png"),
        ("000.png", "siteA/000.png"),
        ("000.PNG", "siteA/000.png"),
        ("000", "siteA/000.png"),
        ("siteA/000", "siteA/000.png"),
        ("/root/siteA/000", "siteA/000.png"),
        # another folder, another ending, another name, other capitals: another file
        ("siteB/000.png", None),
        ("/root/000.png", None),
        ("/root/x/siteA/000.png", None),
        ("train/siteB/000.png", None),
        ("siteB\\000.png", None),
        ("iteA/000.png", None),
        ("sitea/000.png", None),
        ("siteA/000.dcm", None),
        ("siteA", None),
        ("0.png", None),
        ("", None),
    ],
)
def test_one_name(name: str, image: str | None) -> None:
    assert found([name], SITES, root=Path("/root")).get(name) == image


def test_files_whose_folders_are_not_in_the_table() -> None:
    assert found(["train/p1/v.jpg", "train/p2/v.jpg"], ["p2/v.jpg", "p1/v.jpg"]) == {
        "train/p1/v.jpg": "p1/v.jpg",
        "train/p2/v.jpg": "p2/v.jpg",
    }
    assert found(["images/a.png"], ["a.png", "b.png"]) == {"images/a.png": "a.png"}


def test_the_longer_agreement_wins() -> None:
    assert found(["train/a/x.png"], ["x.png", "a/x.png"]) == {"train/a/x.png": "a/x.png"}
    assert found(["x.png"], ["x.png", "a/x.png"]) == {"x.png": "x.png"}


def test_letters_composed_and_taken_apart_are_one() -> None:
    assert found(["M\u00fcller.png"], ["x/Mu\u0308ller.png"]) == {"M\u00fcller.png": "x/Mu\u0308ller.png"}


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["IM0001"], ["A/IM0001", "B/IM0001"]),  # a CD
        (["a"], ["a.png", "a.dcm"]),
        (["b/x.png"], ["1/b/x.png", "2/b/x.png"]),
        (["siteA/000.png", "000.png"], SITES),
        (["train/siteA/000.png", "valid/siteA/000.png"], SITES),
        (["siteA/000.png", "./siteA/000.png"], SITES),
        (["a/x.png", "b/x.png"], ["x.png", "y.png"]),
    ],
)
def test_what_is_not_clear_is_refused(names: list[str], images) -> None:
    with pytest.raises(ManifestError) as caught:
        found(names, images)
    assert caught.value.code == Code.IMAGES_AMBIGUOUS
    assert names[0] in caught.value.message


def test_a_file_of_that_very_name_is_it() -> None:
    assert found(["a.PNG", "a.png"], ["a.png", "a.PNG"]) == {"a.PNG": "a.PNG", "a.png": "a.png"}
    assert found(["1.2.3.4", "1.2.3.4.dcm"], ["x/1.2.3.4.dcm", "1.2.3.4"])["1.2.3.4"] == "1.2.3.4"


@pytest.mark.parametrize("spelling", ["x", "x.png", "x.PNG"])
def test_a_bare_name_beside_an_equal_path_is_another_images(spelling: str) -> None:
    for names, image in (([spelling, "a/x.png"], "a/x.png"), (["x.png", "a/" + spelling], "x.png")):
        matches = match_images(names, [image, "y.png"], spare_names=True)
        require_clear(matches, Code.IMAGES_AMBIGUOUS, "names")
        other = next(name for name in names if name != image)
        assert matches.image_of == {image: image}
        assert matches.lost == [other]
        assert matches.endings == 0


@pytest.mark.parametrize(
    ("names", "image"), [(["x.png", "x"], "x.png"), (["x", "x.dcm"], "x"), (["IM0001.dcm", "IM0001"], "IM0001.dcm")]
)
def test_a_name_and_its_stem_are_one_image_twice(names: list[str], image: str) -> None:
    for given in (names, names[::-1]):
        matches = match_images(given, [image, "y.png"], spare_names=True)
        assert matches.doubled == {image: given}
        with pytest.raises(ManifestError) as caught:
            require_clear(matches, Code.IMAGES_AMBIGUOUS, "names")
        assert caught.value.code == Code.IMAGES_AMBIGUOUS


def test_a_bare_name_that_is_not_unique_on_both_sides_is_none() -> None:
    assert found(["siteB/000.png"], ["000.png", "siteA/000.png"]) == {}
    assert found(["000.png", "siteB/000.png"], ["siteA/000.png", "z.png"]) == {}


def test_file_names_that_are_identities() -> None:
    names = ["images_001/images/x.png", "other/y.png", "x/z.png"]
    images = ["images-224/x.png", "images-224/y.png", "q/z.png", "x/z.png"]
    assert found(names, images) == {"x/z.png": "x/z.png"}
    assert found(names, images, by_name=True) == {
        "images_001/images/x.png": "images-224/x.png",
        "other/y.png": "images-224/y.png",
        "x/z.png": "x/z.png",
    }
    for names, images in ((["c/1.png"], ["a/1.png", "b/1.png"]), (["a/1.png", "b/1.png"], ["c/1.png", "d/2.png"])):
        with pytest.raises(ManifestError, match="fit"):
            found(names, images, by_name=True)


def test_other_endings_where_they_are_allowed() -> None:
    matches = match_images(["a.dcm", "b.png", "c"], ["a.png", "x/b.PNG", "c.png", "d.png"], other_endings=True)
    assert matches.image_of == {"a.dcm": "a.png", "b.png": "x/b.PNG", "c": "c.png"}
    assert matches.endings == 2
    assert found(["a.dcm", "a.png"], ["a.dcm", "a.png"], other_endings=True) == {"a.dcm": "a.dcm", "a.png": "a.png"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("siteB/000.png", "'siteB/000.png' is not 'siteA/000.png': the folders differ"),
        ("SITEA/000.png", "the folders differ"),
        ("siteA/001.PNG.png", ""),
        ("siteA/Scan.png", "small and capital letters differ"),
    ],
)
def test_why_a_name_fits_none(name: str, said: str) -> None:
    matches = match_images([name], [*SITES, "siteA/scan.png"])
    assert matches.lost == [name]
    assert said in matches.near_misses()
    assert bool(said) == bool(matches.near_misses())


def test_no_table_of_other_folders_is_ever_matched() -> None:
    """All tables of up to two names against two images of three folders: a match never has folders that disagree."""
    paths = [f"{folder}{name}" for folder in ("", "a/", "b/", "c/a/") for name in ("1.png", "2.png")]
    for names in itertools.permutations(paths, 2):
        for images in itertools.permutations(paths, 2):
            for name, image in match_images(names, images).image_of.items():
                mine, other = name.split("/")[::-1], image.split("/")[::-1]
                assert all(one == two for one, two in zip(mine, other, strict=False)), (names, images)
            for name in set(names) & set(images):
                assert match_images(names, images).image_of[name] == name


def joined(right: list[str], left=("x/1.png", "x/2.png", "y/3.png"), **options) -> list:
    table = join_on_image(
        pd.DataFrame({"image": left, "n": range(len(left))}),
        pd.DataFrame({"image": right, "value": range(10, 10 + len(right))}),
        **options,
    ).table
    assert list(table) == ["image", "n", "value"]
    return table.to_numpy().tolist()


def test_tables_are_joined_on_what_matches() -> None:
    assert joined(["y/3.png", "x/1.png"]) == [["x/1.png", 0, 11], ["y/3.png", 2, 10]]
    assert joined(["3.png", "/old/x/1.png", "other.png"]) == [["x/1.png", 0, 11], ["y/3.png", 2, 10]]
    # one path in common, one under another folder
    assert joined(["x/1.png", "q/2.png"]) == [["x/1.png", 0, 10]]
    assert joined(["x/1.png", "q/2.png"], by_name=True) == [["x/1.png", 0, 10], ["x/2.png", 1, 11]]
    # several boxes on one image
    assert joined(["3.png", "3.png"]) == [["y/3.png", 2, 10], ["y/3.png", 2, 11]]
    # names that are not unique are no matter where the paths agree
    assert joined(["y/1.png", "z/1.png"], left=("x/1.png", "y/1.png")) == [["y/1.png", 1, 10]]
    assert joined(["sub/1.png", "1.png"], left=("sub/1.png",)) == [["sub/1.png", 0, 10]]
    assert joined(["1.png", "sub/1.png"], left=("1.png",)) == [["1.png", 0, 10]]
    assert joined(["sub/1.png", "1.png", "2.png"], left=("sub/1.png", "x/2.png")) == [
        ["sub/1.png", 0, 10],
        ["x/2.png", 1, 12],
    ]


@pytest.mark.parametrize(
    ("left", "right", "code", "said"),
    [
        (("x/1.png", "y/1.png"), ["1.png"], Code.IMAGES_AMBIGUOUS, "'1.png' fits x/1.png, y/1.png"),
        (("1.png", "2.png"), ["a/1.png", "b/1.png"], Code.IMAGES_AMBIGUOUS, "a/1.png, b/1.png all fit '1.png'"),
        # whether or not all the others have equal paths
        (("a/1.png",), ["a/1.png", "x/a/1.png"], Code.IMAGES_AMBIGUOUS, "a/1.png, x/a/1.png all fit 'a/1.png'"),
        (("x/a/1.png",), ["x/a/1.png", "a/1.png"], Code.IMAGES_AMBIGUOUS, "x/a/1.png, a/1.png all fit 'x/a/1.png'"),
        (("a/1.png", "b.png"), ["/in/a/1.png", "a/1.png", "b.png"], Code.IMAGES_AMBIGUOUS, "all fit 'a/1.png'"),
        (("x/1.png",), ["a/1.png", "b/1.png"], Code.MANIFEST_INVALID, "--match-names"),
        (
            ("x/1.png",),
            ["2.png"],
            Code.MANIFEST_INVALID,
            "no image in common (1 such as 'x/1.png', against 1 such as '2.png')",
        ),
    ],
)
def test_tables_that_are_not_joined(left, right: list[str], code: Code, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        joined(right, left=left)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_what_fits_on_neither_side_is_said_and_examples_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    left = pd.DataFrame({"image": ["x/1.png", "x/2.png"]})
    side = join_on_image(left, pd.DataFrame({"image": ["1.png", "q/2.png", "z.png"]}))
    assert side.notes("predicted images", "the manifest") == [
        "2 of 3 predicted images are not in the manifest and are left out."
    ]
    assert side.unnamed_notes("images of the manifest", "prediction") == [
        "1 of 2 images of the manifest have no prediction and are left out."
    ]
    assert caplog.messages == [
        "not in the manifest: q/2.png, z.png; 'q/2.png' is not 'x/2.png': the folders differ",
        "without prediction: x/2.png",
    ]
