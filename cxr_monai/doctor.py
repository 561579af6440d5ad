"""Checks of this machine for reading, training and tracking, and advice for what is missing.

    for result in run_checks():
        print(result.status, result.name, result.found, result.advice)

Each check looks at one thing and returns one or more `CheckResult`; a check that fails on an exotic machine becomes a
`CheckResult` with the status ``unknown``, and the others go on. Nothing is changed, and nothing is sent anywhere but
to an MLflow server that ``MLFLOW_TRACKING_URI`` names.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cxr_monai
from cxr_monai.environment import code_version, default_tracking_uri, usable_cores, without_password
from cxr_monai.errors import CxrError

GB = 1e9
LOW_DISK = 5 * GB  # checkpoints, the bundle and MLflow's copies of a short training take less than one
LOW_MEMORY = 4 * GB
LOW_SHARED_MEMORY = 1 * GB  # Docker gives 64 MB; eight workers hold two batches of 32 x 224 x 224 float32 each
SERVER_SECONDS = 2.0


class CheckStatus(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but slower or with less than it could; the advice says what to do."""
    MISSING = "missing"
    """Something required isn't there."""
    UNKNOWN = "unknown"
    """The check itself failed."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: what was checked.
        status: the outcome.
        found: the observation, as text (a key of ``cxr-monai doctor --json``).
        advice: what to do about it, as full sentences; empty if there is nothing to do.
    """

    name: str
    status: CheckStatus
    found: str
    advice: str = ""


Check = Callable[[], Iterator[CheckResult]]


def run_checks(checks: Mapping[str, Check] | None = None) -> Iterator[CheckResult]:
    """Run the checks one after the other, yielding each result as soon as it is known.

    Args:
        checks: by name; `CHECKS` where None.
    """
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            yield from check()
        except Exception as error:  # a check that fails on an unusual machine is shown, and the others run
            yield CheckResult(name, CheckStatus.UNKNOWN, f"could not be looked at ({type(error).__name__}: {error})")


def initial_environment() -> dict[str, str]:
    """Return the environment that this process was started with, as far as the system shows it.

    ``cxr-monai`` sets GOMP_SPINCOUNT for itself; whether the user's shell does (which ``python -m monai.bundle``
    needs) shows only in what the process was given.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def _code() -> Iterator[CheckResult]:
    version, commit = f"cxr-monai {cxr_monai.__version__}", code_version()
    yield CheckResult(
        "code", CheckStatus.OK, f"{version}, commit {commit}" if commit else f"{version}, installed (no git checkout)"
    )


def _packages(distribution: str = "cxr-monai") -> Iterator[CheckResult]:
    """Compare Python and the packages with what the distribution asks for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        metadata = importlib.metadata.metadata(distribution)
        requirements = [Requirement(line) for line in importlib.metadata.requires(distribution) or ()]
    except importlib.metadata.PackageNotFoundError:
        yield CheckResult(
            "packages", CheckStatus.WARN, f"{distribution} is not installed", "Install it: pip install -e ."
        )
        return
    python, python_range = platform.python_version(), metadata["Requires-Python"] or ""
    fits = SpecifierSet(python_range).contains(python, prereleases=True)
    advice = "" if fits else f"Make an environment with Python {python_range}."
    observation = f"{python}, {platform.system()} {platform.machine()}"
    yield CheckResult("Python", CheckStatus.OK if fits else CheckStatus.MISSING, observation, advice)
    satisfied = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is not None and requirement.specifier.contains(version, prereleases=True):
            satisfied.append(f"{requirement.name} {version}")
            continue
        observation = "not installed" if version is None else f"{version}, too old or too new"
        advice = f"pip install '{requirement.name}{requirement.specifier}'"
        yield CheckResult(requirement.name, CheckStatus.MISSING, observation, f"Install it: {advice}.")
    yield CheckResult("packages", CheckStatus.OK, ", ".join(satisfied))


def _torch() -> Iterator[CheckResult]:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "HIP" if torch.version.hip else "for CPUs"
    yield CheckResult("torch", CheckStatus.OK, f"{torch.__version__}, built {build}")
    threads, available = torch.get_num_threads(), usable_cores()
    observation = f"{threads} of torch on {available} {'core' if available == 1 else 'cores'}"
    if threads > available:
        advice = f"More threads than cores wait for each other: export OMP_NUM_THREADS={available}."
        yield CheckResult("threads", CheckStatus.WARN, observation, advice)
    else:
        yield CheckResult("threads", CheckStatus.OK, observation)


