"""Login by identifier: find a user by username, e-mail address or phone number, and check their password."""

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from api.identifiers import fold


class IdentifierBackend(ModelBackend):
    """Django's login backend. The product itself calls the two functions below, since it counts attempts in between."""

    def authenticate(self, request, username=None, password=None, **kwargs):
        person = find_by_identifier(username or "")
        return person if may_log_in(person, password) else None


def find_by_identifier(identifier: str):
    """Return the one user with this username, e-mail address or phone number, or None.

    An identifier that matches two people matches none: a username that looks like another user's phone number or
    e-mail address must not decide which of them logs in.
    """
    folded = fold(identifier)
    condition = Q(Exact(Lower("username"), Lower(Value(folded))))
    if "@" in folded:
        condition = contact_matches("email", folded) | condition
    else:
        condition |= Q(phone_number=folded)  # 254 and nine digits, if it is a phone number
    found = list(get_user_model().objects.filter(condition)[:2])
    return found[0] if len(found) == 1 else None


def may_log_in(person, password) -> bool:
    """Return whether `password` is this user's, and the account is active and has a verified contact.

    Every call hashes one password, also for None and for a user without a password, so that the response time does
    not show which accounts exist.
    """
    if person is None or not person.has_usable_password():
        get_user_model()().set_password(password)
        return False
    # Only people with access make somebody staff, so no verified contact is asked of them.
    return person.check_password(password) and person.is_active and (person.is_verified or person.is_staff)


def contact_matches(field: str, contact: str) -> Q:
    """Return the condition that `field` holds this e-mail address, in any case, or this phone number.

    E-mail addresses are compared in lower case, as the unique index does. `iexact` compares in upper case, where some
    different letters become equal that mail servers keep apart.
    """
    if "@" not in contact:
        return Q(**{field: contact})
    return Q(Exact(Lower(field), Lower(Value(contact))))


def looks_like_contact(username: str) -> bool:
    """Return whether a username could be mistaken for a phone number, an e-mail address or a member number."""
    return not username[0].isalpha() or "@" in username
