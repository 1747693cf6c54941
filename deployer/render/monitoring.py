"""Plan to Prometheus and Grafana beside the server: they join its network from a Compose project of their own.

A project of their own, because `deployer up` removes what else it finds in the server's. Nothing of it is in the way
of a start or stop: a network that somebody has joined stays, and the next server is found there by the same name.
"""

from collections.abc import Mapping
from typing import Any

import deployer
from deployer.errors import BadInputError
from deployer.render.alerts import rules_tree
from deployer.render.compose import SERVICE
from deployer.render.copies import WAITING
from deployer.render.dashboard import SOURCE_UID, dashboard_text
from deployer.render.jinja import render_template
from deployer.render.queries import JOB
from deployer.render.readback import check_yaml
from deployer.render.refuse import refuse_unsafe
from deployer.types import Bundle, Monitoring, Plan

COMPOSE_FILE = "compose.monitoring.yaml"
PASSWORD_FILE = "grafana_password"  # noqa: S105 - the name of a file
_KEY, _PASSWORD = "api_key", "grafana_password"
_PROMETHEUS, _GRAFANA = 9090, 3000
_NETWORK = "monitoring"
_QUIET = {
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": "/etc/grafana/dashboards/dashboard.json",
    "GF_LOG_MODE": "console",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_SECURITY_ADMIN_PASSWORD__FILE": f"/run/secrets/{_PASSWORD}",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_USERS_ALLOW_SIGN_UP": "false",
}


def render_monitoring(plan: Plan, metrics: Mapping[str, str], images: Monitoring) -> Bundle:
    """`compose.monitoring.yaml` and what Prometheus and Grafana read; `metrics` is the engine's, by our words.

    Raises BadInputError for an engine without metrics, a runtime without a network of its own, or a value that cannot
    stand in such a file.
    """
    if not metrics or plan.health.metrics_path is None:
        raise BadInputError(
            f"{plan.engine} publishes no metrics, so there is nothing to watch", hint="deployer status --watch"
        )
    if plan.gateway is not None and f"GET {plan.health.metrics_path}" not in plan.gateway.routes:
        raise BadInputError(
            f"the gateway of {plan.engine} does not let its metrics through", hint="deployer status --watch"
        )
    if plan.runtime != "compose":
        raise BadInputError(
            f"monitoring runs in containers, which cannot reach a server of the runtime {plan.runtime} on loopback",
            hint="plan with --runtime compose, or watch it with: deployer status --watch",
        )
    refuse_unsafe(plan)
    trees = {
        COMPOSE_FILE: compose_tree(plan, images),
        "prometheus.yml": scrape_tree(plan, metrics),
        "prometheus-rules.yml": rules_tree(plan.name, metrics),
        "grafana-datasource.yaml": _SOURCES,
        "grafana-dashboards.yaml": _DASHBOARDS,
    }
    files = {name: _text(name, tree, plan, images) for name, tree in trees.items()}
    return Bundle(files=files | {"dashboard.json": dashboard_text(plan.name, plan.engine, metrics)})


def compose_tree(plan: Plan, images: Monitoring) -> dict[str, Any]:
    """The Compose file as values."""
    return {
        "name": f"monitoring-{plan.name}",
        "services": {"prometheus": _prometheus(plan, images), "grafana": _grafana(plan, images)},
        "networks": {
            SERVICE: {"external": True, "name": f"deployer-{plan.name}_{SERVICE}"},
            _NETWORK: {"driver": "bridge"},
        },
        "secrets": {_KEY: {"file": plan.key_file}, _PASSWORD: {"file": password_path(plan)}},
    }


def scrape_tree(plan: Plan, metrics: Mapping[str, str]) -> dict[str, Any]:
    """Prometheus's own configuration: one server, asked with the key from its file; of several copies each.

    What waits before all copies counts as the engine's own metric of what waits.
    """
    targets, path = [f"{SERVICE}:{plan.container_port}"], plan.health.metrics_path
    labels = [{"deployment": plan.name}]
    if plan.copies > 1:
        copies = {str(number): below for number, below in enumerate(plan.copy_paths, start=1)} | {"all": ""}
        labels = [
            {"deployment": plan.name, "copy": copy, "__metrics_path__": f"{below}{path}"}
            for copy, below in copies.items()
        ]
    job = {
        "job_name": JOB,
        "metrics_path": plan.health.metrics_path,
        "authorization": {"type": "Bearer", "credentials_file": f"/run/secrets/{_KEY}"},
        "static_configs": [{"targets": targets, "labels": each} for each in labels],
    }
    if plan.copies > 1 and (waiting := metrics.get("requests_waiting")):
        job["metric_relabel_configs"] = [
            {"source_labels": ["__name__"], "regex": WAITING, "target_label": "__name__", "replacement": waiting}
        ]
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
        "rule_files": ["/etc/prometheus/prometheus-rules.yml"],
        "scrape_configs": [job],
    }


