"""A .env file as values: what it refers to, what it wants created, and what it becomes.

The road is ``parse``, then read all ``references`` at once and create all ``encryptions`` at once, then ``render`` or ``variables``.
``encrypt_plan`` goes the other way, from plain values to references. Everything outside the spans that are replaced stays byte for byte.

An inserted value is never looked into again: neither ``secret(...)`` nor ``${...}`` in it means anything. python-dotenv expands
``${...}`` in every value, single-quoted ones too, and knows no escape for it. But ``${:-$}``, the variable without a name, which cannot
exist, is by its default a ``$``: so a value that would be taken for an expansion is written with that, and reads back exactly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from model.dotenv_expansion import atoms
from model.dotenv_syntax import Assignment, Encryption, Problem, Reference, Target, scan
from model.dotenv_writing import filled, write
from model.errors import InvalidEnv, InvalidRequest, KofnError, TooLarge, ValueNotRenderable
from model.name import check_name

__all__ = ["EncryptPlan", "Encryption", "EnvFile", "Reference", "encrypt_plan", "parse", "render", "variables"]

MAX_CONTENT_BYTES = 256 * 1024
MAX_REFERENCES = 1000
MAX_BLANKS = 256
"""The longest run of blanks in a line. python-dotenv looks for a comment after each of them, in time quadratic in the run."""
MAX_RESULT_CHARACTERS = 4 * 1024 * 1024
"""The most that the values of one file may come to, however often a value is referred to."""

_BLANKS = re.compile(r"[^\S\r\n]+")
_SHOWN_LINES = 20


class EnvFile(msgspec.Struct, frozen=True):
    """A parsed file; ``assignments`` in the order of its lines."""

    content: str
    assignments: tuple[Assignment, ...]

    def __repr__(self) -> str:
        return f"EnvFile(assignments={self.assignments!r})"

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every ``secret(...)``, in order; the same one may come several times."""
        return tuple(reference for assignment in self.assignments for reference in assignment.references)

    @property
    def encryptions(self) -> tuple[Encryption, ...]:
        """Every ``enc(...)``, in order; their names are distinct, and none of them is referred to by ``references``."""
        return tuple(assignment.encryption for assignment in self.assignments if assignment.encryption is not None)


class EncryptPlan(msgspec.Struct, frozen=True):
    """A file whose plain values were turned into ``enc(NAME)``, and the plaintext of each NAME."""

    content: str
    values: dict[str, str]

    def __repr__(self) -> str:
        return f"EncryptPlan(names={sorted(self.values)!r})"


def parse(content: str) -> EnvFile:
    """The file that ``content`` is. Raises InvalidEnv, which names every line at fault and repeats nothing of it.

    At fault is a line that python-dotenv cannot read, a malformed reference, a name in two ``enc`` or in ``enc`` and ``secret``, and a
    file beyond MAX_CONTENT_BYTES (of UTF-8), MAX_REFERENCES or MAX_BLANKS. In ``enc(NAME, plaintext)`` one blank after the comma is not
    part of the plaintext; everything else up to the last parenthesis is.
    """
    if len(content.encode("utf-8", "surrogatepass")) > MAX_CONTENT_BYTES:
        raise InvalidEnv(f"The file has more than {MAX_CONTENT_BYTES} bytes")
    if max(map(len, _BLANKS.findall(content)), default=0) > MAX_BLANKS:
        raise InvalidEnv(f"The file has more than {MAX_BLANKS} blanks in a row")
    found = list(scan(content))
    file = EnvFile(content, tuple(each for each in found if isinstance(each, Assignment)))
    problems = [each for each in found if isinstance(each, Problem)]
    if len(file.references) + len(file.encryptions) > MAX_REFERENCES:
        raise InvalidEnv(f"The file has more than {MAX_REFERENCES} references")
    taken = {reference.name for reference in file.references}
    for encryption in file.encryptions:
        if encryption.name in taken:
            problems.append(Problem(encryption.line, "enc(NAME) of a name that the file uses elsewhere too", (encryption.name,)))
        taken.add(encryption.name)
    _refuse(problems, InvalidEnv)
    return file


def render(file: EnvFile, values: Mapping[Target, str | bytes], expand: bool) -> str:
    """The file's content with each ``enc(...)`` turned into ``secret(NAME)`` and, if ``expand``, each ``secret(...)`` into its value.

    python-dotenv then reads each value back exactly. Quotes are added or changed only where the value needs it, or where a shell that
    sources the file would do something with an inserted one. If ``expand``, ``values`` has one for each (name, version) referred to;
    bytes are taken for UTF-8.
    Raises ValueNotRenderable, which names every secret at fault with its lines, for a value that is not UTF-8 and for one with ``}`` in the
    default of a ``${...}``; TooLarge beyond MAX_RESULT_CHARACTERS.
    """
    texts = _texts(file, values) if expand else {}
    replaced: list[tuple[Assignment, str]] = []
    problems: list[Problem] = []
    for assignment in file.assignments:
        if assignment.encryption is not None:
            replaced.append((assignment, f"{assignment.quote}secret({assignment.encryption.name}){assignment.quote}"))
        elif expand and assignment.references:
            token = write(file.content, assignment, texts)
            if token is None:
                names = tuple(reference.name for reference in assignment.references)
                problems.append(Problem(assignment.line, "inside ${...} a value cannot have a }", names))
            else:
                replaced.append((assignment, token))
    _refuse(problems, ValueNotRenderable)
    return _replace(file.content, replaced)


