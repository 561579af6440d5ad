"""The first screen: what is claimed, what is not, and by which numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.report import summary
from cxr_monai.report.words import NBSP
from tests.report.synthetic_evaluation import make_evaluation

NAN = float("nan")


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return make_evaluation()


def with_findings(evaluation: Evaluation, rows: list[tuple[str, int, float, float]]) -> Evaluation:
    """Replace the table of findings: name, positive patients, AUROC and its lower limit; the mean last."""
    table = pd.DataFrame(rows, columns=["finding", "positive_patients", "auroc", "auroc_patient_low"])
    table["auroc_patient_high"] = table["auroc"] + 0.02
    table["images"], table["positives"] = 1000, table["positive_patients"]
    return replace(evaluation, findings=table)


def with_points(evaluation: Evaluation, rows: list[tuple[str, float, float]]) -> Evaluation:
    """Replace the operating points: finding, sensitivity, PPV (its lower limit 0.05 below)."""
    table = pd.DataFrame(rows, columns=["finding", "sensitivity", "ppv"])
    table["ppv_patient_low"], table["ppv_patient_high"] = table["ppv"] - 0.05, table["ppv"] + 0.05
    table["lr_positive_patient_low"], table["lr_positive_patient_high"] = 2.0, 4.0
    # of 10,000 images 1,000 have the label
    table["tp"], table["fn"] = 1000 * table["sensitivity"], 1000 * (1 - table["sensitivity"])
    table["fp"] = table["tp"] * (1 / table["ppv"] - 1)
    table["tn"] = 9000 - table["fp"]
    return replace(evaluation, operating_points=table.assign(rule="youden", threshold=0.5))


def text_of(points: list[summary.SummaryPoint], lead: str) -> str:
    return next((point.text for point in points if point.lead.startswith(lead)), "")


ROWS = [("Mass", 50, 0.93, 0.91), ("Edema", 50, 0.95, 0.85), ("Hernia", 3, 0.99, 0.97), ("Nodule", 40, 0.75, 0.69)]


def test_findings_are_praised_by_the_lower_limit_and_not_at_all_if_few(made: Evaluation) -> None:
    evaluation = with_findings(made, [*ROWS, ("None", 0, NAN, NAN), ("mean", 90, 0.88, 0.87)])
    assert summary.separation_levels(evaluation) == [
        ("very well", ["mass"]),
        ("well", ["edema"]),
        ("weakly", ["nodule"]),
    ]
    text = text_of(summary.abilities(evaluation), "It sorts images")
    assert f"in 88 of 100 pairs (95{NBSP}% interval 87 to 90), on average over the findings" in text
    assert text.endswith("It does so very well for mass; well for edema; weakly for nodule.")
    gaps = text_of(summary.limits(evaluation), "This report leaves gaps")
    assert gaps == "nothing can be said about none; what is said about hernia rests on fewer than 20 patients."


def test_reports_that_can_be_built_on_have_their_whole_interval_above_a_half(made: Evaluation) -> None:
    points = [("Mass", 0.8, 0.60), ("Edema", 0.7, 0.54), ("Hernia", 1.0, 0.01), ("Nodule", 0.9, 0.57)]
    evaluation = with_points(with_findings(made, ROWS), points)
    text = text_of(summary.abilities(evaluation), "Some of its reports")
    assert text.startswith("Of 100 images like these in which the model reports mass, 60 have the label")
    assert text.endswith("More than half of its reports are right for nodule, too.")  # edema's interval begins at 0.49
    wrong = text_of(summary.limits(evaluation), "A report is a reason to look")
    assert "lack the label for hernia. Worst: hernia, 10 right of 1,000 reports." in wrong
    # hernia's 0 misses of 3 patients are no best case
    misses = text_of(summary.limits(evaluation), "It can't rule a finding out")
    assert misses.startswith("Of 100 images with the label it misses 10 (nodule) to 30 (edema)")


def test_if_every_report_is_mostly_wrong_it_says_so(made: Evaluation) -> None:
    evaluation = with_points(with_findings(made, ROWS), [("Mass", 0.8, 0.3), ("Edema", 0.7, 0.2)])
    assert text_of(summary.abilities(evaluation), "Some of its reports") == ""
    assert "lack the label for every finding." in text_of(summary.limits(evaluation), "A report is a reason")


def test_probabilities_are_frequencies_only_within_a_quarter(made: Evaluation) -> None:
    calibration = pd.DataFrame(
        [
            ("Mass", "as predicted", 0.9, 0.1, 3.0),  # before calibration: not looked at
            ("Mass", "calibrated", 0.11, 0.10, 1.1),
            ("Edema", "calibrated", 0.13, 0.10, 1.0),  # 1.3 times too high
            ("Nodule", "calibrated", 0.10, 0.10, 0.7),  # right on average, too extreme
            ("Fibrosis", "calibrated", 0.05, 0.10, 1.0),
            ("None", "calibrated", 0.05, 0.0, NAN),
        ],
        columns=["finding", "state", "mean_score", "prevalence", "slope"],
    )
    ranked = [(name, 50, 0.8, 0.75) for name in ("Mass", "Edema", "Nodule", "Fibrosis")]
    evaluation = replace(with_findings(made, ranked), calibration=calibration)
    good = text_of(summary.abilities(evaluation), "Its probabilities can be read")
    assert good == f"for mass: of 100 images given 10{NBSP}%, about 10 have the label."
    bad = text_of(summary.limits(evaluation), "Its probabilities are no frequencies")
    assert bad.startswith("for edema, nodule and fibrosis: use them to rank, no more.")
    assert bad.endswith("For fibrosis they are 2.0 times too low on average.")


def test_probabilities_that_are_right_save_for_few_are_not_all_named(made: Evaluation) -> None:
    rows = [(name, "calibrated", 0.1, 0.1, 1.0) for name in ("Mass", "Edema", "Nodule", "Fibrosis")]
    rows += [("Pneumonia", "calibrated", 0.3, 0.1, 1.0), ("Hernia", "calibrated", 0.1, 0.1, 1.0)]
    table = pd.DataFrame(rows, columns=["finding", "state", "mean_score", "prevalence", "slope"])
    ranked = [(name, 50, 0.8, 0.75) for name in ("Mass", "Edema", "Nodule", "Fibrosis", "Pneumonia")]
    # hernia has too few patients to be judged
    evaluation = replace(with_findings(made, [*ranked, ("Hernia", 3, 0.99, 0.9)]), calibration=table)
    assert text_of(summary.abilities(evaluation), "Its probabilities").startswith(
        "for all findings that can be judged but pneum"
    )
    alone = replace(evaluation, calibration=table[table["finding"] == "Hernia"])
    assert not text_of(summary.abilities(alone), "Its probabilities")


def test_groups_that_are_served_worse_are_named(made: Evaluation) -> None:
    text = text_of(summary.limits(made), "It serves some patients worse")
    assert text.startswith("Its mean AUROC is lower than in the rest for view AP (by 0.060).")
    # six groups that have a rest, five findings each; hernia has too few in all of them
    assert text.endswith("For 6 of 30 pairs of a group and a finding there are too few images to say.")
    # the four findings that AP can be judged for; 0.06 times three is eighteen of a hundred
    assert (
        "misses more than in the rest for 4 pairs of a group and a finding; most: effusion, view AP (18 more of" in text
    )
    table = made.subgroups.assign(p_holm=1.0, sensitivity_p_holm=1.0)
    text = text_of(summary.limits(replace(made, subgroups=table)), "It may serve some patients worse")
    assert text.startswith("No group's mean AUROC is surely lower than the rest's; that doesn't prove")
    assert "misses more" not in text
    older = made.subgroups.drop(columns=["sensitivity_gap", "sensitivity_p_holm"])
    assert "misses more" not in text_of(summary.limits(replace(made, subgroups=older)), "It serves some")


def test_abstaining_leaves_out_findings_without_a_value(made: Evaluation) -> None:
    table = pd.DataFrame({"finding": ["Mass", "None", "Edema", "set"], "abstained": [0.25, 1.0, 0.4, NAN]})
    rows = [*ROWS[:2], ("None", 0, NAN, NAN)]
    evaluation = replace(with_findings(made, rows), conformal=table)
    assert "it gives none in 25 to 40 of 100 images" in text_of(
        summary.abilities(evaluation), "It can say 'I don't know'"
    )


def test_with_nothing_to_say_it_claims_nothing(made: Evaluation) -> None:
    empty = pd.DataFrame()
    bare = replace(
        made, findings=made.findings.assign(auroc=np.nan, auroc_patient_low=np.nan), operating_points=empty,
        calibration=empty, conformal=empty, subgroups=empty,
    )  # fmt: skip
    assert summary.abilities(bare) == []
    leads = [point.lead for point in summary.limits(bare)]
    assert leads == ["This report leaves gaps:", "It knows nothing else.", "It is not tested where you are."]


def at_chance(made: Evaluation, mean: tuple[float, float, float]) -> Evaluation:
    """Two findings at chance, one of them with a wide interval, one backwards, and their mean."""
    rows = [("Mass", 50, 0.51, 0.45), ("Edema", 25, 0.6, 0.42), ("Nodule", 40, 0.40, 0.35), ("mean", 90, 0, 0)]
    table = with_findings(made, rows).findings
    table["auroc_patient_high"] = [0.57, 0.78, 0.45, 0]
    table.loc[3, ["auroc", "auroc_patient_low", "auroc_patient_high"]] = mean
    return replace(made, findings=table)


def test_a_model_at_chance_is_not_praised_and_that_is_said(made: Evaluation) -> None:
    evaluation = at_chance(made, (0.491, 0.453, 0.532))
    assert not text_of(summary.abilities(evaluation), "It sorts images")
    text = text_of(summary.limits(evaluation), "It does no better than guessing")
    assert text.startswith("for mass and edema, as far as these images show: the interval of the AUROC holds 0.5.")
    assert "For edema there are too few images to tell." in text
    assert text.endswith(f"it ranks 49 of 100 pairs (95{NBSP}% interval 45 to 53) rightly; guessing would 50.")
    worse = text_of(summary.limits(evaluation), "It does worse than guessing")
    assert worse == (
        "for nodule: images without the label get the higher score more often than those with it. Lowest: nodule, "
        f"40 of 100 pairs (95{NBSP}% interval 35 to 45) ranked rightly."
    )


def test_limits_that_touch_chance_are_chance(made: Evaluation) -> None:
    rows = [("Mass", 50, 0.6, 0.5), ("Edema", 50, 0.6, 0.5001)]
    evaluation = with_findings(made, rows)
    assert summary.separation_levels(evaluation) == [("weakly", ["edema"])]
    assert "for mass, as far" in text_of(summary.limits(evaluation), "It does no better than guessing")


def test_one_good_finding_among_guesses_is_praised_alone(made: Evaluation) -> None:
    rows = [("Mass", 50, 0.93, 0.91), ("Edema", 50, 0.5, 0.49), ("mean", 90, 0.5, 0.49)]
    text = text_of(summary.abilities(with_findings(made, rows)), "It sorts images for some findings")
    assert text.endswith("more often than guessing would very well for mass.")


def test_reports_of_every_image_and_of_none_tell_nothing(made: Evaluation) -> None:
    evaluation = with_points(with_findings(made, ROWS), [("Mass", 1.0, 0.8), ("Edema", 0.7, 0.6), ("Nodule", 0.5, 0.6)])
    table = evaluation.operating_points.assign(tn=[0, 8000, 9000], fn=[0, 300, 1000])
    table.loc[0, ["lr_positive_patient_low", "lr_positive_patient_high"]] = 1.0  # 80 % have the label
    table.loc[2, ["tp", "fp"]] = 0
    evaluation = replace(evaluation, operating_points=table)
    text = text_of(summary.limits(evaluation), "Some of its reports tell nothing")
    assert text == "it reports mass in every image; it reports nodule in no image."
    assert "of mass" not in text_of(summary.abilities(evaluation), "Some of its reports can")
    assert "(edema)" in text_of(summary.limits(evaluation), "It can't rule a finding out")
    assert "mass" not in text_of(summary.limits(evaluation), "It can't rule a finding out")
    alike = table.assign(tn=8000, fn=300, tp=700, fp=6000, lr_positive_patient_low=0.97)
    text = text_of(summary.limits(replace(evaluation, operating_points=alike)), "Some of its reports tell nothing")
    assert text == "it reports mass, edema and nodule about as often with the label as without it."
    assert not text_of(summary.abilities(replace(evaluation, operating_points=alike)), "Some of its reports can")


@pytest.mark.parametrize(("ppv", "trusted"), [(0.85, False), (0.86, True)])
def test_a_report_is_worth_something_only_above_the_prevalence(made: Evaluation, ppv: float, trusted: bool) -> None:
    evaluation = with_points(with_findings(made, ROWS), [("Mass", 0.9, ppv)])
    # 80 % have the label: the lower limit of the PPV, 0.05 below it, must be above that
    table = evaluation.operating_points.assign(tp=7200, fn=800, fp=1000, tn=1000)
    can = summary.abilities(replace(evaluation, operating_points=table))
    assert bool(text_of(can, "Some of its reports can be built on")) == trusted