def password_path(plan: Plan) -> str:
    """Where Grafana's password is: beside the key."""
    return f"{plan.key_file.rpartition('/')[0]}/{PASSWORD_FILE}"


_SOURCES: dict[str, Any] = {
    "apiVersion": 1,
    "datasources": [
        {
            "name": "Prometheus",
            "type": "prometheus",
            "uid": SOURCE_UID,
            "access": "proxy",
            "url": f"http://prometheus:{_PROMETHEUS}",
            "isDefault": True,
            "editable": False,
            "jsonData": {"timeInterval": "5s"},
        }
    ],
}

_DASHBOARDS: dict[str, Any] = {
    "apiVersion": 1,
    "providers": [
        {
            "name": "deployer",
            "type": "file",
            "disableDeletion": True,
            "options": {"path": "/etc/grafana/dashboards"},
        }
    ],
}


def _prometheus(plan: Plan, images: Monitoring) -> dict[str, Any]:
    folder = "/etc/prometheus"
    return _service(plan, images.prometheus.reference, _PROMETHEUS, "/-/ready", memory="1536m") | {
        "entrypoint": ["/bin/prometheus"],
        "command": [
            f"--config.file={folder}/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=15d",
            "--storage.tsdb.retention.size=512MB",
            f"--web.listen-address=0.0.0.0:{_PROMETHEUS}",
        ],
        "networks": [SERVICE, _NETWORK],
        "secrets": [_KEY],
        "tmpfs": ["/prometheus:rw,noexec,nosuid,nodev,size=1g,mode=1777"],
        "volumes": [_mount(name, f"{folder}/{name}") for name in ("prometheus.yml", "prometheus-rules.yml")],
    }


def _grafana(plan: Plan, images: Monitoring) -> dict[str, Any]:
    folder = "/etc/grafana"
    mounts = {
        "grafana-datasource.yaml": f"{folder}/provisioning/datasources/deployer.yaml",
        "grafana-dashboards.yaml": f"{folder}/provisioning/dashboards/deployer.yaml",
        "dashboard.json": f"{folder}/dashboards/dashboard.json",
    }
    return _service(plan, images.grafana.reference, _GRAFANA, "/api/health", memory="1g") | {
        "environment": _QUIET,
        "networks": [_NETWORK],
        "secrets": [_PASSWORD],
        "tmpfs": [f"{path}:rw,noexec,nosuid,nodev,size=512m,mode=1777" for path in ("/var/lib/grafana", "/tmp")],  # noqa: S108
        "volumes": [_mount(source, target) for source, target in mounts.items()],
        "depends_on": ["prometheus"],
    }


def _service(plan: Plan, image: str, port: int, ready: str, *, memory: str) -> dict[str, Any]:
    """What both have: closed as the server itself, and reachable from this machine only."""
    url = f"http://127.0.0.1:{port}{ready}"
    return {
        "image": image,
        "pull_policy": "missing",
        "ports": [f"127.0.0.1:{port}:{port}"],
        "user": plan.container_user,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "cpus": 1,
        "pids_limit": 256,
        "init": True,
        "restart": "on-failure:3",
        "logging": {"driver": "local", "options": {"max-size": "20m", "max-file": "5"}},
        "healthcheck": {
            "test": ["CMD", "wget", "--quiet", "--output-document=/dev/null", url],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "60s",
        },
        "labels": {"io.deployer.monitoring": plan.name, "io.deployer.version": deployer.__version__},
    }


def _mount(source: str, target: str) -> dict[str, Any]:
    bind = {"create_host_path": False}
    return {"type": "bind", "source": f"./{source}", "target": target, "read_only": True, "bind": bind}


def _text(name: str, tree: dict[str, Any], plan: Plan, images: Monitoring) -> str:
    text = render_template(f"monitoring/{name}.j2", tree=tree, plan=plan, images=images, version=deployer.__version__)
    check_yaml(text, tree, name)
    return text
