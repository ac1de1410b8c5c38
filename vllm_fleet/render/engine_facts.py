"""Facts of engines as metrics, through the node exporter: the program that finds them, and those a deploy declares."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vllm_fleet import paths
from vllm_fleet.engine.release import configuration, release_id
from vllm_fleet.observe import metrics
from vllm_fleet.planner.placement import Placement, on_host
from vllm_fleet.planner.services import sizings
from vllm_fleet.render.files import File, Link, fill
from vllm_fleet.render.textfile import textfile
from vllm_fleet.render.zipapp import installed, modules_of, zipapp
from vllm_fleet.schema import Fleet, Host

_NAME = "vllm-fleet-engine-facts"
UNIT = f"{_NAME}.service"

# systemd must take the unit
CHECK = f'systemd-analyze verify "$stage{paths.UNITS}/{UNIT}"'

_FOUND = f"/run/{_NAME}/engines.prom"
# The text files' directory is root's; the node exporter follows links there (1.5.0 and 1.9.0).
LINK = Link(f"{paths.TEXTFILES}/vllm-fleet-engines.prom", _FOUND)

_PACKAGE = Path(__file__).parents[1] / "payload" / "engine_facts"


@cache
def program_file() -> File:
    """The program: payload/engine_facts, and prometheus_client as it is installed here."""
    return File(paths.ENGINE_FACTS, zipapp(_modules()))


def _modules() -> dict[str, bytes]:
    client = installed("prometheus_client").parent
    openmetrics = {f"{client.name}/{path}": content for path, content in modules_of(client / "openmetrics").items()}
    main = b"from engine_facts.app import main\n\nmain()\n"
    return {"__main__.py": main, **modules_of(client), **openmetrics, **modules_of(_PACKAGE)}


def unit_file() -> File:
    """Its unit, which hangs on no engine: it finds them on the host."""
    text = fill(f"{UNIT}.j2", program=paths.ENGINE_FACTS, textfile=_FOUND, user=paths.SERVICE_USER, directory=_NAME)
    return File(f"{paths.UNITS}/{UNIT}", text)


def declared_file(fleet: Fleet, placements: list[Placement], here: Host) -> File:
    """What is declared of a host's engines."""
    engines = on_host(placements, here.name)
    planned = {each.service.name: each.found.kv_cache_tokens for each in sizings(fleet, placements) if each.found}
    return textfile(
        "declared",
        (
            metrics.ENGINE_INFO,
            "An engine as the last deploy of its host declared it.",
            [({**_labels(engine), **_details(engine)}, 1) for engine in engines],
        ),
        (
            metrics.GROUP_SIZE,
            "Hosts of its replica, where that spans several.",
            [(_labels(engine), len(engine.members)) for engine in engines if engine.spans_hosts],
        ),
        (
            metrics.KV_CACHE_PLANNED,
            "Tokens that the plan gives the KV cache of each data parallel rank.",
            [
                (_labels(engine), planned[engine.service.name])
                for engine in engines
                if engine.head and planned.get(engine.service.name)
            ],
        ),
    )


def services_file(fleet: Fleet) -> File:
    """What is declared of services, for monitoring hosts."""
    replicas = [({metrics.SERVICE: service.name}, service.replicas) for service in fleet.services]
    return textfile("services", (metrics.SERVICE_REPLICAS, "Declared replicas.", replicas))


def _labels(engine: Placement) -> dict[str, str]:
    return {
        metrics.SERVICE: engine.service.name,
        metrics.REPLICA: str(engine.replica),
        metrics.UNIT: engine.unit,
    }


def _details(engine: Placement) -> dict[str, str]:
    return {
        "rank": str(engine.rank),
        metrics.RELEASE: release_id(engine),
        metrics.CONFIGURATION: configuration(engine),
        metrics.TRACK: metrics.STABLE,
        "vllm_version": engine.service.runtime.vllm,
    }
