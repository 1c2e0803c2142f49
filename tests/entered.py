"""Which functions of the library run while something is carried out."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from conftest import ROOT

LIBRARY = str(ROOT / "stages/longtail") + "/"


@contextmanager
def entered() -> Iterator[set[str]]:
    """The set fills with names such as training.mixing:mix; a method counts for its class."""
    names: set[str] = set()

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(LIBRARY):
            module = Path(code.co_filename.removeprefix(LIBRARY)).with_suffix("").as_posix().replace("/", ".")
            names.add(f"{module}:{code.co_qualname.split('.')[0]}")

    before = sys.getprofile()
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        yield names
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
