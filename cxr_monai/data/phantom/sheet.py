"""A picture of phantoms: one row a finding, the finding's box on every second image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cxr_monai.data.phantom.draw import draw_phantom
from cxr_monai.labels import NIH14, NO_FINDING

_YELLOW = (255, 205, 60)


def contact_sheet(
    seed: int = 0, tile: int = 160, findings: Sequence[str] = (NO_FINDING, NO_FINDING, *NIH14), columns: int = 8
) -> Image.Image:
    """Return an RGB picture of phantoms with one finding each, two findings a row if ``columns`` is at least 4.

    Args:
        seed: of the phantoms.
        tile: height and width of one image in pixels.
        findings: what to show; "No Finding" is a chest without any.
        columns: images in a row.
    """
    pairs = 2 if columns >= 4 else 1
    each, label = columns // pairs, 14
    rows = -(-len(findings) // pairs)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + label)), "black")
    pen = ImageDraw.Draw(sheet)
    for number, finding in enumerate(findings):
        left, top = (number % pairs) * each * tile, (number // pairs) * (tile + label)
        pen.text((left + 4, top + 1), finding.replace("_", " "), fill="white", font_size=11)
        for k in range(each):
            # each patient twice: with its box, and without, so that the finding itself can be seen
            phantom = draw_phantom(
                seed,
                tile,
                [] if finding == NO_FINDING else [finding],
                patient=100 * number + k // 2 + 1,
                index=0 if finding != NO_FINDING else k,
                age=35 + 12 * (k // 2) + 2 * number,
                sex="FM"[(number + k // 2) % 2],
                view="AP" if k // 2 % 2 else "PA",
            )
            picture = Image.fromarray(np.round(phantom.pixels * 255).astype(np.uint8)).convert("RGB")
            if k % 2:
                for x, y, width, height in phantom.boxes.values():
                    ImageDraw.Draw(picture).rectangle([x, y, x + width - 1, y + height - 1], outline=_YELLOW)
            sheet.paste(picture, (left + k * tile, top + label))
    return sheet
