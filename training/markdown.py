"""Tables and texts in Markdown, whatever the names in them hold."""

from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Returns a text that a table cell or a paragraph can hold: names of data sets and classes may be anything."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; its cells are escaped, its headings are not."""
    cells = ([escaped(cell) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *cells))
