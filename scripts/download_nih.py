#!/usr/bin/env python3
"""Download the image archives of NIH ChestX-ray14: 12 files, 45 GB, resumable and checked.

    python scripts/download_nih.py OUT                 all twelve archives into OUT
    python scripts/download_nih.py OUT --only 1,2      two of them
    python scripts/download_nih.py OUT --extract       and unpack them into OUT/images
    python scripts/download_nih.py OUT --mirror URL    from a copy inside your network: URL/images_001.tar.gz, ...
    python scripts/download_nih.py --list              what there is, and where the tables are

An interrupted download goes on where it stopped when the same command is given again (HTTP Range; the server's ETag
guards against a file that changed meanwhile). Every archive is checked against its MD5 before it gets its name; one
that does not match is kept beside as ``.bad``.

Where the facts in ``ARCHIVES`` come from: the links stand in NIH's ``batch_download_zips.py``, the MD5 sums in NIH's
``FAQ_CHESTXRAY.pdf`` (Q07), both in NIH's Box folder; the sizes are what that server announced to several public
downloaders. They were taken from copies of those files, not tried against NIH's server. NIH publishes no checksums of
the tables and no direct links to them: fetch those in a browser (``--list`` gives the pages). The data set: Wang et
al., CVPR 2017, doi 10.1109/CVPR.2017.369.

Exit status: 0 done, 1 something could not be fetched, 2 wrong use, 130 interrupted.
"""

import argparse
import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, CxrError, DownloadError, UsageError
from cxr_monai.progress import Bar, progress_bar, say
from cxr_monai.stopping import Interrupted, interruptible, kept_so_far

PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
BOX = "https://nihcc.box.com/shared/static/"
# The tables have pages, not direct links; NIH gives no checksums of them.
TABLES = {
    "Data_Entry_2017_v2020.csv": f"{PAGE}/file/219760887468",
    "train_val_list.txt": f"{PAGE}/file/256056636701",
    "test_list.txt": f"{PAGE}/file/256055473534",
    "BBox_List_2017.csv": PAGE,
}
CHUNK = 1 << 20
RESERVE = 1 << 30  # bytes that must stay free
LONGEST_WAIT = 60.0  # seconds between two attempts
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that may be better next time
DIGESTS = {32: "md5", 40: "sha1", 64: "sha256"}  # by the number of hexadecimal digits


@dataclass(frozen=True)
class Archive:
    """One file to fetch: its size in bytes and its checksum (hexadecimal) where they are known."""

    name: str
    url: str
    size: int | None
    checksum: str | None


ARCHIVES: tuple[Archive, ...] = tuple(
    Archive(f"images_{number:03d}.tar.gz", f"{BOX}{key}.gz", size, md5)
    for number, (key, size, md5) in enumerate(
        [
            ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
            ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
            ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
            ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
            ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
            ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
            ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
            ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
            ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
            ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
            ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
            ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
        ],
        start=1,
    )
)


