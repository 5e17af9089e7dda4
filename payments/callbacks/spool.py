"""The spool: callbacks that came while the database was not available, one fsynced file each in STATE_DIR/spool."""

import base64
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from api.errors import Unavailable
from api.logs import CountedWarning
from payments.models import CallbackSource

logger = logging.getLogger(__name__)
not_spooled = CountedWarning(logger, "Callbacks that are no results: %d were not written to the full spool.")

MOST_FILES = 50_000  # of 16 KB each, in base64: under 1.2 GB


class SpoolFull(Unavailable):
    """Neither the database nor the disk can store a callback."""

    code, message = "spool_full", "The callback cannot be stored now. Send it again later."


@dataclass(frozen=True, slots=True)
class Message:
    """A callback as it arrived, with the hash of its token."""

    source: CallbackSource
    body: bytes
    headers: dict[str, str]
    peer: str | None
    received_at: datetime
    token_hash: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The spool of this host: how many callbacks wait, since when, and how many files were set aside."""

    waiting: int
    oldest_seconds: int | None  # None when no callback waits
    set_aside: int


def folder() -> Path:
    """Return the spool's folder."""
    return Path(settings.STATE_DIR) / "spool"


def append(message: Message, *, most_others: int | None = None) -> None:
    """Write a message to the disk, so that it survives this process and a crash of the machine.

    A message that the spool has already is not written again. `most_others`: the message is no result, and when the
    spool has so many of them for its URL, it is only counted in the log.

    :raises SpoolFull: the disk cannot store it, or the spool has its most files already
    """
    text = json.dumps(
        {
            "source": str(message.source),
            "body": base64.b64encode(message.body).decode(),
            "headers": message.headers,
            "peer": message.peer,
            "received_at": message.received_at.isoformat(),
            "token_hash": message.token_hash,
        }
    )
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        names = os.listdir(folder())
        kind, digest = _kind(message, is_result=most_others is None), hashlib.sha256(message.body).hexdigest()
        if any(name.endswith(f"-{kind}-{digest}.json") for name in names):
            return _fsync_folder()
        if most_others is not None and sum(f"-{kind}-" in name for name in names) >= most_others:
            return not_spooled.happened()
        if len(names) >= MOST_FILES:
            raise SpoolFull
        name = f"{message.received_at.timestamp():017.6f}-{uuid.uuid4().hex}-{kind}-{digest}"
        half, whole = folder() / f"{name}.half", folder() / f"{name}.json"
        with half.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.rename(whole)  # so that no reader finds half a message
        _fsync_folder()
    except OSError as error:
        raise SpoolFull from error


def _kind(message: Message, *, is_result: bool) -> str:
    """Return the part of a file's name that says to which URL the message was sent, and whether it is a result."""
    return f"{message.source}-{(message.token_hash or '')[:16]}-{'result' if is_result else 'other'}"


def status() -> Status:
    """Return the state of this host's spool. It needs no database."""
    try:
        names = os.listdir(folder())
    except FileNotFoundError:
        names = []
    waiting = [name for name in names if name.endswith(".json")]
    oldest = None
    if waiting:
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it
            oldest = max(0, int(time.time() - (folder() / min(waiting)).stat().st_mtime))
    return Status(len(waiting), oldest, sum(name.endswith(".bad") for name in names))


@contextlib.contextmanager
def lock() -> Iterator[bool]:
    """Hold the lock on this host's spool, and yield whether it was free. The system releases it when a process dies."""
    with open(Path(settings.STATE_DIR) / "spool.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def stored_messages() -> Iterator[tuple[Path, Message]]:
    """Yield the spooled messages with their files, oldest first. A file that cannot be read is set aside."""
    if not folder().is_dir():
        return
    for path in sorted(folder().glob("*.json")):
        try:
            message = _read(path)
        except FileNotFoundError:  # another worker has moved it
            continue
        except Exception:
            logger.exception("Spool file %s cannot be read.", path.name)
            set_aside(path)
            continue
        yield path, message


def _read(path: Path) -> Message:
    stored = json.loads(path.read_text())
    return Message(
        source=CallbackSource(stored["source"]),
        body=base64.b64decode(stored["body"]),
        headers=stored["headers"],
        peer=stored["peer"],
        received_at=datetime.fromisoformat(stored["received_at"]),
        token_hash=stored["token_hash"],
    )


def set_aside(path: Path) -> None:
    """Rename a file to `.bad`, so that it is not read again. A second call changes nothing."""
    try:
        path.rename(path.with_suffix(".bad"))
    except FileNotFoundError:  # another worker has done it
        return
    logger.error("Spool file %s is set aside as .bad. Correct it and rename it back to .json.", path.name)


def remove(path: Path) -> None:
    """Remove the file of a message whose row is committed."""
    path.unlink(missing_ok=True)


def _fsync_folder() -> None:
    handle = os.open(folder(), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
