"""Registering, and proving that an address is one's own: it is nobody's until then."""

from contextlib import suppress
from datetime import datetime
from typing import cast

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.backends import find
from accounts.models import CodePurpose, CustomUser, OneTimeCode, Role
from accounts.services import audit, codes, factors
from accounts.services.audit import Caller
from api import throttling

REGISTRATIONS_PER_PLACE, REGISTRATIONS_WINDOW = 30, 60 * 60  # seconds


def register(*, email: str | None, phone_number: str | None, password: str, caller: Caller, now: datetime, **profile):
    """Create a member and send a code to the address; answer alike for an address that is already known.

    :raises TooMany: too many registrations from one place, or codes to one address
    """
    throttling.count(f"register:{caller.ip}", REGISTRATIONS_PER_PLACE, REGISTRATIONS_WINDOW, now)
    address = cast(str, phone_number or email)  # the serializer asks for one of them
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
    codes.count_asked(caller.ip, now)
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
    codes.count_try(caller.ip, now)
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
