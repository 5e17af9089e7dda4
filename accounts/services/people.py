"""Registering, confirming addresses, changing passwords, and people added by staff."""

from contextlib import suppress
from copy import copy
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.backends import find
from accounts.models import CodePurpose, CustomUser, LoginSession, NoticeKind, OneTimeCode, Role
from accounts.services import audit, codes, factors, notices, sessions
from accounts.services.audit import Caller
from api import throttling
from api.errors import Conflict, Forbidden, NotFound, Unauthenticated
from api.permissions import ROLES

REGISTRATIONS_PER_ADDRESS, REGISTRATIONS_WINDOW = 30, 60 * 60  # seconds
VERIFICATIONS_PER_ADDRESS, VERIFICATIONS_WINDOW = 60, 15 * 60  # seconds
# Codes asked for from one place, whoever they go to: one stranger cannot text every member.
CODES_PER_CALLER, CODES_WINDOW = 30, 60 * 60  # seconds

# What of a person opens doors, and what they are told when staff change it.
OPENS_DOORS = ("role", "email", "phone_number", "password", "is_active", "is_staff", "is_superuser")
NOTICES = {
    "email": NoticeKind.EMAIL_CHANGED,
    "phone_number": NoticeKind.PHONE_CHANGED,
    "password": NoticeKind.PASSWORD_CHANGED,
}


class ReauthRequired(Unauthenticated):
    code, message = "reauth_required", "Please enter your password again."


class RoleAboveOwn(Forbidden):
    code, message = "role_above_own", "Your role does not let you give or change this role."


class AlreadyTaken(Conflict):
    code, message = "already_taken", "Somebody already uses this e-mail address, phone number or username."


def register(*, email: str | None, phone_number: str | None, password: str, caller: Caller, now: datetime, **profile):
    """Create a member and send a code to the address; answer alike for an address that is already known.

    :raises TooMany: too many registrations from one place, or codes to one address
    """
    throttling.count(f"register:{caller.ip}", REGISTRATIONS_PER_ADDRESS, REGISTRATIONS_WINDOW, now)
    address = phone_number or email
    known = registrant(address, **profile)
    if known is None:
        said = {"email": email, "phone_number": phone_number}
        # What somebody else has is theirs until it is proved: by the code, or later by a change of address.
        kept = {field: value for field, value in said.items() if value and not is_held(field, value)}
        with suppress(IntegrityError), transaction.atomic():
            user = CustomUser.objects.create_member(password=password, consented_at=now, **kept, **profile)
            codes.request(user=user, purpose=CodePurpose.VERIFY, address=address, now=now)
            audit.record("registered", user=user, caller=caller, now=now)
            return
        known = registrant(address, **profile)  # somebody was quicker
    if known:
        with transaction.atomic():
            known = factors.lock(known.pk)  # so that nobody proves it meanwhile
            # Nobody has proved this address yet: whoever registers last sets the password the code will need.
            whose = known if is_unproved_member(known) else CustomUser()  # hashed alike: time must not tell
            whose.set_password(password)
            if whose is known:
                known.save(update_fields=["password"])
    audit.record("registered", user=known, caller=caller, now=now, outcome="refused")
    send_code(known, address=address, caller=caller, now=now)


def registrant(address: str, *, first_name: str, last_name: str) -> CustomUser | None:
    """Return who registers, if it is not for the first time or staff have added them; None is a newcomer.

    An address that nobody has proved may stand with another person by a slip: a name tells whose it is.
    """
    names = set(f"{first_name} {last_name}".casefold().split())
    person = find(address)
    if person and is_unproved_member(person) and is_called(person, names):
        return person
    known = claimant(address, person)
    is_another = known and is_unproved_member(known) and not is_called(known, names)
    return None if is_another else known


def is_called(person: CustomUser, names: set[str]) -> bool:
    """Say whether one of the names, in lower case, is the person's."""
    return not names.isdisjoint(f"{person.first_name} {person.last_name}".casefold().split())


def is_held(field: str, address: str) -> bool:
    """Say whether an e-mail address or phone number stands with anybody, proved or not."""
    return CustomUser.objects.filter(**{f"{field}__iexact": address}).exists()


def claimant(identifier: str, person: CustomUser | None) -> CustomUser | None:
    """Return who is to prove the address, or has; `person` is who is found by it.

    One who only said that it is theirs, or for whom staff did, stands in nobody's way once somebody else has asked for
    a code.
    """
    field = "email" if "@" in identifier else "phone_number"
    if person is None or not getattr(person, field) or person.proved(field):
        return person
    asked = OneTimeCode.objects.filter(
        purpose=CodePurpose.VERIFY,
        address__iexact=getattr(person, field),
        user__email_verified_at=None,
        user__phone_verified_at=None,
    )
    newest = asked.select_related("user").order_by("-created_at").first()
    if newest:
        return newest.user
    return None if person.is_verified else person


