"""Fifty synthetic models through the page and the card: every sentence is checked against its figures.

`check` knows each kind of sentence by its pattern and computes what it says anew from counts and intervals; a sentence
of no known kind fails, so that who adds one must say here when it is true.
"""

import html
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.evaluation.assessment import Evaluation, evaluate
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.conformal import ConformalSets
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.sample import Sample
from cxr_monai.report import summary, words
from cxr_monai.report.pages import evaluation_page, model_card
from tests.support.tiny_bundles import tiny_bundle

FINDINGS = ("Mass", "Edema", "Hernia")
KINDS = (
    "chance", "always", "never", "perfect", "one good", "tiny", "uncalibrated", "backwards", "one class", "unknown",
)  # fmt: skip
SEEDS = 5
"""Of each kind: they run every branch of the sentences, of the boxes and of the rules here that twenty do."""


def model(kind: str, seed: int) -> Sample:
    """Return images of a model of one kind: its prevalence drawn between 5 and 90 %."""
    random = np.random.default_rng([KINDS.index(kind), seed])
    count = 22 if kind == "tiny" else int(random.integers(150, 400))
    prevalence = random.uniform(0.05, 0.9, len(FINDINGS))
    labels = (random.random((count, len(FINDINGS))) < prevalence).astype(float)
    noise = random.normal(size=labels.shape)
    gain = np.zeros(len(FINDINGS))
    if kind in ("tiny", "uncalibrated", "one class", "unknown"):
        gain[:] = 2
    if kind == "one good":
        gain[0] = 3
    if kind == "backwards":
        gain[:] = -2
    scores = 1 / (1 + np.exp(-(gain * (labels - 0.5) + noise)))
    if kind in ("always", "never"):
        scores[:] = 0.9 if kind == "always" else 0.1
    if kind == "perfect":
        scores = 0.05 + 0.9 * labels
    if kind == "uncalibrated":
        scores = scores**6
    if kind == "one class":
        labels[:, 0], labels[:, 1] = 0, 1
    if kind == "unknown":
        labels[:, 0] = np.nan
        labels[random.random(count) < 0.5, 1] = np.nan
    owner = np.sort(random.integers(0, max(2, count // 2), count))
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(count)], "patient_id": [f"p{one}" for one in owner]})
    blank: dict[str, Any] = dict.fromkeys(("study_id", "view", "sex", "source", "split"), "")
    if seed % 4 == 0:  # groups to compare
        blank["sex"] = random.choice(["F", "M"], count, p=[0.2, 0.8])
    return Sample.of(table.assign(age=np.nan, **blank), FINDINGS, scores, labels)


def judged(kind: str, seed: int) -> Evaluation:
    points = {name: {"youden": 0.5} for name in FINDINGS}
    sets = None
    if seed % 4 == 1:  # abstention
        sets = ConformalSets(0.9, FINDINGS, (0.3,) * 3, (0.7, 0.6, 0.9), 0.3, (30,) * 3, (30,) * 3, 30)
    fitted = Fitted(dict.fromkeys(FINDINGS, ()), points, {}, {}, sets)
    return evaluate(model(kind, seed), fitted=fitted, intervals=Intervals(40, seed=seed))


