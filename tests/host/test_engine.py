"""Each engine: runs as declared, answers, and keeps its key to itself."""

from __future__ import annotations

import hashlib

import pytest

from tests.host.conftest import Engine
from tests.host.machine import Response
from vllm_fleet import paths
from vllm_fleet.engine.release import release
from vllm_fleet.schema import Container


def _heads_only(engine: Engine) -> None:
    if not engine.placement.head:
        pytest.skip("a follower has no API")


def _pid(engine: Engine) -> str:
    """The engine's first process, as the host counts: in a container not the `docker run` that systemd watches."""
    unit = engine.placement.unit
    if isinstance(engine.placement.service.runtime, Container):
        return engine.on.run(f"docker inspect --format '{{{{.State.Pid}}}}' {unit.removesuffix('.service')}")
    return engine.on.run(f"systemctl show -P MainPID {unit}")


def _ask(engine: Engine, method: str, path: str, **values: object) -> Response:
    placement = engine.placement
    # the named values are http's own, which a mapping of objects cannot say
    return engine.on.http(method, placement.host.address, placement.port, path, **values)  # type: ignore[arg-type]


def _completion(engine: Engine) -> dict[str, object]:
    return {"model": engine.placement.service.model_name, "prompt": "Hi", "max_tokens": 1}


def _key(engine: Engine) -> str:
    """A shell command that prints the key, to be read from by another command: never an argument, never shown here."""
    code = f"import pathlib, sys; sys.path.insert(0, '{paths.PROGRAMS}'); from readiness.ready import key_of; "
    code += f"print(key_of(pathlib.Path('{paths.engine(engine.placement.instance)}')))"
    return f'PYTHONDONTWRITEBYTECODE=1 python3 -c "{code}"'


def test_the_unit_runs_and_starts_at_boot(engine: Engine) -> None:
    service = engine.on.shell.service(engine.placement.unit)
    assert service.is_running
    assert service.is_enabled


def test_the_declared_release_runs_and_has_answered(engine: Engine) -> None:
    directory = paths.engine(engine.placement.instance)
    wanted = f"releases/{release(engine.placement).id}"
    assert engine.on.run(
        f"cd {directory}; for link in current good; do readlink $link || echo none; done"
    ).splitlines() == [wanted, wanted]


def test_it_answers_a_completion_with_that_release(engine: Engine) -> None:
    instance = engine.placement.instance
    assert engine.on.run(f"{paths.READY_COMMAND} {instance} --once") == f"{instance}: answers"


def test_nothing_of_it_runs_as_root(engine: Engine) -> None:
    pid = _pid(engine)
    # the process and its children: API server, EngineCore, workers
    users = engine.on.run(f"ps -o uid= -p {pid} --ppid {pid}").split()
    assert set(users) == {str(paths.SERVICE_UID)}


def test_it_has_the_file_limit_of_its_unit(engine: Engine) -> None:
    limit = "awk '/Max open files/ {print $4, $5}' /proc/%s/limits"
    soft = int(engine.on.run(limit % _pid(engine)).split()[0])
    # a host that is itself a container can give no more than it has
    most = int(engine.on.run(limit % 1).split()[1])
    assert soft >= min(65535, most)


def test_it_listens_on_the_private_address_only(engine: Engine) -> None:
    _heads_only(engine)
    listening = engine.on.run(f"ss -Hltn 'sport = :{engine.placement.port}'").splitlines()
    assert [line.split()[3] for line in listening] == [engine.placement.endpoint]


def test_the_key_file_is_the_engines_own(engine: Engine) -> None:
    file = engine.on.shell.file(paths.secret(engine.placement.instance))
    assert file.mode == 0o600
    assert file.user == paths.SERVICE_USER


def test_the_key_is_the_declared_one(engine: Engine) -> None:
    service = engine.placement.service
    declared = hashlib.sha256(service.api_key.read(f"services.{service.name}.api_key").encode()).hexdigest()
    # compared there, so that a failure shows no hash of a key
    assert engine.on.succeeds(f'[ "$({_key(engine)} | head -c -1 | sha256sum | cut -d" " -f1)" = {declared} ]')


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("ps -eww -o args", id="ps"),
        pytest.param("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", id="environment"),
        pytest.param("docker ps -q | xargs -r docker inspect", id="docker inspect"),
        pytest.param("journalctl --boot --quiet --output=cat", id="journal"),
        pytest.param(f"cat {paths.UNITS}/vllm-*.service {paths.ENGINES}/*/releases/*/*", id="units and releases"),
    ],
)
def test_the_key_is_nowhere_else(engine: Engine, place: str) -> None:
    if place.startswith("docker") and not isinstance(engine.placement.service.runtime, Container):
        pytest.skip("not in a container")
    search = f"grep --quiet --fixed-strings --file=<({_key(engine)})"
    # first, that the search finds the key where it is, and that there is something to search
    assert engine.on.succeeds(f"{search} {paths.secret(engine.placement.instance)}")
    assert engine.on.succeeds(f"{{ {place}; }} | grep -q .")
    status = engine.on.shell.run("bash -c %s", f"{search} <({place})").rc
    assert status == 1, "the key is there" if status == 0 else "grep failed"


def test_a_stranger_gets_no_completion(engine: Engine) -> None:
    _heads_only(engine)
    assert _ask(engine, "POST", "/v1/completions", body=_completion(engine)).status == 401
    assert _ask(engine, "POST", "/v1/completions", body=_completion(engine), key="wrong-key").status == 401


def test_it_completes_for_its_key(engine: Engine) -> None:
    _heads_only(engine)
    secret = paths.secret(engine.placement.instance)
    answer = _ask(engine, "POST", "/v1/completions", body=_completion(engine), key_file=secret)
    assert answer.status == 200
    assert answer.json()["usage"]["completion_tokens"] == 1


def test_its_metrics_tell_the_kv_cache(engine: Engine) -> None:
    _heads_only(engine)
    metrics = _ask(engine, "GET", "/metrics")
    assert metrics.status == 200
    assert "vllm:kv_cache_usage_perc{" in metrics.text


def test_it_does_not_publish_its_api(engine: Engine) -> None:
    _heads_only(engine)
    assert [_ask(engine, "GET", path).status for path in ("/docs", "/openapi.json")] == [404, 404]
