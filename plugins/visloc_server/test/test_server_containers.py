"""The server's services start by a real command with the secret that they are given."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_containers import options_of_visloc

COMPOSED = Path(__file__).resolve().parents[1] / "containers" / "compose.yaml"
SERVERS = yaml.safe_load(COMPOSED.read_text(encoding="utf-8"))["services"]


@pytest.mark.parametrize("service", SERVERS.values(), ids=SERVERS)
def test_it_starts_with_the_secret_that_it_is_given_and_listens_where_others_ask(service):
    options = options_of_visloc(service["command"])
    with pytest.raises(Exception, match="No such option"):
        options_of_visloc(["serve", "--tokenfile", "token"])
    assert [f"/run/secrets/{name}" for name in service["secrets"]] == [str(options["token_file"])]
    assert [port.rpartition(":")[2] for port in service["ports"]] == [str(options["port"])]
    assert str(options["maps"]) in [volume.rpartition(":")[2] for volume in service["volumes"]]
    assert f"HTTPConnection as To; c = To('127.0.0.1', {options['port']}" in service["healthcheck"]["test"][-1]


def test_the_check_of_its_health_asks_a_server(client):
    (program,) = {service["healthcheck"]["test"][-1] for service in SERVERS.values()}
    for port, is_healthy in ((client.base_url.port, True), (1, False)):
        done = subprocess.run([sys.executable, "-c", program.replace("8090", str(port))], capture_output=True)
        assert (done.returncode == 0) is is_healthy
