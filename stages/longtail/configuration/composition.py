"""Composes conf/ into plain parameters with Hydra, as `dvc exp run -S` does."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from stages.longtail.console.errors import UserError


def compose(overrides: Sequence[str], conf: Path = Path("conf")) -> dict[str, Any]:
    """All sections of the parameters with these overrides, such as ["method=mfw", "seeds=[0,1]"].

    Raises UserError if Hydra is not installed or refuses an override.
    """
    return deepcopy(_compose(tuple(overrides), conf.resolve()))


@cache
def _compose(overrides: tuple[str, ...], conf: Path) -> dict[str, Any]:
    try:
        from hydra import compose as hydra_compose
        from hydra import initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError:
        raise UserError(
            "conf/ is composed by hydra, which is not installed: use a machine with requirements.txt, or plain "
            "parameter files (python -m stages.other_machine send FOLDER --paper PAPER)"
        ) from None
    try:
        with initialize_config_dir(str(conf), version_base=None):
            composed = hydra_compose("config", overrides=list(overrides))
        OmegaConf.resolve(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{conf}: {' '.join(overrides)}: {error}") from None
    return OmegaConf.to_container(composed)  # type: ignore[return-value]
