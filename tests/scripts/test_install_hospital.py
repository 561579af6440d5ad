"""``.ci/run`` installs the archive that tests speak to, without questions and services; stand-ins note their calls."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
PACKAGES = "orthanc orthanc-dicomweb dcmtk dicom3tools pixelmed-apps"


class Machine:
    """A folder of stand-ins that comes first on the PATH, and writes down how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.policy = folder, folder / "calls", folder / "policy-rc.d"
        self.calls.touch()
        for name in ("sleep", "make", "apt-get"):
            self.add(name)
        self.add("id", "echo 0")

    def add(self, name: str, script: str = "") -> None:
        program = self.folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{script}\n')
        program.chmod(0o755)

    def installed(self, *names: str) -> None:
        known = "|".join(names) or "none"
        self.add("dpkg-query", f'for last; do :; done; case "$last" in {known}) printf installed;; *) exit 1;; esac')

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if name != "CXR_MONAI_HOSPITAL"}
        environment |= {"PATH": path, "POLICY": str(self.policy)}
        return subprocess.run(
            ["bash", str(HERE / program)], env=environment, capture_output=True, text=True, check=False
        )

    def called(self, name: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.split()[0] == name]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_fetched_where_all_is_there(machine: Machine) -> None:
    machine.installed(*PACKAGES.split())
    machine.add("make", f'echo "hospital: $CXR_MONAI_HOSPITAL" >> {machine.calls}')

    assert machine.run(".ci/run").returncode == 0
    assert machine.called("apt-get") == []
    assert machine.calls.read_text().splitlines()[-2:] == ["make test", "hospital: required"]


def test_what_is_missing_is_installed_without_questions_and_without_services(machine: Machine) -> None:
    machine.installed("dcmtk", "orthanc")
    machine.add("apt-get", f'{machine.policy}; echo "services: $? $DEBIAN_FRONTEND" >> {machine.calls}')

    assert machine.run("scripts/install_hospital.sh").returncode == 0
    assert machine.called("apt-get") == [
        "apt-get update -q -o DPkg::Lock::Timeout=300",
        "apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "
        "orthanc-dicomweb dicom3tools pixelmed-apps",
    ]
    assert machine.called("services:")[-1] == "services: 101 noninteractive"
    assert not machine.policy.exists()


def test_the_policy_of_a_machine_is_left_alone(machine: Machine) -> None:
    machine.installed()
    machine.policy.write_text("of the machine")

    assert machine.run("scripts/install_hospital.sh").returncode == 0
    assert machine.policy.read_text() == "of the machine"


def test_a_mirror_that_fails_is_asked_again(machine: Machine) -> None:
    machine.installed()
    machine.add("apt-get", f"test $(grep -c update {machine.calls}) -ge 3")

    assert machine.run("scripts/install_hospital.sh").returncode == 0
    assert machine.called("sleep") == ["sleep 15", "sleep 30"]
    assert len(machine.called("apt-get")) == 4  # the third update worked, and what comes after it


def test_a_mirror_that_goes_on_failing_ends_the_run_with_what_is_missing(machine: Machine) -> None:
    machine.installed("dcmtk")
    machine.add("apt-get", "exit 100")
    ran = machine.run(".ci/run")

    assert (ran.returncode, machine.called("make"), len(machine.called("apt-get"))) == (1, [], 4)
    assert "apt-get failed 4 times" in ran.stderr
    assert "not installed: orthanc orthanc-dicomweb dicom3tools pixelmed-apps." in ran.stderr
    assert not machine.policy.exists()


def test_who_is_not_root_asks_sudo_which_asks_nothing(machine: Machine) -> None:
    machine.installed()
    machine.add("id", "echo 1000")
    machine.add("sudo", 'shift; exec "$@"')

    assert machine.run("scripts/install_hospital.sh").returncode == 0
    assert machine.called("sudo")[-2].startswith("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install")
    assert all(line.startswith("sudo -n ") for line in machine.called("sudo"))
