"""PromQL that the dashboards share. Rates look back as far as the picture is coarse (`$__rate_interval`)."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.panel import query_of

_BY_NAME = {each.name: each for each in ALERTS}


def alert(name: str) -> Alert:
    """An alert by its name. Raises KeyError for one that is gone."""
    return _BY_NAME[name]


def engines(metric: str, *matchers: str) -> str:
    """A series of the chosen services' engines on the chosen hosts."""
    return _series(metric, 'service=~"$service"', 'host=~"$host"', *matchers)


def services(metric: str, *matchers: str) -> str:
    """A series of the chosen services, on whatever host."""
    return _series(metric, 'service=~"$service"', *matchers)


def hosts(metric: str, *matchers: str) -> str:
    """A series of the chosen hosts."""
    return _series(metric, 'host=~"$host"', *matchers)


def gateway(metric: str, *matchers: str) -> str:
    """A series of the chosen services' backends; of all gateways."""
    return _series(metric, 'proxy=~"$service"', *matchers)


def _series(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join(matchers)}}}"


def rate(series: str) -> str:
    """A counter's growth a second."""
    return f"rate({series}[$__rate_interval])"


def total(expression: str, *by: str) -> str:
    """The sum; a series for each of these labels."""
    return _over("sum", expression, *by)


def worst(expression: str, *by: str) -> str:
    """The largest; a series for each of these labels."""
    return _over("max", expression, *by)


def _over(operator: str, expression: str, *by: str) -> str:
    return f"{operator} by ({', '.join(by)}) ({expression})" if by else f"{operator}({expression})"


def mean(histogram: str, *by: str) -> str:
    """The mean of what the chosen engines observed."""
    return f"{total(rate(engines(f'{histogram}_sum')), *by)} / {total(rate(engines(f'{histogram}_count')), *by)}"


def quantile(share: float, histogram: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    """A quantile of what the chosen engines observed, as near as the buckets tell."""
    buckets = total(rate(engines(f"{histogram}_bucket", *matchers)), *by, "le")
    return f"histogram_quantile({share:g}, {buckets})"


def buckets(histogram: str) -> str:
    """How many fell into each bucket, for a heatmap."""
    return total(f"increase({engines(f'{histogram}_bucket')}[$__rate_interval])", "le")


def of_service(expression: str) -> str:
    """A gateway's series, summed for each service, with the label that engines have."""
    return total(f'label_replace({expression}, "{metrics.SERVICE}", "$1", "proxy", "(.+)")', metrics.SERVICE)


def how_many(alert: Alert) -> str:
    """How many of the chosen are beyond an alert's threshold, however short."""
    return number_of(f"({query_of(alert).expression}) {alert.comparison} {alert.threshold:g}")


def number_of(expression: str) -> str:
    """How many series there are; 0 where there is none."""
    return f"count({expression}) or vector(0)"
