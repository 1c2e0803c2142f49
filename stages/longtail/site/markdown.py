"""The Markdown that is in git (about.md, the ledger, the board by protocol) as HTML."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
_TABLE = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'


def block(text: str, address: Callable[[str], str] | None = None) -> Markup:
    """Paragraphs, lists and tables; a table can be scrolled by itself, also with the keyboard.

    address: of a link's target, '' for what the site does not have, whose text then stands alone; see `in_site`.
    """
    tokens = _PARSER.parse(text)
    for token in tokens:
        _follow(token.children or [], address or (lambda target: ""))
    html = _PARSER.renderer.render(tokens, _PARSER.options, {})
    return Markup(html.replace("<table>", _TABLE).replace("</table>", "</table></div>"))


def inline(text: str) -> Markup:
    """A cell or a sentence."""
    return Markup(_PARSER.renderInline(text))


def in_site(target: str, folder: str = "") -> str:
    """The page of the site that has what a link in reports/papers/`folder` points to; '' where none has."""
    path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
    for pattern, page in (
        (r"(\w+)/(?:README|about)\.md", r"papers/\1.html"),
        (r"(\w+)/(table\d+)\.md", r"papers/\1/\2.html"),
        (r"(\w+)/(analyses/.+)", r"papers/\1/\2"),
    ):
        if found := re.fullmatch(pattern, path):
            return found.expand(page)
    return ""


def files(text: str, folder: str) -> list[str]:
    """The files of a folder, such as analyses, that a text links to or shows."""
    return sorted(set(re.findall(rf"\]\(({folder}/[^)]+)\)", text)))


def _follow(tokens: Sequence[Token], address: Callable[[str], str]) -> None:
    linked = []
    for token in tokens:
        if token.type == "link_open":
            there = address(str(token.attrs["href"]))
            linked.append(bool(there))
            token.tag, token.attrs = ("a", {"href": there}) if there else ("span", {})
        elif token.type == "image":
            token.attrs["src"] = address(str(token.attrs["src"]))
        elif token.type == "link_close":
            token.tag = "a" if linked.pop() else "span"