class _Interrupted(Exception):
    """The transfer broke off for a reason that may have passed at the next attempt."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(archive: Archive, folder: Path, *, retries: int = 5, timeout: float = 60.0, pause: float = 1.0) -> Path:
    """Return the path of ``archive`` in ``folder``, downloaded (or resumed) and checked.

    Args:
        archive: what to fetch; without a checksum only the size is checked.
        folder: where it goes; while incomplete it is called ``NAME.part``.
        retries: attempts in a row that may bring nothing new before giving up.
        timeout: seconds without a byte after which an attempt has failed.
        pause: seconds before the second attempt; doubled each time, at most 60.

    Raises:
        DownloadError: ``download-failed``; ``checksum-mismatch``, the file being kept as ``NAME.bad``; ``disk-full``,
            with what has arrived kept.
    """
    target = folder / archive.name
    part = target.with_name(f"{target.name}.part")
    if not target.exists():
        _download(archive, part, retries=retries, timeout=timeout, pause=pause)
    _verify(archive, target if target.exists() else part)
    if part.exists():
        os.replace(part, target)
    _etag_file(part).unlink(missing_ok=True)
    return target


def _download(archive: Archive, part: Path, *, retries: int, timeout: float, pause: float) -> None:
    furthest, failures = _size(part), 0
    with progress_bar(total=archive.size, initial=furthest, desc=archive.name, unit="B") as bar:
        while True:
            try:
                return _transfer(archive, part, timeout, bar)
            except _Interrupted as interruption:
                # counted only if nothing new came: a line that drops every gigabyte still gets there
                failures = 1 if _size(part) > furthest else failures + 1
                furthest = max(furthest, _size(part))
                if failures > retries:
                    raise DownloadError(
                        Code.DOWNLOAD_FAILED,
                        f"{interruption} ({failures} attempts in a row; {_size(part):,} bytes are here).",
                        fix="Give the same command again to go on from there.",
                        where=archive.url,
                    ) from interruption
                wait = max(interruption.wait, min(pause * 2 ** (failures - 1), LONGEST_WAIT))
                say(f"{archive.name}: {interruption}; next attempt in {wait:.0f} s", sys.stderr)
                time.sleep(wait)


def _transfer(archive: Archive, part: Path, timeout: float, bar: Bar) -> None:
    """One attempt: append what is missing to ``part``."""
    have = _size(part)
    if archive.size is not None and have == archive.size:
        return
    request = urllib.request.Request(
        archive.url, headers={"User-Agent": "cxr-monai download_nih", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _etag_file(part).exists():
            # RFC 9110 13.1.5: the rest if the file is still the same one, else all of it
            request.add_header("If-Range", _etag_file(part).read_text(encoding="utf-8"))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            start, total = _offer(archive, response, have)
            _etag_file(part).unlink(missing_ok=True)
            etag = response.headers.get("ETag", "")
            if etag.startswith('"'):  # weak ones (W/"...") may not guard a Range
                write_durably(_etag_file(part), etag.encode())
            bar.total = total
            bar.n = start
            bar.refresh()
            with part.open("ab" if start else "wb", buffering=0) as stream:
                while chunk := response.read(CHUNK):
                    _write(stream, chunk, part)
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if error.code == 416:  # Range not satisfiable: what is here does not belong to what is there
            part.unlink(missing_ok=True)
        elif error.code not in TEMPORARY:
            raise DownloadError(
                Code.DOWNLOAD_FAILED, f"the server answers {error.code} {error.reason}.", fix=_FIX, where=archive.url
            ) from error
        after = error.headers.get("Retry-After", "")
        wait = min(float(after), LONGEST_WAIT) if after.isdigit() else 0.0
        raise _Interrupted(f"the server answers {error.code} {error.reason}", wait) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            fix = "Behind a firewall that inspects traffic, point SSL_CERT_FILE at its certificate."
            raise DownloadError(Code.DOWNLOAD_FAILED, f"{error.reason}.", fix=fix, where=archive.url) from error
        raise _Interrupted(f"no connection ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Interrupted(f"the connection broke ({error or type(error).__name__})") from error
    if total is not None and _size(part) < total:
        raise _Interrupted(f"the connection ended after {_size(part):,} of {total:,} bytes")


_FIX = f"Look at {PAGE} whether the file has moved, or name a copy with --mirror URL."


def _offer(archive: Archive, response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return (the first byte that comes, the whole file's size if told); refuse what is not the archive."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(
            Code.DOWNLOAD_FAILED, "the server sends a web page instead of the archive.", fix=_FIX, where=archive.url
        )
    start, total = 0, None
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise DownloadError(
                Code.DOWNLOAD_FAILED,
                f"asked for the bytes from {have}, the server sends {response.headers.get('Content-Range')!r}.",
                fix=f"Delete {archive.name}.part and start anew, or name another copy with --mirror URL.",
                where=archive.url,
            )
        start, total = have, None if found[2] == "*" else int(found[2])
    elif response.headers.get("Content-Length", "").isdigit():
        total = int(response.headers["Content-Length"])
    if archive.size is not None and total not in (None, archive.size):
        raise DownloadError(
            Code.DOWNLOAD_FAILED,
            f"the server offers {total:,} bytes, {archive.name} has {archive.size:,}.",
            fix=f"{_FIX} For a copy that was packed anew, give --checksums FILE.",
            where=archive.url,
        )
    return start, archive.size if total is None else total


def _write(stream, chunk: bytes, part: Path) -> None:
    try:
        while chunk:
            chunk = chunk[stream.write(chunk) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            Code.DISK_FULL,
            f"the disk is full after {_size(part):,} bytes.",
            fix="Make room and give the same command again; it goes on from there.",
            where=part,
        ) from error


def _verify(archive: Archive, path: Path) -> None:
    """Refuse a file of another size or checksum, keeping it beside as ``NAME.bad``."""
    wrong = ""
    if archive.size is not None and _size(path) != archive.size:
        wrong = f"{_size(path):,} bytes instead of {archive.size:,}"
    elif archive.checksum is not None:
        method = DIGESTS[len(archive.checksum)]
        found = digest(path, method)
        if found != archive.checksum.lower():
            wrong = f"{method} {found} instead of {archive.checksum.lower()}"
    if wrong:
        bad = path.with_name(f"{archive.name}.bad")
        os.replace(path, bad)
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"not the file it should be: {wrong}; kept as {bad.name}.",
            fix="Give the same command again to fetch it anew; else the server holds another file.",
            where=path.with_name(archive.name),
        )


def digest(path: Path, method: str = "md5") -> str:
    """Return a file's checksum in hexadecimal, showing progress (4 GB take about 8 s)."""
    hasher = hashlib.new(method, usedforsecurity=False)
    with (
        path.open("rb") as stream,
        progress_bar(total=_size(path), desc=f"{method} of {path.name}", unit="B", leave=False) as bar,
    ):
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
            bar.update(len(chunk))
    return hasher.hexdigest()