class Truth:
    """Counts and intervals of an evaluation, by a finding as it is spoken of."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.rows = {words.spoken(row["finding"]): row for row in evaluation.findings.to_dict("records")}
        points = evaluation.operating_points
        self.points = {words.spoken(row["finding"]): row for row in points.to_dict("records")}
        self.calibration = {words.spoken(row["finding"]): row for row in evaluation.calibration.to_dict("records")}

    def names(self, text: str) -> list[str]:
        found = re.split(r", | and ", text)
        assert set(found) <= set(self.rows), f"no findings: {text!r}"
        return found

    def auroc(self, name: str) -> tuple[float, float, float]:
        row = self.rows[name]
        return row["auroc"], row["auroc_patient_low"], row["auroc_patient_high"]

    def better(self, name: str) -> bool:
        return self.auroc(name)[1] > 0.5

    def informs(self, name: str) -> bool:
        point = self.points[name]
        whole = point["tn"] + point["fn"] > 0 and point["tp"] + point["fp"] > 0
        low = point["lr_positive_patient_low"]
        return bool(whole and (point["lr_positive_low"] if math.isnan(low) else low) > 1)

    def ends(self, name: str, figure: str) -> tuple[float, float]:
        """The interval over patients, else over images."""
        point = self.points[name]
        for kind in (f"{figure}_patient", figure):
            low, high = point[f"{kind}_low"], point[f"{kind}_high"]
            if not math.isnan(low + high):
                return low, high
        return math.nan, math.nan

    def ppv_beats_prevalence(self, name: str) -> bool:
        point = self.points[name]
        some_passed = point["tn"] + point["fn"] > 0
        return bool(some_passed and self.ends(name, "ppv")[0] > (point["tp"] + point["fn"]) / point["images"])

    def quiet_helps(self, name: str) -> bool:
        point = self.points[name]
        whole = point["tn"] + point["fn"] > 0 and point["tp"] + point["fp"] > 0
        without = (point["fp"] + point["tn"]) / point["images"]
        return bool(whole and self.ends(name, "lr_negative")[1] < 1 and self.ends(name, "npv")[0] > without)

    def share(self, text: str, share: float) -> None:
        """Check 'N of M' (the first such in the text), to half of one."""
        count, of = (int(part.replace(",", "")) for part in re.search(r"([\d,]+)\D+?([\d,]+)", text).groups())
        assert abs(count / of - share) <= 0.5 / of + 1e-9, (text, share)


def levels_hold(text: str, truth: Truth) -> bool:
    low_of = {"very well": 0.9, "well": 0.8, "moderately": 0.7, "weakly": 0.5}
    for part in text.rstrip(".").split("; "):
        word, names = re.fullmatch(r"(very well|well|moderately|weakly) for (.+)", part).groups()
        for name in truth.names(names):
            assert truth.auroc(name)[1] >= low_of[word]
            assert truth.better(name)
    return True


def sorts(text: str, truth: Truth) -> bool:
    count, of, _low, _high, names = re.search(
        r"in (\d+) of (\d+) pairs \(95.% interval (\d+) to (\d+)\), on average .* It does so (.+)", text
    ).groups()
    mean, least, _ = truth.auroc("mean")
    assert abs(int(count) / int(of) - mean) <= 0.5 / int(of) + 1e-9
    assert least > 0.5
    return levels_hold(names, truth)


def some_sorted(text: str, truth: Truth) -> bool:
    assert not truth.auroc("mean")[1] > 0.5
    return levels_hold(re.search(r"more often than guessing would (.+)", text)[1], truth)


def built_on(text: str, truth: Truth) -> bool:
    name, count = re.search(r"reports (\w+), ([\d,]+) ha", text).groups()
    of = re.search(r"Of ([\d,]+) images", text)[1]
    also = re.search(r"right for (.+), too\.", text)
    for each in [name, *(truth.names(also[1]) if also else [])]:
        point = truth.points[each]
        prevalence = (point["tp"] + point["fn"]) / point["images"]
        assert point["ppv_patient_low"] >= 0.5
        assert point["ppv_patient_low"] > prevalence
        assert truth.informs(each)
        assert truth.better(each)
        assert truth.rows[each]["positive_patients"] >= 20
    truth.share(f"{count} of {of}", truth.points[name]["tp"] / (truth.points[name]["tp"] + truth.points[name]["fp"]))
    return True


def readable(text: str, truth: Truth) -> bool:
    which = re.match(r"for (.+?): of 100 images", text)[1]
    but = re.match(r"all findings that can be judged(?: but (.+))?", which)
    for name in [] if but else truth.names(which):
        row = truth.calibration[name]
        assert truth.better(name)
        assert 0.8 <= row["mean_score"] / row["prevalence"] <= 1.25
        assert 0.8 <= row["slope"] <= 1.25
    if but:
        bad = truth.names(but[1]) if but[1] else []
        for name, row in truth.calibration.items():
            enough = truth.rows[name]["positive_patients"] >= 20 and not math.isnan(row["slope"])
            assert name in bad or not enough or 0.8 <= row["slope"] <= 1.25
    return True


def no_frequencies(text: str, truth: Truth) -> bool:
    for name in truth.names(re.match(r"for (.+?): use them to rank", text)[1]):
        row = truth.calibration[name]
        ratio = row["mean_score"] / row["prevalence"]
        assert not (0.8 <= ratio <= 1.25 and 0.8 <= row["slope"] <= 1.25)
    return True


def guesses(text: str, truth: Truth) -> bool:
    named = re.match(r"for (.+?), as far as these images show", text)
    for name in truth.names(named[1]) if named else []:
        _, low, high = truth.auroc(name)
        assert low <= 0.5 <= high
    unsure = re.search(r"For (.+?) there are too few images to tell", text)
    for name in truth.names(unsure[1]) if unsure else []:
        assert truth.auroc(name)[2] >= 0.7
    if "On average over the findings" in text:
        mean, low, high = truth.auroc("mean")
        assert low <= 0.5 <= high
        truth.share(re.search(r"it ranks (\d+ of \d+)", text)[1], mean)
    return True


def backwards(text: str, truth: Truth) -> bool:
    for name in truth.names(re.match(r"for (.+?): images without", text)[1]):
        assert truth.auroc(name)[2] < 0.5
    name, pairs = re.search(r"Lowest: (\w+), (\d+ of [\d,]+) pairs", text).groups()
    truth.share(pairs, truth.auroc(name)[0])
    enough = [other for other, row in truth.rows.items() if other != "mean" and row["positive_patients"] >= 20]
    assert truth.auroc(name)[0] == np.nanmin([truth.auroc(other)[0] for other in enough])
    return True


def tells_nothing(text: str, truth: Truth) -> bool:
    for part in text.rstrip(".").split("; "):
        names, how = re.fullmatch(
            r"it reports (.+?) (in every image|in no image|about as often .+|less often .+)", part
        ).groups()
        for name in truth.names(names):
            point = truth.points[name]
            if how == "in every image":
                assert point["tn"] + point["fn"] == 0
            elif how == "in no image":
                assert point["tp"] + point["fp"] == 0
            else:
                assert not truth.informs(name)
    return True


def misses(text: str, truth: Truth) -> bool:
    ends = re.findall(r"([\d,]+)(?: of ([\d,]+))? \((\w+)\)", text)
    of = re.match(r"Of ([\d,]+) images", text)[1]
    for count, other, name in ends:
        point = truth.points[name]
        assert point["tn"] + point["fn"] > 0  # who reports every image misses none
        truth.share(f"{count} of {other or of}", point["fn"] / (point["tp"] + point["fn"]))
    return True


def false_reports(text: str, truth: Truth) -> bool:
    which = re.search(r"lack the label for (.+?)\.", text)[1]
    shares = {name: p["tp"] / (p["tp"] + p["fp"]) for name, p in truth.points.items() if p["tp"] + p["fp"] > 0}
    wrong = {name for name, share in shares.items() if share < 0.5}
    assert wrong == (set(shares) if which == "every finding" else set(truth.names(which)))
    worst = re.search(r"Worst: (\w+), ([\d,]+) right of ([\d,]+) reports", text)
    truth.share(f"{worst[2]} of {worst[3]}", shares[worst[1]])
    assert shares[worst[1]] == min(shares.values())
    return True


def gaps(text: str, truth: Truth) -> bool:
    empty = re.search(r"nothing can be said about ([^;.]+)", text)
    for name in truth.names(empty[1]) if empty else []:
        assert math.isnan(truth.auroc(name)[0])
    rough = re.search(r"what is said about (.+?) rests on fewer than 20 patients", text)
    for name in truth.names(rough[1]) if rough else []:
        assert truth.rows[name]["positive_patients"] < 20
    return True


def abstains(text: str, truth: Truth) -> bool:
    enough = [name for name in map(words.spoken, FINDINGS) if truth.rows[name]["positive_patients"] >= 20]
    judged = {name for name in enough if truth.better(name)}
    rows = truth.evaluation.conformal.to_dict("records")
    shares = [row["abstained"] for row in rows if words.spoken(row["finding"]) in judged]
    least, other, most, of = re.search(
        r"gives none in (?:([\d,]+)(?: of ([\d,]+))? to )?([\d,]+) of ([\d,]+) images", text
    ).groups()
    truth.share(f"{most} of {of}", max(shares))
    truth.share(f"{least or most} of {other or of}", min(shares))
    return True


def serves(text: str, truth: Truth) -> bool:
    table = truth.evaluation.subgroups
    surely = table[(table["finding"] == "mean") & (table["p_holm"] < 0.05) & (table["gap"] < 0)]
    named = re.findall(r"sex (\w) \(by (0\.\d{3})\)", text)
    assert dict(named) == {row["group"]: f"{-row['gap']:.3f}" for _, row in surely.iterrows()}
    assert ("No group's mean AUROC is surely lower" in text) == surely.empty
    # an attribute with one group alone has nothing to compare, which is no want of images
    several = table.groupby("attribute")["group"].transform("nunique") > 1
    rows = table[(table["finding"] != "mean") & several]
    told = re.search(r"For ([\d,]+) of ([\d,]+) pairs? of a group and a finding", text)
    assert (told is not None) == bool(rows["gap"].isna().any())
    assert told is None or (int(told[1]), int(told[2])) == (rows["gap"].isna().sum(), len(rows))
    missed = rows[(rows["sensitivity_p_holm"] < 0.05) & (rows["sensitivity_gap"] < 0)]
    more = re.search(
        r"surely misses more than in the rest for (one|[\d,]+) pairs?.*\(([\d,]+) more of ([\d,]+) with", text
    )
    assert (more is not None) == (len(missed) > 0)
    if more:
        assert more[1] == ("one" if len(missed) == 1 else str(len(missed)))
        truth.share(f"{more[2]} of {more[3]}", -missed["sensitivity_gap"].min())
    return True


SENTENCES: dict[str, Callable[[str, Truth], bool]] = {
    "It sorts images by how likely a finding is.": sorts,
    "It sorts images for some findings.": some_sorted,
    "Some of its reports can be built on.": built_on,
    "Its probabilities can be read as frequencies": readable,
    "It does no better than guessing": guesses,
    "It does worse than guessing": backwards,
    "Some of its reports tell nothing:": tells_nothing,
    "It can't rule a finding out.": misses,
    "A report is a reason to look, not a diagnosis.": false_reports,
    "Its probabilities are no frequencies": no_frequencies,
    "This report leaves gaps:": gaps,
    "It can say 'I don't know'.": abstains,
    "It may serve some patients worse.": serves,
    "It serves some patients worse.": serves,
    "It knows nothing else.": lambda text, truth: text.startswith("It answers for 3 findings and passes over"),
    "It is not tested where you are.": lambda text, truth: text.startswith("The figures hold for images like these."),
}

# sentences of a finding's box on the page: pattern, share that it tells, of how many
BOXES: tuple[tuple[str, Callable[[dict[str, Any]], tuple[float, float]]], ...] = (
    (r"Of ([\d,]+) images like .* reports \w+, ([\d,]+) ha", lambda p: (p["tp"], p["tp"] + p["fp"])),
    (r"Of ([\d,]+) images with the label, it misses ([\d,]+)", lambda p: (p["fn"], p["tp"] + p["fn"])),
    (r"Of ([\d,]+) images without it, it reports \w+ in ([\d,]+)", lambda p: (p["fp"], p["fp"] + p["tn"])),
    (r"Of ([\d,]+) images in which it does not, ([\d,]+) ha", lambda p: (p["fn"], p["fn"] + p["tn"])),
)  # fmt: skip
SAID = (
    (r"The model reports \w+ in none of these images", lambda p: p["tp"] + p["fp"] == 0),
    (r"No image here has the label", lambda p: p["tp"] + p["fn"] == 0),
    (r"It reports \w+ in every image", lambda p: p["tn"] + p["fn"] == 0),
    (r"No image here is without the label", lambda p: p["fp"] + p["tn"] == 0),
    (r"In 1,000 images like these, ", lambda p: p["images"] > 0),
)  # fmt: skip


HELPS = {  # what is said of reports and of silence, and whether they are better than guessing
    "Of [\\d,]+ images? like these": lambda truth, name: truth.informs(name) or truth.ppv_beats_prevalence(name),
    "Of [\\d,]+ images? in which it does not": lambda truth, name: truth.quiet_helps(name),
}


def check_help(sentence: str, name: str, truth: Truth) -> None:
    """Where a predictive value is not surely better than the prevalence, that is said, with the prevalence."""
    point = truth.points[name]
    for pattern, helps in HELPS.items():
        if re.match(pattern, sentence):
            told = re.search(r"does not surely make .*: of all ([\d,]+), ([\d,]+) ha", sentence)
            figure = "lr_positive" if "like these" in pattern else "lr_negative"
            unknown = (
                math.isnan(truth.ends(name, figure)[0]) and point["tn"] + point["fn"] > 0 < point["tp"] + point["fp"]
            )
            assert (told is None) == (helps(truth, name) or unknown), sentence
            having = int(point["tp"] + point["fn"])
            assert told is None or (int(told[1]), int(told[2])) == (int(point["images"]), having)


def check_box(sentence: str, point: dict[str, Any], truth: Truth) -> None:
    for pattern, share in BOXES:
        if found := re.match(pattern, sentence):
            part, whole = share(point)
            truth.share(f"{found[2]} of {found[1]}", part / whole)
            assert int(found[1].replace(",", "")) <= 100 or whole > 100, sentence  # 22 cases are no 10,000
            assert (0 < whole < 50) == ("a rough hint" in sentence), sentence
            return
    holds = next((holds for pattern, holds in SAID if re.match(pattern, sentence)), None)
    assert holds is not None, f"a sentence that no rule here knows: {sentence}"
    assert holds(point), sentence


def sentences(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    for point in [*summary.abilities(evaluation), *summary.limits(evaluation)]:
        yield point.lead, point.text


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_and_the_page_say_the_same(kind: str, tmp_path: Path) -> None:
    evaluation, bundle = judged(kind, 0), Bundle.open(tiny_bundle(tmp_path / "bundle", 0))
    told = list(sentences(evaluation))
    parts = {part.title: part.points for part in model_card.card_parts(bundle, evaluation)}
    assert (
        list(parts["What it is worth"]) + list(parts["Limits and recommendations"])[: -1 - len(evaluation.notes)]
        == told
    )
    shown = html.unescape(evaluation_page.render_report(evaluation))
    assert all(f"<strong>{lead}</strong> {text}" in shown for lead, text in told)


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_is_true_of_its_figures(kind: str) -> None:
    praised, told = 0, set()
    for seed in range(SEEDS):
        evaluation = judged(kind, seed)
        truth = Truth(evaluation)
        for lead, text in sentences(evaluation):
            assert lead in SENTENCES, f"a sentence that no rule here knows: {lead} {text}"
            assert SENTENCES[lead](text, truth), (kind, seed, lead, text)
            told.add(lead)
        praised += bool(summary.abilities(evaluation))
        for name, box in zip(FINDINGS, evaluation_page.finding_cards(evaluation), strict=True):
            if box.right:
                for sentence in (box.right, box.missed, *box.lines):
                    check_box(sentence, truth.points[words.spoken(name)], truth)
                    check_help(sentence, words.spoken(name), truth)
    assert praised == 0 or kind not in ("always", "never", "backwards")
    assert praised == SEEDS or kind not in ("perfect", "one good", "uncalibrated")
    expected = {
        "chance": "It does no better than guessing", "always": "Some of its reports tell nothing:",
        "never": "Some of its reports tell nothing:", "perfect": "Some of its reports can be built on.",
        "one good": "It sorts images by how likely a finding is.", "tiny": "This report leaves gaps:",
        "uncalibrated": "Its probabilities are no frequencies", "backwards": "It does worse than guessing",
        "one class": "This report leaves gaps:", "unknown": "This report leaves gaps:",
    }  # fmt: skip
    assert expected[kind] in told