def lock_for_proof(user: CustomUser, field: str, address: str) -> CustomUser:
    """Return the person, locked with whoever says that the address is theirs: in one order, so that no two who prove
    each other's wait for each other.
    """
    concerned = CustomUser.objects.filter(Q(pk=user.pk) | Q(**{f"{field}__iexact": address}))
    return {person.pk: person for person in concerned.order_by("pk").select_for_update(no_key=True)}[user.pk]


def prove(user: CustomUser, field: str, address: str, *, now: datetime) -> None:
    """Make an address the person's, proved; whoever only said that it was theirs has it no more.

    Call it with who `lock_for_proof` returned.

    :raises IntegrityError: somebody else has proved it
    """
    with transaction.atomic():
        said = CustomUser.objects.filter(**{f"{field}__iexact": address, user.PROOFS[field]: None}).exclude(pk=user.pk)
        for other in said:
            audit.record("address_lost", user=other, caller=Caller(), now=now, channel=field)
        said.update(**{field: None})
        setattr(user, field, address)
        setattr(user, user.PROOFS[field], now)
        user.save(update_fields=[field, user.PROOFS[field]])


def is_unproved_member(person: CustomUser) -> bool:
    """Say whether the person has proved nothing yet.

    Never true of who may have a way in that asks for no proof, as the admin does of the first administrator.
    """
    is_staff = person.is_staff or person.is_superuser or person.role != Role.MEMBER
    return not (person.is_verified or is_staff)


def is_unproved_registration(person: CustomUser) -> bool:
    """Say whether somebody registered the person from outside and has proved nothing yet."""
    return is_unproved_member(person) and not person.added_by_id


def resend(*, identifier: str, caller: Caller, now: datetime) -> None:
    """Send another confirmation code, if the address is somebody's and still unconfirmed. Always answered alike.

    :raises TooMany: too many codes to one address, or asked for from one place
    """
    user = claimant(identifier, find(identifier))
    asked = user and user.codes.filter(purpose=CodePurpose.VERIFY).order_by("-created_at").first()
    address = user and (user.phone_number or user.email or (asked and asked.address))
    send_code(user if address else None, address=address or identifier, caller=caller, now=now)


def send_code(user: CustomUser | None, *, address: str, caller: Caller, now: datetime) -> None:
    """Send a code that confirms the address to who has proved none yet; count one that nobody gets alike.

    :raises TooMany: too many codes to one address, or asked for from one place
    """
    throttling.count(f"codes:{caller.ip}", CODES_PER_CALLER, CODES_WINDOW, now)
    if user is None or user.is_verified:
        codes.count_send(address, now)
        return
    with transaction.atomic():
        codes.request(user=user, purpose=CodePurpose.VERIFY, address=address, now=now)


def verify(*, identifier: str, password: str, code: str, caller: Caller, now: datetime) -> None:
    """Confirm an address by the code that was sent to it, for who knows the password it was registered with.

    Without the password, a stranger could register somebody's number and wait for its owner to confirm it for them.

    :raises InvalidOrExpiredKey: whatever is wrong with it
    :raises TooMany: too many tries from one place
    """
    throttling.count(f"verify:{caller.ip}", VERIFICATIONS_PER_ADDRESS, VERIFICATIONS_WINDOW, now)
    user = claimant(identifier, find(identifier))
    if user is None:
        CustomUser().set_password(password)  # as long as checking one takes
        raise codes.InvalidOrExpiredKey
    if not user.check_password(password):
        raise codes.InvalidOrExpiredKey
    used = codes.redeem(user=user, purpose=CodePurpose.VERIFY, code=code, now=now)
    field = "email" if "@" in used.address else "phone_number"
    with transaction.atomic():
        # Hashing takes a while: who has registered the address again meanwhile has a password that proved nothing.
        if lock_for_proof(user, field, used.address).password != user.password:
            raise codes.InvalidOrExpiredKey
        try:
            prove(user, field, used.address, now=now)
        except IntegrityError as error:
            raise codes.InvalidOrExpiredKey from error
        audit.record("address_verified", user=user, caller=caller, now=now, channel=field.split("_")[0])


def request_password_reset(*, identifier: str, caller: Caller, now: datetime) -> None:
    """Send a reset code, if the identifier is somebody's. Always answered alike.

    :raises TooMany: too many codes to one address, or asked for from one place
    """
    throttling.count(f"codes:{caller.ip}", CODES_PER_CALLER, CODES_WINDOW, now)
    user = find(identifier)
    address = user and user.proved_address
    if not address or not user.is_active:
        codes.count_send(identifier, now)
        return
    with transaction.atomic():
        codes.request(user=user, purpose=CodePurpose.RESET, address=address, now=now)
        audit.record("password_reset_requested", user=user, caller=caller, now=now)


