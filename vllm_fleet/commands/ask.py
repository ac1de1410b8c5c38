"""`fleet ask`: one question through the gateway, and where to go next."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import click

from vllm_fleet.commands.base import INVENTORY
from vllm_fleet.inventory import load
from vllm_fleet.schema import Fleet
from vllm_fleet.schema.host import GATEWAY, MONITORING

_GATEWAY_LOOKS = 30
_LOOK_SECONDS = 1.0
"""Half the interval of the gateway's own look at its engines."""


@click.command()
@INVENTORY
@click.argument("question", default="What is a KV cache?")
@click.option("--model", help="The model to ask; the first service's by default.")
def ask(inventory: str, question: str, model: str | None) -> None:
    """Ask a model one question through the gateway and stream its answer."""
    import httpx  # late: the other commands start faster without it

    fleet, _ = load(inventory)
    url = f"http://{_address(fleet, GATEWAY)}:{fleet.gateway.port}"
    key = fleet.client_keys()[0]
    body = {
        "model": model or fleet.services[0].model_name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 40,
        "stream": True,
    }
    try:
        _await_gateway(f"{url}/health")
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=120
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                raise click.ClickException(f"{url}: {answer.status_code}: {answer.text.strip()}")
            click.echo(f"{body['model']} answers: ", nl=False)
            try:
                for line in answer.iter_lines():
                    click.echo(_delta(line), nl=False)
            finally:
                click.echo()
    except httpx.HTTPError as error:
        raise click.ClickException(f"{url}: {str(error) or type(error).__name__}; is the gateway up?") from None
    _next_steps(fleet, inventory, url, str(body["model"]))


def _await_gateway(health: str) -> None:
    """Wait until the gateway has seen an engine of every service: it looks every two seconds, and a deploy that just
    ended was faster. After half a minute the question is asked all the same, and its answer tells what is wrong."""
    import httpx

    for _ in range(_GATEWAY_LOOKS):
        if httpx.get(health, timeout=10).status_code == 200:
            return
        time.sleep(_LOOK_SECONDS)  # between looks; their number is bounded


def _delta(line: str) -> str:
    if not line.startswith("data: ") or line == "data: [DONE]":
        return ""
    chunk = json.loads(line.removeprefix("data: "))
    if "error" in chunk:  # how vLLM ends an answer that fails after its status was sent
        raise click.ClickException(f"the answer broke off: {json.dumps(chunk['error'])}")
    choices = chunk["choices"]
    return choices[0]["delta"].get("content") or "" if choices else ""


def _next_steps(fleet: Fleet, inventory: str, url: str, model: str) -> None:
    monitor = _address(fleet, MONITORING)
    here = "" if shutil.which("pyinfra") else f"{os.path.relpath(Path(sys.executable).parent)}/"
    click.echo(f"""
Gateway       {url}/v1
Prometheus    http://{monitor}:{fleet.monitoring.prometheus_port}
Alertmanager  http://{monitor}:{fleet.monitoring.alertmanager_port}
Key           {_key_hint(fleet)}

Try   curl -N {url}/v1/chat/completions -H "Authorization: Bearer {_key_shell(fleet)}" \\
        -H 'Content-Type: application/json' \\
        -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
Next  {here}pyinfra --dry {inventory} deploy.py        what a deploy would change
      {here}pytest tests/host --inventory {inventory}  check every host""")


def _address(fleet: Fleet, group: str) -> str:
    address = fleet.hosts_in(group)[0].address
    return f"[{address}]" if ":" in address else address


def _key_shell(fleet: Fleet) -> str:
    """Shell that yields the first client key, so that it need not stand on the screen or in a history."""
    key = fleet.gateway.api_keys[0]
    if key.env:
        return f"${key.env}"
    return f"$(cat {key.file})" if key.file else f"$({key.command})"


def _key_hint(fleet: Fleet) -> str:
    key = fleet.gateway.api_keys[0]
    return f"in {key.file}" if key.file else _key_shell(fleet)