def _waiting(environment: Mapping[str, str] | None = None, on_gpu: bool | None = None) -> Iterator[CheckResult]:
    """Return whether OpenMP's threads were told not to spin for long while they wait."""
    environment = initial_environment() if environment is None else environment
    count, policy = environment.get("GOMP_SPINCOUNT", ""), environment.get("OMP_WAIT_POLICY", "")
    observation = count or (f"not set, OMP_WAIT_POLICY is {policy}" if policy else "not set")
    if count or policy.upper() == "PASSIVE" or (_has_gpu() if on_gpu is None else on_gpu):
        yield CheckResult("GOMP_SPINCOUNT", CheckStatus.OK, observation)
        return
    advice = (
        "export GOMP_SPINCOUNT=10000 before 'python -m monai.bundle' on a machine that does other work (cxr-monai sets "
        "it for itself): threads that spin for long made prediction ten times slower there, 162 s against 16 s."
    )
    yield CheckResult("GOMP_SPINCOUNT", CheckStatus.WARN, observation, advice)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _load(load: float | None = None) -> Iterator[CheckResult]:
    load, available = os.getloadavg()[0] if load is None else load, usable_cores()
    observation = f"{load:.1f} in the last minute, {available} {'core' if available == 1 else 'cores'}"
    if load > available:
        yield CheckResult(
            "load", CheckStatus.WARN, observation, "Other programs use the cores: times measured now will be too long."
        )
    else:
        yield CheckResult("load", CheckStatus.OK, observation)


def _bfloat16() -> Iterator[CheckResult]:
    import torch

    from cxr_monai.networks.inferers import bfloat16_supported

    if bfloat16_supported(torch.device("cpu")):
        observation = "the processor has the instructions: --amp True computes in bfloat16, about twice as fast"
        yield CheckResult("bfloat16", CheckStatus.OK, observation)
        return
    observation = "the processor has no instructions for it: --amp changes nothing on it"
    advice = "Expect half the speed of a processor with AVX512-BF16 or AMX; results are the same. A GPU helps more."
    yield CheckResult(
        "bfloat16", CheckStatus.OK if _has_gpu() else CheckStatus.WARN, observation, "" if _has_gpu() else advice
    )


def _gpus() -> Iterator[CheckResult]:
    import torch

    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        bfloat16 = "bfloat16" if properties.major >= 8 or torch.version.hip else "no bfloat16"
        observation = f"{properties.name}, {properties.total_memory / GB:.1f} GB, {bfloat16}"
        yield CheckResult(f"GPU {number}", CheckStatus.OK, observation)
    if torch.backends.mps.is_available():
        yield CheckResult("GPU", CheckStatus.OK, "Apple's (mps), which shares the machine's memory")
    if _has_gpu():
        return
    if shutil.which("nvidia-smi"):
        advice = "Install a torch built for CUDA whose version fits the driver ('nvidia-smi' shows it)."
        yield CheckResult("GPU", CheckStatus.WARN, "there is an NVIDIA driver, and torch can't use it", advice)
    else:
        yield CheckResult("GPU", CheckStatus.OK, "none: everything runs on the processor")


def _memory() -> Iterator[CheckResult]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    entry = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.is_file() else None
    limits = [total, *_container_limits()]
    free = min(int(entry[1]) * 1024 if entry else total, *limits)
    observation = f"{free / GB:.1f} GB free of {min(limits) / GB:.1f} GB" if entry else f"{min(limits) / GB:.1f} GB"
    if free < LOW_MEMORY:
        yield CheckResult(
            "memory", CheckStatus.WARN, observation, "Close other programs, or train with a smaller --batch_size."
        )
    else:
        yield CheckResult("memory", CheckStatus.OK, observation)


def _container_limits() -> list[int]:
    """Return the memory limits of the container in bytes, where it has some."""
    limit = Path("/sys/fs/cgroup/memory.max")
    content = limit.read_text().strip() if limit.is_file() else ""
    return [int(content)] if content.isdigit() else []


def _shared_memory(place: Path = Path("/dev/shm")) -> Iterator[CheckResult]:
    if not place.is_dir():
        yield CheckResult("shared memory", CheckStatus.OK, f"no {place} on this system")
        return
    size = shutil.disk_usage(place).total
    if size < LOW_SHARED_MEMORY:
        advice = "Workers pass batches through it: start Docker with --shm-size=2g, or keep --num_workers 0."
        yield CheckResult("shared memory", CheckStatus.WARN, f"{size / GB:.2f} GB", advice)
    else:
        yield CheckResult("shared memory", CheckStatus.OK, f"{size / GB:.1f} GB")


def _disk() -> Iterator[CheckResult]:
    for name, place in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        status = CheckStatus.WARN if free < LOW_DISK else CheckStatus.OK
        advice = "Free some, or choose another --output_dir." if name == "disk here" else "Free some, or set TMPDIR."
        yield CheckResult(
            name, status, f"{free / GB:.1f} GB free in {place}", advice if status == CheckStatus.WARN else ""
        )


