"""Registration, and verification of the contact given in it.

A contact is an e-mail address or a phone number. It belongs to nobody until a user verifies it by a code. Until then
several people may give the same one: somebody registered it by mistake or on purpose, or staff mistyped it. Whoever
verifies it keeps it, and the others lose it. A code never replaces a password (docs/decisions/0026).
"""

import unicodedata
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.backends import contact_matches, find_by_identifier
from accounts.models import CodePurpose, CustomUser, OneTimeCode
from accounts.services import audit, one_time_codes
from accounts.services.audit import Caller
from api.identifiers import fold
from api.roles import Role

MOST_WORDS_OF_A_NAME = 3  # of a first or a last name: a list of names must not match many people


class RegistrationClash(Exception):
    """Somebody else took the contact of a new member meanwhile. The job tries again."""


def register(
    *,
    email: str | None,
    phone_number: str | None,
    password: str,
    caller: Caller,
    now: datetime,
    first_name: str,
    last_name: str,
) -> None:
    """Register a member. A job creates them and sends a code to their phone number, or else to their e-mail address.

    A known contact gets the same answer as a new one, by the same work. Nothing about a known user changes before they
    send the code, not even the password.

    :raises TooMany: too many registrations and code requests from one place, or codes to one contact
    """
    contact = cast(str, phone_number or email)  # the serializer requires one of them
    one_time_codes.count_code(contact, CodePurpose.VERIFY, caller, now)
    person = find_by_identifier(contact)
    given: dict[str, Any] = {"first_name": first_name, "last_name": last_name}
    given |= {"email": email, "phone_number": phone_number}
    # The job knows only a hash of the password.
    given["knows_password_of"] = person.pk if person and has_password(person, password) else None
    if person is None:
        has_password(None, password)
    one_time_codes.ask(
        identifier=contact,
        purpose=CodePurpose.VERIFY,
        caller=caller,
        now=now,
        password=make_password(password),
        selector=one_time_codes.selector_of(password),
        registration=given,
    )


def complete(row: OneTimeCode, *, caller: Caller, now: datetime) -> tuple[CustomUser | None, str | None]:
    """Find or create the user of a registration; return them and the contact to which their code goes.

    It sets the password that the code activates on the unsaved `row`. The contact is None for a user who gets no code.
    """
    given = row.request["registration"]
    contact = given["phone_number"] or given["email"]
    known = find_registrant(contact, row, now=now)
    if known is None:
        with suppress(IntegrityError), transaction.atomic():
            user = _create_newcomer(given, row, now=now)
            row.password = ""  # it is the user's already
            audit.record("registered", user=user, caller=caller, now=now)
            return user, contact
        known = find_registrant(contact, row, now=now)  # a concurrent job created the user first
        if known is None:
            raise RegistrationClash
    audit.record("registered", user=known, caller=caller, now=now, outcome="refused")
    if known and not is_unverified_member(known):
        row.password = row.selector = ""  # staff verify a contact with the password that they were given
    elif known and known.has_usable_password():
        row.password = known.password
    return known, stored_contact(known, contact=contact)


def _create_newcomer(given: dict[str, Any], row: OneTimeCode, *, now: datetime) -> CustomUser:
    contacts = {"email": given["email"], "phone_number": given["phone_number"]}
    # A contact that another user already has stays with them; the newcomer gets it by verifying it.
    unused = {field: value for field, value in contacts.items() if value and not is_in_use(field, value)}
    user = CustomUser.objects.create_member(
        first_name=given["first_name"],
        last_name=given["last_name"],
        consented_at=now,
        phone_is_self_declared="phone_number" in unused,
        **unused,
    )
    user.password = row.password
    user.save(update_fields=["password"])
    return user


def find_registrant(contact: str, row: OneTimeCode, *, now: datetime) -> CustomUser | None:
    """Return the known user who registers again, or whom staff added before; None for a newcomer.

    Staff may have saved an unverified contact with the wrong user, and a phone number may have a new owner: only
    somebody with the same first and last name registers as that user. If the user has a password, this must be it.
    """
    given = row.request["registration"]
    names = given["first_name"], given["last_name"]
    person = find_by_identifier(contact)
    if not (person and is_unverified_member(person) and has_same_name(person, *names)):
        person = find_verifier(person, contact, now=now)
    if person is None or not is_unverified_member(person):
        return person
    if not has_same_name(person, *names):
        return None
    # Who registers a second time has the same password, and an open code with the same part of its hash.
    registered_before = person.codes.filter(purpose=CodePurpose.VERIFY, used_at=None, selector=row.selector)
    is_password = given["knows_password_of"] == person.pk or registered_before.exists()
    return person if is_password or not person.has_usable_password() else None


