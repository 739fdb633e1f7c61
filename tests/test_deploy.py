"""deploy/ is sound: units that systemd understands and that confine what they start, rules that Prometheus can read."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import gateway.config
import node.config

DEPLOY = Path(__file__).parent.parent / "deploy"
ROLES = ("node", "gateway")
CONFIG_VARIABLES = {"node": node.config.CONFIG_VARIABLE, "gateway": gateway.config.CONFIG_VARIABLE}
EXPOSURE_TENTHS = 15
"""What ``systemd-analyze security`` may find left, of 100; a service that is not confined has 96."""
CONFINED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    "LimitCORE": "0",
    "LimitMEMLOCK": "infinity",
    "MemorySwapMax": "0",
    "UMask": "0077",
}


def unit(role: str) -> dict[str, list[str]]:
    """The settings of a unit's section [Service], each with all its values in order."""
    text = (DEPLOY / "systemd" / f"kofn-{role}.service").read_text()
    service = text.split("[Service]\n")[1].split("[Install]\n")[0]
    settings: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE):
        settings.setdefault(name, []).append(value)
    return settings


def analyze(folder: Path, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``systemd-analyze`` on a unit, whose interpreter is this one: that of the unit is not installed here."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt install systemd)")
    path = folder / f"kofn-{role}.service"
    path.write_text((DEPLOY / "systemd" / path.name).read_text().replace("/opt/kofn/bin/python", sys.executable))
    return subprocess.run([found, *arguments, str(path)], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("role", ROLES)
def test_systemd_understands_the_unit(tmp_path: Path, role: str) -> None:
    result = analyze(tmp_path, role, "verify", "--man=no", "--recursive-errors=no")
    assert result.returncode == 0, result.stderr
    assert f"kofn-{role}" not in result.stderr


@pytest.mark.parametrize("role", ROLES)
def test_systemd_finds_the_service_confined(tmp_path: Path, role: str) -> None:
    result = analyze(tmp_path, role, "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS}", "--no-pager")
    if "unrecognized option" in result.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not loaded (it needs 250 or later)")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("role", ROLES)
def test_the_unit_confines_what_it_starts(role: str) -> None:
    settings = unit(role)
    assert {name: settings.get(name) for name in CONFINED} == {name: [value] for name, value in CONFINED.items()}
    assert settings["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert settings["StateDirectory"] == settings["ConfigurationDirectory"] == [f"kofn/{role}"]
    assert not any(name.startswith(("Exec", "Root", "Load")) for name in settings.keys() - {"ExecStart"})


@pytest.mark.parametrize("role", ROLES)
def test_the_unit_starts_what_is_there_as_a_user_that_is_created(role: str) -> None:
    settings = unit(role)
    configuration, application = f"{role}.gunicorn_conf", f"{role}.wsgi"
    assert settings["ExecStart"] == [f"/opt/kofn/bin/python -m gunicorn -c python:{configuration} {application}:app"]
    assert all(importlib.util.find_spec(module) is not None for module in (configuration, application))
    (variable,) = settings["Environment"]
    assert variable == f"{CONFIG_VARIABLES[role]}=/etc/kofn/{role}/{role}.toml"
    users = re.findall(r"^u (\S+)", (DEPLOY / "sysusers.d" / "kofn.conf").read_text(), re.MULTILINE)
    assert settings["User"] == [f"kofn-{role}"]
    assert f"kofn-{role}" in users


def test_a_gateway_may_open_as_many_files_as_clients_may_be_connected() -> None:
    connections = next(field.default for field in msgspec.structs.fields(gateway.config.Settings) if field.name == "connections")
    assert int(unit("gateway")["LimitNOFILE"][0]) > 2 * connections


def test_the_alerts_are_rules_that_prometheus_reads() -> None:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Kofn[A-Za-z]+", rule["alert"])
        assert all(rule["expr"].count(opened) == rule["expr"].count(closed) for opened, closed in ("()", "{}", "[]"))
        assert "for" not in rule or re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