def extract(path: Path, folder: Path) -> int:
    """Unpack an archive into ``folder`` and return how many files it holds; files already there whole are left alone.

    Raises:
        DownloadError: ``download-failed`` for a damaged archive or one that reaches outside ``folder``; ``disk-full``.
    """
    count = 0
    try:
        with tarfile.open(path) as archive, progress_bar(total=None, desc=f"unpack {path.name}", unit="files") as bar:
            for member in archive:
                count += member.isfile()
                if not (member.isfile() and _size(folder / member.name) == member.size):
                    archive.extract(member, folder, filter="data")
                bar.update()
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(Code.DOWNLOAD_FAILED, f"cannot be unpacked ({error}).", fix=_FIX, where=path) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            Code.DISK_FULL, "the disk is full.", fix="Make room and give the same command again.", where=path
        ) from error
    return count


def require_space(archives: Sequence[Archive], folder: Path, *, extracting: bool) -> None:
    """Raise ``disk-full`` unless what is still to come fits (unpacked PNGs take as much as their archive again)."""
    missing = 0
    for archive in archives:
        here = max(_size(folder / archive.name), _size(folder / f"{archive.name}.part"))
        missing += max((archive.size or 0) - here, 0) + (archive.size or 0) * extracting
    free = shutil.disk_usage(folder).free
    if missing and missing + RESERVE > free:
        raise DownloadError(
            Code.DISK_FULL,
            f"{missing / 1e9:.1f} GB are still to come{' and to unpack' * extracting}, {free / 1e9:.1f} GB are free "
            f"(and {RESERVE / 1e9:.1f} GB must stay free).",
            fix="Make room, name another folder, or take fewer archives with --only 1,2.",
            where=folder,
        )


def choose(only: str | None, mirror: str | None, checksums: Path | None) -> list[Archive]:
    """Return the archives to fetch.

    Args:
        only: numbers from 1 to 12 separated by commas, or nothing for all.
        mirror: an http(s) address that holds the archives under their own names.
        checksums: a file as ``md5sum`` or ``sha256sum`` writes it; replaces NIH's sums (and sizes),
            for a copy packed anew.

    Raises:
        UsageError: ``usage``.
    """
    numbers = range(1, len(ARCHIVES) + 1)
    words = [word.strip() for word in only.split(",")] if only is not None else [str(number) for number in numbers]
    wrong = [word for word in words if word not in {str(number) for number in numbers}]
    if wrong:
        raise UsageError(
            Code.USAGE, f"--only: there is no archive {wrong[0]!r}; they are numbered 1 to {len(ARCHIVES)}."
        )
    chosen = [ARCHIVES[number - 1] for number in sorted({int(word) for word in words})]
    if mirror is not None:
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise UsageError(Code.USAGE, f"--mirror: {mirror!r} is no http:// or https:// address.")
        chosen = [replace(archive, url=f"{mirror.rstrip('/')}/{quote(archive.name)}") for archive in chosen]
    if checksums is not None:
        sums = read_checksums(checksums)
        lacking = [archive.name for archive in chosen if archive.name not in sums]
        if lacking:
            raise UsageError(Code.USAGE, f"--checksums: {checksums} has no line for {', '.join(lacking)}.")
        chosen = [replace(archive, size=None, checksum=sums[archive.name]) for archive in chosen]
    return chosen


