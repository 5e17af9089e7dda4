"""Finding a person by what they type into the first field of a log-in."""

from contextlib import suppress

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from api import phones


class IdentifierBackend(ModelBackend):
    """Log in by username, e-mail or phone, taking the same time for unknown, wrong and inactive."""

    def authenticate(self, request, username=None, password=None, **kwargs):
        User = get_user_model()
        user = find(username or "")
        if user is None or not user.has_usable_password():
            User().set_password(password)  # as long as checking one takes
            return None
        if user.check_password(password) and self.user_can_authenticate(user):
            return user
        return None


def could_be_an_address(username: str) -> bool:
    """Say whether a username could be taken for somebody's phone, e-mail or member number at log-in."""
    return not username[0].isalpha() or "@" in username


def has_address(field: str, address: str) -> Q:
    """Return the condition that a field holds the address: an e-mail in any case, a phone number as it is kept.

    In lower case, as the unique index compares; `iexact` compares in upper case, where letters meet that no mail host
    takes for one another.
    """
    if "@" not in address:
        return Q(**{field: address})
    return Q(Exact(Lower(field), Lower(Value(address))))


def find(identifier: str):
    """Return the one person with this username, e-mail or phone number, or None."""
    where = Q(Exact(Lower("username"), Lower(Value(identifier))))
    if "@" in identifier:
        where = has_address("email", identifier) | where
    else:
        with suppress(phones.InvalidPhoneNumber):
            where |= Q(phone_number=phones.normalise(identifier))
    # A username that looks like somebody else's phone or e-mail must not decide who is meant.
    found = list(get_user_model().objects.filter(where)[:2])
    return found[0] if len(found) == 1 else None
