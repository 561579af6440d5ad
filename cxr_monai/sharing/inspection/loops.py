"""References that MONAI cannot follow to an end: in a circle, or through so many items that Python's stack ends."""

from collections.abc import Iterable

from cxr_monai.budget import check_time
from cxr_monai.bundle.evaluated import Id, Reach

MOST_STEPS = 200
"""Largest number of nested or consecutive references that one item may depend on."""


def endless_references(reach: Reach, ids: Iterable[Id]) -> dict[Id, str]:
    """Find ids that cannot be evaluated.

    Args:
        reach: of one configuration.
        ids: of its texts that refer to something.

    Returns:
        the reason by id, as a sentence; one id for each circle or chain.
    """
    depths: dict[Id, int] = {}
    reasons = ((start, _depth_problem(start, reach, depths)) for start in ids if start not in depths)
    return {start: reason for start, reason in reasons if reason}


def _depth_problem(start: Id, reach: Reach, depths: dict[Id, int]) -> str:
    """Compute the depth of MONAI's recursion from an id, iteratively; return why it cannot be resolved, or ""."""
    reason = ""
    path: dict[Id, list[tuple[Id, int]]] = {}
    waiting: list[tuple[Id, bool]] = [(start, False)]
    while waiting:
        check_time(short=True)
        parts, finished = waiting.pop()
        if finished:
            depths[parts] = 1 + max((below + depths.get(referred, 0) for referred, below in path.pop(parts)), default=0)
            if depths[parts] > MOST_STEPS:
                reason = f"it needs more than {MOST_STEPS} references, one behind the other."
                depths[parts] = 0  # so that it is reported once
        elif parts not in depths and parts not in path:
            path[parts] = [(referred, below) for referred, below in reach.mentioned(parts) if reach.has(referred)]
            waiting.append((parts, True))
            for referred, _ in path[parts]:
                if referred in path:
                    reason = f"references in a circle: @{'#'.join(referred)} needs itself."
                elif referred not in depths:
                    waiting.append((referred, False))
    return reason