def read_checksums(path: Path) -> dict[str, str]:
    """Return file name -> checksum from lines ``HEX  NAME`` (MD5, SHA-1 or SHA-256 by length).

    Raises:
        UsageError: ``usage``, for a file that is not there or a line that is not such a one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(Code.USAGE, f"--checksums: {path}: {error.strerror}.") from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2 or len(words[0]) not in DIGESTS or not re.fullmatch("[0-9a-fA-F]+", words[0]):
            raise UsageError(Code.USAGE, f"--checksums: {path}, line {number} is not 'CHECKSUM  NAME': {line!r}.")
        sums[Path(words[1].lstrip("*")).name] = words[0].lower()
    return sums


def listing() -> str:
    """Return the archives, their sizes and checksums, and the pages of the tables, as text."""
    lines = [f"{'':2}  {'archive':17}  {'GB':>5}  {'MD5':32}"]
    for number, archive in enumerate(ARCHIVES, start=1):
        lines.append(f"{number:2}  {archive.name:17}  {(archive.size or 0) / 1e9:5.2f}  {archive.checksum}")
    lines.append(f"{'':2}  {'together':17}  {sum(archive.size or 0 for archive in ARCHIVES) / 1e9:5.2f}")
    return "\n".join([*lines, "", tables_note()])


def tables_note() -> str:
    """Return where the tables are, as text."""
    width = max(map(len, TABLES))
    pages = [f"  {name:{width}}  {page}" for name, page in TABLES.items()]
    return "\n".join(["The tables have no direct links: save them beside the archives from these pages:", *pages])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit status."""
    parser = argparse.ArgumentParser(
        description="Download the image archives of NIH ChestX-ray14 (12 files, 45 GB), resumable and checked.",
        epilog=f"NIH's page: {PAGE}. Afterwards: cxr-monai manifest nih OUT --out manifest.csv",
    )
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", help="folder for the archives")
    parser.add_argument("--list", action="store_true", help="show what there is, and fetch nothing")
    parser.add_argument("--only", metavar="N,N", help="these archives, by number (1 to 12)")
    parser.add_argument("--extract", action="store_true", help="unpack them too, into OUT/images")
    parser.add_argument("--mirror", "--base-url", metavar="URL", help="fetch URL/images_001.tar.gz and so on instead")
    parser.add_argument(
        "--checksums", metavar="FILE", type=Path, help="as md5sum or sha256sum writes it; replaces NIH's"
    )
    parser.add_argument("--retries", metavar="N", type=int, default=5, help="fruitless attempts in a row (default: 5)")
    parser.add_argument("--timeout", metavar="S", type=float, default=60.0, help="seconds without a byte (default: 60)")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print(listing())
        return 0
    if arguments.out is None:
        parser.error("name the folder OUT, or ask for --list")
    try:
        with interruptible(), kept_so_far("the bytes that have arrived"):
            return _run(arguments)
    except CxrError as error:
        print(f"download_nih: error [{error.code}]: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except Interrupted as error:
        print(f"download_nih: {error}", file=sys.stderr)
        return error.status


def _run(arguments: argparse.Namespace) -> int:
    chosen = choose(arguments.only, arguments.mirror, arguments.checksums)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(Code.USAGE, f"the folder {arguments.out} cannot be made: {error.strerror}.") from error
    require_space(chosen, arguments.out, extracting=arguments.extract)
    failed = 0
    for archive in chosen:
        try:
            path = fetch(archive, arguments.out, retries=arguments.retries, timeout=arguments.timeout)
            files = extract(path, arguments.out) if arguments.extract else None
        except DownloadError as error:
            if error.code == Code.DISK_FULL:  # the others would only meet the same
                raise
            failed += 1
            print(f"download_nih: error [{error.code}]: {error}", file=sys.stderr)
            continue
        print(
            f"{archive.name}  complete, checksum right" + (f", {files:,} files unpacked" if files is not None else "")
        )
    print(f"\n{len(chosen) - failed} of {len(chosen)} archives are in {arguments.out}.\n{tables_note()}")
    return 1 if failed else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


if __name__ == "__main__":
    sys.exit(main())
