"""Networks of OpenVINO leave the process as it was."""

import signal
import subprocess
import sys

import pytest

TWO_NETWORKS = """
import gc, os, signal
import torch
from cxr_monai.networks.openvino_runtime import openvino_network

arrived = []
signal.signal(signal.SIGUSR1, lambda *_: arrived.append(True))
network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Flatten()).eval()
first, second = (openvino_network(network, (1, 4, 4), amp=False) for _ in range(2))
images = torch.randn(3, 1, 4, 4)
torch.testing.assert_close(first(images), network(images))
torch.testing.assert_close(second(images), network(images))
del first  # in this order: the other way round each would put back the stack it had found
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
print(arrived)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals as POSIX has them")
def test_a_signal_after_two_networks_are_freed_arrives() -> None:
    """In a process of its own: a signal stack that is gone ends it with a segmentation fault."""
    pytest.importorskip("openvino")
    ran = subprocess.run([sys.executable, "-c", TWO_NETWORKS], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[True]"), ran.stderr
