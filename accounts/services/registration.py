"""Registering, and proving that an address is one's own: it is nobody's until then."""

import unicodedata
from contextlib import suppress
from datetime import datetime
from typing import cast

from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.backends import contact_matches, find_by_identifier
from accounts.models import CodePurpose, CustomUser, OneTimeCode
from accounts.services import audit, one_time_codes
from accounts.services.audit import Caller
from api import throttling
from api.roles import Role

REGISTRATIONS_PER_PLACE, REGISTRATIONS_WINDOW = 30, 60 * 60  # seconds


def register(*, email: str | None, phone_number: str | None, password: str, caller: Caller, now: datetime, **profile):
    """Create a member and send a code to the address; answer alike for an address that is already known.

    Of who is known already nothing changes before they give the code, not even the password.

    :raises TooMany: too many registrations from one place, or codes to one address
    """
    throttling.count(f"register:{caller.ip}", REGISTRATIONS_PER_PLACE, REGISTRATIONS_WINDOW, now)
    one_time_codes.count_asked(caller.ip, now)
    address = cast(str, phone_number or email)  # the serializer asks for one of them
    known = registrant(address, **profile, now=now)
    if known is None:
        with suppress(IntegrityError), transaction.atomic():
            said = {"email": email, "phone_number": phone_number}
            # What somebody else has is theirs until it is proved: by the code, or later by a change of address.
            kept = {field: value for field, value in said.items() if value and not is_held(field, value)}
            user = CustomUser.objects.create_member(password=password, consented_at=now, **kept, **profile)
            one_time_codes.request(user=user, purpose=CodePurpose.VERIFY, address=address, now=now)
            audit.record("registered", user=user, caller=caller, now=now)
            return
        known = registrant(address, **profile, now=now)  # somebody was quicker
    hashed = make_password(password)  # whoever it is of: time must not tell
    with transaction.atomic():
        send_code(known, to=address, password=hashed, now=now)
        audit.record("registered", user=known, caller=caller, now=now, outcome="refused")


def registrant(address: str, *, first_name: str, last_name: str, now: datetime) -> CustomUser | None:
    """Return who registers, if it is not for the first time or staff have added them; None is a newcomer.

    An address that nobody has proved may stand with another person by a slip: a name tells whose it is.
    """
    names = words(f"{first_name} {last_name}")
    person = find_by_identifier(address)
    if person and is_unproved_member(person) and is_called(person, names):
        return person
    known = claimant(person, address, now=now)
    is_another = known and is_unproved_member(known) and not is_called(known, names)
    return None if is_another else known


def is_called(person: CustomUser, names: set[str]) -> bool:
    """Say whether one of the names is the person's."""
    return not names.isdisjoint(words(f"{person.first_name} {person.last_name}"))


def words(name: str) -> set[str]:
    """Return the names in a name, however their letters and apostrophes are typed; an initial is none."""
    letters = ("".join(filter(str.isalpha, word)) for word in unicodedata.normalize("NFKC", name).casefold().split())
    return {word for word in letters if len(word) > 1}


def is_held(field: str, address: str) -> bool:
    """Say whether an e-mail address or phone number stands with anybody, proved or not."""
    return CustomUser.objects.filter(contact_matches(field, address)).exists()


def claimant(person: CustomUser | None, identifier: str, *, now: datetime) -> CustomUser | None:
    """Return who is to prove the address, or has; `person` is the one whom the identifier names.

    One who only said that it is theirs, or for whom staff did, stands in nobody's way: not in that of who asked for a
    code last, as long as it can be given; and who has proved another address is not waited for at all.
    """
    field = field_of(identifier)
    if person is None or not getattr(person, field) or person.proved(field):
        return person
    asked = OneTimeCode.objects.filter(
        contact_matches("address", getattr(person, field)),
        purpose=CodePurpose.VERIFY,
        user__email_verified_at=None,
        user__phone_verified_at=None,
    )
    if not person.is_verified:
        asked = asked.filter(used_at=None, expires_at__gt=now)
    newest = asked.select_related("user").order_by("-created_at").first()
    if newest:
        return newest.user
    return None if person.is_verified else person


