"""Roles: the five levels of access of the club's users."""

from django.db.models import TextChoices


class Role(TextChoices):
    """A level of access. Roles are listed from the highest to the lowest; each may do all that lower roles may do."""

    ADMIN = "Admin"
    MANAGER = "Manager"
    RECEPTIONIST = "Receptionist"
    TRAINER = "Trainer"
    MEMBER = "Member"


HIGHEST_FIRST = tuple(Role.values)


def rank(role: str) -> int:
    """Return the position of a role, 0 for the highest."""
    return HIGHEST_FIRST.index(role)
