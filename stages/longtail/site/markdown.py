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
    """Paragraphs, lists and tables as HTML. A wide table can be scrolled by itself, also with the keyboard.

    address: gives the address in the site of what a link points to, or '' if the site does not have it. Then the text
    of the link stays, without a link. See `in_site`.
    """
    tokens = _PARSER.parse(text)
    for token in tokens:
        _follow(token.children or [], address or (lambda target: ""))
    html = _PARSER.renderer.render(tokens, _PARSER.options, {})
    return Markup(html.replace("<table>", _TABLE).replace("</table>", "</table></div>"))


def inline(text: str) -> Markup:
    """A cell or a sentence as HTML, without a paragraph around it."""
    return Markup(_PARSER.renderInline(text))


def in_site(target: str, folder: str = "") -> str:
    """The page of the site for the target of a link in reports/papers/`folder`; '' if the site has no such page."""
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
    """The files in a folder, such as analyses, that a text links to or shows as pictures."""
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
