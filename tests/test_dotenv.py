"""A .env file as values. python-dotenv itself judges what is written: what it reads back must be exactly the value."""

import time
from contextlib import suppress
from io import StringIO

import pytest
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model import dotenv
from model.dotenv import encrypt_plan, parse, render, variables
from model.dotenv_expansion import atoms, merge, without_expansion
from model.errors import InvalidEnv, TooLarge, ValueNotRenderable

# Characters that mean something to some parser, and some that do not.
SPICE = [
    *"aZ0 \t'\"\\#=${}:-()\n\r,@/.`!;&|<>*?~",
    "\ufeff",
    "\0",
    "\x0b",
    "\x85",
    "\u2028",
    "é",
    "🔑",
    "${",
    "${A}",
    "${:-",
    " #",
    "secret(",
    "enc(",
]
spicy = st.lists(st.sampled_from(SPICE), max_size=12).map("".join)
values = spicy | st.text()


def read(content: str) -> dict[str, str | None]:
    """What python-dotenv reads, expansions included, with nothing but the file to expand them from."""
    return dict(dotenv_values(stream=StringIO(content)))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A", "B", "K", "X", "HOME"):
        monkeypatch.delenv(name, raising=False)


FILE = (
    "\ufeff# a comment with secret(not/this) and enc(\r\n"
    "\r\n"
    "export PLAIN = untouched   # secret(nor/this)\n"
    "URL=postgres://app:secret(db/pw)@host/db?x=secret(db/name@3)  # why\r\n"
    '\t  QUOTED="a \'b\' \\"secret(db/pw)\\" \\\\ \\n"\n'
    "LITERAL='secret(db/pw) ${'\n"
    "'odd key'=secret(db/pw)#secret(db/pw)\n"
    "NEW=enc(app/new)   # created\n"
    'INLINE="enc(app/inline, it\\"s, (all) of this)"\n'
    "EMPTY=\n"
    "BARE\n"
    'MULTI="one\n'
    'two secret(db/pw)"\r\n'
    "LAST=x"
)


def test_references_and_encryptions_are_found_with_their_lines() -> None:
    file = parse(FILE)
    assert [(each.key, each.name, each.version, each.line) for each in file.references] == [
        ("URL", "db/pw", None, 4),
        ("URL", "db/name", 3, 4),
        ("QUOTED", "db/pw", None, 5),
        ("odd key", "db/pw", None, 7),
        ("odd key", "db/pw", None, 7),
        ("MULTI", "db/pw", None, 13),
    ]
    assert [(each.key, each.name, each.inline_value, each.line) for each in file.encryptions] == [
        ("NEW", "app/new", None, 8),
        ("INLINE", "app/inline", 'it"s, (all) of this', 9),
    ]


def test_everything_but_the_references_comes_back_byte_for_byte() -> None:
    rendered = render(parse(FILE), {("db/pw", None): 'p"w', ("db/name", 3): b"prod"}, expand=True)
    assert rendered == (
        "\ufeff# a comment with secret(not/this) and enc(\r\n"
        "\r\n"
        "export PLAIN = untouched   # secret(nor/this)\n"
        "URL='postgres://app:p\"w@host/db?x=prod'  # why\r\n"
        '\t  QUOTED="a \'b\' \\"p\\"w\\" \\\\ \\n"\n'
        "LITERAL='secret(db/pw) ${'\n"
        "'odd key'='p\"w#p\"w'\n"
        "NEW=secret(app/new)   # created\n"
        'INLINE="secret(app/inline)"\n'
        "EMPTY=\n"
        "BARE\n"
        'MULTI="one\n'
        'two p\\"w"\r\n'
        "LAST=x"
    )


def test_without_expanding_references_stay_and_encryptions_become_references() -> None:
    expected = FILE.replace("enc(app/new)", "secret(app/new)").replace('enc(app/inline, it\\"s, (all) of this)', "secret(app/inline)")
    assert render(parse(FILE), {}, expand=False) == expected


