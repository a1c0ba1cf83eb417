"""Chief and workers: the part that a process plays in a search on several machines.

The chief decides what to try and keeps the results; workers train. They talk over
KerasTuner's protocol and share the folder of the search. KerasTuner reads the parts
from environment variables. Its protocol is not encrypted and asks for no password, so
keep it on a network that you trust.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from keras_initprune.validation import check_choice

ROLES = ("single", "chief", "worker")
_ID, _IP, _PORT = (
    "KERASTUNER_TUNER_ID",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
)


@contextmanager
def playing(
    role: str, address: str = "127.0.0.1", port: int = 8000, name: str | None = None
) -> Iterator[None]:
    """Set what KerasTuner needs to know of this process's role, for a while.

    Args:
        role: `"chief"`, `"worker"`, or `"single"` for a search in one process.
        address: The chief's address. Defaults to `"127.0.0.1"`.
        port: The chief's port. Defaults to 8000.
        name: The worker's name, which no other one must have. Defaults to None: made
            from the machine's name and the process's number.

    Raises:
        ValueError: If the role is unknown or the name or the port is not allowed.

    Example:
        >>> with playing("worker", "10.0.0.1", 9000, "left"):
        ...     os.environ["KERASTUNER_TUNER_ID"], current()
        ('left', 'worker')
    """
    check_choice(role, "role", ROLES)
    if not 0 < port < 65536:
        raise ValueError(f"`port` must be between 1 and 65535. Received: port={port}")
    if name is None:
        name = f"worker-{socket.gethostname()}-{os.getpid()}".replace("chief", "ch")
    elif role != "worker":
        raise ValueError(f"`name` is for workers. Received: name={name!r}, {role=}")
    if role == "worker" and (not name or "chief" in name or "/" in name):
        raise ValueError(
            "`name` must not be empty nor contain 'chief', which KerasTuner takes for "
            f"the chief, or '/'. Received: name={name!r}"
        )
    settings = {
        _ID: "chief" if role == "chief" else name,
        _IP: address,
        _PORT: str(port),
    }
    previous = {key: os.environ.pop(key, None) for key in settings}
    if role != "single":
        os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in previous.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def current() -> str:
    """Return the role that KerasTuner's environment variables give this process."""
    if _IP not in os.environ:
        return "single"
    return "chief" if "chief" in os.environ.get(_ID, "") else "worker"


def chief_address() -> str:
    """Return the address and port of the chief, as KerasTuner was told."""
    return f"{os.environ[_IP]}:{os.environ[_PORT]}"
