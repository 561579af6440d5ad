"""A stand-in of MONAI Label's ``BundleInferTask``, which brings a server, viewers and torchvision with it.

It follows ``monailabel/tasks/infer/bundle.py``, ``basic_infer.py`` and ``transform/post.py`` (``Restored``) of
monailabel 0.8.5: which file of weights is taken, the task told from the folder's name, transforms one after the other
over one dictionary, ``bundle_root`` set. The image is a path, or in memory as the request had it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, SaveImaged


def task_type(name: str) -> str:
    """Return the task that a folder's name tells (``BundleInferTask._get_type``)."""
    tasks = ("deepedit", "deepgrow", "detection", "segmentation", "classification")
    return next((task for task in tasks if task in name.lower()), "segmentation")


class BundleInferTask:
    """A bundle as MONAI Label runs it, on a CPU."""

    def __init__(self, path: Path) -> None:
        self.type = task_type(path.name)
        self.config = ConfigParser()
        self.config.read_config(str(path / "configs" / "inference.json"))
        self.config.config.update({"bundle_root": str(path), "device": "cpu"})
        metadata = json.loads((path / "configs" / "metadata.json").read_text())
        formats = metadata["network_data_format"]
        self.image, self.pred = next(iter(formats["inputs"])), next(iter(formats["outputs"]))
        channels = formats["outputs"][self.pred]["channel_def"]
        self.labels = {int(at): label.lower() for at, label in channels.items() if label.lower() != "background"}
        weights = path / "models" / "model.pt"
        if weights.exists():
            self.network = self.config.get_parsed_content("network_def", instantiate=True)
            self.network.load_state_dict(torch.load(weights, map_location="cpu"), strict=False)
        else:
            self.network = torch.jit.load(str(weights.with_name("model.ts")), map_location="cpu")
        self.network.eval()

    def __call__(self, image: Any, **request: Any) -> dict[str, Any]:
        """Return the dictionary that the writer is given."""
        data: dict[str, Any] = {"device": "cpu", **request, self.image: image}
        for transform in self._transforms("preprocessing"):
            assert not isinstance(transform, LoadImaged)  # else LoadImageTensord stands in its place
            data = transform(data)
        inputs = data[self.image]
        inputs = inputs if torch.is_tensor(inputs) else torch.from_numpy(inputs)
        with torch.no_grad():
            inferer = self.config.get_parsed_content("inferer", instantiate=True)
            data[self.pred] = inferer(inputs[None].to("cpu"), self.network)[0]
        for transform in self._transforms("postprocessing"):
            if not isinstance(transform, SaveImaged):
                data = transform(data)
        return self._restored(data)

    def prediction(self, image: Any, **request: Any) -> dict[str, float]:
        """Return the scores by label (``ClassificationWriter``)."""
        assert self.type == "classification"
        return {self.labels[at]: float(score) for at, score in enumerate(self(image, **request)[self.pred])}

    def _transforms(self, name: str) -> list[Any]:
        compose = self.config.get_parsed_content(name, instantiate=True)
        return list(compose.transforms) if isinstance(compose, Compose) else compose

    def _restored(self, data: dict[str, Any]) -> dict[str, Any]:
        image = data[self.image]
        meta = image.meta if isinstance(image, MetaTensor) else data.get(f"{self.image}_meta_dict", {})
        current = data[self.pred].shape[1:]
        wanted = meta.get("spatial_shape", current)[-len(current) :]
        assert not np.any(np.not_equal(current, wanted))  # else the prediction is resized to the image
        return data