def _imagenet() -> Iterator[CheckResult]:
    """Return whether ``init_weights: imagenet`` works without the internet: the file is there, and is the right one."""
    import torch

    from cxr_monai.networks.weight_loading import IMAGENET_URL, download_imagenet

    file = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_URL.rsplit("/", 1)[-1]
    if not file.is_file():
        advice = f"--init_weights imagenet downloads 32 MB once. Without internet, put {IMAGENET_URL} there by hand."
        yield CheckResult("ImageNet weights", CheckStatus.WARN, f"not in {file.parent}", advice)
        return
    try:
        # the file exists: only its checksum is verified
        yield CheckResult("ImageNet weights", CheckStatus.OK, str(download_imagenet()))
    except CxrError as error:
        yield CheckResult("ImageNet weights", CheckStatus.WARN, error.message, f"Delete {file} and fetch it again.")


TRANSFER_SYNTAXES: dict[str, str] = {
    "JPEG Baseline": "1.2.840.10008.1.2.4.50",
    "JPEG Extended 8 bit": "1.2.840.10008.1.2.4.51",
    "JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
}
"""Compressed pixels as archives send them (PS3.6 Annex A); uncompressed ones need no decoder."""


def _decoders(syntaxes: Mapping[str, str] = TRANSFER_SYNTAXES) -> Iterator[CheckResult]:
    from cxr_monai.data.formats.dicom_library import UID
    from cxr_monai.data.formats.dicom_pixels import decoders

    for name, uid in syntaxes.items():
        names = decoders(UID(uid))
        if names:
            then = f", then {', '.join(names[1:])}" if len(names) > 1 else ""
            yield CheckResult(f"DICOM {name}", CheckStatus.OK, f"read by {names[0]}{then}")
        else:
            advice = "To read such files: pip install 'cxr-monai[dicom]'."
            yield CheckResult(f"DICOM {name}", CheckStatus.WARN, "no decoder: such files are left out", advice)


def _result_objects() -> Iterator[CheckResult]:
    """Return whether answers can become DICOM objects; no version is looked at by importing, which takes a second."""
    try:
        version = importlib.metadata.version("highdicom")
        yield CheckResult("DICOM results", CheckStatus.OK, f"highdicom {version}: predict --dicom-out writes objects")
    except importlib.metadata.PackageNotFoundError:
        advice = "For answers as DICOM objects: pip install 'cxr-monai[dicom-results]'."
        yield CheckResult("DICOM results", CheckStatus.OK, "no highdicom: predict writes tables alone", advice)


def _mlflow() -> Iterator[CheckResult]:
    observation = f"{importlib.metadata.version('mlflow')}; trainings switch its usage reports off"
    silent = any(initial_environment().get(name) for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"))
    advice = "'mlflow ui' and 'mlflow server' report their use until told: export MLFLOW_DISABLE_TELEMETRY=true."
    yield CheckResult("MLflow", CheckStatus.OK, observation, "" if silent else advice)
    yield _tracking(default_tracking_uri())


def _tracking(uri: str) -> CheckResult:
    name, address = "MLflow tracking", without_password(uri)
    if uri.startswith(("http://", "https://")):
        answer = _answer(address)
        if answer is None:
            return CheckResult(name, CheckStatus.OK, f"{address} answers")
        advice = "Start the server, correct MLFLOW_TRACKING_URI, or unset it to use a local file."
        return CheckResult(name, CheckStatus.WARN, f"{address} does not answer ({answer})", advice)
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent
        if os.access(folder, os.W_OK):
            return CheckResult(name, CheckStatus.OK, address)
        return CheckResult(
            name, CheckStatus.WARN, f"{address}, a place that can't be written", "Work in a folder of your own."
        )
    if uri.startswith("file:") or "://" not in uri:
        advice = "MLflow 3 refuses a plain folder as its store: unset MLFLOW_TRACKING_URI, or name sqlite:///FILE."
        return CheckResult(name, CheckStatus.WARN, address, advice)
    return CheckResult(name, CheckStatus.OK, f"{address} (not asked whether it answers)")


def _answer(uri: str) -> str | None:
    """Return None if a server answers with anything at all, else why it doesn't."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None if error.code < 500 else f"error {error.code}"  # 401 and 404 are answers too
    except OSError as error:
        return str(getattr(error, "reason", error))


CHECKS: dict[str, Check] = {
    "code": _code,
    "packages": _packages,
    "memory": _memory,
    "shared memory": _shared_memory,
    "disk": _disk,
    "load": _load,
    "MLflow": _mlflow,
    "DICOM": _decoders,
    "DICOM results": _result_objects,
    "torch": _torch,
    "GOMP_SPINCOUNT": _waiting,
    "GPU": _gpus,
    "ImageNet weights": _imagenet,
    "bfloat16": _bfloat16,
}
"""The checks in order: what is slow to import comes last."""


def checks_summary(results: list[CheckResult]) -> str:
    """Return one sentence: how many checks are not as they should be."""
    counts = {status: sum(result.status == status for result in results) for status in CheckStatus}
    if counts[CheckStatus.MISSING]:
        return f"{counts[CheckStatus.MISSING]} required missing, {counts[CheckStatus.WARN]} worth a look."
    return f"Nothing required is missing; {counts[CheckStatus.WARN]} worth a look."
