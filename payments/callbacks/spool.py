"""Where callbacks wait when the database is away: one fsynced file each, under STATE_DIR/spool."""

import base64
import json
import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from api.errors import Unavailable
from payments.models import CallbackSource

logger = logging.getLogger(__name__)

MOST_FILES = 50_000  # at 16 KB each: under 1.2 GB, base64 and all


class SpoolFull(Unavailable):
    """Neither the database nor the disk can keep a callback."""

    code, message = "spool_full", "This cannot be kept right now."


@dataclass(frozen=True, slots=True)
class Message:
    """A callback as it arrived. Of its token only the hash is kept."""

    source: CallbackSource
    body: bytes
    headers: dict[str, str]
    peer: str | None
    received_at: datetime
    token_hash: str | None


def folder() -> Path:
    """Return the spool's folder."""
    return Path(settings.STATE_DIR) / "spool"


def append(message: Message) -> None:
    """Write a message so that it survives this process and a crash of the machine.

    :raises SpoolFull: the disk refused, or too many wait already
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
        if sum(1 for _ in os.scandir(folder())) >= MOST_FILES:
            raise SpoolFull
        name = f"{message.received_at.timestamp():017.6f}-{uuid.uuid4().hex}"
        half, whole = folder() / f"{name}.half", folder() / f"{name}.json"
        with half.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.rename(whole)  # a reader never sees half a message
        _fsync_folder()
    except OSError as error:
        raise SpoolFull from error


def waiting() -> Iterator[tuple[Path, Message]]:
    """Yield the spooled messages, oldest first. A file that is no message is set aside."""
    if not folder().is_dir():
        return
    for path in sorted(folder().glob("*.json")):
        try:
            message = _read(path)
        except FileNotFoundError:  # another worker moved it
            continue
        except Exception:
            logger.exception("Spool file %s is no message.", path.name)
            set_aside(path)
            continue
        yield path, message


def _read(path: Path) -> Message:
    kept = json.loads(path.read_text())
    return Message(
        source=CallbackSource(kept["source"]),
        body=base64.b64decode(kept["body"]),
        headers=kept["headers"],
        peer=kept["peer"],
        received_at=datetime.fromisoformat(kept["received_at"]),
        token_hash=kept["token_hash"],
    )


def set_aside(path: Path) -> None:
    """Rename a file to `.bad`, out of the way of the others, for a person to look at. Twice is harmless."""
    try:
        path.rename(path.with_suffix(".bad"))
    except FileNotFoundError:  # another worker did it
        return
    logger.error("Spool file %s is set aside as .bad; look at it, mend it, and rename it back.", path.name)


def remove(path: Path) -> None:
    """Remove a message whose row is committed."""
    path.unlink(missing_ok=True)


def _fsync_folder() -> None:
    handle = os.open(folder(), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
