"""A bundle's folder as one validated object: once opened, its parts are there and agree."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from cxr_monai.bundle.component_names import refuse_unknown_components
from cxr_monai.bundle.digest import CALIBRATION, content_digest
from cxr_monai.bundle.evaluated import MEANING, only
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.bundle.setting_checks import check_agreement, scheme_of
from cxr_monai.durable import write_durably
from cxr_monai.errors import BundleError, Code, ours
from cxr_monai.networks.heads import INDEPENDENT, Head
from cxr_monai.schemes import LabelScheme, channel_labels
from cxr_monai.strict_json import parse_strictly

CONFIGS = ("train.json", "evaluate.json", "inference.json", "explain.json")
METADATA = "configs/metadata.json"
"""The files that every bundle's folder has."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose parts agree; whether its weights fit is found when they are loaded.

    Attributes:
        root: its folder.
        metadata: ``configs/metadata.json``.
        labels: what the network's channels are, in their order: findings, or labels made of findings.
        scheme: what the labels are made of.
        image_size: rows and columns of the network's input.
    """

    root: Path
    metadata: Mapping[str, Any]
    labels: tuple[str, ...]
    scheme: LabelScheme
    image_size: int

    @classmethod
    def open(cls, root: str | Path, digest: str | None = None) -> "Bundle":
        """Open a folder and check it.

        Args:
            root: the folder.
            digest: its `digest`, where it was computed before: then the files are not read for it again.

        Raises:
            BundleError: ``bundle-invalid`` for a missing or unreadable part, ``bundle-disagrees`` if the
                configurations and the metadata contradict each other, naming the setting and both values.
        """
        root = Path(root).resolve()
        if not (root / "configs").is_dir():
            raise BundleError(
                Code.BUNDLE_INVALID,
                "no bundle: it has no folder 'configs'.",
                fix="A training leaves its bundle in OUT/bundle.",
                where=root,
            )
        metadata = read_json(root / METADATA)
        IntendedFilms.of(metadata, root / METADATA)
        inference = read_json(root / "configs" / "inference.json")
        for name in CONFIGS:
            path = root / "configs" / name
            config = read_json(path) if path.is_file() else inference
            for key in (*MEANING, "preprocessing"):
                if key in config and config[key] != inference.get(key):
                    raise BundleError(
                        Code.BUNDLE_DISAGREES,
                        f"{key} is {config[key]!r} in {name}, but {inference.get(key)!r} in inference.json.",
                        where=root,
                    )
        try:
            check_agreement(inference, metadata)
            label_scheme = scheme_of(inference)
            labels = tuple(channel_labels(inference["labels"], label_scheme))
            bundle = cls(root, metadata, labels, label_scheme, int(inference["image_size"]))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise BundleError(
                Code.BUNDLE_INVALID,
                f"a setting, or the metadata, is of another kind than a bundle's ({type(error).__name__}: {error}).",
                where=root,
            ) from error
        if digest is not None:
            vars(bundle)["digest"] = digest
        return bundle

    def __fspath__(self) -> str:
        """Return the folder's path: whatever takes a bundle's folder takes an opened bundle."""
        return str(self.root)

    @property
    def weights(self) -> Path:
        """The state dictionary of the network."""
        return self.root / "models" / "model.pt"

    @property
    def calibration(self) -> Path:
        """The file of calibration and operating points (``cxr_monai.evaluation.fitted``); not every bundle has it."""
        return self.root / CALIBRATION

    @property
    def intended_films(self) -> IntendedFilms | None:
        """The films that it is meant for; None where its metadata do not say, as those of before."""
        return IntendedFilms.of(self.metadata, self.root / METADATA)

    @property
    def title(self) -> str:
        """Name and version, for display."""
        return f"{self.metadata.get('name') or self.root.name}, version {self.metadata.get('version') or 'unknown'}"

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over the names and contents of its files, hexadecimal; read once, when it is first asked for."""
        return content_digest(self.root)

    def parser(self) -> ConfigParser:
        """Return MONAI's parser of what commands evaluate of ``inference.json``, ``bundle_root`` set.

        It holds the items of ``cxr_monai.bundle.evaluated.EVALUATED`` and what they reach; it has no others.
        """
        parser = _Parser(self.root / "configs" / "inference.json")
        parser.read(self.root)
        return parser


class _Parser(ConfigParser):
    """MONAI's parser of one file, which raises a :class:`BundleError` where an expression cannot be evaluated."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def read(self, root: Path) -> None:
        with self._plain_errors("it"):
            self.read_config(str(self.file))
            self.read_meta(str(root / METADATA))
            self.update({"bundle_root": str(root)})
            evaluated = only(self.get())
            refuse_unknown_components(evaluated, self.get("_meta_"), root)
            self.set(evaluated)

    def get_parsed_content(self, id: str = "", **options: Any) -> Any:
        with self._plain_errors(id.replace("::", "#")):
            return super().get_parsed_content(id, **options)

    @contextmanager
    def _plain_errors(self, part: str) -> Iterator[None]:
        try:
            yield
        except (KeyError, ValueError, RuntimeError) as error:  # RuntimeError: also too deep a recursion
            if cause := ours(error):
                raise cause from None
            raise BundleError(
                Code.BUNDLE_INVALID,
                f"{part} cannot be evaluated ({' '.join(str(error).split())[:200]}).",
                fix="'cxr-monai bundle inspect' names what speaks against its configuration.",
                where=self.file,
            ) from error


def head_of(parser: ConfigParser) -> Head:
    """Return the head of a bundle's network, by one of its configurations; older bundles have independent labels."""
    return parser.get_parsed_content("head_def") if "head_def" in parser.config else INDEPENDENT


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a bundle's JSON files.

    Raises:
        BundleError: ``bundle-invalid`` if it is missing or no JSON object.
    """
    try:
        content = parse_strictly(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(Code.BUNDLE_INVALID, "the file is missing from the bundle.", where=path) from None
    except (ValueError, RecursionError) as error:
        raise BundleError(Code.BUNDLE_INVALID, f"not JSON ({error}).", where=path) from error
    if not isinstance(content, dict):
        raise BundleError(Code.BUNDLE_INVALID, "a configuration is a JSON object.", where=path)
    return content


def change_configurations(
    root: str | Path, names: Iterable[str], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Write configurations of a bundle's folder anew, those that are there and that a change alters.

    Args:
        root: the folder.
        names: of the files, such as ``inference.json``.
        change: given a configuration, returns what it shall be.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    for name in names:
        path = Path(root) / "configs" / name
        if not path.is_file():
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        changed = change(config)
        if changed != config:
            write_json(path, changed)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in the format of a bundle's files: indented by two spaces, one newline at the end.

    Args:
        path: the file; written whole or not at all.
        content: anything that JSON holds.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    write_durably(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
