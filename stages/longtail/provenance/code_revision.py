"""The commit of the code that runs."""

from __future__ import annotations

import os
import subprocess

VARIABLE = "LONGTAIL_REVISION"  # environment variable that names the commit of a copy without git


def current() -> str | None:
    """The working directory's commit, with a + if stages/ or conf/ differ from it; outside git the one VARIABLE has."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "stages", "conf"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get(VARIABLE)
    return commit.stdout.strip() + ("+" if changed.returncode else "")