def confirm_password_reset(*, identifier: str, code: str, password: str, caller: Caller, now: datetime) -> None:
    """Set a new password by a code; every session ends, and nobody is logged in.

    :raises InvalidOrExpiredKey: whatever is wrong with the code
    :raises TooMany: too many tries from one place
    """
    throttling.count(f"verify:{caller.ip}", VERIFICATIONS_PER_ADDRESS, VERIFICATIONS_WINDOW, now)
    user = codes.redeem(user=find(identifier), purpose=CodePurpose.RESET, code=code, now=now).user
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        codes.end_open(user=user, now=now)
        sessions.revoke_all(user=user, reason="password_reset", caller=caller, now=now)
        audit.record("password_reset", user=user, caller=caller, now=now)
        notices.tell(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=now)


def change_password(*, session: LoginSession, current: str, new: str, caller: Caller, now: datetime) -> sessions.Tokens:
    """Change the password; every other session ends, and this one is exchanged for a new one.

    :raises ReauthRequired: the current password is not right
    :raises TooManyAttempts: tries here and at log-in count together
    :raises SessionRevoked: the session has ended since the request began
    """
    user = session.user
    check_current_password(user=user, password=current, caller=caller, now=now)
    with transaction.atomic():
        set_new_password(user=user, password=new, session=session, caller=caller, now=now)
        return sessions.open_session(user=user, amr=session.amr, remember=session.remember, caller=caller, now=now)


def replace_password(*, user: CustomUser, current: str, new: str, caller: Caller, now: datetime) -> None:
    """Change a person's password by the one they have; every session ends, the caller's too.

    :raises ReauthRequired: the current password is not right
    :raises TooManyAttempts: tries here and at log-in count together
    """
    check_current_password(user=user, password=current, caller=caller, now=now)
    set_new_password(user=user, password=new, session=None, caller=caller, now=now)


def check_current_password(*, user: CustomUser, password: str, caller: Caller, now: datetime) -> None:
    """Let pass who knows the person's password. A refusal is kept: call it outside a transaction.

    :raises ReauthRequired: it is not right
    :raises TooManyAttempts: tries here and at log-in count together
    """
    sessions.limit_tries(user.username, user, caller, now)
    if not user.check_password(password):
        audit.record("password_changed", user=user, caller=caller, now=now, outcome="refused")
        raise ReauthRequired
    sessions.forget_tries(user.username, caller)


@transaction.atomic
def set_new_password(
    *, user: CustomUser, password: str, session: LoginSession | None, caller: Caller, now: datetime
) -> None:
    """Replace the password that was just checked; every session ends.

    :raises ReauthRequired: the password was changed since it was checked
    :raises SessionRevoked: the session has ended since the request began
    """
    # Hashing takes a while: a password that was changed meanwhile changes nothing any more.
    if factors.lock(user.pk).password != user.password:
        raise ReauthRequired
    if session:
        sessions.hold(session)
    user.set_password(password)
    user.save(update_fields=["password"])
    codes.end_open(user=user, now=now)
    sessions.revoke_all(user=user, reason="password_changed", caller=caller, now=now)
    audit.record("password_changed", user=user, caller=caller, now=now)
    notices.tell(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=now)


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
    return sessions.revoke_all(user=person, actor=by, reason="by_staff", caller=caller, now=now)


def forget_lost_proofs(person: CustomUser, *, old: CustomUser) -> None:
    """Hold what somebody else typed for unproved: a slip would send the person's codes to a stranger."""
    for name, proof in person.PROOFS.items():
        if getattr(person, name) != getattr(old, name):
            setattr(person, proof, None)


@transaction.atomic
def close_old_doors(person: CustomUser, *, old: CustomUser, by: CustomUser, caller: Caller, now: datetime) -> None:
    """After staff changed what opens doors: audit it, end sessions and codes, and tell the person where they were."""
    changed = [name for name in OPENS_DOORS if getattr(person, name) != getattr(old, name)]
    if not changed:
        return
    audit.record("person_changed", user=person, actor=by, caller=caller, now=now, changed=changed)
    codes.end_open(user=person, now=now)
    sessions.revoke_all(user=person, actor=by, reason="person_changed", caller=caller, now=now)
    for name in changed:
        told_at = (old.proved(name) if name in old.PROOFS else None) or old.proved_address
        if name in NOTICES and told_at:
            notices.tell(user=person, kind=NOTICES[name], address=told_at, now=now)


def is_below(person: CustomUser, other: CustomUser) -> bool:
    """Say whether a person's role is below another's; a superuser, whatever their role, is below nobody."""
    return not person.is_superuser and ROLES.index(person.role) > ROLES.index(other.role)


def require_may_give(by: CustomUser, role: str) -> None:
    """Staff are made by who stands above them, and by administrators: nobody makes the second person who confirms.

    :raises RoleAboveOwn: it is a role of staff that is not below that of `by`
    """
    if role != Role.MEMBER and by.role != Role.ADMIN and ROLES.index(role) <= ROLES.index(by.role):
        raise RoleAboveOwn


def require_role_within(by: CustomUser, role: str) -> None:
    """:raises RoleAboveOwn: `role` is above that of `by`"""
    if ROLES.index(role) < ROLES.index(by.role):
        raise RoleAboveOwn
