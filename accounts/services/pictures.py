"""A person's own picture: one file, exchanged or removed."""

from datetime import datetime
from typing import BinaryIO

from django.core.files.base import ContentFile
from django.db import transaction

from accounts.models import CustomUser
from accounts.pictures import redraw
from api import throttling

UPLOADS_PER_PERSON, UPLOADS_WINDOW = 20, 60 * 60  # seconds


def set_picture(*, user: CustomUser, file: BinaryIO, now: datetime) -> CustomUser:
    """Put a new picture in place of the old one, whose file goes once the change is committed.

    :raises UnusablePicture: it is no still image of a kind and size we take
    :raises TooMany: too many uploads; each costs a decoder's time and memory
    """
    throttling.count(f"picture:{user.pk}", UPLOADS_PER_PERSON, UPLOADS_WINDOW, now)
    storage = CustomUser.profile_picture.field.storage
    # Written before the transaction: the disk may be slow, and may be another host's.
    name = storage.save(CustomUser.profile_picture.field.generate_filename(user, ".jpg"), ContentFile(redraw(file)))
    try:
        return _exchange(user, name)
    except BaseException:
        storage.delete(name)
        raise


def remove_picture(*, user: CustomUser) -> CustomUser:
    """Take the picture away. Twice is harmless."""
    return _exchange(user, "")


@transaction.atomic
def _exchange(user: CustomUser, name: str) -> CustomUser:
    person = CustomUser.objects.select_for_update().get(pk=user.pk)
    old = person.profile_picture.name
    person.profile_picture = name or None
    person.save(update_fields=["profile_picture"])
    if old:
        # Robust: a file that cannot be deleted is logged, and no reason to tell the person that it failed.
        transaction.on_commit(lambda: person.profile_picture.storage.delete(old), robust=True)
    return person
