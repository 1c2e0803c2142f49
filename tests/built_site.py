"""The results page, built for tests, and its elements, which must be nested as HTML asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT

from stages.longtail.site import build

VOID = {"br", "img", "input", "link", "meta", "wbr", "source", "hr"}


def build_site(factory: pytest.TempPathFactory) -> Path:
    """From what is in git, once a process. Returns its folder."""
    return _built(factory.getbasetemp() / "page")


@cache
def _built(folder: Path) -> Path:
    build.build(folder, ROOT / "reports", ROOT / "conf")
    return folder


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: list[Element | str] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """Elements of a tag, below this one."""
        found = []
        for one in self.inside:
            if isinstance(one, Element):
                found += ([one] if one.tag == tag else []) + one.all(tag)
        return found

    @property
    def text(self) -> str:
        return "\n" if self.tag == "br" else "".join(one if isinstance(one, str) else one.text for one in self.inside)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, f"<{tag}/> is not HTML"
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>, line {self.getpos()[0]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(path: Path) -> Element:
    """Raises AssertionError where an element is not closed, or closed out of turn."""
    reader = _Reader()
    reader.feed(path.read_text())
    reader.close()
    assert len(reader.open) == 1, f"{path}: <{reader.open[-1].tag}> is not closed"
    return reader.root
