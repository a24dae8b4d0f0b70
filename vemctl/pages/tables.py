"""Tables and lists of facts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vemctl.pages.page import escaped
from vemctl.pages.words import value_text


class Markup(str):
    """HTML that stands in a cell as it is; any other text is escaped."""

    __slots__ = ()


def code(text: object) -> Markup:
    """Return plain text as it is typed or stored, for a cell."""
    return Markup(f"<code>{escaped(text)}</code>")


def table(
    rows: Sequence[Sequence[object]],
    header: Sequence[str],
    *,
    caption: str,
    marked: Collection[int] = (),
    caption_shown: bool = True,
) -> str:
    """Return a table whose first column names the rows; it scrolls where the page is narrow.

    Parameters
    ----------
    rows : sequence of sequence of object
        Numbers are aligned on the right; None is a dash.
    header : sequence of str
        Plain text, one per column.
    caption : str
        Plain text: what the table shows.
    marked : collection of int
        Numbers of rows that stand out.
    caption_shown : bool
        Else it is there for those only who hear the page.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    numeric = [
        any(map(_is_number, column)) and all(c is None or _is_number(c) for c in column)
        for column in columns
    ]
    kinds = [' class="number"' if each else "" for each in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{escaped(name)}</th>'
        for name, kind in zip(header, kinds, strict=True)
    )
    body = []
    for number, row in enumerate(rows):
        first, *rest = zip(row, kinds, strict=True)
        cells = f'<th scope="row"{first[1]}>{cell_text(first[0])}</th>'
        cells += "".join(f"<td{kind}>{cell_text(cell)}</td>" for cell, kind in rest)
        mark = ' class="marked"' if number in marked else ""
        body.append(f"<tr{mark}>{cells}</tr>")
    name, unseen = escaped(caption), "" if caption_shown else ' class="unseen"'
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>'
        f"<caption{unseen}>{name}</caption><thead><tr>{head}</tr></thead>\n"
        + "\n".join(["<tbody>", *body, "</tbody></table></div>"])
    )


def facts(mapping: Mapping[str, object]) -> str:
    """Return names and values in two columns, below one another where the page is narrow.

    Parameters
    ----------
    mapping : mapping of str to object
        Names are plain text.
    """
    rows = "\n".join(
        f"<dt>{escaped(name)}</dt><dd>{cell_text(value)}</dd>" for name, value in mapping.items()
    )
    return f'<dl class="facts">\n{rows}\n</dl>' if mapping else ""


def cell_text(value: object) -> str:
    """Return a value as HTML: `Markup` as it is, all else as plain text."""
    return value if isinstance(value, Markup) else escaped(value_text(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
