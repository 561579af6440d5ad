"""Places: the paths that a bundle may read or write, whichever callable takes them.

A path is a literal, relative and without ``..``; or ``@bundle_root``, ``@output_dir``, ``@dataset_dir``, ``@manifest``,
which whoever runs the bundle gives; or those joined with such literals (``os.path.join``, ``Path(...) / ...``, ``+``
with a literal on its right, or with a place behind a literal that ends with ``/``);
or a reference to what the configuration says in one of these ways. A path that is computed in any other way is refused:
nobody can read from it where it leads.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from cxr_monai.bundle.evaluated import MACRO_FILE, Id, Reach, mentions
from cxr_monai.sharing.inspection import syntax

NAMED = ("bundle_root", "output_dir", "dataset_dir", "manifest")
"""Settings that are places; whoever runs the bundle gives them."""
CONTAINER = ("/workspace/", "/datasets/")
"""Where the model zoo's bundles expect data and themselves, in a container of their own."""
NO_PLACE = (
    "A path is a literal, relative and without '..'; or @bundle_root, @output_dir, @dataset_dir, @manifest; or one of "
    "these joined with such literals."
)
READING = frozenset({
    "glob.glob", "os.path.exists", "os.path.isdir", "os.path.isfile", "load_decathlon_datalist",
    "load_decathlon_properties", "torch.utils.tensorboard.SummaryWriter",
})  # fmt: skip
"""Callables of expressions all of whose arguments are places, or no texts that lead anywhere."""

_NAME = re.compile(
    r"(^|_)(paths?|dirs?|files?|filenames?|folders?|roots?|pathnames?|director(y|ies)|"
    r"prefix|suffix|postfix)$"
)
_MORE_NAMES = frozenset({
    "manifest", "manifest_name", "npzfile", "output_ext", "extension", "comment", "save_key_metric",
    "db_name", "init_weights", "parent", "boxes", "weights",
})  # fmt: skip
FILES_BY_KEY = frozenset({
    "save_dict", "key_metric", "key_val_metric", "key_train_metric", "additional_metrics",
})  # fmt: skip
"""Arguments whose sections have keys that become parts of file names."""
OBJECTS = (
    "cxr_monai.components.open_manifest",
    "cxr_monai.components.disease_manifest",
    "cxr_monai.components.sampling_weights",
)
"""Components that may be given instead of a path; the paths in their own arguments are judged there."""
_DEEPEST = 50
# A slash, or in a part of the key two dots or a drive.
_MORE_THAN_A_PART = re.compile(r"[/\\]|(^|#|::)(\.\.($|#|::)|[A-Za-z]:(?!:))")
_MOMENT = re.compile(r"(datetime\.)?datetime\.now\(\)\.(strftime\('([\w-]|%[YymdHMSjBbAawUGVu])+'\)|isoformat\(\))")


def names_a_place(argument: str) -> bool:
    """Return whether an argument of this name is a path."""
    return _NAME.search(argument) is not None or argument in _MORE_NAMES


def is_part(key: str) -> bool:
    """Return whether a key is at most one part of a path: Ignite and MONAI name files after some."""
    return _MORE_THAN_A_PART.search(key) is None


def leads_elsewhere(path: str) -> bool:
    """Return whether a path is absolute on any system, of a home folder, or leads upwards; or one of several does,
    with commas between and names before them (as ``manifest`` takes them)."""
    return any(map(_leads_elsewhere, {path, *re.split("[,=]", path)}))


def _leads_elsewhere(path: str) -> bool:
    parts = (*PurePosixPath(path).parts, *PureWindowsPath(path).parts)
    absolute = PurePosixPath(path).is_absolute() or bool(PureWindowsPath(path).anchor)
    return absolute or ".." in parts or path.startswith("~") or re.match(r"(?i)file:", path) is not None


def is_relative(path: str) -> bool:
    """Return whether a text is a relative path that every program reads as the same one.

    Drives, shares, home folders, variables, encoded characters (``%2e``), backslashes and control characters are none.
    """
    odd = re.search(r"[\\$%\x00-\x1f\x7f]|^[A-Za-z][A-Za-z0-9+.-]*:|::", path)
    return not leads_elsewhere(path) and odd is None


def is_of_the_container(path: str) -> bool:
    """Return whether a literal is a place in the container that the model zoo's bundles are written for."""
    return path.startswith(CONTAINER) and is_relative(path.lstrip("/"))


def _ends_a_part(node: ast.AST) -> bool:
    """Return whether an expression ends with a literal slash, so that the text behind it is a path of its own."""
    last = node.right if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) else node
    return isinstance(last, ast.Constant) and isinstance(last.value, str) and last.value.endswith("/")


