"""The manager of CustomUser: all code that creates a user calls it."""

from typing import TYPE_CHECKING

from django.contrib.auth.models import UserManager
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from api.clock import now
from api.member_numbers import with_check_digit
from api.roles import Role

if TYPE_CHECKING:
    from accounts.models import CustomUser  # noqa: F401  the base class names it


class CustomUserManager(UserManager["CustomUser"]):
    """Creates people with a hashed password and a new member number."""

    def _create_user_object(self, username, email, password, **fields):
        if "member_number" not in fields:  # not by setdefault, which would always draw one
            fields["member_number"] = self.next_member_number()
        user = super()._create_user_object(username, email, password, **fields)
        user.email = user.email or None  # the column is unique, and many people have no e-mail address
        return user

    def create_superuser(self, username, email=None, password=None, **fields):
        """Create a superuser with the role Admin, which the API asks for."""
        return super().create_superuser(username, email, password, **{"role": Role.ADMIN, **fields})

    def create_member(
        self,
        *,
        username: str | None = None,
        email: str | None = None,
        password: str | None = None,
        member_number: str | None = None,
        **fields,
    ):
        """Create a user. The default username is the member number; without a password they cannot log in.

        `member_number` is for a transaction that is rolled back: it must not use up the next number.
        """
        if fields.get("phone_number") and not fields.get("phone_is_self_declared"):
            by = fields.get("added_by")
            self.drop_self_declared(fields["phone_number"], by_id=by.pk if by else fields.get("added_by_id"))
        while True:
            number = member_number or self.next_member_number()
            try:
                with transaction.atomic():
                    return self.create_user(username or number, email, password, member_number=number, **fields)
            except IntegrityError:
                # A concurrent transaction may have taken the number since it was drawn; then another one is drawn.
                if member_number or not self.has_number(number):
                    raise

    def drop_self_declared(self, phone_number: str | None, *, by_id: int | None) -> None:
        """Remove a phone number from whoever only typed it at registration: staff or an import enter it for another."""
        events = self.model._meta.apps.get_model("accounts", "SecurityEvent").objects
        for person in self.filter(phone_number=phone_number, phone_is_self_declared=True).select_for_update():
            person.phone_number, person.phone_is_self_declared = None, False
            person.save(update_fields=["phone_number", "phone_is_self_declared"])
            detail = {"channel": "phone_number"}
            events.create(user=person, actor_id=by_id, event="address_lost", detail=detail, at=now())

    def next_member_number(self) -> str:
        """Return the next free member number: 7 digits, the last one a Damm check digit."""
        while True:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nextval('accounts_member_number_seq')")
                number = with_check_digit(f"{cursor.fetchone()[0]:06d}")
            if not self.has_number(number):
                return number

    def has_number(self, number: str) -> bool:
        """Return whether somebody has this member number, or a username that looks like it."""
        return self.filter(Q(member_number=number) | Q(username=number)).exists()
