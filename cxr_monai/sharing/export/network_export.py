"""A bundle's network as a file that runs without this package: TorchScript or ONNX, and what it must be given.

    export("OUT/bundle", "exported", ["torchscript", "onnx"])   # model.ts, model.onnx, contract.json

``model.ts`` is the network alone, as MONAI's ``ckpt_export`` makes it of ``network_def``: what opens it (MONAI Deploy,
MONAI Label, the model zoo) applies the inferer of ``inference.json``, in which the head is, and a head inside the file
would be applied twice. ``model.onnx`` goes where no configuration does, so the head is part of it: its outputs are the
log-odds of each label. Each file says of itself which of the two it gives, of which labels, and what it must be given.

Each is read back and compared with the bundle on random images in several batch sizes; one that differs is not left
behind.
"""

import json
import logging
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ckpt_export, onnx_export
from torch import nn

from cxr_monai.bundle.bundle_folder import Bundle, read_json, write_json
from cxr_monai.bundle.calibrated import calibration_item, with_calibration
from cxr_monai.bundle.carried_gate import with_gate
from cxr_monai.bundle.digest import file_digest
from cxr_monai.durable import copy_durably, durable_folder
from cxr_monai.errors import BundleError, Code, SettingError
from cxr_monai.evaluation.carried import calibration_in
from cxr_monai.inference.model import Model
from cxr_monai.networks.heads import with_head
from cxr_monai.outputs import bytes_of, check_folder, check_new_folder
from cxr_monai.sharing.export.contract import INPUT, OUTPUT, contract, gives

logger = logging.getLogger(__name__)

FORMATS = ("torchscript", "onnx")
LOST_GATE = "an export holds the network alone"
"""Why an export's configurations name no gate."""
EXPORT_TOLERANCE = 1e-4
"""The most that a log-odds of an exported file may differ from the bundle's."""
BATCHES = (1, 3)
"""Images at a time in the comparison; the network is traced with two."""

ROOM = 32 << 20
"""Bytes that a network takes at most beside its weights while it is exported."""
_SUFFIX = {"torchscript": "ts", "onnx": "onnx"}


def export(
    bundle: str | Path, out: str | Path, formats: Sequence[str] = FORMATS, force: bool = False
) -> dict[str, float]:
    """Write a bundle's network and its contract into a new folder, whole or not at all.

    Args:
        bundle: with weights; stays as it is.
        out: a folder that does not exist yet. It gets ``model.ts`` (TorchScript, with the bundle's metadata,
            ``inference.json`` and the contract inside, as MONAI's ``ckpt_export`` writes it), ``model.onnx`` (with the
            contract in its ``metadata_props``) and ``contract.json``.
        formats: of `FORMATS`. Both take float32 ``[B, C, S, S]``, for any B; ``model.ts`` gives the network's outputs
            ``[B, K]``, ``model.onnx`` the labels' log-odds ``[B, F]``, float32.
        force: an earlier export at ``out`` may be replaced.

    Returns:
        the largest difference of a log-odds from the bundle's, by file.

    Raises:
        UsageError: ``output-exists``.
        BundleError: ``export-differs``, or the bundle is none.
        SettingError: ``setting-invalid`` for another format, ``runtime-missing`` for ONNX without its packages.
        WeightsError: the weights are missing or belong to another network.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    opened, out = Bundle.open(bundle), Path(out)
    _check(formats)
    check_new_folder(out, "contract.json", force, bytes_of(opened.root), opened.root)
    with durable_folder(out, force) as folder:
        differences = {}
        for name in formats:
            file = folder / f"model.{_SUFFIX[name]}"
            differences[file.name] = write_network(opened, file)
        write_json(
            folder / "contract.json", contract(opened, shape_of(opened), _file_entries(opened, folder, differences))
        )
    return differences


def head_included(file: Path) -> bool:
    """Return whether a file of this suffix gives the labels' log-odds, or the network's outputs before the head."""
    return file.suffix == ".onnx"


def _check(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise SettingError(
                Code.SETTING_INVALID, f"the format {name!r} does not exist; choose among {', '.join(FORMATS)}."
            )
    missing = [name for name in ("onnx", "onnxruntime") if "onnx" in formats and find_spec(name) is None]
    if missing:
        raise SettingError(
            Code.RUNTIME_MISSING,
            f"ONNX needs {' and '.join(missing)}, to write the file and to compare it.",
            fix="Install them with 'pip install cxr-monai[export]', or export TorchScript alone.",
        )


def _file_entries(bundle: Bundle, folder: Path, differences: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "gives": gives(bundle, head_included(folder / name)),
            "sha256": file_digest(folder / name),
            "largest_difference": difference,
            "compared": f"log-odds of random images with those of the bundle in float32, batches of {BATCHES}",
        }
        for name, difference in differences.items()
    }


def shape_of(bundle: Bundle) -> tuple[int, ...]:
    """Return the shape ``[C, S, S]`` of one image as the network takes it."""
    return tuple(int(size) for size in bundle.parser().get_parsed_content("dataset#shape"))


def write_network(bundle: Bundle, file: Path) -> float:
    """Write one file, read it back and compare it.

    Args:
        bundle: with weights.
        file: ``.ts`` or ``.onnx``.

    Returns:
        the largest difference of a log-odds.

    Raises:
        BundleError: ``export-differs``; there is no file then.
        WeightsError: the weights are missing or belong to another network.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    # PyTorch ends the whole process where the disk that it exports to becomes full: there must be room beforehand
    with tempfile.TemporaryDirectory(prefix="cxr-monai-") as folder:
        check_folder(folder, (), room=4 * bundle.weights.stat().st_size + ROOM if bundle.weights.is_file() else 0)
        exported = Path(folder) / file.name
        difference = _export_and_compare(bundle, exported)
        copy_durably(exported, file)
    return difference


