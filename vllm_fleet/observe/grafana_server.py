"""Grafana's settings and what it is provisioned with, as objects ("Configure Grafana", "Provision Grafana", 12.4)."""

from __future__ import annotations

from typing import Any

Settings = dict[str, dict[str, str]]


def settings(address: str, port: int, password_file: str, provisioning: str, home: str) -> Settings:
    """The sections of grafana.ini that are not left as they come: nobody unknown gets in, and nothing calls home."""
    return {
        "server": {"protocol": "http", "http_addr": address, "http_port": str(port)},
        "paths": {
            "data": "/var/lib/grafana",
            "logs": "/var/log/grafana",
            "plugins": "/var/lib/grafana/plugins",
            "provisioning": provisioning,
        },
        "log": {"mode": "console"},
        "security": {
            "admin_user": "admin",
            "admin_password": f"$__file{{{password_file}}}",
            "disable_gravatar": "true",
        },
        "users": {"allow_sign_up": "false", "allow_org_create": "false"},
        "auth.anonymous": {"enabled": "false"},
        "snapshots": {"external_enabled": "false"},
        "analytics": {
            "reporting_enabled": "false",
            "check_for_updates": "false",
            "check_for_plugin_updates": "false",
            "feedback_links_enabled": "false",
        },
        "news": {"news_feed_enabled": "false"},
        "plugins": {"preinstall_disabled": "true", "public_key_retrieval_disabled": "true"},
        # Prometheus evaluates the alerts
        "unified_alerting": {"enabled": "false"},
        "dashboards": {"default_home_dashboard_path": home},
    }


def datasource(prometheus: str, scrape_interval: str) -> dict[str, Any]:
    """The one data source. Its interval is what `$__rate_interval` is made of."""
    source = {
        "name": "Prometheus",
        "uid": "vllm-fleet-prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": prometheus,
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": scrape_interval, "httpMethod": "POST"},
    }
    return {"apiVersion": 1, "prune": True, "datasources": [source]}


def folder(path: str) -> dict[str, Any]:
    """One folder, of whatever dashboards lie in a directory; nobody changes them there, for the next deploy would."""
    provider = {
        "name": "vllm-fleet",
        "folder": "vLLM fleet",
        "folderUid": "vllm-fleet",
        "type": "file",
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": path},
    }
    return {"apiVersion": 1, "providers": [provider]}
