"""Notes that say one thing of several findings are one sentence, with the reader's names."""

from cxr_monai.report.finding_notes import combine_notes

_NEEDS = "temperature needs 10 positives and 10 negatives"


def test_findings_with_one_reason_share_a_sentence_with_their_counts() -> None:
    notes = [
        f"Pleural_Thickening is not calibrated: {_NEEDS}, and there are 3 and 97.",
        "12 images have no prediction and are left out.",
        f"Hernia is not calibrated: {_NEEDS}, and there are 1 and 99.",
        "Hernia has no operating points: its labels are all of one kind, or unknown.",
        "Mass is not calibrated: all its scores are equal.",
    ]
    assert combine_notes(notes) == [
        f"Pleural thickening (3 and 97) and Hernia (1 and 99) are not calibrated, each because {_NEEDS}.",
        "12 images have no prediction and are left out.",
        "Hernia has no operating points: its labels are all of one kind, or unknown.",
        "Mass is not calibrated: all its scores are equal.",
    ]


def test_a_note_of_one_finding_keeps_its_counts() -> None:
    note = f"Pleural_Thickening is not calibrated: {_NEEDS}, and there are 3 and 97."
    assert combine_notes([note]) == [note.replace("_T", " t")]


def test_sites_and_thresholds_are_grouped_as_well() -> None:
    lacks = {"is not recalibrated": "are not recalibrated", "has no operating points": "have no operating points"}
    for one, several in lacks.items():
        grouped = combine_notes([f"{name} {one}: so it is." for name in ("Edema", "Mass", "Hernia")])
        assert grouped == [f"Edema, Mass and Hernia {several}, each because so it is."]
