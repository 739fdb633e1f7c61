"""What a gateway may ask for at all: names and namespaces that callers can have.

A gateway checks the same before it asks. A node checks again, because the registers that decide groups live in a namespace of their own,
and nobody outside the nodes may reach them.
"""

from __future__ import annotations

from model.errors import InvalidRequest
from model.name import check_name, check_namespace, check_prefix
from model.operation import Create, Delete, List, Operation, SecretId, Status, Update
from model.version import MAX_TIME

MAX_PAGE_NAMES = 1000


def is_sound(operation: Operation) -> bool:
    """Whether the operation keeps to the grammar of names and to the limits of ``model.operation``."""
    try:
        if isinstance(operation, Create | Update | Delete) and not 0 <= operation.now <= MAX_TIME:
            return False
        match operation:
            case Create(secrets=secrets):
                return len({_check(new.secret) for new in secrets}) == len(secrets) > 0
            case Update(secret=new):
                _check(new.secret)
            case List():
                check_namespace(operation.namespace)
                check_prefix(operation.prefix)
                return 1 <= operation.limit <= MAX_PAGE_NAMES
            case Status():
                pass
            case _:
                _check(operation.secret)
    except InvalidRequest:
        return False
    return True


def _check(secret: SecretId) -> SecretId:
    check_namespace(secret.namespace)
    check_name(secret.name)
    return secret
