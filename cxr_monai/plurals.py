"""Counts with their nouns: ``1 image``, ``2 images``, ``1,200 studies``. One function for all messages.

counted(1, "patient")           # "1 patient"
counted(1200, "study")          # "1,200 studies"
out_of(1200, 14400, "image")    # "1,200 of 14,400 images"
be(1)                           # "is"
"""

__all__ = ["be", "counted"]


def counted(number: float, noun: str) -> str:
    """Return a whole number, with commas, and its noun (given in the singular; the last word takes the plural).

    >>> counted(1, "image"), counted(1306, "study")
    ('1 image', '1,306 studies')
    """
    return f"{number:,.0f} {noun if number == 1 else plural(noun)}"


def out_of(part: float, whole: float, noun: str) -> str:
    """Return a part of a number with that number, both with commas; a verb agrees with the noun: 1 of 3 images are.

    Args:
        part, whole: the two numbers.
        noun: in the singular.

    >>> out_of(3, 1306, "image")
    '3 of 1,306 images'
    """
    return f"{part:,.0f} of {counted(whole, noun)}"


def plural(noun: str) -> str:
    """Return the plural of a noun, or of the last word of a phrase."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    hissing = noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch")
    return f"{noun}es" if hissing else f"{noun}s"


def be(number: float) -> str:
    """Return ``is`` or ``are``."""
    return "is" if number == 1 else "are"


def was(number: float) -> str:
    """Return ``was`` or ``were``."""
    return "was" if number == 1 else "were"


def agreeing(number: float, verb: str) -> str:
    """Return a verb (given in the plural's form) as it agrees with a number: ``repeats`` or ``repeat``.

    >>> agreeing(1, "repeat"), agreeing(2, "repeat")
    ('repeats', 'repeat')
    """
    return f"{verb}s" if number == 1 else verb


def have(number: float) -> str:
    """Return ``has`` or ``have``."""
    return "has" if number == 1 else "have"
