"""A model card: what a bundle is, what it was judged on, what it is worth, and what nobody has said of it.

    parts = card_parts(bundle, evaluation)      # sentences, names with texts, tables
    card_markdown(bundle, parts)                # docs/card.md; report.html shows the same as a section
    write_card("OUT/bundle", "evaluation", "OUT/with_card")     # a copy of the bundle that has it

Its headings are those of Model Cards (Mitchell et al. 2019, arXiv 1810.03993); with them it answers what applies of
CLAIM (Mongan et al. 2020, doi 10.1148/ryai.2020200029; update of 2024, doi 10.1148/ryai.240300), item by item in
docs/model-cards.md. Every figure is the evaluation's, every description the metadata's. What neither knows is asked
of the authors under a key of the metadata (`ASKED`) and is said to be unknown until they answer: nothing is invented.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_monai.attribution.localisation_result import Localisation, read_localisation
from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.bundle.origin import is_recorded
from cxr_monai.bundle.writing import check_new_bundle, new_bundle
from cxr_monai.durable import write_durably
from cxr_monai.errors import BundleError, Code
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.origins import labels_of
from cxr_monai.outputs import check_output
from cxr_monai.plurals import counted, plural
from cxr_monai.report import metric_tables, summary, words
from cxr_monai.report.card_part import NOT_A_DEVICE, CardPart, card_markdown
from cxr_monai.report.cells import Cell, Table
from cxr_monai.report.evaluation_rows import chosen_rule, rules_in, table_of
from cxr_monai.report.finding_notes import combine_notes
from cxr_monai.report.fine_tuning import FineTuning
from cxr_monai.report.gate_card import gate_part
from cxr_monai.report.matrix_charts import group_word
from cxr_monai.report.pages import localisation_page
from cxr_monai.sharing.trust.lineage import read_lineage

UNKNOWN = "unknown"

ASKED = {
    "intended_users": "for whom it was made",
    "out_of_scope": "what it was not made for",
    "patients": "where, when and by which criteria the patients were chosen",
    "demographics": "ages, sexes and other characteristics of the patients that it was trained on",
    "reference_standard": "who labelled the images, from what, with which training and agreement",
    "de_identification": "how the images were de-identified",
    "missing_data": "how missing data were handled",
    "sample_size": "how the number of images was decided",
    "training": "how it was trained: settings, augmentation, first weights, how the final weights were chosen",
    "external_testing": "whether it was tested at a hospital that none of its data come from",
    "failures": "which images it fails on, and why",
    "ethical_considerations": "ethics approval, risks and harms that were considered",
    "funding": "who paid for it, and the part that they took",
    "registration": "where the study is registered, and where its protocol is",
    "contact": "whom to ask or to tell of a failure",
}
"""What neither evaluation nor bundle can know, by the key of ``configs/metadata.json`` under which authors answer."""


def card_parts(
    bundle: Bundle, evaluation: Evaluation | None = None, localisation: Localisation | None = None
) -> list[CardPart]:
    """Return the parts of a bundle's card.

    Args:
        bundle: its metadata, calibration and lineage are read; its weights are not.
        evaluation: of its predictions; None leaves out what only an evaluation tells, and says that it is not known.
        localisation: of its maps; the card has no figures on them without.

    Raises:
        SharingError: ``lineage-invalid``.
        GateError: ``gate-invalid``.
    """
    fine_tuning = FineTuning.of(bundle)
    return [
        _model(bundle, evaluation is not None),
        _use(bundle),
        *(
            [_factors(bundle, evaluation), _metrics(evaluation), _evaluation_data(bundle, evaluation)]
            if evaluation
            else []
        ),
        _training_data(bundle),
        gate_part(bundle, evaluation),
        *([fine_tuning.part()] if fine_tuning else []),
        *([_figures(evaluation)] if evaluation else _thresholds(bundle)),
        *([_maps(localisation)] if localisation is not None else []),
        _lineage(bundle),
        _ethics(bundle),
        _limits(evaluation, localisation, fine_tuning),
        _unknown(bundle, evaluation, localisation),
    ]


def write_card(
    bundle: str | Path,
    evaluation: str | Path,
    out: str | Path,
    localisation: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Write a card: as Markdown alone, or into a copy of the bundle, since a bundle that was judged never changes.

    Args:
        bundle: its folder.
        evaluation: what ``cxr-monai evaluate``, or a bundle's ``evaluate.json``, wrote for it.
        out: a file that ends in ``.md``; or a folder that does not exist yet, for a copy of the bundle with
            ``docs/card.md`` and the figures themselves in ``metrics.json``.
        localisation: what ``cxr-monai maps localise`` wrote for its maps.
        force: an earlier card, or copy, at ``out`` may be replaced.

    Returns:
        the card.

    Raises:
        UsageError: ``output-exists``.
        BundleError: ``bundle-disagrees`` if the figures are not this bundle's, or it is none.
        EvaluationError: ``evaluation-invalid`` if a folder holds no evaluation or no localisation.
        SharingError: ``lineage-invalid``.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    opened, judged, out = Bundle.open(bundle), read_evaluation(evaluation), Path(out)
    if out.suffix == ".md":
        check_output(out, force)
    else:
        check_new_bundle(out, [opened.root], force)
    check_same(opened, judged, evaluation)
    maps = None
    if localisation is not None:
        maps = read_localisation(localisation)
        _refuse_others(opened, (maps.provenance.get("bundle") or {}).get("digest"), localisation)
    text = card_markdown(opened, card_parts(opened, judged, maps)).encode()
    if out.suffix == ".md":
        write_durably(out, text)
        return out
    with new_bundle(out, opened.root, force) as folder:
        write_durably(folder / "docs" / "card.md", text)
        write_durably(folder / "metrics.json", (Path(evaluation) / "metrics.json").read_bytes())
    return out / "docs" / "card.md"


def check_same(bundle: Bundle, evaluation: Evaluation, where: str | Path) -> None:
    """Refuse an evaluation of another bundle.

    Raises:
        BundleError: ``bundle-disagrees``.
    """
    _refuse_others(bundle, evaluation.book.get("bundle"), where)


def is_of(bundle: Bundle, digest: Any) -> bool:
    """Tell whether a digest is a bundle's own, or what it had before its calibration was fitted and written."""
    fitted_on = _calibration(bundle).get("fitted_on") or {}
    return digest is not None and digest in (bundle.digest, fitted_on.get("bundle"))


