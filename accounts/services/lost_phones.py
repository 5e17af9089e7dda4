"""A lost or stolen phone: lock its finder out of the account and let the owner log in again."""

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
    """End every login session of a user, and if asked change their number and remove their second factor.

    All of it happens, or nothing. `reason` says how the user was recognised; the audit log stores it. Return how many
    login sessions ended.

    :raises people.RoleAboveOwn: `by` is no Admin, and the user's role is not below theirs
    :raises people.AlreadyTaken: another user has the number
    """
    person = CustomUser.objects.select_for_update().get(pk=person_id)
    if not may_secure(person, by=by):
        raise people.RoleAboveOwn("You can do this only for people with a lower role than yours.")
    audit.record("phone_lost", user=person, actor=by, caller=caller, now=now, reason=reason)
    ended = people.end_sessions(person_id=person_id, by=by, caller=caller, now=now)
    if remove_second_factor:
        two_factor_setup.remove(user=person, session=None, caller=caller, now=now, actor=by)
    if phone_number:
        people.change_person(person_id=person_id, by=by, caller=caller, now=now, phone_number=phone_number)
    return ended


def may_secure(person: CustomUser, *, by: CustomUser) -> bool:
    """Return whether `by` may lock a lost phone out of the user's account: an Admin, or a higher role."""
    return by.role == Role.ADMIN or people.is_below(person, by)
