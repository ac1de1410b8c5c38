"""What a case is, and how series are written."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One run of one alert's rule under promtool, with samples a minute apart."""

    alert: str
    what: str
    series: dict[str, str]
    """Series to values in promtool's notation: `0+0x9` is ten zeros, `_` a missing sample."""
    at: int
    """When to look, in minutes after the first sample; of a case that fires the first such minute."""
    fires: list[dict[str, str]] = field(default_factory=list)
    """The labels of each alert that fires, besides name and severity; none means silence."""
    step: int = 1
    """Minutes between samples and evaluations where days are looked at; then the first of those at which it fires."""


def labels_of(job: str, host: str, service: str | None = None, replica: int = 0) -> dict[str, str]:
    """Those that Prometheus adds to what one of our targets exposes."""
    labels = {"job": job, "host": host, "instance": f"{host}:1"}
    release = {"release": "0a1b2c3d4e5f", "track": "stable"}
    return labels | (_of_engine(service, replica) | release if service else {})


def _of_engine(service: str, replica: int) -> dict[str, str]:
    return {"service": service, "replica": str(replica), "unit": f"vllm-{service}.service"}


def series(name: str, labels: dict[str, str]) -> str:
    """A series in promtool's notation."""
    pairs = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{name}{{{', '.join(pairs)}}}"


def up(job: str, host: str, service: str | None = None, replica: int = 0) -> str:
    """The `up` series of one of our targets."""
    return series("up", labels_of(job, host, service, replica))


ENGINE = labels_of("vllm", "gpu1", "chat") | {"engine": "0", "model_name": "m"}
"""Labels of what replica 0 of chat exposes."""


def engine(name: str, **labels: str) -> str:
    """A series of replica 0 of chat."""
    return series(name, ENGINE | labels)


def fact_labels(host: str = "gpu1", service: str = "chat", replica: int = 0, **labels: str) -> dict[str, str]:
    """Those of a fact of an engine, which its host's node exporter shows."""
    return labels_of("node", host) | _of_engine(service, replica) | labels


def fact(name: str, host: str = "gpu1", service: str = "chat", replica: int = 0, **labels: str) -> str:
    """A fact of an engine."""
    return series(name, fact_labels(host, service, replica, **labels))


def counter(*spans: tuple[int, float]) -> str:
    """Values that begin at 0 and grow: (samples, by how much each) after one another."""
    values, value = ["0"], 0.0
    for samples, growth in spans:
        values.append(f"{value + growth:.12g}+{growth:.12g}x{samples - 1}")
        value += samples * growth
    return " ".join(values)
