"""`fleet ask`: one question through the gateway, and where to go next."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import time
from pathlib import Path

import click

from vllm_fleet.commands.base import INVENTORY
from vllm_fleet.inventory import load
from vllm_fleet.network.clients import trust, url
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.schema import Fleet
from vllm_fleet.schema.host import MONITORING

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
    gateway, trusted = url(fleet), trust(fleet)
    key = fleet.client_keys()[0]
    body = {
        "model": model or fleet.services[0].model_name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 40,
        "stream": True,
    }
    try:
        _await_gateway(f"{gateway}/health", trusted)
        with httpx.stream(
            "POST",
            f"{gateway}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
            verify=trusted,
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                raise click.ClickException(f"{gateway}: {answer.status_code}: {answer.text.strip()}")
            click.echo(f"{body['model']} answers: ", nl=False)
            try:
                for line in answer.iter_lines():
                    click.echo(_delta(line), nl=False)
            finally:
                click.echo()
    except httpx.HTTPError as error:
        raise click.ClickException(f"{gateway}: {str(error) or type(error).__name__}; {_mend(error)}") from None
    _next_steps(fleet, inventory, gateway, str(body["model"]))


def _await_gateway(health: str, trusted: ssl.SSLContext) -> None:
    """Wait until the gateway has seen an engine of every service: it looks every two seconds, and a deploy that just
    ended was faster. After half a minute the question is asked all the same, and its answer tells what is wrong."""
    import httpx

    for _ in range(_GATEWAY_LOOKS):
        if httpx.get(health, timeout=10, verify=trusted).status_code == 200:
            return
        time.sleep(_LOOK_SECONDS)  # between looks; their number is bounded


def _mend(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "is it another's certificate, are intermediates missing, or is its CA to be named in gateway.ca?"
    return "is the gateway up?"


def _delta(line: str) -> str:
    if not line.startswith("data: ") or line == "data: [DONE]":
        return ""
    chunk = json.loads(line.removeprefix("data: "))
    if "error" in chunk:  # how vLLM ends an answer that fails after its status was sent
        raise click.ClickException(f"the answer broke off: {json.dumps(chunk['error'])}")
    choices = chunk["choices"]
    return choices[0]["delta"].get("content") or "" if choices else ""


def _next_steps(fleet: Fleet, inventory: str, gateway: str, model: str) -> None:
    monitor = fleet.hosts_in(MONITORING)[0]
    ca = f"--cacert {fleet.gateway.ca} " if fleet.gateway.ca else ""
    here = "" if shutil.which("pyinfra") else f"{os.path.relpath(Path(sys.executable).parent)}/"
    click.echo(f"""
Gateway       {gateway}/v1
Prometheus    http://{endpoint(monitor, fleet.monitoring.prometheus_port)}
Alertmanager  http://{endpoint(monitor, fleet.monitoring.alertmanager_port)}
Key           {_key_hint(fleet)}

Try   curl -N {ca}{gateway}/v1/chat/completions -H "Authorization: Bearer {_key_shell(fleet)}" \\
        -H 'Content-Type: application/json' \\
        -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
Next  {here}pyinfra --dry {inventory} deploy.py        what a deploy would change
      {here}pytest tests/host --inventory {inventory}  check every host""")


def _key_shell(fleet: Fleet) -> str:
    """Shell that yields the first client key, so that it need not stand on the screen or in a history."""
    key = fleet.gateway.api_keys[0]
    if key.env:
        return f"${key.env}"
    return f"$(cat {key.file})" if key.file else f"$({key.command})"


def _key_hint(fleet: Fleet) -> str:
    key = fleet.gateway.api_keys[0]
    return f"in {key.file}" if key.file else _key_shell(fleet)
