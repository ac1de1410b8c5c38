"""Find a model's config.json for the commands: a path, the catalogue, the local hub cache, the hub itself."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from vllm_fleet.planner.catalogue import catalogued, close_names
from vllm_fleet.planner.model_config import LARGEST_FILE, ModelConfig, parse_model_config, read_model_config
from vllm_fleet.schema import ConfigError

_SECONDS = 5.0


def find_model(wanted: str) -> tuple[ModelConfig, Path | None]:
    """The model's configuration, and the directory that may hold its weights.

    Only a name that is neither a path nor in the catalogue nor in the cache asks the hub (HF_ENDPOINT, HF_TOKEN).
    Raises ConfigError, one line, where nothing has it.
    """
    path = Path(wanted)
    if os.path.exists(path):  # unlike Path.exists, False for names too long to be a file's
        return read_model_config(path), path if path.is_dir() else None
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", wanted):
        raise ConfigError(f"{wanted}: no such file, and no model's name (organisation/name); {_meant(wanted)}")
    shipped = catalogued(wanted)
    if shipped:
        return read_model_config(shipped, wanted), None
    cached = _cached(wanted)
    if cached:
        return read_model_config(cached, wanted), cached
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise ConfigError(f"{wanted}: not in the catalogue, and HF_HUB_OFFLINE is set; {_meant(wanted)}")
    return _from_hub(wanted), None


def _cached(name: str) -> Path | None:
    """The newest snapshot in the Hugging Face cache of this machine."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    snapshots = (home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/config.json")
    found = max(snapshots, key=lambda file: file.stat().st_mtime, default=None)
    return found.parent if found else None


def _from_hub(name: str) -> ModelConfig:
    import httpx  # late: only a model that nothing here has needs it

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{endpoint}/{name}/resolve/main/config.json"
    try:
        with httpx.stream("GET", url, headers=headers, timeout=_SECONDS, follow_redirects=True) as answer:
            if answer.status_code != 200:
                reason = "it needs HF_TOKEN" if answer.status_code in (401, 403) else f"status {answer.status_code}"
                raise ConfigError(f"{name}: {endpoint} does not give its config.json ({reason}); {_meant(name)}")
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LARGEST_FILE:
                    raise ConfigError(f"{name}: {endpoint} sends more than a config.json; {_meant(name)}")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:  # the last: a token that is no token
        reason = str(error) or type(error).__name__
        raise ConfigError(
            f"{name}: not in the catalogue, and {endpoint} cannot be reached ({reason}); {_meant(name)}"
        ) from None
    try:
        return parse_model_config(json.loads(body), name)
    except (ValueError, RecursionError):
        raise ConfigError(f"{name}: {endpoint} sends no JSON; {_meant(name)}") from None


def _meant(name: str) -> str:
    close = close_names(name)
    return f"did you mean {' or '.join(close)}?" if close else "give the path of its config.json"
