"""One HTML document in one file: it loads nothing, and a browser holds it to that."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence

from vemctl.pages.script import SCRIPT
from vemctl.pages.style import STYLE

GENERATOR = '<meta name="generator" content="vemctl">'
"""What tells our pages from others."""
START_BYTES = 4096
"""Within which `GENERATOR` stands."""


def page(title: str, body: Sequence[str], *, description: str) -> str:
    """Return a whole document.

    Parameters
    ----------
    title : str
        Plain text: of the window, and the one first heading.
    body : sequence of str
        HTML, such as of `section`; it begins with headings of the second level.
    description : str
        Plain text, one or two sentences below the title.
    """
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src '{_digest(SCRIPT)}'; base-uri 'none'; form-action 'none'"
    )
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        GENERATOR,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta name="description" content="{escaped(description)}">',
        f"<title>{escaped(title)}</title>",
        # A browser asks for an icon that is not named.
        '<link rel="icon" href="data:,">',
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#content">Skip to the content</a>',
        f"<header><h1>{escaped(title)}</h1><p>{escaped(description)}</p></header>",
        '<main id="content" tabindex="-1">',
        *body,
        "</main>",
        f"<script>{SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def section(heading: str, parts: Sequence[str]) -> str:
    """Return a part of the document under a heading of the second level.

    Parameters
    ----------
    heading : str
        Plain text; different in all sections of a document.
    parts : sequence of str
        HTML.
    """
    name = anchor(heading)
    return "\n".join(
        [
            f'<section aria-labelledby="{name}">',
            f'<h2 id="{name}">{escaped(heading)}</h2>',
            *parts,
            "</section>",
        ]
    )


def contents(headings: Sequence[str]) -> str:
    """Return links to the sections of these headings."""
    links = "".join(f'<li><a href="#{anchor(each)}">{escaped(each)}</a></li>' for each in headings)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def heading(text: str) -> str:
    """Return a heading within a section, of the third level."""
    return f"<h3>{escaped(text)}</h3>"


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return plain text as a paragraph.

    Parameters
    ----------
    text : str
    quiet : bool
        As a remark, in a paler colour.
    """
    return f'<p class="quiet">{escaped(text)}</p>' if quiet else f"<p>{escaped(text)}</p>"


def notes(texts: Sequence[str]) -> str:
    """Return warnings as a list that stands out.

    Parameters
    ----------
    texts : sequence of str
        Plain text. A word is written before each, so that nobody needs to see the colour.
    """
    items = "".join(f"<li><strong>Warning:</strong> {escaped(each)}</li>" for each in texts)
    return f'<ul class="notes">{items}</ul>' if texts else ""


def folded(summary: str, parts: Sequence[str]) -> str:
    """Return what is shown when somebody asks for it.

    Parameters
    ----------
    summary : str
        Plain text.
    parts : sequence of str
        HTML.
    """
    return "\n".join(["<details>", f"<summary>{escaped(summary)}</summary>", *parts, "</details>"])


def escaped(text: object) -> str:
    """Return plain text as HTML, in elements and in attributes.

    What cannot stand in a document, as the odd bytes of a file name, is shown as an escape.
    """
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", plain), quote=True)


def anchor(text: str) -> str:
    """Return the name by which a link finds a heading."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _digest(text: str) -> str:
    """Return what a content security policy calls a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
