"""A load test and the metrics of a real server count the same (--tcp-account)."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.support.commands import COMMAND, environment
from tests.support.scraping import metrics_of, scrape
from tests.support.servers import serve
from tests.support.timing import SCALE, wait_until


def test_a_load_test_and_two_workers_count_the_same_through_a_reload(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with serve("--workers", "2", "--metrics", "0", "--drain-idle", "30") as server:
        url = f"http://{str(metrics_of(server)).removeprefix('tcp://')}/metrics"
        options = ("--users", "10", "--rate", "100", "--time", "2s", "--tcp-account", url, "--tcp-json", str(result))
        with subprocess.Popen(
            [*COMMAND, "load", server.target, *options], env=environment(), stderr=subprocess.PIPE
        ) as load:
            wait_until(lambda: scrape(metrics_of(server))["geventecho_bytes_received_total"] > 0, 30 * SCALE)
            server.signal(signal.SIGHUP)
            assert load.stderr is not None
            errors = load.stderr.read().decode()
        assert load.returncode == 0, errors
        account = json.loads(result.read_text())["server_account"]
        assert (account["findings"], account["unknown"]) == ([], "")
        assert account["server"]["accepted"] == 10
        assert any(line.startswith("reloaded") for line in server.lines)
        assert server.stop() == 0
