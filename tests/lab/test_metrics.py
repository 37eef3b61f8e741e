"""A real Prometheus scrapes the daemon: each query of the dashboard and each alert of etc/ finds its series."""

import signal
import subprocess

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from tests.alerts import rules
from tests.alerts.prometheus import PROGRAMS, Prometheus
from tests.alerts.scene import GROUPS, configure

pytestmark = pytest.mark.root


def test_each_query_of_the_dashboard_and_of_the_alerts_has_data() -> None:
    with Scene(Options(prefix="mcastd-test-metrics", groups=GROUPS, rate=1000)) as scene:
        configure(scene)
        scene.start_daemon()
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        prometheus = Prometheus(scene)
        wait_for("a pair", lambda: prometheus.query("mcastd_pair_compared_numbers_total > 1000"), poll=0.2)
        scene.kill("source", signal.SIGTERM)
        wait_for("a problem", lambda: prometheus.query("mcastd_problem_start_time_seconds"), poll=0.2)
        queries = [target["expr"] for panel in rules.panels() for target in panel["targets"]]
        # Nothing is lost, so what shows only losses is asked for all.
        queries = [query.removesuffix(" > 0") for query in queries]
        asked = [query.replace("$instance", ".*").replace("$__rate_interval", "20s") for query in queries]
        asked += {selector for alert in rules.alerts() for selector in rules.selectors(alert["expr"])}
        assert [query for query in asked if not prometheus.query(query)] == []
        promtool = [str(PROGRAMS / "promtool"), "check", "metrics"]
        judged = subprocess.run(promtool, input=prometheus.page(), capture_output=True, check=False)
        assert (judged.returncode, judged.stderr) == (0, b"")
        scene.stop_daemon()
