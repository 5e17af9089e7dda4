"""People as staff add and change them, and what of oneself opens no door."""

from copy import copy
from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.models import CustomUser, NoticeKind
from accounts.services import audit, login_sessions, notices, one_time_codes
from accounts.services.audit import Caller
from accounts.services.registration import is_unproved_registration
from api.errors import Conflict, Forbidden, NotFound
from api.roles import Role, rank

# What of a person opens doors, and what they are told when staff change it.
OPENS_DOORS = ("role", "email", "phone_number", "password", "is_active", "is_staff", "is_superuser")
NOTICES = {
    "email": NoticeKind.EMAIL_CHANGED,
    "phone_number": NoticeKind.PHONE_CHANGED,
    "password": NoticeKind.PASSWORD_CHANGED,
}


class RoleAboveOwn(Forbidden):
    code, message = "role_above_own", "Your role does not let you give or change this role."


class AlreadyTaken(Conflict):
    code, message = "already_taken", "Somebody already uses this e-mail address, phone number or username."


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
    """Create a person on behalf of staff; without a password they cannot log in, without consent not buy.

    :raises RoleAboveOwn: the role is above the caller's
    :raises AlreadyTaken: e-mail, phone or username is somebody's
    """
    require_may_give(added_by, fields.get("role", Role.MEMBER))
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
    audit.record("person_added", user=person, actor=added_by, caller=caller, now=now, role=person.role)
    return person


@transaction.atomic
def change_person(
    *, person_id: int, by: CustomUser, caller: Caller, now: datetime, consent: bool | None = None, **fields
) -> CustomUser:
    """Change a person's fields; a new role, e-mail, phone or password ends their sessions and open codes.

    Who can set somebody's address or password can become them: so only people below one's own role, and for
    administrators everyone.

    :raises RoleAboveOwn: the person's role is not below the caller's, or the one to be given is above it
    :raises AlreadyTaken: e-mail, phone or username is somebody's
    """
    person = CustomUser.objects.select_for_update().get(pk=person_id)
    if by.role != Role.ADMIN and not is_below(person, by):
        raise RoleAboveOwn("You can change people below your own role only.")
    if fields.get("role", person.role) != person.role:
        require_may_give(by, fields["role"])
        fields["is_staff"] = fields["role"] != Role.MEMBER  # the admin is where staff work
    old = copy(person)
    password = fields.pop("password", None)
    for name, value in fields.items():
        setattr(person, name, value)
    if password:
        person.set_password(password)
    note_consent(person, consent, now=now)
    forget_lost_proofs(person, old=old)
    try:
        with transaction.atomic():
            person.save()
    except IntegrityError as error:
        raise AlreadyTaken from error
    close_old_doors(person, old=old, by=by, caller=caller, now=now)
    return person


def change_profile(*, user: CustomUser, now: datetime, consent: bool | None = None, **fields) -> CustomUser:
    """Change what of a person's own opens no door."""
    for name, value in fields.items():
        setattr(user, name, value)
    note_consent(user, consent, now=now)
    user.save(update_fields=[*fields, "consented_at"])
    return user


def note_consent(person: CustomUser, consent: bool | None, *, now: datetime) -> None:
    """Note on an unsaved person that they agree to the club's terms, or no more; None was not asked."""
    if consent is not None:
        person.consented_at = (person.consented_at or now) if consent else None


def end_sessions(*, person_id: int, by: CustomUser, caller: Caller, now: datetime) -> int:
    """End every session of somebody whose device was lost or whose visit is over; return how many.

    :raises NotFound: there is no such person
    :raises RoleAboveOwn: the person's role is above the caller's
    """
    person = CustomUser.objects.filter(pk=person_id).first()
    if person is None:
        raise NotFound
    require_role_within(by, person.role)
    return login_sessions.revoke_all(user=person, actor=by, reason="by_staff", caller=caller, now=now)


def forget_lost_proofs(person: CustomUser, *, old: CustomUser) -> None:
    """Hold what somebody else typed for unproved: a slip would send the person's codes to a stranger.

    Nor does a password open the admin that was chosen by whoever registered an address and never proved it.
    """
    for name, proof in person.PROOFS.items():
        if getattr(person, name) != getattr(old, name):
            setattr(person, proof, None)
    if person.is_staff and is_unproved_registration(old) and person.password == old.password:
        person.set_unusable_password()


@transaction.atomic
def close_old_doors(person: CustomUser, *, old: CustomUser, by: CustomUser, caller: Caller, now: datetime) -> None:
    """After staff changed what opens doors: audit it, end sessions and codes, and tell the person where they were."""
    changed = [name for name in OPENS_DOORS if getattr(person, name) != getattr(old, name)]
    if not changed:
        return
    audit.record("person_changed", user=person, actor=by, caller=caller, now=now, changed=changed)
    one_time_codes.end_open(user=person, now=now)
    login_sessions.revoke_all(user=person, actor=by, reason="person_changed", caller=caller, now=now)
    for name in changed:
        told_at = (old.proved(name) if name in old.PROOFS else None) or old.proved_address
        if name in NOTICES and told_at:
            notices.tell(user=person, kind=NOTICES[name], address=told_at, now=now)


def is_below(person: CustomUser, other: CustomUser) -> bool:
    """Say whether a person's role is below another's; a superuser, whatever their role, is below nobody."""
    return not person.is_superuser and rank(person.role) > rank(other.role)


def require_may_give(by: CustomUser, role: str) -> None:
    """Staff are made by who stands above them, and by administrators: nobody makes the second person who confirms.

    :raises RoleAboveOwn: it is a role of staff that is not below that of `by`
    """
    if role != Role.MEMBER and by.role != Role.ADMIN and rank(role) <= rank(by.role):
        raise RoleAboveOwn


def require_role_within(by: CustomUser, role: str) -> None:
    """:raises RoleAboveOwn: `role` is above that of `by`"""
    if rank(role) < rank(by.role):
        raise RoleAboveOwn
