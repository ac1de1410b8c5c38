"""The gateway's certificate: what a deploy takes, and how it says no."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from lab.certificates import make
from tests.fleets import example_fleet
from vllm_fleet.network.clients import trust, url
from vllm_fleet.schema import ConfigError, Fleet, Gateway, Host, Secret
from vllm_fleet.schema.certificate import load_certificate

PATH = "gateway.certificate"
NAMES = ["llm.example.net", "*.models.example.net", "10.0.0.10", "fd00::10"]
CA, PEM = make(NAMES)
_, OTHER = make(NAMES)
BEGIN_KEY = "-----BEGIN PRIVATE KEY-----"
LEAF, KEY = PEM.partition(BEGIN_KEY)[0], BEGIN_KEY + PEM.partition(BEGIN_KEY)[2]
ORDER = "put there, as PEM, the certificate, then its intermediates, then its private key"


def encrypted_key() -> str:
    key = load_pem_private_key(KEY.encode(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()


def error_of(pem: str, now: datetime | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_certificate(pem, PATH, now or datetime.now(UTC))
    return caught.value.message


def test_a_certificate_says_what_it_is_for_and_until_when() -> None:
    found = load_certificate(PEM, PATH, datetime.now(UTC))
    assert set(found.names) == set(NAMES)
    assert timedelta(days=364) < found.expires - datetime.now(UTC) < timedelta(days=366)
    assert found.pem == PEM
    assert "PRIVATE KEY" not in repr(found)


@pytest.mark.parametrize("pem", [KEY + LEAF, f"Bag Attributes\n{LEAF}{CA}{KEY}"], ids=["key first", "with a chain"])
def test_other_orders_that_haproxy_takes(pem: str) -> None:
    assert "llm.example.net" in load_certificate(pem, PATH, datetime.now(UTC)).names


@pytest.mark.parametrize(
    "pem, message",
    [
        ("not PEM", f"holds no certificate that can be read; {ORDER}"),
        (KEY, f"holds no certificate that can be read; {ORDER}"),
        (PEM.replace("MII", "!!!", 1), f"holds no certificate that can be read; {ORDER}"),
        (LEAF, f"holds no private key that can be read; {ORDER}"),
        (
            LEAF + encrypted_key(),
            "its private key has a passphrase, which nobody enters on a host; remove it (openssl pkey)",
        ),
        (
            LEAF + BEGIN_KEY + OTHER.partition(BEGIN_KEY)[2],
            f"its private key is not that of its first certificate; {ORDER}",
        ),
        (CA + LEAF + KEY, f"its private key is not that of its first certificate; {ORDER}"),
    ],
    ids=["no PEM", "no certificate", "a broken one", "no key", "a passphrase", "another's key", "the chain first"],
)
def test_what_haproxy_would_refuse_is_one_line(pem: str, message: str) -> None:
    assert error_of(pem) == f"{PATH}: {message}"


def test_an_expired_one_is_refused_from_its_last_second_on() -> None:
    expires = load_certificate(PEM, PATH, datetime.now(UTC)).expires
    load_certificate(PEM, PATH, expires - timedelta(seconds=1))
    assert error_of(PEM, expires) == f"{PATH}: has expired on {expires:%Y-%m-%d}; put a new one there"


@pytest.mark.parametrize(
    "name, covered",
    [
        ("llm.example.net", True),
        ("a.models.example.net", True),
        ("10.0.0.10", True),
        ("fd00::10", True),
        ("models.example.net", False),
        ("a.b.models.example.net", False),
        ("example.net", False),
        ("10.0.0.11", False),
    ],
)
def test_names_are_matched_as_clients_do(name: str, covered: bool) -> None:
    assert load_certificate(PEM, PATH, datetime.now(UTC)).covers(name) is covered


# ---- of a fleet ---------------------------------------------------------------------------------------------------


def fleet(pem: str, folder: Path, **gateway: object) -> Fleet:
    """The example, its one gateway at 10.0.0.10."""
    file = folder / "certificate.pem"
    file.write_text(pem)
    return example_fleet(
        gateway=Gateway(api_keys=[Secret(env="KEY")], certificate=Secret(file=str(file)), **gateway)  # type: ignore[arg-type]
    )


def test_a_fleet_without_one_has_none() -> None:
    assert example_fleet().certificate() is None
    assert url(example_fleet()) == "http://10.0.0.10:8080"


@pytest.mark.parametrize("gateway", [{}, {"name": "llm.example.net"}])
def test_it_must_be_for_what_clients_call_the_gateway(gateway: dict[str, str], tmp_path: Path) -> None:
    declared = fleet(PEM, tmp_path, **gateway)
    found = declared.certificate()
    assert found
    assert found.pem == PEM
    assert url(declared) == f"https://{gateway.get('name', '10.0.0.10')}:8080"


@pytest.mark.parametrize(
    "names, gateway, message",
    [
        (["llm.example.net"], {}, "is for llm.example.net, not for 10.0.0.10"),
        (
            ["10.0.0.10", "a.example.net"],
            {"name": "b.example.net"},
            "is for a.example.net, 10.0.0.10, not for b.example",
        ),
    ],
)
def test_one_for_another_name_is_refused(
    names: list[str], gateway: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet(make(names)[1], tmp_path, **gateway).certificate()
    assert caught.value.message.startswith(f"{PATH}: {message}")
    assert caught.value.message.endswith("; get one for it, or change gateway.name")


def test_a_deploy_looks_at_it_before_it_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "CHAT_KEY", "CODER_KEY", "LARGE_KEY"):
        monkeypatch.setenv(name, "key")
    with pytest.raises(ConfigError, match=r"^gateway\.certificate: has expired on 20"):
        fleet(make(["10.0.0.10"], days=-1)[1], tmp_path).check_deployable()


def test_an_ipv6_gateway_stands_in_brackets(tmp_path: Path) -> None:
    hosts = [*example_fleet().hosts[:2], Host(name="edge1", address="fd00::10", groups=("gateway", "monitoring"))]
    declared = fleet(PEM, tmp_path).model_copy(update={"hosts": hosts})
    assert url(declared) == "https://[fd00::10]:8080"


def test_clients_trust_the_declared_ca_alone(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CA)
    (held,) = trust(fleet(PEM, tmp_path, ca=str(tmp_path / "ca.pem"))).get_ca_certs(binary_form=True)
    assert held == ssl.PEM_cert_to_DER_cert(CA)


@pytest.mark.parametrize("content, reason", [(None, "No such file or directory"), ("no PEM", "no certificate in PEM")])
def test_a_ca_that_cannot_be_used_is_one_line(content: str | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        trust(fleet(PEM, tmp_path, ca=str(file)))
    assert caught.value.message == f"gateway.ca: cannot use {file} ({reason}); put the CA's certificate there"


def test_what_the_lab_makes_passes_a_strict_clients_checks(tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=CA)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    (tmp_path / "certificate.pem").write_text(PEM)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "certificate.pem")
    client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
    of_client = context.wrap_bio(client, server, server_hostname="llm.example.net")
    of_server = serving.wrap_bio(server, client, server_side=True)
    for side in (of_client, of_server, of_client, of_server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert of_client.getpeercert()
