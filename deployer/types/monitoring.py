"""The programs that watch a deployment: what `profiles/monitoring.yaml` says."""

from deployer.types._value import Written


class MonitoringImage(Written, frozen=True, kw_only=True):
    """One image, pinned by its tag, and from where the tag is known."""

    reference: str
    version: str
    license: str
    source: str


class Monitoring(Written, frozen=True, kw_only=True):
    """Prometheus collects the metrics and judges them by rules; Grafana shows them."""

    prometheus: MonitoringImage
    grafana: MonitoringImage