def field_of(address: str) -> str:
    """Return which field of a person holds such an address."""
    return "email" if "@" in address else "phone_number"


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
    one_time_codes.count_asked(caller.ip, now)
    with transaction.atomic():
        send_code(claimant(find_by_identifier(identifier), identifier, now=now), to=identifier, password="", now=now)


def send_code(user: CustomUser | None, *, to: str, password: str, now: datetime) -> None:
    """Send a code that confirms the address to who has proved none yet; count one that nobody gets alike.

    It goes to the address as it stands with them, not as a stranger has typed it. With the code they get the password
    (its hash) that they have just chosen, or else the one that waits for the code before.

    :raises TooMany: too many codes to one address
    """
    last = user and user.codes.filter(purpose=CodePurpose.VERIFY).order_by("-created_at").first()
    waits = last if last and last.used_at is None else None
    address = user and (getattr(user, field_of(to)) or (waits and waits.address) or user.email)
    if user is None or not address or user.is_verified or not user.is_active:
        one_time_codes.count_send(to, CodePurpose.VERIFY, now)
        return
    if not is_unproved_member(user):
        password = ""  # staff prove an address with the password they were given
    elif waits and not password:
        password = waits.password
    one_time_codes.request(user=user, purpose=CodePurpose.VERIFY, address=address, password=password, now=now)


def verify(*, identifier: str, password: str, code: str, caller: Caller, now: datetime) -> None:
    """Confirm an address by the code that was sent to it, for who knows the password it was registered with.

    Without the password, a stranger could register somebody's number and wait for its owner to confirm it for them.
    Several may have registered one address: the code tells who of them is there.

    :raises InvalidOrExpiredKey: whatever is wrong with it
    :raises TooMany: too many tries from one place
    """
    one_time_codes.count_try(caller.ip, now)
    row = one_time_codes.find_open(
        purpose=CodePurpose.VERIFY, of=find_by_identifier(identifier), address=identifier, code=code, now=now
    )
    if row is None:
        make_password(password)  # as long as checking one takes
        raise one_time_codes.InvalidOrExpiredKey
    known = row.password or row.user.password
    if not check_password(password, known):
        raise one_time_codes.InvalidOrExpiredKey
    one_time_codes.use(row, code=code, now=now)
    field = field_of(row.address)
    with transaction.atomic():
        person = lock_for_proof(row.user, field, row.address)
        held = getattr(person, field) or row.address
        # Hashing takes a while: meanwhile staff may have changed the password or the address, or made them a colleague.
        is_as_it_was = person.password == row.user.password and held.lower() == row.address.lower()
        if not is_as_it_was or (row.password and not is_unproved_member(person)):
            raise one_time_codes.InvalidOrExpiredKey
        person.password = known
        person.consented_at = person.consented_at or (now if row.password else None)
        try:
            prove(person, field, row.address, now=now)
        except IntegrityError as error:
            raise one_time_codes.InvalidOrExpiredKey from error
        audit.record("address_verified", user=person, caller=caller, now=now, channel=field.split("_")[0])


def lock_for_proof(user: CustomUser, field: str, address: str) -> CustomUser:
    """Return the person, locked with whoever says that the address is theirs: in one order, so that no two who prove
    each other's wait for each other.
    """
    concerned = CustomUser.objects.filter(Q(pk=user.pk) | contact_matches(field, address))
    return {person.pk: person for person in concerned.order_by("pk").select_for_update(no_key=True)}[user.pk]


def prove(user: CustomUser, field: str, address: str, *, now: datetime) -> None:
    """Make an address the person's, proved; whoever only said that it was theirs has it no more.

    Call it with who `lock_for_proof` returned; their password and consent are kept with it.

    :raises IntegrityError: somebody else has proved it
    """
    with transaction.atomic():
        said = CustomUser.objects.filter(contact_matches(field, address), **{user.PROOFS[field]: None}).exclude(
            pk=user.pk
        )
        for other in said:
            audit.record("address_lost", user=other, caller=Caller(), now=now, channel=field)
        said.update(**{field: None})
        setattr(user, field, address)
        setattr(user, user.PROOFS[field], now)
        user.save(update_fields=[field, user.PROOFS[field], "password", "consented_at"])
