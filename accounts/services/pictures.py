"""Profile pictures: replace or remove one's own picture."""

from datetime import datetime
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.db import transaction

from accounts.models import CustomUser
from accounts.pictures import reencode
from api import throttling

UPLOADS_PER_PERSON, UPLOADS_WINDOW = 20, 60 * 60  # seconds


def set_picture(*, user: CustomUser, file: BinaryIO, now: datetime) -> CustomUser:
    """Replace the picture. The old file is deleted after the change is committed.

    :raises UnusablePicture: the file is no still picture of an accepted format and size
    :raises TooMany: too many uploads; each costs time and memory to decode
    """
    throttling.count(f"picture:{user.pk}", UPLOADS_PER_PERSON, UPLOADS_WINDOW, now)
    storage = CustomUser.profile_picture.field.storage
    # Saved before the transaction, since a disk or a remote storage may be slow.
    name = storage.save(CustomUser.profile_picture.field.generate_filename(user, ".jpg"), ContentFile(reencode(file)))
    try:
        return _replace(user, name)
    except BaseException:
        storage.delete(name)
        raise


def remove_picture(*, user: CustomUser) -> CustomUser:
    """Remove the picture. A repeated call changes nothing."""
    return _replace(user, "")


@transaction.atomic
def _replace(user: CustomUser, name: str) -> CustomUser:
    person = CustomUser.objects.select_for_update().get(pk=user.pk)
    old = person.profile_picture.name
    person.profile_picture = name or None
    person.save(update_fields=["profile_picture"])
    if old:
        # Robust: if the old file cannot be deleted, the error is logged and the request still succeeds.
        transaction.on_commit(lambda: person.profile_picture.storage.delete(old), robust=True)
    return person