def test_a_file_without_references_comes_back_as_it_is() -> None:
    content = "\ufeffA=1\r\n\r\n# c\r\nexport B='x'"
    assert render(parse(content), {}, expand=True) == content
    assert render(parse(""), {}, expand=True) == ""


@given(values)
@example("${X}")
@example("a${")
@example("}")
@example("ends in a backslash\\")
@example("C:\\")
@example("'\\")
@example("'")
@example("\"'")
@example("\r\n")
@example("")
@example(" ")
@example("#")
@example("\ufeff")
@example("${:-$}{X}")
def test_python_dotenv_reads_back_exactly_the_value(value: str) -> None:
    for before, after in (("", ""), ('"', '"')):
        for context in ("K={}\n", "\ufeffexport K = {} # why\r\nB=2", "A='1'\nK={}", "\nK={}#tight"):
            content = context.format(f"{before}secret(n){after}")
            file = parse(content)
            if content.endswith(")#tight"):
                continue  # without quotes, what follows is part of the value
            rendered = render(file, {("n", None): value}, expand=True)
            assert read(rendered)["K"] == value
            assert rendered.startswith(content[: content.index("K")])
            assert {key: each for key, each in read(rendered).items() if key != "K"} == {
                key: each for key, each in read(content).items() if key != "K"
            }


