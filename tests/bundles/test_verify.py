"""MONAI's own tools on the trained bundle: ``verify_net_in_out``, ``ckpt_export``, ``verify_metadata``."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata
from monai.networks.nets import DenseNet121

from cxr_monai.labels import NIH14
from tests.support.bundle_runs import CONFIGS, SHIPPED, Trained, process_as_it_was, read

# Written from the MONAI Bundle Specification (its table of metadata.json); MONAI's own cannot be downloaded here.
SCHEMA = Path(__file__).with_name("meta_schema.json")


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("config", ["train", "evaluate", "inference", "explain"])
def test_network_is_what_the_metadata_says(config: str, trained: Trained, elsewhere: Path) -> None:
    with process_as_it_was():
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(trained.bundle / "configs" / "metadata.json"),
            config_file=str(trained.bundle / "configs" / f"{config}.json"),
            bundle_root=str(trained.bundle),
        )


def test_network_with_its_weights_is_what_the_metadata_says(trained: Trained, elsewhere: Path) -> None:
    with process_as_it_was():
        verify_net_in_out(
            net_id="network",
            meta_file=str(trained.bundle / "configs" / "metadata.json"),
            config_file=str(trained.bundle / "configs" / "inference.json"),
            bundle_root=str(trained.bundle),
        )


def test_wrong_channels_are_found(trained: Trained, elsewhere: Path) -> None:
    with process_as_it_was(), pytest.raises(ValueError, match="doesn't match"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(trained.bundle / "configs" / "metadata.json"),
            config_file=str(trained.bundle / "configs" / "inference.json"),
            **{"_meta_#network_data_format#outputs#pred#num_channels": 13},
        )


def test_exported_network_gives_the_same(trained: Trained, elsewhere: Path) -> None:
    with process_as_it_was():
        ckpt_export(
            net_id="network_def",
            filepath="model.ts",
            ckpt_file=str(trained.bundle / "models" / "model.pt"),
            meta_file=str(trained.bundle / "configs" / "metadata.json"),
            config_file=str(trained.bundle / "configs" / "inference.json"),
            bundle_root=str(trained.bundle),
        )
    exported, meta, extra = load_net_with_metadata(str(elsewhere / "model.ts"), more_extra_files=("inference.json",))
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=14)
    network.load_state_dict(torch.load(trained.bundle / "models" / "model.pt", weights_only=True))
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(exported.eval()(images), network.eval()(images), rtol=0, atol=1e-6)
    assert meta["network_data_format"]["outputs"]["pred"]["channel_def"] == dict(enumerate_text(NIH14))
    assert json.loads(extra["inference.json"])["labels"] == list(NIH14)


def enumerate_text(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pair names with their position as text, as JSON's keys are."""
    return [(str(index), name) for index, name in enumerate(names)]


# ---------------------------------------------------------------- the metadata


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def schema_url() -> Iterator[str]:
    """The schema, served on the loopback."""
    with HTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(SCHEMA.parent))) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{SCHEMA.name}"
        server.shutdown()
        thread.join()


def with_schema(bundle: Path, url: str, out: Path, **changes: Any) -> Path:
    """Write a copy of a bundle's metadata that names another schema."""
    metadata = read(bundle, "metadata") | {"schema": url} | changes
    out.write_text(json.dumps({key: value for key, value in metadata.items() if value is not ...}), encoding="utf-8")
    return out


# MONAI warns of a download without a checksum; its command line gives none
without_checksum = pytest.mark.filterwarnings("ignore:No hash value provided for:UserWarning:monai")


@without_checksum
@pytest.mark.parametrize("which", ["cxr_nih14", "cxr_categories", "cxr_transfer", "trained"])
def test_metadata_follows_the_specification(which: str, trained: Trained, schema_url: str, elsewhere: Path) -> None:
    bundle = trained.bundle if which == "trained" else SHIPPED.with_name(which)
    metadata = with_schema(bundle, schema_url, elsewhere / "metadata.json")
    verify_metadata(meta_file=str(metadata), filepath=str(elsewhere / "schema.json"))
    assert (elsewhere / "schema.json").read_bytes() == SCHEMA.read_bytes()


@without_checksum
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": ...}, "'version' is a required property"),
        ({"monai_version": 1.6}, "1.6 is not of type 'string'"),
        ({"network_data_format": {"inputs": {}}}, "'outputs' is a required property"),
        ({"changelog": ["first"]}, "is not of type 'object'"),
    ],
)
def test_the_schema_finds_what_is_wrong(
    changes: dict[str, Any], complaint: str, schema_url: str, elsewhere: Path
) -> None:
    metadata = with_schema(SHIPPED, schema_url, elsewhere / "metadata.json", **changes)
    with pytest.raises(ValueError, match=complaint):
        verify_metadata(meta_file=str(metadata), filepath=str(elsewhere / "schema.json"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_versions_in_the_metadata_name_every_package_that_the_configurations_need() -> None:
    needed = {"cxr-monai"} if any("cxr_monai." in json.dumps(read(SHIPPED, name)) for name in CONFIGS) else set()
    metadata = read(SHIPPED, "metadata")
    assert needed | {"pytorch-ignite", "mlflow", "captum", "pydicom"} <= set(metadata["required_packages_version"])
    assert metadata["version"] in metadata["changelog"]
