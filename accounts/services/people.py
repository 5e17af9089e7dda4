"""People: staff add and change them, and everybody changes their own profile."""

from copy import copy
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce

from accounts.models import CustomUser, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes
from accounts.services.audit import Caller
from accounts.services.registration import is_unverified_registration
from api import changes
from api.errors import Conflict, Forbidden, NotFound
from api.roles import Role, rank

# Fields that decide who can log in, and as what; and the notices about a change of them.
ACCESS_FIELDS = ("role", "email", "phone_number", "password", "is_active", "is_staff", "is_superuser")
NOTICES = {
    "email": NoticeKind.EMAIL_CHANGED,
    "phone_number": NoticeKind.PHONE_CHANGED,
    "password": NoticeKind.PASSWORD_CHANGED,
}


class RoleAboveOwn(Forbidden):
    code, message = "role_above_own", "Your role does not allow you to assign or change this role."


class AlreadyTaken(Conflict):
    code, message = "already_taken", "This e-mail address, phone number or username is already in use."


@transaction.atomic
def add_person(
    *,
    added_by: CustomUser,
    caller: Caller,
    now: datetime,
    password: str | None = None,
    consent: bool = False,
    **fields,
) -> CustomUser:
    """Create a user for staff. Without a password they cannot log in, without consent they cannot buy.

    :raises RoleAboveOwn: the caller may not assign this role
    :raises AlreadyTaken: another user has this e-mail address, phone number or username
    """
    require_may_assign(added_by, fields.get("role", Role.MEMBER))
    try:
        with transaction.atomic():
            person = CustomUser.objects.create_member(
                added_by=added_by,
                password=password,
                consented_at=now if consent else None,
                is_staff=fields.get("role", Role.MEMBER) != Role.MEMBER,
                **fields,
            )
    except IntegrityError as error:
        raise AlreadyTaken from error
    changes.record_addition(person, by_id=added_by.pk, now=now)
    audit.record("person_added", user=person, actor=added_by, caller=caller, now=now, role=person.role)
    return person


@transaction.atomic
def change_person(
    *, person_id: int, by: CustomUser, caller: Caller, now: datetime, consent: bool | None = None, **fields
) -> CustomUser:
    """Change a user's fields for staff. A new role, e-mail, phone or password ends their sessions and open codes.

    Whoever can set a user's contact or password can log in as them. So staff change only people with a lower role,
    and an Admin changes everybody.

    :raises RoleAboveOwn: the user's role is not below the caller's, or the caller may not assign the new role
    :raises AlreadyTaken: another user has this e-mail address, phone number or username
    """
    person = CustomUser.objects.select_for_update().get(pk=person_id)
    if by.role != Role.ADMIN and not is_below(person, by):
        raise RoleAboveOwn("You can change only people with a lower role than yours.")
    if fields.get("role", person.role) != person.role:
        require_may_assign(by, fields["role"])
        fields["is_staff"] = fields["role"] != Role.MEMBER  # every employee may open the admin
    old = copy(person)
    password = fields.pop("password", None)
    for name, value in fields.items():
        setattr(person, name, value)
    if password:
        person.set_password(password)
    set_consent(person, consent, now=now)
    clear_lost_verifications(person, old=old)
    if "phone_number" in fields:  # also when it is the number that the person typed: staff confirm it
        person.phone_is_self_declared = False
        CustomUser.objects.drop_self_declared(person.phone_number, by_id=by.pk)
    try:
        with transaction.atomic():
            person.save()
    except IntegrityError as error:
        raise AlreadyTaken from error
    end_old_access(person, old=old, by=by, caller=caller, now=now)
    return person


def change_profile(*, user: CustomUser, now: datetime, consent: bool | None = None, **fields) -> CustomUser:
    """Change fields of one's own profile that do not affect access. Only the fields that were sent are written."""
    for name, value in fields.items():
        setattr(user, name, value)
    if consent is not None:
        # Read by the statement itself: a concurrent request may have given or withdrawn consent.
        first = Coalesce(F("consented_at"), Value(now, DateTimeField()))
        CustomUser.objects.filter(pk=user.pk).update(consented_at=first if consent else None)
        user.refresh_from_db(fields=["consented_at"])
    if fields:
        user.save(update_fields=fields)
    return user


def set_consent(person: CustomUser, consent: bool | None, *, now: datetime) -> None:
    """Set on an unsaved user whether they agree to the club's terms; None changes nothing."""
    if consent is not None:
        person.consented_at = (person.consented_at or now) if consent else None


def end_sessions(*, person_id: int, by: CustomUser, caller: Caller, now: datetime) -> int:
    """End every login session of a user for staff; return how many.

    :raises NotFound: there is no such user
    :raises RoleAboveOwn: the user's role is above the caller's
    """
    person = CustomUser.objects.filter(pk=person_id).first()
    if person is None:
        raise NotFound
    require_role_within(by, person.role)
    return login_sessions.revoke_all(user=person, actor=by, reason="by_staff", caller=caller, now=now)


def clear_lost_verifications(person: CustomUser, *, old: CustomUser) -> None:
    """Clear, on an unsaved user, what staff's change made untrustworthy.

    A contact that staff typed is not verified: a typing mistake would send the user's codes to a stranger. And a
    member who registered, but verified nothing, may be a stranger: when they are made staff, the password they chose
    must not open the admin.
    """
    for name, verified_at in person.VERIFIED_AT.items():
        if getattr(person, name) != getattr(old, name):
            setattr(person, verified_at, None)
    if person.phone_number != old.phone_number:
        person.phone_is_self_declared = False
    if person.is_staff and is_unverified_registration(old) and person.password == old.password:
        person.set_unusable_password()


@transaction.atomic
def end_old_access(person: CustomUser, *, old: CustomUser, by: CustomUser, caller: Caller, now: datetime) -> None:
    """Record what staff changed. If access fields changed, end sessions and codes, and notify the old contacts."""
    changes.record_change(person, before=changes.values_of(old), by_id=by.pk, now=now)
    changed = [name for name in ACCESS_FIELDS if getattr(person, name) != getattr(old, name)]
    if not changed:
        return
    audit.record("person_changed", user=person, actor=by, caller=caller, now=now, changed=changed)
    one_time_codes.end_open(user=person, now=now)
    login_sessions.revoke_all(user=person, actor=by, reason="person_changed", caller=caller, now=now)
    for name in changed:
        old_contact = (old.verified(name) if name in old.VERIFIED_AT else None) or old.verified_contact
        if name in NOTICES and old_contact:
            notices.create(user=person, kind=NOTICES[name], contact=old_contact, now=now)


def is_below(person: CustomUser, other: CustomUser) -> bool:
    """Return whether a user's role is below another user's. A superuser is below nobody, whatever the role."""
    return not person.is_superuser and rank(person.role) > rank(other.role)


def require_may_assign(by: CustomUser, role: str) -> None:
    """Check that `by` may assign `role`: an Admin any role, others the roles below their own, everybody Member.

    Nobody else may create staff of their own level, so that nobody can create their own second approver.

    :raises RoleAboveOwn: `by` may not assign it
    """
    if role != Role.MEMBER and by.role != Role.ADMIN and rank(role) <= rank(by.role):
        raise RoleAboveOwn


def require_role_within(by: CustomUser, role: str) -> None:
    """:raises RoleAboveOwn: `role` is above the role of `by`"""
    if rank(role) < rank(by.role):
        raise RoleAboveOwn
