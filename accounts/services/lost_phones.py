"""A phone that was lost or stolen: whoever has it must get in nowhere, and its owner must again."""

from datetime import datetime

from django.db import transaction

from accounts.models import CustomUser
from accounts.services import audit, people, two_factor_setup
from accounts.services.audit import Caller
from api.roles import Role


@transaction.atomic
def secure(
    *,
    person_id: int,
    by: CustomUser,
    reason: str,
    caller: Caller,
    now: datetime,
    phone_number: str | None = None,
    remove_second_factor: bool = False,
) -> int:
    """End every session of a person, and change their number or remove their second factor if asked to; all or nothing.

    Return how many sessions ended. How the person was recognised stands in `reason`, which the audit keeps.

    :raises people.RoleAboveOwn: the person's role is not below that of `by`, who is no administrator
    :raises people.AlreadyTaken: the number is somebody's
    """
    person = CustomUser.objects.select_for_update().get(pk=person_id)
    if not may_secure(person, by=by):
        raise people.RoleAboveOwn("You can do this for people below your own role only.")
    audit.record("phone_lost", user=person, actor=by, caller=caller, now=now, reason=reason)
    ended = people.end_sessions(person_id=person_id, by=by, caller=caller, now=now)
    if remove_second_factor:
        two_factor_setup.remove(user=person, session=None, caller=caller, now=now, actor=by)
    if phone_number:
        people.change_person(person_id=person_id, by=by, caller=caller, now=now, phone_number=phone_number)
    return ended


def may_secure(person: CustomUser, *, by: CustomUser) -> bool:
    """Return whether `by` may lock a lost phone out of the person's account: an Admin, or a higher role."""
    return by.role == Role.ADMIN or people.is_below(person, by)
