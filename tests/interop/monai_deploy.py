"""A stand-in of MONAI Deploy's ``MonaiBundleInferenceOperator``, which needs the Holoscan SDK and does not install.

It follows, step by step and under the same names, ``monai/deploy/operators/monai_bundle_inference_operator.py`` of
monai-deploy-app-sdk 4.0.0: how a bundle is opened (``get_bundle_config``, ``_load_model_from_directory_bundle``), what
is dropped of its transforms (``filter_compose``), what arrives of an input (``_receive_input``,
``_convert_from_image``), and ``compute``. ``bundle_root`` is never set.
"""

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from monai.utils import convert_to_dst_type, ensure_tuple, first


class Image:
    """``monai.deploy.core.Image``: an array and metadata."""

    def __init__(self, data: np.ndarray, metadata: dict[str, Any] | None = None) -> None:
        self.data, self.metadata = data, metadata or {}


def get_bundle_config(path: Path) -> ConfigParser:
    """Read a folder's ``configs``, or the files that lie in a TorchScript archive below ``NAME/extra``."""
    parser = ConfigParser()
    texts = {}
    for name in ("metadata", "inference"):
        if path.is_dir():
            texts[name] = (path / "configs" / f"{name}.json").read_text()
        else:
            with zipfile.ZipFile(path) as archive:
                texts[name] = archive.read(f"{path.stem}/extra/{name}.json").decode()
    parser.read_meta(f=json.loads(texts["metadata"]))
    parser.read_config(json.loads(texts["inference"]))
    parser.parse()
    return parser


def filter_compose(compose: Compose) -> Compose:
    """Drop what is called LoadImage or SaveImage in any way."""
    compose.transforms = tuple(
        transform
        for transform in compose.transforms
        if not any(name in type(transform).__name__ for name in ("LoadImage", "SaveImage"))
    )
    return compose


class Operator:
    """Open a bundle (a folder, or a TorchScript file) and predict images that are in memory."""

    def __init__(self, path: Path) -> None:
        parser = get_bundle_config(path)
        meta = parser["_meta_"]
        self.device = parser.get_parsed_content("device")
        self.inferer = parser.get_parsed_content("inferer")
        self.inputs, self.outputs = (meta["network_data_format"][side] for side in ("inputs", "outputs"))
        self.preprocessing = filter_compose(parser.get_parsed_content("preprocessing"))
        self.postprocessing = filter_compose(parser.get_parsed_content("postprocessing"))
        script = path / "models" / "model.ts" if path.is_dir() else path
        if script.exists():
            self.network: Any = torch.jit.load(str(script), map_location=self.device).eval()
        else:  # "network" first, so our weights must be found; "network_def" where a bundle has no such item
            network = parser.get_parsed_content("network" if parser.get("network") is not None else "network_def")
            network.load_state_dict(torch.load(script.with_name("model.pt"), map_location=self.device), strict=True)
            self.network = network.eval()

    def compute(self, received: Any) -> dict[str, Any]:
        """Return the postprocessed dictionary; what is emitted of it is :meth:`emitted`."""
        name = next(iter(self.inputs))
        with torch.no_grad():
            value, metadata = self._receive_input(received, self.inputs[name])
            value = convert_to_dst_type(value, dst=value)[0]
            value = MetaTensor.ensure_torch_and_prune_meta(value, metadata or {})
            assert isinstance(first(self.preprocessing.transforms), MapTransform)
            inputs = self.preprocessing({name: value})
            image = inputs.pop(name)
            others = {key: item[None] for key, item in inputs.items() if isinstance(item, torch.Tensor)}
            outputs = self.inferer(inputs=image[None].to(self.device), network=self.network, **others)
            inputs[name] = image
            made = self.postprocessing({next(iter(self.outputs)): ensure_tuple(outputs)[0], **inputs})
        assert isinstance(image.meta, dict)  # what is emitted is given the input's metadata
        return dict(made)

    def emitted(self, received: Any) -> np.ndarray:
        """Return the probabilities that leave the operator, for an output of the type ``probabilities``."""
        name, about = next(iter(self.outputs.items()))
        assert about["type"] == "probabilities"
        value = self.compute(received)[name]
        value.max(dim=0)
        return value.cpu().numpy()

    def _receive_input(self, value: Any, about: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        if isinstance(value, Image):
            return self._convert_from_image(value)
        if not isinstance(value, np.ndarray):
            return value, None
        if value.ndim == 3 and len(about["spatial_shape"]) == 2 and value.shape[-1] != about["num_channels"]:
            assert about["num_channels"] == 1  # else it is refused
            value = value[..., 0:1]
        assert value.ndim in (3, 4)
        return torch.from_numpy(value), {"original_channel_dim": "no_channel" if value.ndim == 3 else -1}

    @staticmethod
    def _convert_from_image(image: Image) -> tuple[Any, dict[str, Any]]:
        given = image.metadata
        if not given or ("spacing" in given and "original_affine" in given) or "row_pixel_spacing" not in given:
            return image.data, given
        meta = copy.deepcopy(given)
        spacings = ("row_pixel_spacing", "col_pixel_spacing", "depth_pixel_spacing")
        meta["spacing"] = np.asarray([given[spacing] for spacing in spacings])
        meta["original_affine"] = np.asarray(given.get("nifti_affine_transform", None))
        meta["affine"] = meta["original_affine"].copy()
        converted = np.swapaxes(image.data, 0, 2)  # DHW to WHD
        return converted, meta | {
            "spatial_shape": np.asarray(converted.shape),
            "original_channel_dim": "no_channel",
        }
