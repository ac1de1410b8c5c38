"""Whether each service answers, with all of its replicas, and whether its clients get in and wait for the answers."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import HOST_ANSWERS, Alert

_UP = f'{metrics.UP}{{job="{metrics.VLLM}"}}'

VLLM_SERVICE_DOWN = Alert(
    name="VllmServiceDown",
    query=f"sum by ({metrics.SERVICE}) ({_UP})",
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.SERVICE,
    summary="{{ $labels.service }}: no replica answers, clients get 503",
    action="Look whether its units run or still load; after a deploy, go back to the last configuration",
)

GATEWAY_DOWN = Alert(
    name="GatewayDown",
    query=f'{metrics.UP}{{job="{metrics.HAPROXY}"}}',
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.SERVICE,
    summary="{{ $labels.host }}: the gateway does not answer, though its host does",
    action="Start haproxy; its journal says why it ended",
    provided=f"and {HOST_ANSWERS}",
)

VLLM_REPLICAS_MISSING = Alert(
    name="VllmReplicasMissing",
    # the targets are the declared replicas
    query=f"sum by ({metrics.SERVICE}) ({_UP} == bool 0)",
    comparison=">",
    threshold=0,
    held="15m",
    severity="ticket",
    subject=subjects.SERVICE,
    summary="{{ $labels.service }}: fewer replicas than declared for 15 minutes",
    action="Bring the missing replica back, or declare fewer",
)

_GENERATION = "/v1/(chat/completions|completions|messages|responses)"
# the API server counts a request whose client left as 2xx; the engine never finishes it, and counts no abort (0.32)
_ACCEPTED = (
    f"sum by ({metrics.SERVICE}) "
    f'(rate({metrics.HTTP_REQUESTS}{{job="{metrics.VLLM}", handler=~"{_GENERATION}", status="2xx"}}[10m]))'
)
_FINISHED = f'sum by ({metrics.SERVICE}) (rate({metrics.REQUESTS_FINISHED}{{finished_reason!="abort"}}[10m]))'

CLIENT_ABORTS = Alert(
    name="ClientAborts",
    query=f"1 - {_FINISHED} / {_ACCEPTED}",
    comparison=">",
    threshold=0.1,
    held="10m",
    severity="ticket",
    subject=subjects.SERVICE,
    summary="{{ $labels.service }}: more than 10 % of requests are left by their clients before they end",
    action="Compare time to first token with the clients' timeouts",
    # a dozen requests in ten minutes: below that, one that is still running would count
    provided=f"and {_ACCEPTED} > 0.02",
)

CERT_EXPIRING = Alert(
    name="CertExpiring",
    query=f"({metrics.CERTIFICATE_EXPIRY} - time()) / 86400",
    comparison="<",
    threshold=14,
    held="0s",
    severity="ticket",
    subject=subjects.SERVICE,
    summary="{{ $labels.host }}: the certificate of {{ $labels.certificate }} expires in less than 14 days",
    action="Put a new one behind gateway.certificate, and deploy",
)

ALERTS = (VLLM_SERVICE_DOWN, GATEWAY_DOWN, VLLM_REPLICAS_MISSING, CLIENT_ABORTS, CERT_EXPIRING)
