"""``kofn token``: tokens come and go in the access file, and everything else in it stays."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gateway_fakes import FakeVault, make_settings

from cli import files
from cli.access_file import AccessFile, known_as, new_token
from cli.failure import Exit, Failure
from cli.main import kofn
from gateway.app import create_app
from model.callers import decode, split_token

CONTENT = """\
# Our callers.
[[principals.app.allow]]   # the app itself
namespaces = ["default"]
paths = ["app/**"]
capabilities = ["read"]

# On the build machine.
[tokens.aaaaaaaa]
digest = "0000000000000000000000000000000000000000000000000000000000000000"
principal = "app"

# Of the old app.
[tokens."bbbbbbbb"]  # to be revoked
principal = "app"

digest = "1111111111111111111111111111111111111111111111111111111111111111"
# The certificate.
[clients."spiffe://kofn.local/client/ci"]
principal = "app"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(CONTENT)
    path.chmod(0o600)
    return path


def run(path: Path, *args: str) -> Result:
    return CliRunner().invoke(kofn, ["token", args[0], "--access", str(path), *args[1:]])


def test_an_issued_token_is_printed_once_and_opens_the_door(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    client = create_app(settings, FakeVault()).test_client()
    token = run(settings.access, "issue", "tester").stdout.strip()
    auth = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/secrets", headers=auth).status_code == 200
    parts = split_token(token)
    assert parts is not None
    assert parts[1] not in settings.access.read_text()
    assert run(settings.access, "revoke", parts[0]).exit_code == 0
    assert client.get("/api/v1/secrets", headers=auth).status_code == 401


def test_a_token_for_a_file_is_in_that_file_only(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "token"
    result = run(path, "issue", "app", "--out", str(out))
    assert (result.exit_code, result.output) == (0, "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    identifier, _ = known_as(out.read_text().strip(), "app")
    assert f"{identifier}\tapp\n" in run(path, "list").output
    again = run(path, "issue", "app", "--out", str(out))
    assert again.exit_code == Exit.CONFLICT
    assert len(decode(path.read_bytes()).tokens) == 3


def test_tokens_have_256_random_bits_and_a_grammar_that_can_be_read(path: Path) -> None:
    tokens = {run(path, "issue", "app").stdout.strip() for _ in range(5)}
    assert len(tokens) == 5
    assert all(len(token) == 5 + 16 + 1 + 43 and split_token(token) for token in tokens)


def test_the_list_has_ids_and_principals_and_no_digest(path: Path) -> None:
    assert run(path, "list").output == "aaaaaaaa\tapp\nbbbbbbbb\tapp\n"


def test_a_new_token_comes_at_the_end_and_leaves_the_rest_as_it_is(path: Path) -> None:
    run(path, "issue", "app")
    assert path.read_text().startswith(CONTENT + "\n[tokens.")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_token_goes_with_its_lines_and_nothing_else(path: Path) -> None:
    result = run(path, "revoke", "bbbbbbbb")
    assert result.exit_code == 0
    removed = CONTENT[CONTENT.index('[tokens."bbbbbbbb"]') : CONTENT.index("# The certificate.")]
    assert path.read_text() == CONTENT.replace(removed, "")
    run(path, "revoke", "aaaaaaaa")
    assert run(path, "list").output == ""
    assert "# On the build machine." in path.read_text()


def test_a_whole_token_is_revoked_by_its_id_and_never_repeated(path: Path) -> None:
    token = run(path, "issue", "app").stdout.strip()
    for expected in (Exit.OK, Exit.NOT_FOUND):
        result = run(path, "revoke", token)
        assert result.exit_code == expected
        assert token not in result.output
    assert run(path, "list").output == "aaaaaaaa\tapp\nbbbbbbbb\tapp\n"


@pytest.mark.parametrize("args", [("revoke", "kofn_hunter2"), ("revoke", "hunter2"), ("issue", "hunter2")])
def test_what_is_no_id_and_no_principal_may_be_a_token_and_is_not_repeated(path: Path, args: tuple[str, ...]) -> None:
    result = run(path, *args)
    assert result.exit_code == Exit.NOT_FOUND
    assert "hunter2" not in result.output


def test_without_a_cluster_the_way_to_start_one_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(kofn, ["token", "list"], env={"KOFN_DATA": str(tmp_path)})
    assert result.exit_code == Exit.NOT_FOUND
    assert "kofn local start" in result.stderr


def test_an_unknown_token_or_principal_changes_nothing(path: Path) -> None:
    assert run(path, "revoke", "cccccccc").exit_code == Exit.NOT_FOUND
    missing = run(path, "issue", "nobody")
    assert missing.exit_code == Exit.NOT_FOUND
    assert "choose of: app" in missing.output
    assert "kofn_" not in missing.output
    assert path.read_text() == CONTENT


@pytest.mark.parametrize(
    "content",
    [
        CONTENT.replace("[tokens.aaaaaaaa]", "tokens.aaaaaaaa]"),
        CONTENT.replace("capabilities", "capability"),
    ],
)
def test_a_file_that_is_no_access_file_is_not_touched(path: Path, content: str) -> None:
    path.write_text(content)
    for args in (("list",), ("issue", "app"), ("revoke", "aaaaaaaa")):
        assert run(path, *args).exit_code == Exit.USAGE
    assert path.read_text() == content
    assert run(path.with_name("none"), "list").exit_code == Exit.USAGE


@pytest.mark.parametrize(
    "content",
    [
        "tokens = {aaaaaaaa = {digest = '" + "0" * 64 + "', principal = 'app'}}\n[principals.app]\n",
        "[principals.app]\n[tokens]\naaaaaaaa = {digest = '" + "0" * 64 + "', principal = 'app'}\n",
        "[principals.app]\n[tokens]\naaaaaaaa.digest = '" + "0" * 64 + "'\naaaaaaaa.principal = 'app'\n",
    ],
)
def test_a_layout_that_cannot_be_edited_by_lines_is_left_to_its_owner(path: Path, content: str) -> None:
    path.write_text(content)
    assert run(path, "list").output == "aaaaaaaa\tapp\n"
    result = run(path, "revoke", "aaaaaaaa")
    assert result.exit_code == Exit.USAGE
    assert "by hand" in result.output
    assert path.read_text() == content


def test_many_at_once_lose_no_change(path: Path) -> None:
    file = AccessFile(path)

    def issue(_: int) -> str:
        identifier, known = known_as(new_token(), "app")
        file.add(identifier, known)
        return identifier

    with ThreadPoolExecutor(8) as pool:
        issued = set(pool.map(issue, range(40)))
    assert decode(path.read_bytes()).tokens.keys() == issued | {"aaaaaaaa", "bbbbbbbb"}


def test_a_text_that_is_no_token_is_refused_without_echo() -> None:
    with pytest.raises(Failure) as refused:
        known_as("kofn_marker", "app")
    assert "marker" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_file_to_the_user_whose_server_reads_it(path: Path) -> None:
    os.chown(path, 65534, 65534)
    run(path, "issue", "app")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    files.write(path.with_name("new"), "")
    assert path.with_name("new").stat().st_uid == 0