def _export_and_compare(bundle: Bundle, file: Path) -> float:
    model = Model.open(bundle.root, device="cpu", raw=True, gate="off")
    network, head, shape = model.network, model.head, model.shape
    with _quiet():
        (_write_onnx if file.suffix == ".onnx" else _write_torchscript)(bundle, file, shape)
    exported = _RUNTIMES[file.suffix](file)
    difference = largest_output_difference(
        lambda batch: head(network(batch)),
        exported if head_included(file) else lambda batch: head(exported(batch)),
        images(bundle, shape),
    )
    if not difference <= EXPORT_TOLERANCE:  # NaN is a difference, too
        raise BundleError(
            Code.EXPORT_DIFFERS,
            f"a log-odds of the exported {file.name} differs by {difference:g} from the bundle's; "
            f"{EXPORT_TOLERANCE:g} is allowed.",
            fix="Nothing was left behind. Try the other format; this network does something that cannot be exported.",
            where=bundle.root,
        )
    return difference


def _arguments(bundle: Bundle, file: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what MONAI's exports are called with: the network, with its head where the file includes it, two images.

    What goes into the file stands beside it until then: metadata that say what the file gives, and the configuration.
    """
    metadata, config = file.with_name("metadata.json"), file.with_name("inference.json")
    full_contract = contract(bundle, shape, {})
    write_json(metadata, {**bundle.metadata, "exported": _embedded_contract(bundle, file, full_contract)})
    write_json(config, exported_configuration(bundle, path=None, weights=None))
    headed = {"_target_": f"{with_head.__module__}.{with_head.__name__}", "network": "@network_def"}
    with_its_head = head_included(file) and "head_def" in bundle.parser().config
    return {
        "net_id": "exported" if with_its_head else "network_def",
        "filepath": str(file),
        "ckpt_file": str(bundle.weights),
        "meta_file": str(metadata),
        "config_file": str(config),
        "use_trace": True,
        "input_shape": (2, *shape),
        "bundle_root": str(bundle.root),
        **({"exported": headed | {"head": "@head_def"}} if with_its_head else {}),
    }


def exported_configuration(bundle: Bundle, **arguments: Any) -> dict[str, Any]:
    """Return the ``inference.json`` of an export: it carries the calibration, names no gate, and is of float32.

    Args:
        bundle: that is exported.
        arguments: further ones of the configuration's item ``calibration``.

    Returns:
        the configuration; otherwise as in the bundle. A warning is logged if the bundle's calibration has no item
        that could apply it, and so is lost.
    """
    config = read_json(bundle.root / "configs" / "inference.json")
    fitted = calibration_in(bundle.root, calibration_item(bundle.root), bundle.labels, bundle.weights)
    exported = with_calibration(
        config,
        fitted.carried() if fitted is not None and not fitted.lost else None,
        fitted.lost if fitted is not None and fitted.lost else None,
        **arguments,
    )
    if fitted is not None and fitted.calibrates and "values" not in exported.get("calibration", {}):
        logger.warning("the export is not calibrated: inference.json has no item 'calibration' that applies one")
    exported = with_gate(exported, missing=LOST_GATE)
    return exported | ({"amp": False} if "amp" in exported else {})


def _embedded_contract(bundle: Bundle, file: Path, full_contract: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the contract that is embedded in one file: outputs, input, preprocessing, no gate."""
    return {
        **gives(bundle, head_included(file)),
        **{key: full_contract[key] for key in ("input", "preprocessing", "normalisation", "gate")},
    }


def _write_torchscript(bundle: Bundle, file: Path, shape: tuple[int, ...]) -> None:
    ckpt_export(**_arguments(bundle, file, shape))
    described = contract(bundle, shape, {}) | {"gives": gives(bundle, head_included(file))}
    _rewrite(file, {"extra/contract.json": json.dumps(described).encode()})


def _write_onnx(bundle: Bundle, file: Path, shape: tuple[int, ...]) -> None:
    # PyTorch's newer exporter needs onnxscript on top, and specialises what this one leaves free
    onnx_export(
        **_arguments(bundle, file, shape),
        converter_kwargs={
            "dynamo": False,
            "input_names": [INPUT],
            "output_names": [OUTPUT],
            "dynamic_axes": {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        },
    )
    import onnx

    model = onnx.load(str(file))
    full_contract = contract(bundle, shape, {})
    described = _embedded_contract(bundle, file, full_contract) | {"contract": full_contract}
    # plain words stay as they are, all else is JSON
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, str(file))


def _rewrite(file: Path, added: Mapping[str, bytes]) -> None:
    """Remove the debug records, which hold source paths of this machine, from a TorchScript file, and add files."""
    bare = file.with_suffix(".bare")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(bare, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # the network needs none of it
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
        for name, content in added.items():
            target.writestr(zipfile.ZipInfo(f"{file.stem}/{name}"), content)
    os.replace(bare, file)


def images(bundle: Bundle, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """Return one batch of random images for each size in `BATCHES`: smooth shapes and noise over the input's range.

    Args:
        bundle: whose metadata gives the range of the network's input.
        shape: of one image, ``[C, S, S]``.

    Returns:
        float32 tensors ``[B, C, S, S]``, the same at every call.
    """
    low, high = bundle.metadata["network_data_format"]["inputs"]["image"]["value_range"] or (0, 1)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for batch in BATCHES:
        coarse = torch.rand(batch, shape[0], 8, 8, generator=generator)
        smooth = nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
        mixed = (3 * smooth + torch.rand(batch, *shape, generator=generator)) / 4
        batches.append(low + (high - low) * mixed)
    return batches


@torch.no_grad()
def largest_output_difference(
    network: Callable[[torch.Tensor], torch.Tensor],
    exported: Callable[[torch.Tensor], torch.Tensor],
    batches: Sequence[torch.Tensor],
) -> float:
    """Return the largest absolute difference between the outputs of two networks.

    Args:
        network: the bundle's.
        exported: the one to compare; takes and gives the same tensors.
        batches: inputs, each ``[B, C, S, S]``.

    Returns:
        the difference in the unit of the outputs; infinite where shapes differ or an output is NaN.
    """
    worst = 0.0
    for batch in batches:
        expected, actual = network(batch), exported(batch)
        if expected.shape != actual.shape:
            return float("inf")
        worst = max(worst, float((expected - actual).abs().max().nan_to_num(torch.inf)))
    return worst


def _torchscript(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    return torch.jit.load(str(file)).eval()


def _onnx(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run([OUTPUT], {INPUT: batch.numpy()})[0])


_RUNTIMES: dict[str, Callable[[Path], Callable[[torch.Tensor], torch.Tensor]]] = {".ts": _torchscript, ".onnx": _onnx}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence MONAI's log, which holds paths of this machine, and warnings of tracing, which the comparison covers."""
    log = logging.getLogger("monai.bundle.scripts")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # both exporters are; MONAI is built on them
        try:
            yield
        finally:
            log.setLevel(level)
