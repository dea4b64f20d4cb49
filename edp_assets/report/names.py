"""Names of the report's pages and the links between them; keys of organs and codes may hold any character."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

from edp_assets.storage.cells import file_name, folder_name

INDEX, METHODS, EVIDENCE = "index.html", "methods.html", "evidence.html"


def organ_page(organ: str) -> str:
    """Return the page of an organ, relative to the report's folder."""
    return f"organs/{folder_name(organ)}/index.html"


def scans_page(organ: str) -> str:
    """Return the page of an organ's scans."""
    return f"organs/{folder_name(organ)}/scans.html"


def cell_page(organ: str, icd10: str) -> str:
    """Return the page of an organ and code.

    >>> cell_page("liver", "I10/I15")
    'organs/liver/codes/I10%2FI15.html'
    """
    return f"organs/{folder_name(organ)}/codes/{file_name(icd10, '.html')}"


def href(page: str, target: str, fragment: str = "") -> str:
    """Return the link from a page to a file of the report, both relative to its folder.

    >>> href("organs/liver/index.html", "organs/liver/codes/I10%2FI15.html")
    'codes/I10%252FI15.html'
    """
    relative = posixpath.relpath(target, posixpath.dirname(page) or ".")
    return quote(relative) + (f"#{quote(fragment)}" if fragment else "")


def phenotype_id(encoder: str | None, method: str, cluster: int | None) -> str:
    """Return what a phenotype's part of its page is called, in links and markup."""
    return "-".join(str(part) for part in (encoder, method, cluster) if part is not None)