class Places:
    """Determines whether the value of an argument is a place.

    Args:
        reach: references of all configurations.
        names: dotted name of each name that they import.
    """

    def __init__(self, reach: Reach, names: Mapping[str, str]) -> None:
        self.reach, self.names = reach, syntax.GLOBALS | dict(names)
        self._open: list[Id] = []
        self._results: dict[tuple[Id, bool], bool] = {}

    def is_place(self, value: Any, parts: Id, empty: bool = True) -> bool:
        """Return whether a value of a configuration is a place, or no text at all.

        Args:
            value: of an item.
            parts: the item's id.
            empty: whether an empty text is one; ``'' + '/etc'`` begins with none.
        """
        if not isinstance(value, str):
            return True
        if value.startswith("$"):
            try:
                tree = syntax.parse_expression(value[1:])
            except ValueError:
                return False
            return isinstance(tree, ast.Expression) and self.is_place_node(tree.body, empty)
        if value.startswith(("@", "%")):
            ids = mentions(value, parts)
            is_single_id = len(ids) == 1 and not MACRO_FILE.search(value) and re.fullmatch(r"[@%][\w#: -]*", value)
            return bool(is_single_id) and self._is_place_id(ids[0], empty)
        return (is_relative(value) and (empty or value != "")) or self._is_container_setting(value, parts)

    def is_section(self, value: Any, parts: Id) -> bool:
        """Return whether a value is a literal section, or a reference to one, so that its keys can be judged.

        Args:
            value: of an item.
            parts: the item's id.
        """
        if not isinstance(value, str):
            return True
        ids = mentions(value, parts) if re.fullmatch(r"[@%][\w#: -]+", value) else []
        return len(ids) == 1 and self._is_section_id(ids[0])

    def _is_section_id(self, parts: Id) -> bool:
        if parts in self._open or len(self._open) > _DEEPEST or not self.reach.has(parts):
            return False
        self._open.append(parts)
        values = self.reach.values(parts)
        section = "_target_" not in self.reach.inside(parts) and all(self.is_section(value, parts) for value in values)
        self._open.pop()
        return section

    def _is_container_setting(self, value: str, parts: Id) -> bool:
        """Return whether an absolute literal is a setting for the model zoo's container; the setting gets a remark."""
        return len(parts) == 1 and parts[0] != "output_dir" and is_of_the_container(value)

    def is_place_node(self, node: ast.AST, empty: bool = True) -> bool:
        """Return whether an expression is a place.

        Args:
            node: its syntax tree.
            empty: see :meth:`is_place`.
        """
        if syntax.is_reference(node):
            name = str(node.slice.value)
            return self._is_place_id(tuple(name.split("::")), empty)
        if isinstance(node, ast.Constant):
            return not isinstance(node.value, str | bytes) or (
                isinstance(node.value, str) and is_relative(node.value) and (empty or node.value != "")
            )
        if isinstance(node, ast.BinOp):
            return self.is_place_node(node.left, False) and self.continues(node)
        if isinstance(node, ast.List | ast.Tuple):
            return all(self.is_place_node(element) for element in node.elts)
        return self._is_place_call(node, empty)

    def _is_place_call(self, node: ast.AST, empty: bool) -> bool:
        if not isinstance(node, ast.Call) or node.keywords or not node.args:
            return _MOMENT.fullmatch(ast.unparse(node)) is not None if isinstance(node, ast.Call) else False
        function = syntax.dotted_name(node.func, self.names)
        if _MOMENT.fullmatch(ast.unparse(node)):
            return True
        if function in ("os.path.join", "pathlib.Path", "pathlib.PurePath"):
            first, *rest = node.args
            return self.is_place_node(first, empty and not rest) and all(map(self.is_place_node, rest))
        return function == "str" and len(node.args) == 1 and self.is_place_node(node.args[0], empty)

    def continues(self, node: ast.BinOp) -> bool:
        """Return whether the right operand only extends the place on the left: ``'/models/model.pt'``, ``'.csv'``.

        ``+`` puts two texts together to one part of a path (``'.'`` and ``'./b'`` to ``'../b'``), so it takes a literal
        that completes no such part, or any place behind a literal that ends with ``/``. ``/`` begins a part anew.
        """
        left, right = node.left, node.right
        if isinstance(node.op, ast.Div):  # Path('a') / '/etc' is '/etc'
            return self.is_place_node(right)
        if not isinstance(node.op, ast.Add):
            return False
        if isinstance(left, ast.List | ast.Tuple) and isinstance(right, ast.List | ast.Tuple):
            return self.is_place_node(right)
        if isinstance(right, ast.Constant):
            text = right.value
            if not isinstance(text, str) or re.search(r"^\.{1,2}(/|$)|[.][.]|:", text):
                return False
            return is_relative(text.lstrip("/"))
        return _ends_a_part(left) and self.is_place_node(right)

    def _is_place_id(self, parts: Id, empty: bool) -> bool:
        key = (parts, empty)
        if key in self._results:
            return self._results[key]
        if parts in self._open or len(self._open) > _DEEPEST:
            return False
        self._open.append(parts)
        self._results[key] = self._item_is_place(parts, empty)
        self._open.pop()
        return self._results[key]

    def _item_is_place(self, parts: Id, empty: bool) -> bool:
        if not self.reach.has(parts):
            return len(parts) == 1  # given by whoever runs it
        targets = self.reach.values((*parts, "_target_"))
        if targets:
            return all(target in OBJECTS for target in targets)
        inside = self.reach.inside(parts)
        return all(self.is_place(value, parts, empty) for value in self.reach.values(parts)) and all(
            self._is_place_id((*parts, name), True) for name in inside
        )
