"""JPEG Lossless through GDCM, in a process of its own.

Only GDCM, of the decoders that the ``dicom`` extra installs, reads JPEG Lossless, and it ends the whole process on
some damaged streams (an uncaught C++ exception). One bad file must not end a training, so GDCM runs in a child that
imports nothing else: about 0.1 s a file more than a call would take.

As a program, this file reads a JPEG stream from standard input and writes the decoded samples to standard output.
"""

import subprocess
import sys
from pathlib import Path

_SECONDS = 120


def decode_with_gdcm(
    frame: bytes, syntax: str, *, rows: int, columns: int, allocated: int, stored: int, signed: int
) -> bytes | None:
    """Return the samples of one monochrome frame, in the machine's byte order; None if GDCM cannot decode it."""
    shape = [str(number) for number in (rows, columns, allocated, stored, signed)]
    # -P: the folder of this file must not serve the child's imports
    command = [sys.executable, "-P", str(Path(__file__).resolve()), syntax, *shape]
    try:
        done = subprocess.run(command, input=frame, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    whole = done.returncode == 0 and len(done.stdout) == rows * columns * allocated // 8
    return done.stdout if whole else None


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
