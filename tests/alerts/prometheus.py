"""A real Prometheus in the lab: in the VM, on its loopback interface, with its data in the folder of the scene."""

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD
from tests.alerts import rules
from tests.lab.pim_scene import inside

PROGRAMS: Final = Path(__file__).parents[2] / ".cache" / "prometheus" / "usr" / "bin"
METRICS: Final = "127.0.0.1:9464"
_LISTEN: Final = "127.0.0.1:9090"
_CONFIGURATION: Final = """\
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: ["rules.yml"]
scrape_configs:
  - job_name: mcastd
    static_configs:
      - targets: ["{metrics}"]
"""


class Prometheus:
    """Scrapes the daemon each second, with the alerts of etc/ scaled down as much; ends with the scene."""

    def __init__(self, scene: Scene) -> None:
        self._namespace = scene.namespace(CLOUD)
        folder = scene.folder / CLOUD / "prometheus"
        folder.mkdir()
        (folder / "prometheus.yml").write_text(_CONFIGURATION.format(metrics=METRICS))
        (folder / "rules.yml").write_text(rules.scaled())
        paths = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        options = [f"--web.listen-address={_LISTEN}", "--log.level=warn"]
        scene.start(CLOUD, "prometheus", [str(PROGRAMS / "prometheus"), *paths, *options])
        wait_for("Prometheus", self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return bool(self.get("/-/ready"))
        except OSError:
            return False

    def get(self, path: str) -> bytes:
        """What it answers."""
        return self._read(f"http://{_LISTEN}{path}")

    def page(self) -> bytes:
        """The daemon's own page, in text format 0.0.4."""
        return self._read(f"http://{METRICS}/metrics")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The value of an expression now: a ``metric`` and a ``value`` for each series."""
        query = urllib.parse.urlencode({"query": expression})
        found: list[dict[str, Any]] = json.loads(self.get(f"/api/v1/query?{query}"))["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {one["metric"]["alertname"] for one in self.query('ALERTS{alertstate="firing"}')}

    def _read(self, url: str) -> bytes:
        def read() -> bytes:
            with urllib.request.urlopen(url, timeout=10.0) as answer:
                found: bytes = answer.read()
                return found

        return inside(self._namespace, read)
