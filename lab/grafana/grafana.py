#!/usr/bin/python3 -I
"""The lab's stand-in for Grafana: settings, provisioning, accounts and a few questions of its API; it draws nothing.

As Grafana: it does not start with settings or provisioning that it cannot read; a dashboard that is no JSON is left out
and logged; the admin's password is read from the settings once, when there is no database yet; health and metrics need
no account, all else does.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import hashlib
import hmac
import json
import re
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

VERSION = "@VERSION@"


class Invalid(Exception):
    """What keeps it from starting; the message is one line."""


def settings(path: str) -> configparser.ConfigParser:
    """The settings, with `$__file{PATH}` filled in. Raises Invalid."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=(";", "#"))
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"))
        for section in parser.values():
            for key, value in section.items():
                if found := re.fullmatch(r"\$__file\{(.+)\}", value):
                    section[key] = Path(found[1]).read_text(encoding="utf-8").strip()
    except (OSError, configparser.Error) as error:
        raise Invalid(f"{path}: {error}") from None
    return parser


def provisioned(folder: Path, kind: str, fields: set[str]) -> list[dict[str, Any]]:
    """All entries of one kind; each needs the fields. Raises Invalid."""
    entries: list[dict[str, Any]] = []
    for path in sorted((folder / kind).glob("*.y*ml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise Invalid(f"{path}: {error}") from None
        if content.get("apiVersion") != 1:
            raise Invalid(f"{path}: apiVersion is not 1")
        own = content.get("datasources" if kind == "datasources" else "providers") or []
        for entry in own:
            if lacking := fields - set(entry):
                raise Invalid(f"{path}: {', '.join(sorted(lacking))} is missing")
        entries += own
    return entries


def dashboards(providers: list[dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Folder and dashboard by UID, as the files are now."""
    found = {}
    for provider in providers:
        for path in sorted(Path(provider["options"]["path"]).glob("*.json")):
            try:
                dashboard = json.loads(path.read_text(encoding="utf-8"))
                found[dashboard["uid"]] = provider.get("folder", ""), dashboard
            except (OSError, ValueError, KeyError) as error:
                print(f"failed to load dashboard from {path}: {error}", file=sys.stderr, flush=True)
    return found


class Accounts:
    """The one account there is, in a file that outlives restarts."""

    def __init__(self, data: str) -> None:
        self.file = Path(data) / "grafana.db"

    def set(self, password: str) -> None:
        salt = secrets.token_hex(8)
        self.file.write_text(f"{salt} {self._hash(salt, password)}")
        self.file.chmod(0o640)

    def knows(self, password: str) -> bool:
        salt, wanted = self.file.read_text().split()
        return hmac.compare_digest(self._hash(salt, password), wanted)

    @staticmethod
    def _hash(salt: str, password: str) -> str:
        return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 10000).hex()


def serve(config: configparser.ConfigParser) -> None:
    """Answer until the end. Raises Invalid and OSError."""
    accounts = Accounts(config["paths"]["data"])
    provisioning = Path(config["paths"]["provisioning"])
    sources = provisioned(provisioning, "datasources", {"name", "type", "url"})
    providers = provisioned(provisioning, "dashboards", {"name", "type", "options"})
    if not accounts.file.exists():
        accounts.set(config["security"].get("admin_password", "admin"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/api/health":
                self.answer({"database": "ok", "version": VERSION})
            elif path == "/metrics":
                self.answer(f'grafana_build_info{{version="{VERSION}"}} 1\n')
            elif not self.admitted():
                self.answer({"message": "Unauthorized"}, 401)
            else:
                self.answer_admitted(path)

        def answer_admitted(self, path: str) -> None:
            known = dashboards(providers)
            if path == "/api/datasources":
                self.answer(sources)
            elif path == "/api/search":
                self.answer([{"uid": uid, "title": one["title"], "folderTitle": folder}
                             for uid, (folder, one) in known.items()])  # fmt: skip
            elif (uid := path.removeprefix("/api/dashboards/uid/")) in known:
                folder, one = known[uid]
                self.answer({"dashboard": one, "meta": {"provisioned": True, "folderTitle": folder}})
            else:
                self.answer({"message": "Not found"}, 404)

        def admitted(self) -> bool:
            kind, _, value = self.headers.get("Authorization", "").partition(" ")
            try:
                user, _, password = base64.b64decode(value).decode().partition(":")
            except ValueError:
                return False
            return kind == "Basic" and user == config["security"]["admin_user"] and accounts.knows(password)

        def answer(self, body: Any, status: int = 200) -> None:
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing a request."""

    server = config["server"]
    ThreadingHTTPServer((server.get("http_addr", ""), int(server["http_port"])), Handler).serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="grafana")
    parser.add_argument("command", choices=["server", "cli"])
    parser.add_argument("--config", required=True)
    parser.add_argument("--homepath")
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--password-from-stdin", action="store_true")
    given = parser.parse_intermixed_args()
    try:
        config = settings(given.config)
        if given.command == "server":
            serve(config)
        elif given.arguments == ["admin", "reset-admin-password"] and given.password_from_stdin:
            Accounts(config["paths"]["data"]).set(sys.stdin.readline().strip())
            print("Admin password changed successfully")
        else:
            parser.error("the stand-in knows `cli admin reset-admin-password --password-from-stdin` only")
    except (Invalid, OSError) as error:
        sys.exit(f"grafana: {error}")


if __name__ == "__main__":
    main()
