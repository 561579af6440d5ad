"""Open-i's reports, from NLM's XML files (packed or not) or Kaggle's two tables.

reports = read_reports(find_reports(root, None)[0])
reports.headings["CXR1"], reports.images       # ["normal"]; name, uid, projection

An XML file comes from outside: one with a document type is refused, so that no entity is ever expanded.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from cxr_monai.data.sources._files import require_folder, walk
from cxr_monai.data.sources._public import read_columns, resembling_table, tables_in, tables_near
from cxr_monai.errors import Code, ManifestError

OPENI = "Open-i"
REPORTS = "NLMCXR_reports.tgz"
KAGGLE_REPORTS, KAGGLE_PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
_XML = re.compile(r"(?:.*/)?\d+\.xml")
_LARGEST = 1 << 20  # bytes of one report; NLM's have at most 20 thousand
_PACKED = (".tgz", ".tar.gz", ".tar")


@dataclass(frozen=True, eq=False)
class Reports:
    """What the reports say.

    Attributes:
        headings: uid (``CXR1``) -> the MeSH headings with their qualifiers, ``Thickening/pleura/left``.
        images: ``name`` (as the set has it), ``uid``, ``projection`` (``FRONTAL``, ``LATERAL`` or ``""``).
        form: ``nlm`` or ``kaggle``.
    """

    headings: Mapping[str, Sequence[str]]
    images: pd.DataFrame
    form: str


def find_reports(root: Path, table: Path | None) -> tuple[Path, list[str]]:
    """Return NLM's archive, a folder of its XML files, or Kaggle's table of reports, and a note if there was a choice.

    Raises:
        ManifestError: ``source-invalid`` if none is there.
    """
    if table is not None:
        return table, []
    require_folder(root)
    unpacked = next((root / name for name in walk(root) if _XML.fullmatch(name)), None)
    places = [*tables_in(root, [REPORTS]), *([unpacked.parent] if unpacked else []), *tables_in(root, [KAGGLE_REPORTS])]
    if not places:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no reports of {OPENI} are here; looked for {REPORTS}, XML files (1.xml) and {KAGGLE_REPORTS}"
            f"{resembling_table(root, tables_near(root), OPENI)}.",
            fix="Name them with --table FILE (the archive, the folder of XML files, or Kaggle's table of reports).",
            where=root,
        )
    others = ", ".join(place.name for place in places[1:])
    return places[0], [f"took {places[0].name}, not {others} (--table takes another)"] if others else []


def read_reports(path: Path) -> Reports:
    """Read the reports of any form.

    Raises:
        ManifestError: ``source-invalid``: no archive, no XML, a document type, a report twice, another set's table.
    """
    if path.is_dir() or path.name.lower().endswith(_PACKED):
        return _read_nlm(path)
    return _read_kaggle(path)


def _read_nlm(path: Path) -> Reports:
    headings: dict[str, list[str]] = {}
    images = []
    for name, content in _xml_files(path):
        where = f"{path}, {name}"
        report = _parse(content, where)
        identifier = report.find("uId")
        uid = "" if identifier is None else identifier.get("id", "").strip()
        if not uid:
            raise ManifestError(Code.SOURCE_INVALID, "this XML is no report of Open-i: it has no uId.", where=where)
        if uid in headings:
            raise ManifestError(Code.SOURCE_INVALID, f"a second report is {uid}.", where=where)
        headings[uid] = [(heading.text or "").strip() for heading in report.findall("MeSH/major")]
        images += [(image.get("id", "").strip(), uid, "") for image in report.findall("parentImage")]
    if not headings:
        raise ManifestError(Code.SOURCE_INVALID, "no report (1.xml) is in it.", where=path)
    return Reports(headings, pd.DataFrame(images, columns=["name", "uid", "projection"], dtype="str"), "nlm")


def _xml_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the reports in a folder or an archive, whose names are not trusted with anything."""
    if path.is_dir():
        for name in walk(path):
            if _XML.fullmatch(name):
                yield name, (path / name).read_bytes()[: _LARGEST + 1]
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and _XML.fullmatch(member.name) else None
                if file is not None:
                    yield member.name, file.read(_LARGEST + 1)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ManifestError(
            Code.SOURCE_INVALID, f"it cannot be read ({error}).", fix=f"Get {REPORTS} again.", where=path
        ) from error


class _NoDocumentType(ElementTree.TreeBuilder):
    """A tree whose document declares no type: without one there is no entity that could expand or be fetched."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it declares a document type ({name})")


def _parse(content: bytes, where: str) -> ElementTree.Element:
    try:
        if len(content) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 10} KiB")
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDocumentType()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ManifestError(Code.SOURCE_INVALID, f"this is no report of Open-i: {error}.", where=where) from error


def _read_kaggle(path: Path) -> Reports:
    cells = read_columns(path, {"uid": ("uid",), "headings": ("MeSH",)}, OPENI)
    places = [path.with_name(KAGGLE_PROJECTIONS + end) for end in ("", ".gz")]
    projections = next((place for place in places if place.is_file()), None)
    if projections is None:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{KAGGLE_PROJECTIONS} is not beside the reports: nothing tells which images are whose.",
            where=path,
        )
    films = read_columns(projections, {"name": ("filename",), "uid": ("uid",), "projection": ("projection",)}, OPENI)
    twice = cells.index[cells["uid"].duplicated()]
    if not twice.empty:
        raise ManifestError(
            Code.SOURCE_INVALID, f"a second report is {cells['uid'][twice[0]]}.", where=f"{path}, line {twice[0]}"
        )
    lost = films.index[~films["uid"].isin(cells["uid"])]
    if not lost.empty:
        uid = films["uid"][lost[0]]
        raise ManifestError(Code.SOURCE_INVALID, f"no report is {uid!r}.", where=f"{projections}, line {lost[0]}")
    headings = {
        f"CXR{uid}": [heading.strip() for heading in text.split(";") if heading.strip()]
        for uid, text in zip(cells["uid"], cells["headings"], strict=True)
    }
    films = films.assign(uid="CXR" + films["uid"], projection=films["projection"].str.upper())
    return Reports(headings, films[["name", "uid", "projection"]].reset_index(drop=True), "kaggle")
