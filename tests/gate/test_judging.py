"""What is said of a film is the measurement that stopped it."""

from dataclasses import replace

import numpy as np

from cxr_monai.gate.answer import GateVerdict
from cxr_monai.gate.judging import judge_films
from cxr_monai.gate.observation import OBSERVED
from tests.support.tiny_gates import FEATURES, tiny_gate


def test_the_score_that_is_shown_lies_beyond_the_limit_that_is_named() -> None:
    random, gate = np.random.default_rng(3), tiny_gate()
    films = (random.normal(size=(60, OBSERVED)) * np.linspace(0.2, 1.5, 60)[:, None]).astype(np.float32)
    scores = gate.scores(films, random.normal(size=(60, FEATURES)).astype(np.float32))
    review, refuse = np.quantile(gate.worst(scores), [0.3, 0.7]).tolist()
    gate = replace(gate, limits={**gate.limits, "review": review, "refuse": refuse})
    answers = judge_films(gate, films, scores)
    stopped = [answer for answer in answers if answer.verdict != GateVerdict.ACCEPT]
    assert {answer.verdict for answer in stopped} == {GateVerdict.REVIEW, GateVerdict.REFUSE}
    for answer in stopped:
        limit = gate.limits[answer.verdict]
        assert answer.expected.startswith(f"at most {limit:.2f}, ")
        assert float(answer.value) >= round(limit, 2)  # of two decimals
