"""The remarks of an inspection that need attention, as lines of text; shared by the commands that install and run."""

from collections.abc import Iterable

from cxr_monai.sharing.inspection.remarks import Remark, Verdict, shortened


def attention_lines(remarks: Iterable[Remark], bundle: str) -> list[str]:
    """Return one line for all callables that write files or use the network, and one for each other remark.

    Args:
        remarks: of an inspection; those that are no cause for attention are left out.
        bundle: what ``cxr-monai bundle inspect`` is given to see where they stand.
    """
    distinct = {(remark.kind, remark.text): remark for remark in remarks if remark.verdict == Verdict.ATTENTION}
    callables = sorted({remark.text.rpartition(".")[2] for remark in distinct.values() if remark.kind == "callable"})
    lines = []
    if callables:
        lines.append(
            f"attention: these write files or may use the network: {', '.join(callables)}; "
            f"'cxr-monai bundle inspect {bundle}' says where"
        )
    for remark in distinct.values():
        if remark.kind != "callable":
            place = f"{remark.file}, {remark.where}" if remark.where else remark.file
            lines.append(
                f"attention: {remark.kind} {shortened(remark.text)}  ({shortened(place)}): {shortened(remark.reason)}"
            )
    return lines
