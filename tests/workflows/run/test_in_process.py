"""A run in this process puts back what it changed for the whole process."""

import random
import sys

import pytest
import torch
from monai.data import set_track_meta
from monai.data.meta_obj import get_track_meta
from monai.utils import set_determinism

from cxr_monai.workflows.run.in_process import process_as_it_was


def state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (torch.get_num_threads(), cudnn.benchmark, cudnn.deterministic, get_track_meta(), list(sys.path))


@pytest.mark.parametrize("benchmark", [True, False])
def test_the_process_is_as_it_was_after_an_error_as_well(benchmark: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", benchmark)
    before, random_state, torch_state = state(), random.getstate(), torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), process_as_it_was():
        change_everything(benchmark)
    assert state() == before
    assert random.getstate() == random_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def change_everything(benchmark: bool) -> None:
    set_determinism(3)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = not benchmark
    torch.set_num_threads(torch.get_num_threads() + 1)
    set_track_meta(False)
    sys.path.append("elsewhere")
    raise ZeroDivisionError
