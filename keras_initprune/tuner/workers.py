"""Searches on several machines: a process's part, the chief's server, signs of life.

The chief decides what to try and keeps the results; workers train. They talk over
KerasTuner's protocol and share the folder of the search. KerasTuner reads the parts
from environment variables. Its protocol is not encrypted and asks for no password, so
keep it on a network that you trust.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from keras_initprune.tuner.oracles import RobustOracle
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


_TICK = 0.2  # Seconds.


class ChiefLostError(ConnectionError):
    """The chief has been silent for too long."""

    def __init__(self, patience: float):
        super().__init__(
            f"The chief has not answered for {patience:g} seconds. Finished trials are "
            "safe with it: start it again, then its workers."
        )


@contextmanager
def serving(oracle: RobustOracle, address: str) -> Iterator[Callable[[], None]]:
    """Answer workers for as long as the context lasts.

    KerasTuner's own server waits for ever for a worker that died, and up to 20 seconds
    for those that did not.

    Yields:
        A function that returns once the search is over and all workers know.

    Raises:
        OSError: If the address cannot be had.
    """
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    servicer = OracleServicer(oracle)
    # Two chiefs at one port would each get some of the requests.
    options = [("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=options)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(
            f"The chief cannot listen at {address}: is another one there already?"
        ) from error
    server.start()

    def wait() -> None:
        while not servicer.stop_triggered or oracle.ongoing_trials or oracle.tuner_ids:
            time.sleep(_TICK)
            oracle.release_lost()
            oracle.watcher.tick()

    try:
        yield wait
    finally:
        server.stop(grace=1.0).wait()


@contextmanager
def quiet_protocol() -> Iterator[None]:
    """Keep off the terminal what KerasTuner prints when it sends a condition."""
    from keras_tuner.src.engine import conditions

    # A module's own name comes before the built-in function.
    vars(conditions)["print"] = lambda *values: None
    try:
        yield
    finally:
        del vars(conditions)["print"]


@contextmanager
def impatient_client(patience: float) -> Iterator[None]:
    """Have a worker give up on a silent chief after seconds instead of an hour.

    Raises:
        ChiefLostError: If the chief stays silent for so long.
    """
    from keras_tuner.src.distribute import oracle_client

    usual = oracle_client.TIMEOUT
    oracle_client.TIMEOUT = patience
    try:
        yield
    except grpc.RpcError as error:
        raise ChiefLostError(patience) from error
    finally:
        oracle_client.TIMEOUT = usual


@contextmanager
def heartbeat(
    ask: Callable[[], Any], interval: float, patience: float
) -> Iterator[Callable[[], None]]:
    """Ask the chief something every few seconds, in a thread, while a trial runs.

    Yields:
        A function that raises `ChiefLostError` once the chief is lost: nobody would
        take in what the trial finds.
    """
    over, lost = threading.Event(), threading.Event()

    def beat() -> None:
        heard = time.monotonic()
        while not over.wait(interval):
            try:
                ask()
                heard = time.monotonic()
            except grpc.RpcError:
                if time.monotonic() - heard >= patience:
                    lost.set()

    def check() -> None:
        if lost.is_set():
            raise ChiefLostError(patience)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield check
    finally:
        over.set()