def variables(file: EnvFile, values: Mapping[Target, str | bytes], expand: bool, environment: Mapping[str, str]) -> dict[str, str]:
    """What python-dotenv reads from what ``render`` returns, or would if every value could be written there: a value for each key.

    ``${NAME}`` outside of inserted values is expanded: from the lines above, else from ``environment``, else from its default, else to
    nothing. A key without ``=`` has no value. Raises ValueNotRenderable for a value that is not UTF-8, TooLarge beyond
    MAX_RESULT_CHARACTERS.
    """
    texts = _texts(file, values) if expand else {reference.target: _written(reference) for reference in file.references}
    known: dict[str, str | None] = dict(environment)
    result: dict[str, str] = {}
    size = 0
    for assignment in file.assignments:
        if assignment.encryption is not None:
            parts = [f"secret({assignment.encryption.name})"]
        else:
            parts = [part if name is None else known.get(name, part) or "" for name, part in filled(assignment, texts)]
        size += sum(map(len, parts))
        _check_size(size)
        result[assignment.key] = "".join(parts)
        known[assignment.key] = result[assignment.key]
        if assignment.text is None:
            known[assignment.key] = None
            del result[assignment.key]
    return result


def encrypt_plan(content: str, prefix: str, keys: Collection[str] | None) -> EncryptPlan:
    """Turn plain ``KEY=value`` lines into ``KEY=enc(PREFIX+KEY)``: those of ``keys``, or, for None, all whose value is not empty.

    Lines with references stay as they are. A value's plaintext is what python-dotenv reads. Raises InvalidEnv where ``parse`` does,
    for a value with ``${...}`` (which as a secret would no longer be expanded), for a key that makes no valid or no new name, and for
    one of ``keys`` that has no plain value.
    """
    plain: dict[str, str] = {}
    replaced: list[tuple[Assignment, str]] = []
    problems: list[Problem] = []
    for assignment in parse(content).assignments:
        text, name = assignment.text, prefix + assignment.key
        wanted = bool(text) if keys is None else assignment.key in keys
        if text is None or not wanted or assignment.references or assignment.encryption is not None:
            continue
        parts = atoms(text)
        if any(variable is not None for variable, _ in parts):
            problems.append(Problem(assignment.line, "a value with ${...} would no longer be expanded; leave this key out"))
        elif not _is_name(name):
            problems.append(Problem(assignment.line, "this key cannot be part of a secret's name"))
        elif name in plain:
            problems.append(Problem(assignment.line, "this key was given a value before", (name,)))
        else:
            plain[name] = "".join(part for _, part in parts)
            quote = '"' if assignment.quote or not text else ""  # without quotes, what follows the token could become part of it
            replaced.append((assignment, f"{quote}enc({name}){quote}"))
    _refuse(problems, InvalidEnv)
    missing = {prefix + key for key in keys or ()} - plain.keys()
    if missing:
        raise InvalidEnv("A key to encrypt is not in the file, or has no plain value", names=tuple(missing))
    changed = _replace(content, replaced)
    parse(changed)
    return EncryptPlan(changed, plain)


def _texts(file: EnvFile, values: Mapping[Target, str | bytes]) -> dict[Target, str]:
    texts: dict[Target, str] = {}
    problems: list[Problem] = []
    size = 0
    for reference in file.references:
        value = values[reference.target]
        try:
            texts[reference.target] = value if isinstance(value, str) else value.decode()
        except UnicodeDecodeError:
            problems.append(Problem(reference.line, "a value is not UTF-8 text", (reference.name,)))
        size += len(value)
    _refuse(problems, ValueNotRenderable)
    _check_size(size)
    return texts


def _written(reference: Reference) -> str:
    return f"secret({reference.name})" if reference.version is None else f"secret({reference.name}@{reference.version})"


def _check_size(size: int) -> None:
    if size > MAX_RESULT_CHARACTERS:
        raise TooLarge(f"The values of the file come to more than {MAX_RESULT_CHARACTERS} characters")


def _replace(content: str, replaced: Iterable[tuple[Assignment, str]]) -> str:
    parts: list[str] = []
    done = 0
    for assignment, token in replaced:
        parts += (content[done : assignment.start], token)
        done = assignment.end
    return "".join(parts) + content[done:]


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except InvalidRequest:
        return False
    return True


def _refuse(problems: Collection[Problem], error: type[KofnError]) -> None:
    if problems:
        lines = [f"line {problem.line}: {problem.text}" for problem in sorted(problems, key=lambda problem: problem.line)]
        more = f"; and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
        names = tuple(name for problem in problems for name in problem.names)
        raise error(f"In {'; in '.join(lines[:_SHOWN_LINES])}{more}", names=names)
