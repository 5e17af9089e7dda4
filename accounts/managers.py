"""Creating people: everything that makes a user goes through CustomUserManager."""

from django.contrib.auth.models import UserManager
from django.db import connection

from api.member_numbers import with_check_digit
from api.roles import Role


class CustomUserManager(UserManager):
    """Creates users with a hashed password and a member number of their own."""

    def _create_user_object(self, username, email, password, **fields):
        fields.setdefault("member_number", self.next_member_number())
        user = super()._create_user_object(username, email, password, **fields)
        user.email = user.email or None  # the column is unique; many people have no e-mail
        return user

    def create_superuser(self, username, email=None, password=None, **fields):
        """Create an administrator, who is one in the API too."""
        return super().create_superuser(username, email, password, **{"role": Role.ADMIN, **fields})

    def create_member(
        self, *, username: str | None = None, email: str | None = None, password: str | None = None, **fields
    ):
        """Create a person; without a username the member number is one, without a password nobody can log in."""
        number = self.next_member_number()
        return self.create_user(username or number, email, password, member_number=number, **fields)

    def next_member_number(self) -> str:
        """Return the next free 7-digit member number, the last digit a Damm check digit."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval('accounts_member_number_seq')")
            return with_check_digit(f"{cursor.fetchone()[0]:06d}")