def _refuse_others(bundle: Bundle, digest: Any, where: str | Path) -> None:
    if not is_of(bundle, digest):
        judged = f"of the bundle {str(digest)[:12]}..." if digest else "of a system that they do not name"
        raise BundleError(
            Code.BUNDLE_DISAGREES,
            f"these figures are {judged}, this one is {bundle.digest[:12]}...",
            fix="Predict or explain with this bundle, judge what came out, and give that folder.",
            where=where,
        )


def _said(bundle: Bundle, key: str) -> str:
    """Return what the metadata say under a key, a list as its entries with semicolons; ``unknown`` where nothing."""
    value = bundle.metadata.get(key)
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return text.strip() or UNKNOWN


def _recorded(bundle: Bundle, key: str) -> str:
    """Return the same; of what every bundle is delivered with, that it was made for this and that no one said more."""
    text = _said(bundle, key)
    return text if text == UNKNOWN or is_recorded(bundle.metadata, key) else f"not recorded; made for: {text}"


def _beginning(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return ", ".join([line.strip() for line in lines if line.strip()][:2]) or UNKNOWN


def _model(bundle: Bundle, final: bool) -> CardPart:
    inference = read_json(bundle.root / "configs" / "inference.json")
    network = inference["network_def"]
    members = f", the mean of {network['members']} of them" if "members" in network else ""
    architecture = str(network.get("network", network).get("_target_")).rpartition(".")[2]
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    derived = [
        f"{label} = {' or '.join(bundle.scheme.groups[label]) or 'none of the findings'}"
        for label in bundle.labels
        if label in bundle.scheme.derived
    ]
    stack = {"MONAI": "monai_version", "PyTorch": "pytorch_version", "NumPy": "numpy_version"}
    points = [
        ("Name:", bundle.title),
        *([("Digest:", bundle.digest)] if final else []),  # a card that is written into the bundle changes it
        ("What it does:", _said(bundle, "description")),
        ("Task:", _said(bundle, "task")),
        ("Authors:", _said(bundle, "authors")),
        ("Copyright:", _said(bundle, "copyright")),
        ("Licence:", _beginning(bundle.root / "LICENSE")),
        ("Network:", f"{architecture}{members}; head '{inference.get('head', 'sigmoid')}'"),
        (
            "Input:",
            f"{_said(bundle, 'image_classes')}; {image['num_channels']} x {bundle.image_size} x {bundle.image_size}, "
            f"normalisation '{inference.get('normalisation', UNKNOWN)}'",
        ),
        ("Output:", f"a probability for each of {', '.join(bundle.labels)}"),
        *((("What labels are made of:", "; ".join(derived)),) if derived else ()),
        ("Software:", ", ".join(f"{name} {bundle.metadata.get(key, UNKNOWN)}" for name, key in stack.items())),
        ("References:", _said(bundle, "references")),
        ("Contact:", _said(bundle, "contact")),
    ]  # fmt: skip
    return CardPart("The model", points=tuple(points))


def _use(bundle: Bundle) -> CardPart:
    points = (
        ("Intended use:", _said(bundle, "intended_use")),
        ("Intended films:", _intended_films(bundle)),
        ("Intended users:", _said(bundle, "intended_users")),
        ("Out of scope:", _said(bundle, "out_of_scope")),
        ("Known failures:", _said(bundle, "failures")),
    )
    return CardPart("Intended use", (NOT_A_DEVICE,), points)


def _intended_films(bundle: Bundle) -> str:
    """Return which films a bundle is meant for; of one that does not say, what a gate takes instead."""
    stated = bundle.intended_films
    films = (stated or IntendedFilms()).in_words()
    text = "; ".join(f"{name.lower()} {what}" for name, what in films)
    return text if stated else f"not stated; a gate that is fitted to it takes {text}"


def _factors(bundle: Bundle, evaluation: Evaluation) -> CardPart:
    table = table_of(evaluation, "subgroups")
    points: list[tuple[str, str]] = []
    if not table.empty:
        for attribute, part in table.groupby("attribute", sort=False):
            points.append((f"{group_word(str(attribute))}:", ", ".join(dict.fromkeys(part["group"].astype("str")))))
    sentence = (
        "The figures below are also computed for these groups of patients, where there are enough."
        if points
        else "No group of patients could be judged by itself: the table of images names none, or too few."
    )
    kinds = (("Images:", _said(bundle, "image_classes")), ("File formats:", _said(bundle, "data_type")))
    return CardPart("Factors", (sentence,), (*kinds, *points))


def _metrics(evaluation: Evaluation) -> CardPart:
    level = words.percent(evaluation.level)
    rule = chosen_rule(evaluation)
    thresholds = (
        f"A finding is reported where its probability reaches the threshold that {words.rule_words(rule)}; thresholds "
        "were chosen on other patients. The evaluation has "
        f"{counted(len(rules_in(evaluation)), 'rule')}, this card shows one."
        if rule
        else "There are no thresholds: the evaluation had none that were chosen on other patients."
    )
    lines = (
        "AUROC: the share of pairs of an image with the label and one without it that are ranked rightly. Average "
        "precision: its floor is the prevalence. Brier score: the mean squared distance of probability and label.",
        f"Intervals are at {level}: over images (DeLong), and over patients, who are drawn with replacement "
        f"{evaluation.replicates:,} times. Unknown labels are left out, never counted as absent.",
        thresholds,
        *labels_of(str(evaluation.book.get("label_version") or UNKNOWN)),
    )
    return CardPart("Metrics", lines, in_report=False)


def _evaluation_data(bundle: Bundle, evaluation: Evaluation) -> CardPart:
    book = evaluation.book
    split: Mapping[str, Any] = book.get("split") or {}
    parts = [f"{count:,} of '{name}'" for name, count in (split.get("parts") or {}).items()]
    studies = book.get("studies")
    points = [
        ("Images:", f"{_count(book.get('images'))} of {_count(book.get('patients'), 'patient')}"),
        ("Studies:", UNKNOWN if studies is None else _count(studies)),
        (
            "Split:",
            words.split_words(split, str(book.get("label_version")))
            + ("; no patient is in two of its parts" if split.get("scheme") else ""),
        ),
        ("Parts of the split:", ", ".join(parts) or UNKNOWN),
        ("Digest of the split:", str(split.get("digest") or UNKNOWN)),
        ("Labels:", f"version '{book.get('label_version') or UNKNOWN}'"),
        ("Left out:", "; ".join(f"{what}: {_count(n)}" for what, n in (book.get("left_out") or {}).items()) or UNKNOWN),
        ("Precision of computing:", str(book.get("precision") or UNKNOWN)),
        ("Judged on:", str(book.get("date") or UNKNOWN)),
        ("How patients were chosen:", _said(bundle, "patients")),
        ("Reference standard:", _said(bundle, "reference_standard")),
        ("Tested elsewhere:", _said(bundle, "external_testing")),
    ]
    return CardPart("Evaluation data", points=tuple(points))


def _training_data(bundle: Bundle) -> CardPart:
    fitted = _calibration(bundle).get("fitted_on") or {}
    parts = ", ".join(f"{count:,} of '{name}'" for name, count in (fitted.get("parts") or {}).items())
    calibrated = (
        f"calibration and thresholds were fitted on {_count(fitted.get('images'), 'image')} of "
        f"{_count(fitted.get('patients'), 'patient')}{f' ({parts})' if parts else ''}, labels "
        f"'{fitted.get('label_version') or UNKNOWN}'"
        if fitted
        else "the bundle is not calibrated"
    )
    points = (
        ("Source:", _recorded(bundle, "data_source")),
        ("Labels:", _recorded(bundle, "label_classes")),
        ("Calibration:", calibrated),
        ("How it was trained:", _said(bundle, "training")),
        ("Who the patients were:", _said(bundle, "demographics")),
        ("De-identification:", _said(bundle, "de_identification")),
        ("Missing data:", _said(bundle, "missing_data")),
        ("Number of images:", _said(bundle, "sample_size")),
    )
    return CardPart("Training data", points=points)


def _figures(evaluation: Evaluation) -> CardPart:
    rule = chosen_rule(evaluation)
    shown = [
        metric_tables.metrics_table(evaluation),
        *(table for name, table in metric_tables.operating_tables(evaluation) if name == rule),
        metric_tables.calibration_table(evaluation),
        metric_tables.subgroup_matrix(evaluation),
        metric_tables.sensitivity_matrix(evaluation),
        metric_tables.site_table(evaluation),
    ]
    points = tuple((point.lead, point.text) for point in summary.abilities(evaluation))
    return CardPart("What it is worth", points=points, tables=tuple(t for t in shown if t is not None), in_report=False)


def _thresholds(bundle: Bundle) -> list[CardPart]:
    """Return the operating points of a bundle that nobody evaluated yet; no part where it has none."""
    findings = _calibration(bundle).get("findings") or {}
    rows = [
        (Cell(label), Cell(str(rule)), Cell(f"{point['threshold']:.3f}"))
        for label in bundle.labels
        for rule, point in findings.get(label, {}).get("operating_points", {}).items()
    ]
    table = Table("Thresholds of the probability", ("Finding", "Rule", "Threshold"), tuple(rows))
    return [CardPart("Operating points", tables=(table,))] if rows else []


def _maps(localisation: Localisation) -> CardPart:
    table = localisation_page.scores_table(localisation)
    return CardPart(
        "Where its maps point",
        tuple(localisation_page.localisation_sentences(localisation)),
        tables=(table,),
        in_report=False,
    )


def _lineage(bundle: Bundle) -> CardPart:
    points: list[tuple[str, str]] = []
    for member in (bundle.metadata.get("ensemble") or {}).get("members", ()):
        points.append(("Member:", f"{member.get('name') or 'a bundle'}, {member.get('bundle')}"))
    imported = bundle.root / "docs" / "import.json"
    if imported.is_file():
        record = read_json(imported)
        points.append(("Imported from:", f"{record['file']} ({record['kind']}), SHA-256 {record['sha256']}"))
    generation = read_lineage(bundle.root).generation
    points += [("Parent:", parent) for parent in generation.parents]
    entries = {
        name.replace("_", " ").capitalize(): getattr(generation, name)
        for name in ("made_by", "data", "settings", "software", "measured")
    }
    points += [(f"{name}:", _flat(entry)) for name, entry in entries.items() if entry]
    sentences = () if points else ("No parent is recorded: trained from what 'How it was trained' says.",)
    return CardPart("Lineage", sentences, tuple(points))


def _flat(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')} {_flat(value)}" for key, value in entry.items())
    return ", ".join(map(_flat, entry)) if isinstance(entry, list) else str(entry)


def _ethics(bundle: Bundle) -> CardPart:
    points = (
        ("Ethics, risks and harms:", _said(bundle, "ethical_considerations")),
        ("Funding:", _said(bundle, "funding")),
        ("Registration and protocol:", _said(bundle, "registration")),
    )
    return CardPart("Ethical considerations", points=points)


def _limits(
    evaluation: Evaluation | None, localisation: Localisation | None, fine_tuning: FineTuning | None
) -> CardPart:
    points = [(point.lead, point.text) for point in summary.limits(evaluation)] if evaluation is not None else []
    points += fine_tuning.limits() if fine_tuning is not None else []
    points.append(("A heat map shows where the network looked,", "not where the disease is."))
    notes = [note for part in (evaluation, localisation) if part is not None for note in combine_notes(part.notes)]
    points += [("Mind:", note) for note in notes]
    return CardPart("Limits and recommendations", points=tuple(points), in_report=False)


def _unknown(bundle: Bundle, evaluation: Evaluation | None, localisation: Localisation | None) -> CardPart:
    open_questions = [what for key, what in ASKED.items() if _said(bundle, key) == UNKNOWN]
    if evaluation is None:
        open_questions.append("what it is worth on other patients (no evaluation was given)")
    if localisation is None:
        open_questions.append("whether its maps point at what radiologists mark (no localisation was given)")
    if not open_questions:
        return CardPart("What is not known", ("Everything that this card asks of the authors was answered.",))
    sentence = "Neither the figures nor the bundle's metadata tell the following; nothing is assumed in its place:"
    return CardPart(
        "What is not known", (sentence,), tuple((f"{what[:1].upper()}{what[1:]}.", "") for what in open_questions)
    )


def _calibration(bundle: Bundle) -> Mapping[str, Any]:
    return read_json(bundle.calibration) if bundle.calibration.is_file() else {}


def _count(number: Any, noun: str = "") -> str:
    if not isinstance(number, int):
        return f"{UNKNOWN} {plural(noun)}" if noun else UNKNOWN
    return counted(number, noun) if noun else f"{number:,}"
