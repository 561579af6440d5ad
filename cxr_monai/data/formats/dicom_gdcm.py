"""Compressed pixels through GDCM, in a process of its own.

Only GDCM, of the decoders that the ``dicom`` extra installs, reads JPEG Lossless and 12-bit JPEG Extended, and it ends
the whole process on some damaged streams (an uncaught C++ exception). One bad file must not end a training, so GDCM
runs in a child that imports nothing else: about 0.1 s a file more than a call would take.

As a program, this file reads a compressed frame from standard input and writes the decoded samples to standard output.
"""

import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from cxr_monai.plurals import counted

# PS3.6 A-1, those that GDCM decodes; 52, 53 and 55 are retired kinds of JPEG with 12 bits
GDCM_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 52, 53, 55, 57, 70, 80, 81, 90, 91, 92, 93)
)

_SECONDS = 120


@lru_cache(maxsize=1)
def gdcm_is_installed() -> bool:
    """Return whether GDCM's Python package is here (a folder of that name in the working directory is not it)."""
    spec = find_spec("gdcm")
    return spec is not None and spec.origin is not None


def decode_with_gdcm(
    frame: bytes, syntax: str, *, rows: int, columns: int, allocated: int, stored: int, signed: int
) -> bytes:
    """Return the samples of one monochrome frame, in the machine's byte order.

    Args:
        frame: the compressed bytes.
        syntax: UID of the transfer syntax.
        rows, columns: of the picture.
        allocated, stored: bits of a pixel.
        signed: Pixel Representation, 0 or 1.

    Raises:
        ValueError: if GDCM cannot decode it.
    """
    shape = [str(int(number)) for number in (rows, columns, allocated, stored, signed)]
    # -P: the folder of this file must not serve the child's imports
    command = [sys.executable, "-P", str(Path(__file__).resolve()), syntax, *shape]
    try:
        done = subprocess.run(command, input=frame, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"no answer in {_SECONDS} seconds") from None
    if done.returncode != 0:
        raise ValueError("cannot decode it")
    if len(done.stdout) != rows * columns * allocated // 8:
        raise ValueError(f"gives {counted(len(done.stdout), 'byte')} of {rows * columns * allocated // 8:,}")
    return done.stdout


def _main(syntax: str, rows: int, columns: int, allocated: int, stored: int, signed: int) -> int:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    pixel_data = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixel_data.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(pixel_data)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stored, stored - 1, signed))
    samples = image.GetBuffer()  # bytes disguised as a string
    sys.stdout.buffer.write(samples.encode("utf-8", "surrogateescape"))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], *(int(number) for number in sys.argv[2:])))
