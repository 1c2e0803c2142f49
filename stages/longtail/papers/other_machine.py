"""Runs on a machine without DVC and Hydra: writes the folder that is sent there, and records what comes back.

FOLDER/run.sh carries out the jobs of the folder (see jobs.py) in the repository's root on that machine.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from stages.longtail.console.errors import UserError
from stages.longtail.console.suggestions import suggest
from stages.longtail.files.artifacts import write_text
from stages.longtail.papers import jobs, plan, published, recording, requested_runs
from stages.longtail.papers.jobs import HERE, Job
from stages.longtail.provenance import code_revision

SCRIPT = """\
# Run it in the repository's root: bash {folder}/run.sh. If a run fails, the others are done all the same.
here=$(cd "$(dirname "$0")" && pwd)
trap 'exit 130' INT TERM  # when told to stop, do not begin the next run
failed=
"""


def send(folder: Path, paper: str, runs: list[str], papers: Path, conf: Path) -> list[str]:
    """Write the jobs of some runs, and run.sh.

    Args:
        folder: to write into.
        paper: the paper of the runs.
        runs: names of runs that were asked for; none: all that have no results.
        papers, conf: the folders of papers and presets.
    Returns:
        The names of the runs.
    Raises:
        UserError: there is no such paper or run, or none without results.
    """
    requests = requested_runs.read(published.folder_of(papers, paper))
    for name in runs:
        if name not in requests:
            planned = plan.read(papers / paper)
            if name not in planned:
                every = suggest(name, [*requests, *planned], f"python -m stages.launch {paper} --list")
                raise UserError(f"{paper} has no run '{name}'{every}")
            raise UserError(f"{name} was not asked for: python -m stages.launch {paper} {name} --only-enter enters it")
    names = runs or [name for name in requests if not (papers / paper / "metrics" / name / "metrics.json").is_file()]
    if not names:
        raise UserError(f"every run of {paper} that was asked for has results: name those to run again")
    ordered = jobs.order(folder, paper, names, papers, conf)
    jobs.write(folder, paper, ordered)
    script = [f"export {code_revision.VARIABLE}={commit}" for commit in [code_revision.current()] if commit]
    written: set[str] = set()
    for job in ordered.values():
        if job.is_run:
            chain = [one for one in jobs.chain(job, ordered) if one.name not in written]
            written |= {one.name for one in chain}
            lines = [line for one in chain for line in _lines(one)]
            script.append(" &&\n".join(lines) + f' ||\nfailed="$failed {job.run}"')
    script.append('[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }')
    write_text(folder / "run.sh", SCRIPT.format(folder=folder.name) + "\n".join(script) + "\n")
    return names


def _lines(job: Job) -> list[str]:
    """The job's commands in run.sh. The last one notes that the job is finished."""
    commands = [*job.commands, ["other_machine", "pack", HERE, job.name]]
    return [f"python3 -m stages.{' '.join(_quoted(word) for word in words)}" for words in commands]


def _quoted(word: str) -> str:
    return f'"{word}"' if word.startswith(HERE) else shlex.quote(word)


def pack(folder: Path, names: list[str]) -> None:
    """Note that these jobs are finished."""
    ordered = jobs.read(folder)[1]
    for name in names:
        if name not in ordered:
            raise UserError(f"{folder} has no job '{name}'{suggest(name, ordered)}")
        jobs.pack(folder, ordered[name])


def take(folder: Path, papers: Path, conf: Path) -> list[str]:
    """Put the results of a folder in place, and record their stages.

    Args:
        folder: that came back.
        papers, conf: the folders of papers and presets.
    Returns:
        The names of the recorded stages.
    Raises:
        UserError: there are no results, or one has another recipe or other files than here. Nothing is changed then.
    """
    ordered = jobs.read(folder)[1]
    if not any(job.is_run and jobs.finished(folder, job) is not None for job in ordered.values()):
        raise UserError(
            f"{folder} has no results: run `bash {folder.name}/run.sh` on the other machine, then copy the folder back"
        )

    def refuse(error: UserError) -> None:
        raise error

    return recording.record(folder, papers, conf, refuse)
