"""How a model's files get to a host: shell commands for each kind of source."""

from __future__ import annotations

import shlex

from vllm_fleet import paths
from vllm_fleet.engine.command import venv_directory
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Archive, Container, Directory, Host, Hub
from vllm_fleet.schema.weights import Source

FETCH_PROGRAM = f"{paths.PROGRAMS}/fetch_hub.py"
PEER_PROGRAM = f"{paths.PROGRAMS}/peer_weights.py"


def token_path(service_name: str) -> str:
    """The file with a hub token, there only while a deploy fetches."""
    return f"{paths.CONFIG}/hub-token-{service_name}"


def complete(placement: Placement) -> str:
    """A shell test that is true when the weights are all there and were checked."""
    return f"[ -f {paths.model(placement.service.model.directory_name)}/SHA256SUMS ]"


def fetch_command(placement: Placement) -> str:
    """Shell that fills the model's directory; a `.part` beside it first, so half a model is never taken for one."""
    source = placement.service.model
    final = paths.model(source.directory_name)
    part = f"{final}.part"
    match source:
        case Hub():
            steps = [f"mkdir -p {part}", shlex.join(_hub_argv(placement, source, part))]
        case Directory():
            pinned = f"echo '{source.sha256}  SHA256SUMS' | sha256sum --check --quiet"
            steps = [
                f"rm -rf {part}",
                f"mkdir -p {part}",
                f"cp -r {shlex.quote(source.path)}/. {part}/",
                f"( cd {part} && {pinned} && sha256sum --check --quiet SHA256SUMS )",
            ]
        case Archive():
            tar = archive_path(source)
            steps = [
                f"echo '{source.sha256}  {tar}' | sha256sum --check --quiet",
                f"rm -rf {part}",
                f"mkdir -p {part}",
                f"tar --extract --no-same-owner --file {tar} --directory {part}",
                f"rm {tar}",
                f"( cd {part} && rm -f SHA256SUMS && find . -type f -exec sha256sum {{}} + ) > {part}.sums",
                f"mv {part}.sums {part}/SHA256SUMS",
            ]
    return " && ".join([*steps, *_finish(part, final)])


def _finish(part: str, final: str) -> list[str]:
    return [f"chmod -R u=rwX,go=rX {part}", f"chown -R root:root {part}", f"rm -rf {final}", f"mv -T {part} {final}"]


def share_command(peer: Host, port: int, source: Source) -> str:
    """Shell that lets a host share its weights for a while, and prints the sum of the list of all sums."""
    unit = "vllm-fleet-weights"
    sandbox = "-p DynamicUser=yes -p ProtectSystem=strict -p ProtectHome=yes -p NoNewPrivileges=yes"
    start = f"systemd-run --quiet --collect --unit={unit} {sandbox} python3 -B {PEER_PROGRAM} share {paths.MODELS}"
    return (
        f"{{ systemctl is-active --quiet {unit} || {start} {peer.address} {port}; }}"
        f" && sha256sum < {paths.model(source.directory_name)}/SHA256SUMS"
    )


def copy_command(peer: Host, port: int, source: Source, sums_sha256: str) -> str:
    """Shell that fills the model's directory from a peer that shares it."""
    address = f"[{peer.address}]" if ":" in peer.address else peer.address
    final = paths.model(source.directory_name)
    part = f"{final}.part"
    url = f"http://{address}:{port}/{source.directory_name}"
    fetch = f"python3 -B {PEER_PROGRAM} fetch {url} {sums_sha256} {part}"
    return " && ".join([f"mkdir -p {part}", fetch, *_finish(part, final)])


def archive_path(source: Archive) -> str:
    """Where an archive is sent to; not /tmp, which may be memory."""
    return f"/var/tmp/vllm-fleet-{source.revision_id}.tar"


def _hub_argv(placement: Placement, source: Hub, part: str) -> list[str]:
    variables = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": f"{part}/.cache"}
    if source.endpoint:
        variables["HF_ENDPOINT"] = source.endpoint
    token = token_path(placement.service.name)
    if source.token:
        variables["HF_TOKEN_PATH"] = token
    program = [FETCH_PROGRAM, source.name, source.revision, part]
    runtime = placement.service.runtime
    if not isinstance(runtime, Container):
        settings = [f"{name}={value}" for name, value in variables.items()]
        return ["env", *settings, f"{venv_directory(runtime)}/bin/python", *program]
    return [
        "docker", "run", "--rm", "--network", "host", "--cap-drop", "ALL", "--user", "0:0", "--pull", "never",
        *[part_ for name, value in variables.items() for part_ in ("--env", f"{name}={value}")],
        "--volume", f"{part}:{part}",
        "--volume", f"{FETCH_PROGRAM}:{FETCH_PROGRAM}:ro",
        *(["--volume", f"{token}:{token}:ro"] if source.token else []),
        "--entrypoint", "python3", runtime.image, *program,
    ]  # fmt: skip