@given(spicy, spicy, spicy, values, values)
def test_a_value_inside_a_longer_one_means_only_itself(left: str, middle: str, right: str, one: str, other: str) -> None:
    """The twin: replace the references in what python-dotenv reads, expansions kept apart, rather than in what is written."""
    for quote in ("", '"'):
        content = f"A=a\nK={quote}{left}secret(one){middle}secret(other@2){right}{quote}\nB=b\n"
        try:
            file = parse(content)
        except InvalidEnv:
            continue
        if {each.key for each in file.references} != {"K"} or len(file.references) != 2 or file.encryptions:
            continue
        texts = {("one", None): one, ("other", 2): other}
        meant = variables(file, texts, True, {})
        with suppress(ValueNotRenderable):
            assert {key: each for key, each in read(render(file, texts, expand=True)).items() if each is not None} == meant
        if not any(each in content for each in ("${", "$secret(")):
            assert meant["K"] == (read(content)["K"] or "").replace("secret(one)", "\0one\0").replace("secret(other@2)", other).replace(
                "\0one\0", one
            )


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([*SPICE, "\nA=", "\r\nB=", "secret(a)", "secret(b@2)", "enc(c)", "enc(d, x)", "export ", "K"]), max_size=25
    ).map("".join)
    | st.text()
)
def test_any_text_is_a_file_or_refused_and_what_is_not_replaced_does_not_change(content: str) -> None:
    try:
        file = parse(content)
    except InvalidEnv:
        return
    bindings = [each for each in parse_stream(StringIO(content.removeprefix("\ufeff"))) if each.key is not None]
    assert [(each.key, each.text) for each in file.assignments] == [(each.key, each.value) for each in bindings]
    texts = {each.target: "v" for each in file.references}
    rendered = render(file, texts, expand=True)
    position = 0
    for assignment in file.assignments:
        if assignment.references or assignment.encryption is not None:
            untouched = content[position : assignment.start]
            assert untouched in rendered
            rendered = rendered[rendered.index(untouched) + len(untouched) :]
            position = assignment.end
    assert rendered.endswith(content[position:])
    assert render(file, {}, expand=False).count("secret(") >= len(file.references) + len(file.encryptions)
    assert variables(file, texts, True, {}) == {
        key: each for key, each in read(render(file, texts, expand=True)).items() if each is not None
    }


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("=x", 1),
        ("A=1\n\n \n'x\n", 4),
        ('A=1\nB="x\nC=2', 2),
        ("A='x'y", 1),
        ("A=secret(", 1),
        ("A=secret()", 1),
        ("A=secret( a)", 1),
        ("A=secret(a )", 1),
        ("A=secret(/a)", 1),
        ("A=secret(a//b)", 1),
        ("A=secret(a@)", 1),
        ("A=secret(a@0)", 1),
        ("A=secret(a@-1)", 1),
        ("A=secret(a@1.0)", 1),
        ("A=secret(a@01)", 1),
        ("A=secret(a@1234567890123456789)", 1),
        ("A=secret(a@1@2)", 1),
        ("A=secret(secret(a))", 1),
        ("A=secret(a) secret(", 1),
        ("A=secret(é)", 1),
        ("A=secret(a #b)", 1),
        ('A="secret(a\\n)"', 1),
        ('A="\n\nsecret(a"', 3),
        ("A=enc(", 1),
        ("A=enc()", 1),
        ("A=enc(a b)", 1),
        ("A=enc(a@1)", 1),
        ("A=enc(a", 1),
        ("A=enc(a)x", 1),
        ("A=xenc(a)", 1),
        ("A=enc(a, b #c)", 1),
        ("A=secret(a)enc(b)", 1),
        ("A=${secret(a)}", 1),
        ("A=${X-secret(a):-b}", 1),
        ("A=1\nB=enc(a)\nC=enc(a)", 3),
        ("B=enc(a)\nC=secret(a)", 1),
        ("C=secret(a@2)\nB=enc(a)", 2),
        ("\ufeff\ufeffA=1", 1),
        ("A=\r\rB=secret(", 3),
    ],
)
def test_a_bad_line_is_named(content: str, line: int) -> None:
    with pytest.raises(InvalidEnv, match=rf"^In line {line}: "):
        parse(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("A='x", "a quote is not closed"),
        ('export A = "x\nB=1', "a quote is not closed"),
        ("A='x\nB='y'", "or a quote is not closed where it should be"),
        ('A="x" y', "something other than a comment follows a closing quote"),
        ("=x", "neither KEY=value"),
        ("A B=1", "neither KEY=value"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(content: str, reason: str) -> None:
    with pytest.raises(InvalidEnv, match=rf"^In line 1: .*{reason}"):
        parse(content)


def test_every_bad_line_is_named_at_once_in_order() -> None:
    with pytest.raises(InvalidEnv) as caught:
        parse("A=enc(n)\nB=enc(n)\n=\nC=secret(\n")
    assert [part.split(":")[0] for part in caught.value.detail.split("; ") if "line" in part] == ["In line 2", "in line 3", "in line 4"]
    assert caught.value.names == ("n",)


def test_a_file_of_nothing_but_bad_lines_names_the_first_twenty() -> None:
    with pytest.raises(InvalidEnv, match=r"in line 20: [^;]*; and 30 more$"):
        parse("=\n" * 50)


@pytest.mark.parametrize(
    "content", ["=hunter2", "A='hunter2", "A=secret(hunter2", "A=enc(hunter2 hunter2)", "A=enc(a, hunter2", "A=${secret(hunter2)}"]
)
def test_a_refusal_repeats_nothing_of_the_file(content: str) -> None:
    with pytest.raises(InvalidEnv) as caught:
        parse(content)
    assert "hunter2" not in caught.value.detail
    assert caught.value.names == ()


def test_what_holds_a_secret_does_not_show_it() -> None:
    file = parse("A=enc(a, hunter2)\nB='hunter2'\n")
    assert "hunter2" not in repr(file) + repr(file.assignments) + repr(file.encryptions)
    assert "hunter2" not in repr(encrypt_plan("A=hunter2", "", None))


@pytest.mark.parametrize(
    ("content", "inline_value"),
    [
        ("A=enc(a)", None),
        ("A=enc(a,)", ""),
        ("A=enc(a, )", ""),
        ("A=enc(a,x)", "x"),
        ("A=enc(a,  x )", " x "),
        ("A=enc(a, p(a)ren)s)", "p(a)ren)s"),
        ("A=enc(a, secret(b) enc(c))", "secret(b) enc(c)"),
        ("A=enc(a, b\\n'\"c)", "b\\n'\"c"),
        ("A=enc(a, ${HOME})", "${HOME}"),
        ('A="enc(a, b\\n\\"c\\\\ #\'\nd)"', "b\n\"c\\ #'\nd"),
    ],
)
def test_an_inline_value_is_everything_between_the_comma_and_the_last_parenthesis(content: str, inline_value: str | None) -> None:
    (encryption,) = parse(content).encryptions
    assert encryption.inline_value == inline_value


def test_a_reference_after_an_escape_is_one() -> None:
    file = parse('A="\\nsecret(a)\\\\secret(a)\\tx"')
    assert len(file.references) == 2
    assert read(render(file, {("a", None): "n"}, expand=True)) == {"A": "\nn\\n\tx"}


def test_a_backslash_before_a_reference_does_not_become_an_escape() -> None:
    file = parse('A="\\secret(a)"')
    for value in ("new", '"', "\\", "'"):
        assert read(render(file, {("a", None): value}, expand=True)) == {"A": "\\" + value}


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("", ""),
        ("abc", "abc"),
        ("a/b+c=1,2@%:.-_", "a/b+c=1,2@%:.-_"),
        ("two words", "'two words'"),
        ("$(reboot)", "'$(reboot)'"),
        ('say "x"', "'say \"x\"'"),
        ("it's", '"it\'s"'),
        ("a\\b", '"a\\\\b"'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("C:\\dir\\", "C:\\dir\\"),
        ("a b\\", '"a b\\\\"'),
        ("${X}", "'${:-$}{X}'"),
        ("$X ${X", "'$X ${X'"),
    ],
)
def test_a_value_is_quoted_only_where_it_needs_it(value: str, token: str) -> None:
    assert render(parse("A=secret(a)"), {("a", None): value}, expand=True) == f"A={token}"


def test_the_users_own_expansions_go_on_working_and_inserted_ones_do_not() -> None:
    content = "A=a\nB=${A}$secret(x)${MISSING:-${A}\n"
    file = parse(content)
    assert read(render(file, {("x", None): "{A}"}, expand=True))["B"] == "a${A}${A"
    assert variables(file, {("x", None): "{A}"}, True, {})["B"] == "a${A}${A"


def test_a_reference_may_be_the_default_of_an_expansion() -> None:
    file = parse("A=${X:-secret(a)}")
    assert read(render(file, {("a", None): "p w$"}, expand=True)) == {"A": "p w$"}
    assert variables(file, {("a", None): "p w$"}, True, {"X": "given"}) == {"A": "given"}


def test_a_value_that_would_end_an_expansion_is_refused_by_name_but_can_be_a_variable() -> None:
    file = parse("\nA=${X:-secret(a)}\nB=secret(b)\nC=${secret(c)")
    texts = {("a", None): "hunter2}", ("b", None): "b", ("c", None): "hunter2}"}
    with pytest.raises(ValueNotRenderable, match=r"^In line 2: [^;]*; in line 4: ") as caught:
        render(file, texts, expand=True)
    assert caught.value.names == ("a", "c")
    assert "hunter2" not in caught.value.detail
    assert variables(file, texts, True, {}) == {"A": "hunter2}", "B": "b", "C": "${hunter2}"}


def test_bytes_that_are_not_text_are_refused_by_name() -> None:
    file = parse("A=secret(a)\nB=secret(b)\nC=secret(c)")
    texts = {("a", None): b"\xff", ("b", None): "é".encode(), ("c", None): b"\x80"}
    for use in (lambda: render(file, texts, expand=True), lambda: variables(file, texts, True, {})):
        with pytest.raises(ValueNotRenderable, match=r"^In line 1: [^;]*; in line 3: ") as caught:
            use()
        assert caught.value.names == ("a", "c")


def test_variables_are_what_python_dotenv_reads() -> None:
    texts = {("db/pw", None): "p'w\n", ("db/name", 3): "prod"}
    file = parse(FILE)
    expected = read(render(file, texts, expand=True))
    assert expected.pop("BARE") is None
    assert variables(file, texts, True, {}) == expected
    assert variables(file, {}, False, {})["URL"] == "postgres://app:secret(db/pw)@host/db?x=secret(db/name@3)"
    assert variables(file, {}, False, {})["NEW"] == "secret(app/new)"


def test_variables_expand_from_the_lines_above_before_the_environment() -> None:
    file = parse("A=${X}\nX=file\nB=${X}${NOT}${NOT:-default}\nX\nC=[${X:-default}]\nB2=${Y}\nD\nD=1\nE=1\nE\n")
    assert variables(file, {}, True, {"X": "outside", "Y": "y"}) == {
        "A": "outside",
        "B": "filedefault",
        "C": "[]",
        "B2": "y",
        "D": "1",
    }


def test_files_beyond_the_limits_are_refused() -> None:
    assert parse("#" * dotenv.MAX_CONTENT_BYTES).assignments == ()
    with pytest.raises(InvalidEnv, match="more than 262144 bytes"):
        parse("#" + "é" * (dotenv.MAX_CONTENT_BYTES // 2))
    full = "".join(f"A{number}=secret(n)secret(n)\n" for number in range(dotenv.MAX_REFERENCES // 2))
    assert len(parse(full).references) == dotenv.MAX_REFERENCES
    with pytest.raises(InvalidEnv, match="more than 1000 references"):
        parse(full + "B=enc(b)")
    assert parse("A=b" + " " * dotenv.MAX_BLANKS + "c").assignments
    with pytest.raises(InvalidEnv, match="more than 256 blanks"):
        parse("A=b" + " " * (dotenv.MAX_BLANKS + 1) + "c")


def test_a_small_file_cannot_come_to_an_enormous_one() -> None:
    doubling = "A0=xxxxxxxxxx\n" + "".join(f"A{number + 1}=${{A{number}}}${{A{number}}}\n" for number in range(40))
    with pytest.raises(TooLarge):
        variables(parse(doubling), {}, True, {})
    many = parse("".join(f"A{number}=secret(n)\n" for number in range(dotenv.MAX_REFERENCES)))
    for use in (lambda texts: render(many, texts, expand=True), lambda texts: variables(many, texts, True, {})):
        with pytest.raises(TooLarge):
            use({("n", None): "x" * (dotenv.MAX_RESULT_CHARACTERS // 1000 + 1)})


@pytest.mark.parametrize(
    "content",
    [
        "A=secret(a)" + "${" * 120_000,
        "A=secret(a)" + "${" * 120_000 + ":",
        "A=secret(a)" + "${" * 120_000 + ":}",
        "A=secret(a)" + "${:-" * 60_000,
        ("A=b" + " " * 256) * 1000,
        "A=" + "secret(" * 30_000,
        'A="' + "secret(\\n" * 25_000 + '"',
        "A=" + "enc(" * 60_000,
        "\n" * 250_000 + "A=secret(a)",
        ("\n" * 200 + "A=secret(a)\n") * 1000,
        'A="' + ("\n" * 200 + "secret(a)") * 1000 + '"',
        'A="\n' * 60_000,
    ],
)
def test_hostile_files_take_no_long_time(content: str) -> None:
    began = time.perf_counter()
    with suppress(InvalidEnv):
        file = parse(content)
        texts = {("a", None): "${" * 1000 + "'" + " " * 1900 + "\\"}
        variables(file, texts, True, {})
        render(file, texts, expand=True)
    assert time.perf_counter() - began < 5


@given(st.lists(st.sampled_from(["${", "}", ":-", ":", "-", "$", "{", "a", "\n"]), max_size=20).map("".join) | st.text())
def test_expansions_are_found_where_python_dotenv_finds_them(text: str) -> None:
    theirs = [(each.name, each.default or "") if isinstance(each, Variable) else (None, each.resolve({})) for each in parse_variables(text)]
    assert atoms(text) == merge(theirs)


@given(spicy | st.text())
def test_a_text_written_without_expansion_expands_to_itself_even_after_a_dollar(text: str) -> None:
    for before in ("", "$"):
        expanded = "".join(each.resolve({}) for each in parse_variables(before + without_expansion(text)))
        assert expanded == before + text


def test_encrypting_moves_plain_values_and_nothing_else() -> None:
    content = (
        "\ufeff# secrets\r\n"
        "A=b#c # why\r\n"
        "export B='q w'#tight\n"
        'C="x\\ny"  \n'
        "EMPTY= # none\n"
        "BARE\n"
        "OLD=secret(old)\n"
        "NEW=enc(new)\n"
        "LITERAL='secret(x)'\n"
        "LAST = end"
    )
    plan = encrypt_plan(content, "app/", None)
    assert plan.values == {"app/A": "b#c", "app/B": "q w", "app/C": "x\ny", "app/LITERAL": "secret(x)", "app/LAST": "end"}
    assert plan.content == (
        "\ufeff# secrets\r\n"
        "A=enc(app/A) # why\r\n"
        'export B="enc(app/B)"#tight\n'
        'C="enc(app/C)"  \n'
        "EMPTY= # none\n"
        "BARE\n"
        "OLD=secret(old)\n"
        "NEW=enc(new)\n"
        'LITERAL="enc(app/LITERAL)"\n'
        "LAST = enc(app/LAST)"
    )


def test_encrypting_only_some_keys_takes_empty_values_too() -> None:
    plan = encrypt_plan("A=1\nB= # none\nC=3\n", "", ["B", "C"])
    assert plan.content == 'A=1\nB= "enc(B)"# none\nC=enc(C)\n'
    assert plan.values == {"B": "", "C": "3"}


unreferring = values.filter(lambda value: "secret(" not in value and "enc(" not in value)


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), unreferring, max_size=5))
@example({"A": "${A}"})
def test_a_file_encrypted_and_processed_means_what_it_meant(plain: dict[str, str]) -> None:
    placeholders = parse("".join(f"{key}=secret(v/{key})\n" for key in plain))
    content = render(placeholders, {(f"v/{key}", None): value for key, value in plain.items()}, expand=True)
    plan = encrypt_plan(content, "app/", None)
    assert plan.values == {f"app/{key}": value for key, value in plain.items() if value}
    encrypted = render(parse(plan.content), {}, expand=False)
    assert all(value not in encrypted for value in plain.values() if len(value) > 30)
    assert read(render(parse(encrypted), {(name, None): value for name, value in plan.values.items()}, expand=True)) == read(content)


@pytest.mark.parametrize(
    ("content", "prefix", "keys", "line"),
    [
        ("A=1\n'odd key'=2", "", None, 2),
        ("A=1", "/", None, 1),
        ("A=1\nA=2", "", None, 2),
        ("A=1\nB=x${A}", "", None, 2),
        ("A=1\nB=x${A}", "", ["B"], 2),
        ("A=1\nB=secret(A)", "", None, 1),
        ("=", "", None, 1),
    ],
)
def test_what_cannot_be_encrypted_is_refused_with_its_line(content: str, prefix: str, keys: list[str] | None, line: int) -> None:
    with pytest.raises(InvalidEnv, match=rf"^In line {line}: "):
        encrypt_plan(content, prefix, keys)


@pytest.mark.parametrize("content", ["B=1", "A", "A=secret(x)", "A=enc(x)"])
def test_a_key_to_encrypt_that_has_no_plain_value_is_named(content: str) -> None:
    with pytest.raises(InvalidEnv) as caught:
        encrypt_plan(content, "app/", ["A"])
    assert caught.value.names == ("app/A",)