def has_password(person: CustomUser | None, password: str) -> bool:
    """Return whether this is the user's password. Every call hashes one password, so that it always takes as long."""
    if person is None or not person.has_usable_password():
        make_password(password)
        return False
    return person.check_password(password)


def has_same_name(person: CustomUser, first_name: str, last_name: str) -> bool:
    """Return whether two words of the name are the user's, among them the first word of both names.

    The order of first and last name does not matter, and middle names may be left out. A parent or a child of the user
    has another first word.
    """
    recorded = [*words_of(person.first_name), *words_of(person.last_name)]
    first, last = words_of(first_name), words_of(last_name)
    if not recorded or not first or max(len(first), len(last)) > MOST_WORDS_OF_A_NAME:
        return False
    shared = {*recorded} & {*first, *last}
    return len(shared) > 1 and {recorded[0], first[0]} <= shared


def words_of(name: str) -> list[str]:
    """Return the words of a name for comparison: in lower case, letters only, without initials."""
    letters = ("".join(filter(str.isalpha, word)) for word in unicodedata.normalize("NFKC", name).casefold().split())
    return [word for word in letters if len(word) > 1]


def is_in_use(field: str, contact: str) -> bool:
    """Return whether any user has this e-mail address or phone number, verified or not."""
    return CustomUser.objects.filter(contact_matches(field, contact)).exists()


def find_verifier(person: CustomUser | None, contact: str, *, now: datetime) -> CustomUser | None:
    """Return who has verified the contact, or who is expected to verify it.

    `person` is the one whom `find_by_identifier` returned for the contact. If they have not verified it, the user who
    asked for its latest open code comes first. If they have verified another contact, they are not expected at all, and
    the user of the latest code counts even when that code is over.
    """
    field = field_of(contact)
    if person is None or not getattr(person, field) or person.verified(field):
        return person
    codes = OneTimeCode.objects.filter(
        contact_matches("address", getattr(person, field)),
        purpose=CodePurpose.VERIFY,
        user__isnull=False,
        user__email_verified_at=None,
        user__phone_verified_at=None,
    )
    if not person.is_verified:
        codes = codes.filter(used_at=None, expires_at__gt=now)
    newest = codes.select_related("user").order_by("-created_at").first()
    if newest:
        return newest.user
    return None if person.is_verified else person


def field_of(contact: str) -> str:
    """Return the name of the field of CustomUser that stores this kind of contact."""
    return "email" if "@" in contact else "phone_number"


def is_unverified_member(person: CustomUser) -> bool:
    """Return whether the user is a member who has verified no contact.

    False for staff: they may be able to log in to the admin without a verified contact, as the first superuser does.
    """
    is_staff = person.is_staff or person.is_superuser or person.role != Role.MEMBER
    return not (person.is_verified or is_staff)


def is_unverified_registration(person: CustomUser) -> bool:
    """Return whether the user came by registration, not added by staff, and has verified no contact."""
    return is_unverified_member(person) and not person.added_by_id


def resend(*, identifier: str, caller: Caller, now: datetime) -> None:
    """Send another verification code, if the contact is known and not verified. The answer is always the same.

    :raises TooMany: too many codes for this identifier, or requests from one place
    """
    one_time_codes.count_code(identifier, CodePurpose.VERIFY, caller, now)
    one_time_codes.ask(identifier=identifier, purpose=CodePurpose.VERIFY, caller=caller, now=now)


def repeat(row: OneTimeCode, *, now: datetime) -> tuple[CustomUser | None, str | None]:
    """Find the user of a repeated code request; return them and the contact to which their code goes.

    It sets the password and the selector of their open code on the unsaved `row`.
    """
    user = find_verifier(find_by_identifier(row.address), row.address, now=now)
    open_code = user and open_code_of(user)
    if user and open_code and is_unverified_member(user):
        row.password, row.selector = open_code.password, open_code.selector
    return user, stored_contact(user, contact=row.address)


