"""How the command line finds its vault, trusts it, and repeats writes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_gateway import TOKEN, FakeGateway

from cli.certificates import Authority
from cli.failure import Exit, Failure
from cli.main import kofn
from cli.settings import load

Kofn = Callable[..., Result]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    with FakeGateway(tmp_path / "gateway") as running:
        yield running


@pytest.fixture
def run(gateway: FakeGateway) -> Kofn:
    return lambda *args, stdin=b"", **changed: CliRunner().invoke(kofn, args, input=stdin, env=gateway.settings() | changed)


def keys_sent(gateway: FakeGateway) -> list[str]:
    return [headers["idempotency-key"] for _, _, headers, _ in gateway.requests]


# Repeating writes


@pytest.mark.parametrize("code", ["voting_failed", "writing_failed", "unavailable", "write_conflict", "rate_limited"])
def test_a_write_is_repeated_with_the_same_key_until_it_is_served(run: Kofn, gateway: FakeGateway, code: str) -> None:
    gateway.faults = [("status", code)] * 2
    result = run("create", "name", stdin=b"one")
    assert result.exit_code == Exit.OK
    assert len(gateway.requests) == 3
    assert len(set(keys_sent(gateway))) == 1
    assert result.stderr.count("trying again") == 2


def test_a_write_whose_answer_was_lost_is_not_carried_out_twice(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "name", stdin=b"one")
    gateway.faults = [("lose", "after")]
    assert run("update", "name", stdin=b"two").stdout == "updated name, version 2\n"
    assert len(gateway.secrets["name"]) == 2


def test_two_writes_have_different_keys(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "one", stdin=b"x")
    run("create", "two", stdin=b"x")
    assert len(set(keys_sent(gateway))) == 2


def test_a_given_key_is_sent(run: Kofn, gateway: FakeGateway) -> None:
    run("create", "name", "--idempotency-key", "mine", stdin=b"x")
    assert keys_sent(gateway) == ["mine"]


def test_a_definite_refusal_is_not_repeated(run: Kofn, gateway: FakeGateway) -> None:
    assert run("update", "absent", stdin=b"x").exit_code == Exit.NOT_FOUND
    assert len(gateway.requests) == 1


def test_giving_up_without_an_effect_exits_with_6(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "voting_failed")] * 20
    assert run("create", "name", stdin=b"x").exit_code == Exit.UNAVAILABLE
    assert 2 < len(gateway.requests) <= 10


def test_giving_up_after_an_unknown_outcome_exits_with_7_and_names_the_key(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "writing_failed")] * 20
    result = run("create", "name", stdin=b"x")
    assert result.exit_code == Exit.UNKNOWN
    assert f"--idempotency-key {keys_sent(gateway)[0]}" in result.stderr


@pytest.mark.parametrize("last", ["voting_failed", "write_conflict", "rate_limited", "unauthenticated"])
def test_a_later_refusal_says_nothing_about_an_earlier_attempt(run: Kofn, gateway: FakeGateway, last: str) -> None:
    gateway.faults = [("lose", "before"), *[("status", last)] * 20]
    assert run("create", "name", stdin=b"x").exit_code == Exit.UNKNOWN


def test_an_answer_that_looked_for_the_key_settles_an_earlier_attempt(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "writing_failed")]
    assert run("update", "absent", stdin=b"x").exit_code == Exit.NOT_FOUND


def test_an_internal_error_leaves_a_writes_outcome_unknown(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "internal_error")]
    assert run("create", "name", stdin=b"x").exit_code == Exit.UNKNOWN


def test_a_garbled_success_leaves_a_writes_outcome_unknown(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("garbage", "")]
    assert run("create", "name", stdin=b"x").exit_code == Exit.UNKNOWN


def test_an_interrupted_write_names_the_key_that_tells_its_outcome(gateway: FakeGateway) -> None:
    gateway.faults = [("lose", "before")] * 20
    environment = os.environ | {name: value for name, value in gateway.settings().items() if value is not None}
    command = [sys.executable, "-m", "cli.main", "delete", "name"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where this process was told to ignore it, which children inherit
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == Exit.UNKNOWN
    assert last.startswith("kofn: Aborted! — the write may have taken effect")
    assert f"--idempotency-key {keys_sent(gateway)[0]}" in last


def test_the_wait_that_the_vault_asks_for_is_honoured_up_to_the_deadline(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "voting_failed")] * 2
    gateway.retry_after = "3600"
    assert run("create", "name", stdin=b"x").exit_code == Exit.UNAVAILABLE
    assert len(gateway.requests) == 1


def test_a_read_is_asked_once(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "unavailable")]
    result = run("get", "name")
    assert result.exit_code == Exit.UNAVAILABLE
    assert "written" not in result.stderr
    assert len(gateway.requests) == 1


# Reaching and trusting the vault


def test_a_port_where_nobody_listens_exits_with_9(run: Kofn) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}"
        result = run("get", "name", KOFN_URL=url)
    assert result.exit_code == Exit.UNREACHABLE
    assert "cannot connect" in result.stderr


def test_a_local_cluster_that_does_not_run_is_answered_with_how_to_start_it(tmp_path: Path) -> None:
    environment = place_cluster(tmp_path / "data")
    Authority(tmp_path / "ca").create("kofn.test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        content = json.loads((tmp_path / "data" / "cluster.json").read_text())
        content |= {"url": f"https://127.0.0.1:{free.getsockname()[1]}", "ca_file": str(tmp_path / "ca" / "ca.pem")}
        (tmp_path / "data" / "cluster.json").write_text(json.dumps(content))
        result = CliRunner().invoke(kofn, ["list"], env=environment)
    assert result.exit_code == Exit.UNREACHABLE
    assert "run: kofn local start" in result.stderr


def test_a_lost_read_exits_with_9(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("lose", "before")]
    assert run("get", "name").exit_code == Exit.UNREACHABLE


def test_a_vault_of_another_authority_gets_nothing(run: Kofn, gateway: FakeGateway, tmp_path: Path) -> None:
    Authority(tmp_path / "other").create("kofn.test")
    result = run("get", "name", KOFN_CA_FILE=str(tmp_path / "other" / "ca.pem"))
    assert result.exit_code == Exit.UNREACHABLE
    assert "TLS" in result.stderr
    assert "check the URL, the CA file" in result.stderr
    assert gateway.requests == []


@pytest.mark.parametrize("content", ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_ca_file_without_a_certificate_is_a_usage_error(run: Kofn, gateway: FakeGateway, tmp_path: Path, content: str) -> None:
    (tmp_path / "text").write_text(content)
    result = run("get", "name", KOFN_CA_FILE=str(tmp_path / "text"))
    assert result.exit_code == Exit.USAGE
    assert f"the CA file {tmp_path / 'text'} holds no certificate — check KOFN_CA_FILE" in result.stderr
    assert gateway.requests == []


def test_a_ca_file_that_is_absent_or_a_folder_is_a_usage_error(run: Kofn, tmp_path: Path) -> None:
    assert "there is no CA file" in run("get", "name", KOFN_CA_FILE=str(tmp_path / "absent")).stderr
    assert run("get", "name", KOFN_CA_FILE=str(tmp_path)).exit_code == Exit.USAGE


def test_tls_that_breaks_in_the_middle_is_no_reason_to_try_again(run: Kofn) -> None:
    """A server that hangs up in the handshake: what went wrong is in the URL, the CA file or the server, and stays wrong."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # alert: handshake_failure

        serving = threading.Thread(target=serve)
        serving.start()
        result = run("get", "name", KOFN_URL=f"https://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        serving.join()
    assert "no trusted TLS connection" in result.stderr
    assert result.exit_code == Exit.UNREACHABLE
    assert result.stderr.endswith("check the URL, the CA file and that the gateway runs\n")


def test_a_certificate_for_another_host_is_not_trusted(run: Kofn, gateway: FakeGateway) -> None:
    result = run("get", "name", KOFN_URL=gateway.url.replace("localhost", "127.0.0.2"))
    assert result.exit_code == Exit.UNREACHABLE
    assert gateway.requests == []


@pytest.mark.parametrize("write", [False, True])
def test_a_server_without_tls_gets_no_token(run: Kofn, write: bool) -> None:
    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    received.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        serving = threading.Thread(target=serve)
        serving.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        result = run("delete", "name", KOFN_URL=url) if write else run("get", "name", KOFN_URL=url)
        server.shutdown(socket.SHUT_RDWR)
        serving.join()
    assert result.exit_code == Exit.UNREACHABLE
    assert TOKEN.encode() not in b"".join(received)


def test_an_unencrypted_url_is_refused(run: Kofn, gateway: FakeGateway) -> None:
    assert run("get", "name", KOFN_URL=gateway.url.replace("https", "http")).exit_code == Exit.USAGE


def test_a_url_with_a_password_is_refused_without_repeating_it(run: Kofn, gateway: FakeGateway) -> None:
    result = run("get", "name", KOFN_URL=gateway.url.replace("//", "//user:pass-word@"))
    assert result.exit_code == Exit.USAGE
    assert "pass-word" not in result.output


def test_redirects_are_not_followed(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("redirect", f"{gateway.url}/api/v1/status")]
    assert run("get", "name").exit_code == Exit.FAILED
    assert len(gateway.requests) == 1


def test_proxies_of_the_environment_are_not_used(run: Kofn, gateway: FakeGateway) -> None:
    assert run("status", HTTPS_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1").exit_code == Exit.OK


def test_a_wrong_token_exits_with_5(run: Kofn) -> None:
    result = run("get", "name", KOFN_TOKEN="kofn_abcdefgh_wrong")
    assert result.exit_code == Exit.DENIED
    assert "wrong" not in result.stderr
    assert "revoked" in result.stderr
    assert "namespace" not in result.stderr


def test_what_a_token_may_not_do_is_a_matter_of_grants(run: Kofn, gateway: FakeGateway) -> None:
    gateway.faults = [("status", "forbidden")]
    result = run("get", "name")
    assert result.exit_code == Exit.DENIED
    assert "grants" in result.stderr


def test_several_namespaces_are_answered_with_the_setting_that_chooses(run: Kofn, gateway: FakeGateway) -> None:
    gateway.several_namespaces = True
    assert "choose one with KOFN_NAMESPACE" in run("list").stderr
    assert run("list", KOFN_NAMESPACE="team").exit_code == Exit.OK


def test_a_token_with_a_line_break_is_refused_before_it_becomes_a_header(run: Kofn, gateway: FakeGateway) -> None:
    assert run("get", "name", KOFN_TOKEN="a\r\nX: y").exit_code == Exit.USAGE
    assert gateway.requests == []


def test_the_namespace_travels_as_a_header(run: Kofn, gateway: FakeGateway) -> None:
    run("status", KOFN_NAMESPACE="team-a")
    assert gateway.requests[0][2]["kofn-namespace"] == "team-a"


# Settings


def place_cluster(directory: Path) -> dict[str, str]:
    """An environment in which a local cluster, and nothing else, is found."""
    directory.mkdir()
    (directory / "token").write_text("local-token\n")
    content = {"url": "https://127.0.0.1:8200", "token_file": str(directory / "token"), "ca_file": str(directory / "ca.pem"), "nodes": []}
    (directory / "cluster.json").write_text(json.dumps(content))
    return {"KOFN_DATA": str(directory), "XDG_CONFIG_HOME": str(directory / "nothing")}


def test_without_any_setting_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no vault is configured") as caught:
        load({"KOFN_DATA": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    assert f"there is no cluster in {tmp_path}" in caught.value.what
    assert "kofn local start" in caught.value.next_step
    assert caught.value.exit_code == Exit.USAGE


def test_the_local_cluster_is_found_by_itself(tmp_path: Path) -> None:
    settings = load(place_cluster(tmp_path / "data"))
    assert (settings.url, settings.token, settings.ca_file) == ("https://127.0.0.1:8200", "local-token", tmp_path / "data" / "ca.pem")


def test_the_config_file_comes_before_the_local_cluster_and_the_environment_before_both(tmp_path: Path) -> None:
    environment = place_cluster(tmp_path / "data")
    (tmp_path / "config.toml").write_text('url = "https://config"\ntoken_file = "my-token"\nca_file = "my-ca.pem"\nnamespace = "team"\n')
    (tmp_path / "my-token").write_text("config-token")
    environment["KOFN_CONFIG"] = str(tmp_path / "config.toml")
    settings = load(environment)
    assert (settings.url, settings.token, settings.namespace) == ("https://config", "config-token", "team")
    assert settings.ca_file == tmp_path / "my-ca.pem"
    settings = load(environment | {"KOFN_URL": "https://env/", "KOFN_TOKEN": "env-token", "KOFN_CA_FILE": "/e.pem", "KOFN_NAMESPACE": "n"})
    assert (settings.url, settings.token, settings.ca_file, settings.namespace) == ("https://env", "env-token", Path("/e.pem"), "n")


def test_the_local_clusters_token_never_goes_to_another_vault(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no token is configured"):
        load(place_cluster(tmp_path / "data") | {"KOFN_URL": "https://elsewhere"})


def test_a_local_clusters_lost_token_is_named_with_the_way_to_another(tmp_path: Path) -> None:
    environment = place_cluster(tmp_path / "data")
    token = tmp_path / "data" / "token"
    token.unlink()
    with pytest.raises(Failure, match=f"cannot read the token file {token}") as caught:
        load(environment)
    assert f"kofn token issue local --out {token}" in caught.value.next_step
    with pytest.raises(Failure) as caught:
        load(environment | {"KOFN_TOKEN_FILE": str(token)})
    assert "check KOFN_TOKEN_FILE" in caught.value.next_step


def test_settings_show_no_token(tmp_path: Path) -> None:
    assert "local-token" not in repr(load(place_cluster(tmp_path / "data")))


@pytest.mark.parametrize("content", ["url = ", 'token = "kofn_x_y"', "url = 3", "[nested]\n"])
def test_a_config_file_with_anything_else_is_refused_without_repeating_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(content)
    with pytest.raises(Failure) as caught:
        load({"KOFN_CONFIG": str(path)})
    assert caught.value.exit_code == Exit.USAGE
    assert "kofn_x_y" not in caught.value.what + caught.value.next_step


def test_a_config_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="there is no config file"):
        load({"KOFN_CONFIG": str(tmp_path / "absent")})


# Starting


def test_get_does_not_import_what_only_other_commands_need() -> None:
    script = "import sys, cli.main; cli.main.kofn.get_command(None, 'get'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"rich", "cryptography", "flask", "gunicorn", "peewee", "Crypto"} & set(modules)


def test_an_unexpected_error_shows_no_traceback_and_no_text_of_it(gateway: FakeGateway) -> None:
    script = "import sys; sys.argv = ['kofn', 'get', 'name']\nimport cli.main, cli.secrets\ndef broken(): raise RuntimeError('hunter2')\n"
    script += "cli.secrets.client = broken\ncli.main.main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == Exit.FAILED
    assert re.fullmatch(r"kofn: unexpected RuntimeError in \S+, line \d+ — .*\n", result.stderr)
