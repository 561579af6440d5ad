"""References that MONAI cannot follow to an end: in a circle, or through so many items that Python's stack ends."""

from collections.abc import Iterable

from cxr_monai.budget import check_time
from cxr_monai.bundle.evaluated import Id, Reach

MOST_STEPS = 200
"""Items, one within or behind the other, that may have to be evaluated before the first of them is."""


def endless_references(reach: Reach, ids: Iterable[Id]) -> dict[Id, str]:
    """Find ids that cannot be evaluated.

    Args:
        reach: of one configuration.
        ids: of its texts that refer to something.

    Returns:
        by id why not, a sentence; one id for each circle or chain.
    """
    depths: dict[Id, int] = {}
    reasons = ((start, _measured(start, reach, depths)) for start in ids if start not in depths)
    return {start: reason for start, reason in reasons if reason}


def _measured(start: Id, reach: Reach, depths: dict[Id, int]) -> str:
    """Measure how deep MONAI's resolver goes from an id, without going as deep; return what is wrong."""
    reason = ""
    path: dict[Id, list[tuple[Id, int]]] = {}
    waiting: list[tuple[Id, bool]] = [(start, False)]
    while waiting:
        check_time(short=True)
        parts, done = waiting.pop()
        if done:
            depths[parts] = 1 + max((below + depths.get(one, 0) for one, below in path.pop(parts)), default=0)
            if depths[parts] > MOST_STEPS:
                reason = f"it needs more than {MOST_STEPS} references, one behind the other."
                depths[parts] = 0  # said once
        elif parts not in depths and parts not in path:
            path[parts] = [(one, below) for one, below in reach.mentioned(parts) if reach.has(one)]
            waiting.append((parts, True))
            for one, _ in path[parts]:
                if one in path:
                    reason = f"references in a circle: @{'#'.join(one)} needs itself."
                elif one not in depths:
                    waiting.append((one, False))
    return reason