def open_code_of(user: CustomUser) -> OneTimeCode | None:
    """Return the latest verification code of a user, unless it was used or ended."""
    last = user.codes.filter(purpose=CodePurpose.VERIFY).order_by("-created_at").first()
    return last if last and last.used_at is None else None


def stored_contact(user: CustomUser | None, *, contact: str) -> str | None:
    """Return the contact to which a verification code goes: the one that is stored, not the one that was typed now.

    None for a user who gets no code.
    """
    if user is None or user.is_verified or not user.is_active:
        return None
    open_code = open_code_of(user)
    return getattr(user, field_of(contact)) or (open_code and open_code.address) or user.email


def verify(*, identifier: str, password: str, code: str, caller: Caller, now: datetime) -> None:
    """Verify a contact by its code and by the password that was chosen with it.

    The password is required because a stranger could register another user's number and wait until its owner sends
    the code. When several people registered the same contact, it also decides whose code is compared.

    :raises InvalidOrExpiredKey: for any reason
    :raises TooMany: too many wrong codes from one place
    """
    one_time_codes.count_attempt(caller, now)
    person = find_by_identifier(identifier)
    selector = one_time_codes.selector_of(password)
    row = one_time_codes.find_open(
        purpose=CodePurpose.VERIFY, user=person, contact=fold(identifier), selector=selector, now=now
    )
    if row is None:
        make_password(password)  # takes as long as the check below
        raise one_time_codes.InvalidOrExpiredKey
    user = cast(CustomUser, row.user)
    known = row.password or user.password
    if not check_password(password, known):
        raise one_time_codes.InvalidOrExpiredKey
    one_time_codes.use(row, code=code, now=now)
    field = field_of(row.address)
    with transaction.atomic():
        person = lock_for_verification(user, field, row.address)
        stored = getattr(person, field) or row.address
        # The check of the password takes a while: staff may have changed the password, the contact or the role since.
        is_unchanged = person.password == user.password and stored.lower() == row.address.lower()
        if not is_unchanged or (row.password and not is_unverified_member(person)):
            raise one_time_codes.InvalidOrExpiredKey
        if person.has_usable_password() and known != person.password:  # a code never replaces a password
            raise one_time_codes.InvalidOrExpiredKey
        person.password = known
        person.consented_at = person.consented_at or (now if row.password else None)
        try:
            save_verified(person, field, row.address, now=now)
        except IntegrityError as error:
            raise one_time_codes.InvalidOrExpiredKey from error
        audit.record("address_verified", user=person, caller=caller, now=now, channel=field.split("_")[0])
    one_time_codes.count_proof(caller)


def lock_for_verification(user: CustomUser, field: str, contact: str) -> CustomUser:
    """Lock the user and everybody else with this contact, and return the user.

    All are locked in the order of their ids, so that two people who verify each other's contacts cannot deadlock.
    """
    concerned = CustomUser.objects.filter(Q(pk=user.pk) | contact_matches(field, contact))
    return {person.pk: person for person in concerned.order_by("pk").select_for_update(no_key=True)}[user.pk]


def save_verified(user: CustomUser, field: str, contact: str, *, now: datetime) -> None:
    """Save a verified contact of a user, with their password and consent. Others with it unverified lose it.

    A phone number that the user only typed at registration is dropped when another contact is verified.

    Call it with the user that `lock_for_verification` returned.

    :raises IntegrityError: another user has verified it
    """
    verified_at = user.VERIFIED_AT[field]
    with transaction.atomic():
        same_contact = CustomUser.objects.filter(contact_matches(field, contact), **{verified_at: None})
        others = same_contact.exclude(pk=user.pk)
        for other in others:
            audit.record("address_lost", user=other, caller=Caller(), now=now, channel=field)
        others.update(**{field: None})
        if user.phone_is_self_declared and field != "phone_number":
            audit.record("address_lost", user=user, caller=Caller(), now=now, channel="phone_number")
            user.phone_number = None
        user.phone_is_self_declared = False
        setattr(user, field, contact)
        setattr(user, verified_at, now)
        changed = {field, verified_at, "phone_number", "phone_is_self_declared", "password", "consented_at"}
        user.save(update_fields=changed)
