"""Splits: no patient on two sides, whatever the table; the published counts; balance."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_monai.data import splits
from cxr_monai.data.manifest import Manifest, build_manifest, read_manifest, split_digest, write_manifest
from cxr_monai.errors import Code, ManifestError, SplitError
from cxr_monai.labels import NIH14


def make(patients: list, **columns) -> Manifest:
    table = {"image": [f"images/{n:05}.png" for n in range(len(patients))], "patient_id": patients}
    table |= columns or {"Mass": [n % 2 for n in range(len(patients))]}
    return build_manifest(pd.DataFrame(table), ".", "local")


def long_tailed(seed: int = 0, patients: int = 600) -> Manifest:
    """Patients with 1 to about 20 images, findings that stay with a patient, prevalences from 20% to 0.8%."""
    generator = np.random.default_rng(seed)
    images = np.minimum(generator.geometric(0.35, patients), 20)
    ill = generator.random((patients, 4)) < [0.2, 0.08, 0.03, 0.015]
    of = np.repeat(np.arange(patients), images)
    labels = ill[of] & (generator.random((len(of), 4)) < 0.8)
    return make(of.tolist(), **{name: labels[:, n].astype(int) for n, name in enumerate("ABCD")})


def listing(folder: Path, name: str, lines: list[str], zipped: bool = False) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    path = folder / name
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


def outcome(run: Callable[[], Manifest]) -> Manifest | Code:
    try:
        return run()
    except SplitError as error:
        return error.code


def assert_disjoint(manifest: Manifest, column: str = "split") -> None:
    used = manifest.table[manifest.table[column].astype("str").fillna("") != ""]
    assert used.groupby("patient_id")[column].nunique().max() == 1


@st.composite
def manifests(draw) -> Manifest:
    patients = draw(st.lists(st.integers(0, 12), min_size=2, max_size=60))
    label = st.sampled_from([0.0, 1.0, np.nan])
    labels = {name: draw(st.lists(label, min_size=len(patients), max_size=len(patients))) for name in ("A", "B")}
    return make(patients, **labels)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(manifests(), st.integers(0, 3), st.data())
def test_patients_never_cross_whatever_the_table_and_the_scheme(
    tmp_path_factory, manifest: Manifest, seed: int, data
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    names = manifest.table["image"].str.rpartition("/")[2]
    side = np.array(data.draw(st.lists(st.sampled_from([0, 1, 2]), min_size=len(names), max_size=len(names))))
    first, second, third = (
        listing(folder, f"{n}.txt", [*names[side == n], "elsewhere.png" + str(n)]) for n in range(3)
    )
    both = listing(folder, "both.txt", [*names[side != 2], "elsewhere.png"])
    schemes = {
        "random": lambda: splits.random(manifest, (0.5, 0.25, 0.25), seed=seed),
        "kfold": lambda: splits.kfold(manifest, 2, seed=seed),
        "lists": lambda: splits.lists(manifest, first, second, third),
        "official": lambda: splits.official(manifest, both, third, val_fraction=0.3, seed=seed),
    }
    for scheme, run in schemes.items():
        # lists drawn at random do cross; dealing patients never does, but there may be too few
        listed = {"lists": side, "official": np.where(side == 2, 1, 0)}.get(scheme, np.zeros_like(side))
        crosses = pd.Series(listed).groupby(manifest.table["patient_id"]).nunique().max() > 1
        result = outcome(run)
        if crosses or isinstance(result, Code):
            assert result == (Code.PATIENT_LEAK if crosses else Code.SPLIT_INVALID), scheme
            continue
        assert_disjoint(result, "fold" if scheme == "kfold" else "split")
        assert result.split is not None
        assert result.split.scheme == scheme
        assert result.split.digest == split_digest(result.table)
        assert manifest.table["split"].eq("").all()  # the manifest that came in is as it was


def test_random_comes_close_to_its_fractions_and_prevalences() -> None:
    manifest = long_tailed()
    result = splits.random(manifest, seed=1)
    shares = result.table["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.003)
    assert shares["val"] == pytest.approx(0.1, abs=0.003)
    assert shares["test"] == pytest.approx(0.2, abs=0.003)
    balance = splits.balance_table(result)
    assert list(balance) == ["whole", "train", "val", "test", "deviation"]
    assert splits.mean_deviation(balance) < 0.003
    shuffled = np.random.default_rng(0).permutation(600)
    plain = np.array(["train"] * 420 + ["val"] * 60 + ["test"] * 120)[shuffled]
    unstratified = splits.balance_table(
        Manifest(
            manifest.table.assign(split=plain[manifest.table["patient_id"].astype(int)]), manifest.root, "local", None
        )
    )
    assert splits.mean_deviation(balance) < splits.mean_deviation(unstratified) / 3


def test_the_seed_decides() -> None:
    manifest = long_tailed()
    one, again, other = (splits.random(manifest, seed=seed).table["split"] for seed in (5, 5, 6))
    assert one.equals(again)
    # independent test parts of a fifth share about a fifth of their images
    assert ((one == "test") & (other == "test")).sum() / (one == "test").sum() < 0.35


def test_the_order_of_labels_columns_is_no_matter_and_unknown_labels_are_spread() -> None:
    generator = np.random.default_rng(3)
    known = generator.random(400) < 0.3
    manifest = make(list(range(400)), A=np.where(known, generator.random(400) < 0.5, np.nan).astype(float))
    table = splits.kfold(manifest, 4).table
    per_fold = table["A"].notna().groupby(table["fold"]).sum()
    assert per_fold.max() - per_fold.min() <= 1
    positives = (table["A"] == 1).groupby(table["fold"]).sum()
    assert positives.max() - positives.min() <= 1


def test_kfold_writes_whole_folds_and_leaves_the_split_alone() -> None:
    manifest = splits.random(long_tailed(), seed=2)
    result = splits.kfold(manifest, 5, seed=4)
    assert result.table["split"].equals(manifest.table["split"])
    assert sorted(result.table["fold"].unique()) == [0, 1, 2, 3, 4]
    assert_disjoint(result, "fold")
    assert list(result.table)[:9] == list(splits.RESERVED)
    counts = result.table["fold"].value_counts()
    assert counts.max() - counts.min() <= 3
    for finding in manifest.findings:
        largest = manifest.table.groupby("patient_id")[finding].sum().max()
        positives = result.table.groupby("fold")[finding].sum()
        assert positives.max() - positives.min() <= largest
    assert splits.balance_table(result, "fold").loc[["A", "B", "C"], "deviation"].max() < 0.005
    assert result.split is not None
    assert result.split.details["k"] == 5
    assert result.split.details["split"] == asdict(manifest.split)
    names = result.table["image"].str.rpartition("/")[2]
    lines = sorted(f"{name}\t{fold}\n" for name, fold in zip(names, result.table["fold"], strict=True))
    assert result.split.details["fold_digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    # and back: a new split keeps the folds and what is known of them
    back = splits.random(result, seed=3)
    assert back.table["fold"].equals(result.table["fold"])
    assert back.split is not None
    assert back.split.details["kfold"]["k"] == 5


def test_balance_table_is_exact() -> None:
    manifest = make([1, 1, 2, 3], A=[1, 0, 1, np.nan], B=[0, 0, 0, 1], split=["train", "train", "val", ""])
    balance = splits.balance_table(manifest)
    expected = pd.DataFrame(
        {"whole": [2 / 3, 0.0], "train": [0.5, 0.0], "val": [1.0, 0.0], "deviation": [1 / 3, 0.0]},
        index=pd.Index(["A", "B"], name="finding"),
    )
    pd.testing.assert_frame_equal(balance, expected, check_index_type=False)
    assert splits.mean_deviation(balance) == pytest.approx((1 / 6 + 1 / 3) / 4)


@pytest.mark.parametrize("zipped", [False, True])
def test_lists_take_the_first_word_of_each_line_wherever_the_images_lie(tmp_path: Path, zipped: bool) -> None:
    manifest = make([1, 1, 2, 3, 4])
    train = listing(tmp_path, "train.txt", ["00000.png 0 1 0", "old/images/00001.png 1 1 1", "", "gone.png 0"], zipped)
    val, test = (
        listing(tmp_path, "val.txt", ["00002.png"], zipped),
        listing(tmp_path, "test.txt", ["00004.png"], zipped),
    )
    result = splits.lists(manifest, train, val, test)
    assert result.table["split"].tolist() == ["train", "train", "val", "", "test"]
    assert result.split is not None
    assert result.split.details == {
        "lists": {"train": "train.txt", "val": "val.txt", "test": "test.txt"},
        "not_in_manifest": 1,
    }
    write_manifest(result, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", check_files=False).split == result.split


def test_lists_need_paths_where_file_names_repeat(tmp_path: Path) -> None:
    manifest = make([1, 2], image=["a/1.png", "b/1.png"], Mass=[0, 1])
    train, val = listing(tmp_path, "train", ["a/1.png"]), listing(tmp_path, "val", ["b/1.png"])
    test = listing(tmp_path, "test", ["c/1.png"])
    assert splits.lists(manifest, train, val, test).table["split"].tolist() == ["train", "val"]


def test_an_image_in_two_lists_is_refused(tmp_path: Path) -> None:
    train, val = listing(tmp_path, "train", ["00000.png"]), listing(tmp_path, "val", ["00001.png", "00000.png"])
    with pytest.raises(SplitError, match=r"1 image is in this list and in .*train, such as 00000.png"):
        splits.lists(make([1, 1]), train, val, val)


def test_a_patient_on_two_lists_is_refused_with_counts_and_names(tmp_path: Path) -> None:
    manifest = make(["p7", "p7", "p8"])
    train, val = listing(tmp_path, "train", ["00000.png"]), listing(tmp_path, "val", ["00001.png"])
    with pytest.raises(SplitError) as caught:
        splits.lists(manifest, train, val, listing(tmp_path, "test", ["00002.png"]))
    assert caught.value.code == Code.PATIENT_LEAK
    assert "1 of 2 patients" in str(caught.value)
    assert "patient 'p7' is in train (line 2) and val (line 3)" in str(caught.value)


def test_official_takes_validation_from_train_val_alone(tmp_path: Path) -> None:
    manifest = make([n // 2 for n in range(100)])
    names = manifest.table["image"].str.rpartition("/")[2]
    train_val, test = listing(tmp_path, "tv.txt", list(names[:80])), listing(tmp_path, "t.txt", list(names[80:]))
    result = splits.official(manifest, train_val, test, val_fraction=0.25, seed=7)
    assert result.table["split"].value_counts().to_dict() == {"train": 60, "val": 20, "test": 20}
    assert set(result.table["split"][80:]) == {"test"}
    assert_disjoint(result)
    assert result.split is not None
    assert (result.split.seed, result.split.details["val_fraction"]) == (7, 0.25)
    none = splits.official(manifest, train_val, test, val_fraction=0)
    assert none.table["split"].value_counts().to_dict() == {"train": 80, "test": 20}
    assert none.split is not None
    assert none.split.seed is None


def test_official_refuses_images_that_are_in_neither_list(tmp_path: Path) -> None:
    train_val, test = listing(tmp_path, "tv.txt", ["00000.png"]), listing(tmp_path, "t.txt", ["00001.png"])
    with pytest.raises(SplitError, match=r"1 of 3 images are in neither list, such as images/00002.png"):
        splits.official(make([1, 2, 3]), train_val, test)


def test_official_sees_a_leak_between_the_lists_even_if_validation_would_hide_it(tmp_path: Path) -> None:
    train_val, test = listing(tmp_path, "tv.txt", ["00000.png", "00001.png"]), listing(tmp_path, "t.txt", ["00002.png"])
    with pytest.raises(SplitError) as caught:
        splits.official(make([1, 2, 1]), train_val, test)
    assert caught.value.code == Code.PATIENT_LEAK


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda m: splits.random(m, (0.5, 0.5)), "three numbers"),
        (lambda m: splits.random(m, (0.5, 0.5, 0.5)), "sum to 1"),
        (lambda m: splits.random(m, (1.2, -0.1, -0.1)), "from 0"),
        (lambda m: splits.random(m, seed=-1), "the seed is -1"),
        (lambda m: splits.random(m, (0.98, 0.01, 0.01)), "no patient is left for val, test: there are only 3"),
        (lambda m: splits.kfold(m, 1), "k is 1; it is from 2 to the number of patients, 3"),
        (lambda m: splits.kfold(m, 4), "k is 4"),
        (lambda m: splits.official(m, "a", "b", val_fraction=1), "validation fraction is 1"),
        (lambda m: splits.lists(m, "nowhere", "b", "c"), "nowhere: it cannot be read"),
    ],
)
def test_impossible_splits_are_refused(run, expected: str) -> None:
    with pytest.raises(SplitError, match=expected) as caught:
        run(make([1, 2, 3]))
    assert caught.value.code == Code.SPLIT_INVALID


def test_a_side_of_nothing_stays_empty() -> None:
    result = splits.random(make(list(range(10))), (0.8, 0.0, 0.2))
    assert result.table["split"].value_counts().to_dict() == {"train": 8, "test": 2}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_list_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.txt").write_bytes("M\u00fcller.png\t1\r\nb.png\r\n".encode(encoding))
    assert splits.read_list(tmp_path / "list.txt") == ["M\u00fcller.png", "b.png"]


@pytest.mark.parametrize(("content", "expected"), [(b"\n\n", "is empty"), (b"\xff\xfe\x00", "it is not UTF-16")])
def test_useless_lists_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(SplitError, match=expected):
        splits.read_list(path)


def test_lists_of_another_data_set_are_refused(tmp_path: Path) -> None:
    paths = [listing(tmp_path, f"{n}.txt", [f"patient{n}/study{n}.png"]) for n in (1, 2, 3)]
    with pytest.raises(
        SplitError,
        match=r"none of the 3 .* 'patient1/study1.png', the manifest's like 'images/00000.png'",
    ):
        splits.lists(make([1, 2]), *paths)


@pytest.fixture(scope="module")
def nih(realdata: Path) -> Manifest:
    raw = pd.read_csv(realdata / "nih" / "Data_Entry_2017_v2020.csv.gz", dtype="str")
    labels = raw["Finding Labels"].str.get_dummies("|")[list(NIH14)]
    table = pd.DataFrame({"image": "images/" + raw["Image Index"], "patient_id": raw["Patient ID"]})
    return build_manifest(table.join(labels), realdata / "nih", "nih-v2020")


def counts(manifest: Manifest, sides: list[str]) -> tuple[int, int]:
    rows = manifest.table[manifest.table["split"].isin(sides)]
    return len(rows), rows["patient_id"].nunique()


@pytest.mark.realdata
def test_the_official_split_has_nih_counts(nih: Manifest, realdata: Path) -> None:
    folder = realdata / "nih" / "official_split"
    result = splits.official(nih, folder / "train_val_list.txt.gz", folder / "test_list.txt.gz")
    assert counts(result, ["train", "val"]) == (86_524, 28_008)
    assert counts(result, ["test"]) == (25_596, 2_797)
    assert_disjoint(result)
    images, _ = counts(result, ["val"])
    assert images == pytest.approx(86_524 / 8, abs=1)
    balance = splits.balance_table(result)
    assert (balance["val"] - balance["train"]).abs().max() < 1e-4


@pytest.mark.realdata
def test_the_chexnet_split_has_its_counts(chexnet_manifest: Path) -> None:
    result = read_manifest(chexnet_manifest, check_files=False)
    assert [counts(result, [split])[0] for split in ("train", "val", "test")] == [78_468, 11_219, 22_433]
    assert sum(counts(result, [split])[1] for split in ("train", "val", "test")) == 30_805
    assert_disjoint(result)
    assert result.split is not None
    assert result.split.details["not_in_manifest"] == 0


@pytest.mark.realdata
def test_folds_of_the_real_table_come_within_a_ten_thousandth_of_every_prevalence(nih: Manifest) -> None:
    balance = splits.balance_table(splits.kfold(nih, 5), "fold")
    assert balance["deviation"].max() < 1e-4
    assert splits.mean_deviation(balance) < 3e-5


# ---------------------------------------------------------------- a patient is a collection and an identifier


def of_sources(**columns: list) -> Manifest:
    """A table of four films of patient 7: two of one source, two of another."""
    table = {"image": [f"{n}.png" for n in range(4)], "patient_id": ["7"] * 4, "Mass": [0, 1, 0, 1], **columns}
    return build_manifest(pd.DataFrame(table), ".", "local")


def test_the_same_number_in_two_collections_is_no_leak_and_in_one_it_is() -> None:
    sides = ["train", "train", "test", "test"]
    apart = of_sources(source=["nih", "nih", "chexpert", "chexpert"], split=sides)
    assert apart.table["split"].tolist() == sides
    with pytest.raises(ManifestError) as error:  # RSNA's films are NIH's, under NIH's numbers
        of_sources(source=["nih", "nih", "rsna", "rsna"], split=sides)
    assert error.value.code == Code.PATIENT_LEAK
    assert "patient '7' is in train (line 2) and test (line 4)" in str(error.value)
    with pytest.raises(ManifestError, match=r"patient '7' of nih is in train .line 2. and test .line 4."):
        of_sources(source=["nih", "chexpert", "rsna", "chexpert"], split=sides)


def test_patients_are_dealt_by_collection() -> None:
    assert sorted(splits.kfold(of_sources(source=["nih", "nih", "mimic", "mimic"]), 2).table["fold"]) == [0, 0, 1, 1]
    with pytest.raises(SplitError, match="the number of patients, 1"):
        splits.kfold(of_sources(source=["nih", "SIIM", "rsna", "google"]), 2)
