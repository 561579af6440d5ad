"""What was refused, and why: a picture of the films of a prediction, from the files that lie beside it.

refused_films("p.csv", ["folder/"], "refused.png")
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.files import errors_file
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError, RadiographError, SettingError
from cxr_monai.evaluation.gate_evidence import gate_file, read_gate_evidence
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.outputs import check_output
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar
from cxr_monai.report.refused_sheet import UNREADABLE, SheetFilm, gate_sheet
from cxr_monai.workflows.predict import Images, files_named

MOST_SHOWN = 42
"""Films in the picture."""
_ORDER = (GateVerdict.REFUSE, UNREADABLE, GateVerdict.REVIEW, GateVerdict.ACCEPT)


def refused_films(
    result: str | Path,
    images: Images,
    out: str | Path,
    *,
    accepted: int = 0,
    most: int = MOST_SHOWN,
    columns: int = 7,
    force: bool = False,
) -> int:
    """Draw the films that were refused, could not be read or are to be reviewed, and some that were accepted.

    Args:
        result: a predictions file, or a folder of maps, beside which ``RESULT.gate.csv`` and ``RESULT.errors.csv`` lie.
        images: what was predicted: files, folders, a manifest.
        out: the picture, ending in ``.png``.
        accepted: how many of the accepted films are shown, too, from the first on.
        most: films in the picture; the heading counts all.
        columns: films in a row.
        force: an earlier picture may be written over.

    Returns:
        how many films the picture shows.

    Raises:
        EvaluationError: ``predictions-invalid`` where no evidence lies beside the result; ``evaluation-invalid`` where
            there is no film to show, or the images are others than those of the result.
        SettingError: ``setting-invalid`` for another kind of picture.
        UsageError: ``output-exists``.
    """
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise SettingError(Code.SETTING_INVALID, f"{out.name!r} must end in .png.", where=out)
    check_output(out, force)
    table = answered_films(result)
    counts = table["answer"].value_counts()
    is_accepted = table["answer"] == GateVerdict.ACCEPT
    shown = pd.concat([table[~is_accepted], table[is_accepted].head(accepted)])
    shown = shown.sort_values("answer", key=lambda answers: answers.map(_ORDER.index), kind="stable").head(most)
    if shown.empty:
        raise EvaluationError(
            Code.EVALUATION_INVALID, "no film was refused: there is nothing to show.", where=result,
            fix="--accepted N shows accepted films.",
        )  # fmt: skip
    films, names = files_named(images)
    paths = dict(zip(names, films, strict=True))
    unknown = [name for name in shown["image"] if name not in paths]
    if unknown:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"{counted(len(unknown), 'film')} of the result are not among these images, such as {unknown[0]}.",
            fix="Name the inputs as they were given to 'cxr-monai predict'.",
            where=result,
        )
    rows = progress_bar(shown.to_dict(orient="records"), total=len(shown), desc="drawing", unit="films")
    drawn = [
        SheetFilm(row["image"], row["answer"], row["code"], row["sentence"], _plane(paths[row["image"]]))
        for row in rows
    ]
    write_durably(out, gate_sheet(drawn, _heading(counts, len(drawn)), columns))
    return len(drawn)


def answered_films(result: str | Path) -> pd.DataFrame:
    """Return ``image, answer, code, sentence`` of all films of a result, those that could not be read at the end.

    Args:
        result: as of :func:`refused_films`.

    Raises:
        EvaluationError: ``predictions-invalid``.
    """
    evidence, errors = read_gate_evidence(gate_file(result)), errors_file(result)
    left_out = pd.DataFrame(columns=["image", "code", "reason"])
    if errors.is_file():
        left_out = pd.read_csv(errors, dtype=str, keep_default_na=False)
    reasons = dict(zip(left_out["image"], left_out["reason"], strict=True))
    judged = evidence[["image", "gate", "code"]].rename(columns={"gate": "answer"})
    repeats = evidence.get("duplicate_of", pd.Series("", index=evidence.index))
    judged["sentence"] = [
        _sentence(reasons.get(name, ""), earlier, answer)
        for name, earlier, answer in zip(judged["image"], repeats, judged["answer"], strict=True)
    ]
    unread = left_out[~left_out["image"].isin(judged["image"])]
    sentences = [_first_clause(reason) for reason in unread["reason"]]
    unread = pd.DataFrame(
        {"image": unread["image"], "answer": UNREADABLE, "code": unread["code"], "sentence": sentences}
    )
    return pd.concat([judged, unread], ignore_index=True)


def _sentence(reason: str, earlier: str, answer: str) -> str:
    """Return the sentence of a reason without the measurement in brackets, or what a film for review repeats."""
    if reason:
        return reason.partition(" (")[0].rstrip(".") + "."
    if answer != GateVerdict.REVIEW:
        return ""
    return f"The same film as {earlier}." if earlier else "Predicted; a person should look at it first."


def _first_clause(reason: str) -> str:
    clause = re.split(r" \(|;", reason, maxsplit=1)[0].rstrip(".")
    return f"{clause[:1].upper()}{clause[1:]}."


def _heading(counts: "pd.Series[int]", shown: int) -> str:
    number = {answer: int(counts.get(answer, 0)) for answer in _ORDER}
    parts = [f"{number[GateVerdict.ACCEPT]:,} accepted", f"{number[GateVerdict.REVIEW]:,} for review"]
    parts += [f"{number[GateVerdict.REFUSE]:,} refused", f"{number[UNREADABLE]:,} not read"]
    return f"{counted(int(counts.sum()), 'film')}: {', '.join(parts)}; {shown:,} shown"


def _plane(path: Path) -> np.ndarray | None:
    try:
        return read_radiograph(path, any_modality=True).pixels[0]
    except RadiographError:
        return None
