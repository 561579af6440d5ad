"""What an inspection names for a person to know of, in few lines; shared by the commands that install and run."""

from collections.abc import Iterable

from cxr_monai.sharing.inspection.remarks import Remark, Verdict, shortened


def attention_lines(remarks: Iterable[Remark], bundle: str) -> list[str]:
    """Return one line for all callables that write or reach out, and one for each other thing.

    Args:
        remarks: of an inspection; those that are no cause for attention are left out.
        bundle: what ``cxr-monai bundle inspect`` is given to see where they stand.
    """
    named = {(one.kind, one.text): one for one in remarks if one.verdict == Verdict.ATTENTION}
    callables = sorted({one.text.rpartition(".")[2] for one in named.values() if one.kind == "callable"})
    lines = []
    if callables:
        lines.append(
            f"attention: these write files or may use the network: {', '.join(callables)}; "
            f"'cxr-monai bundle inspect {bundle}' says where"
        )
    for one in named.values():
        if one.kind != "callable":
            place = f"{one.file}, {one.where}" if one.where else one.file
            lines.append(f"attention: {one.kind} {shortened(one.text)}  ({shortened(place)}): {shortened(one.reason)}")
    return lines
