"""A dashboard of Grafana for one deployment, in the JSON form that Grafana's provisioning reads."""

import json
from collections.abc import Mapping
from typing import Any

from deployer.render.queries import Panel, panels

SOURCE_UID = "deployer-prometheus"
_SOURCE = {"type": "prometheus", "uid": SOURCE_UID}
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
_SCHEMA = 39
"""Version of the dashboard's form, that of Grafana 10.4 and later; a newer Grafana reads it."""


def dashboard_text(name: str, engine: str, metrics: Mapping[str, str]) -> str:
    """The dashboard as JSON, one panel for each group of metrics that the engine has."""
    return json.dumps(dashboard_tree(name, engine, metrics), indent=2) + "\n"


def dashboard_tree(name: str, engine: str, metrics: Mapping[str, str]) -> dict[str, Any]:
    """The same as values."""
    return {
        "uid": f"deployer-{name}"[:40],
        "title": f"{name} ({engine})",
        "tags": ["deployer", engine],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": _SCHEMA,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(place, panel) for place, panel in enumerate(panels(metrics))],
    }


def _panel(place: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(place, _COLUMNS)
    return {
        "id": place + 1,
        "type": panel.kind,
        "title": panel.title,
        "transparent": False,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
