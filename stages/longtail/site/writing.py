"""Writes pages from templates. Links are relative, so that the site works on a disk and in any folder of a server."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stages.longtail.console.errors import UserError
from stages.longtail.evaluation import rounding
from stages.longtail.files.artifacts import atomic, write_text
from stages.longtail.papers import published
from stages.longtail.site import markdown

HERE = Path(__file__).parent
MARK = "assets/page.js"  # a folder that has this file is a site and may be overwritten


class Site:
    """The site's folder.

    It is written under another name first, and renamed when it is complete. If something fails, nothing is left.
    """

    def __init__(self, out: Path):
        if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
            raise UserError(f"{out} holds something else than the page: give --out another folder")
        self.out, self.partial = out, out.with_name(f".{out.name}.partial")
        shutil.rmtree(self.partial, ignore_errors=True)
        self.common: dict[str, Any] = {}  # variables of every template
        loader = FileSystemLoader(HERE / "templates")
        self.jinja = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self.jinja.filters |= {"number": number, "signed": signed, "breakable": breakable}
        self.jinja.globals["zip"] = zip
        self.jinja.filters |= {"inline": markdown.inline, "embedded": embedded, "table_name": published.place}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)

    def page(self, path: str, template: str, **context: Any) -> None:
        """Render a template.

        In it `to(path)` is the address of another page or file of the site, and `markdown(text, folder)` the HTML of a
        Markdown file in a folder of reports/papers/.
        """

        def to(target: str) -> str:
            file, hash_sign, place = target.partition("#")
            return quote(posixpath.relpath(file, posixpath.dirname(path) or ".")) + hash_sign + place

        def as_html(text: str, folder: str = "") -> Markup:
            return markdown.block(text, lambda target: to(page) if (page := markdown.in_site(target, folder)) else "")

        context = self.common | context | {"to": to, "here": path, "markdown": as_html}
        self.text(path, self.jinja.get_template(f"{template}.html").render(context))

    def text(self, path: str, content: str) -> None:
        write_text(self.partial / path, content)

    def data(self, path: str, content: bytes) -> None:
        with atomic(self.partial / path) as file:
            file.write(content)

    def finish(self) -> tuple[int, int]:
        """Put the site in its place. Returns how many pages it has and its bytes."""
        for asset in (HERE / "assets").iterdir():
            self.text(f"assets/{asset.name}", asset.read_text())
        if self.out.exists():
            shutil.rmtree(self.out)
        self.partial.rename(self.out)
        files = [path for path in self.out.rglob("*") if path.is_file()]
        return sum(path.suffix == ".html" for path in files), sum(path.stat().st_size for path in files)


def number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else rounding.text(value, digits)


def signed(value: float | None, digits: int = 1) -> str:
    return "" if value is None else rounding.text(value, digits, sign=True)


def breakable(name: str) -> Markup:
    """A name in which a browser may break the line after dots, underscores and the like."""
    return Markup(re.sub(r"(?<=[._/=+])(?=\w)", Markup("<wbr>"), str(escape(name))))


def embedded(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))
