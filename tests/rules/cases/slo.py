"""Cases of service level objectives: what each is counted from, and how much of it over how long calls somebody."""

from __future__ import annotations

from collections.abc import Iterator

from tests.rules.cases.case import Case, counter, engine, series

Span = tuple[int, float, float]
"""(minutes, events a minute, the share of them that is bad)"""


def _series(slo: str, spans: list[Span], step: int) -> dict[str, str]:
    """What engines or the gateway count of service chat, with its default objectives."""
    steps = [(minutes // step, events * step, bad) for minutes, events, bad in spans]
    events = counter(*((length, each) for length, each, _ in steps))
    good = counter(*((length, each * (1 - bad)) for length, each, bad in steps))
    if slo == "errors":
        gateway = {"job": "haproxy", "host": "edge1", "instance": "edge1:1", "proxy": "chat"}
        bad = counter(*((length, each * bad) for length, each, bad in steps))
        name = "haproxy_backend_http_responses_total"
        return {series(name, gateway | {"code": code}): values for code, values in {"2xx": good, "5xx": bad}.items()}
    name, edge = {"ttft": ("time_to_first_token", "2.5"), "itl": ("inter_token_latency", "0.1")}[slo]
    return {
        engine(f"vllm:{name}_seconds_count"): events,
        engine(f"vllm:{name}_seconds_bucket", le=edge): good,
        engine(f"vllm:{name}_seconds_bucket", le="0.01"): counter((sum(length for length, *_ in steps), 0)),
    }


def _cases(slo: str, budget: float, busy: float, quiet: float) -> Iterator[Case]:
    """`budget`: the share that may be bad; `busy`, `quiet`: events a minute, enough to call somebody and not."""
    labels = [{"service": "chat", "slo": slo}]

    def case(alert: str, what: str, at: int, *spans: Span, fires: bool = False, step: int = 1) -> Case:
        name = f"{slo.capitalize()}{alert}"
        return Case(name, what, _series(slo, list(spans), step), at, labels if fires else [], step)

    hour = 60
    after_an_hour = [(hour, busy, 0)]
    yield case("FastBurn", "20 budgets", 108, *after_an_hour, (90, busy, 20 * budget), fires=True)
    yield case("FastBurn", "13 budgets for two hours", 120, (120, busy, 13 * budget))
    yield case("FastBurn", "it has stopped", 128, *after_an_hour, (60, busy, 20 * budget), (10, busy, 0))
    yield case("FastBurn", "20 budgets of next to nothing", 120, (120, quiet, 20 * budget))
    yield case("SlowBurn", "10 budgets", 168, *after_an_hour, (4 * hour, busy, 10 * budget), fires=True, step=2)
    yield case("SlowBurn", "5 budgets for seven hours", 7 * hour, (7 * hour, busy, 5 * budget), step=2)
    yield case("SlowBurn", "it has stopped", 460, *after_an_hour, (6 * hour, busy, 10 * budget), (44, busy, 0), step=2)
    yield case("SlowBurn", "10 budgets of next to nothing", 5 * hour, (5 * hour, quiet, 10 * budget), step=2)
    half_a_day = 12 * hour
    late = [(half_a_day, busy, 0), (10 * hour, busy, 3 * budget)]
    yield case("BudgetTicket", "3 budgets after half a day", 19 * hour + 2, *late, fires=True, step=2)
    yield case("BudgetTicket", "0.9 budgets for a day", 24 * hour, (24 * hour, busy, 0.9 * budget), step=2)
    yield case("BudgetTicket", "3 budgets of next to nothing", 5 * hour, (5 * hour, quiet, 3 * budget), step=2)
    yield case("BudgetTicket", "it has stopped", 20 * hour, (half_a_day, busy, 3 * budget), (8 * hour, busy, 0), step=2)


CASES = [*_cases("ttft", 0.01, 60, 0.5), *_cases("itl", 0.01, 6000, 60), *_cases("errors", 0.001, 60, 0.5)]
