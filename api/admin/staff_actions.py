"""Staff actions: forms of the admin that check what is typed and make one call of a service."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied

from api import idempotency
from api.errors import DomainError
from api.idempotency import IdempotencyKey, IdempotencyKeyReused

KEY_REUSED = "This form was already sent with other values. Open the page again and repeat it."


class StaffAction(forms.Form):
    """A form that makes one call of a service. A refusal of the service (DomainError) becomes an error of the form."""

    name = ""  # as the roles table and the URL have it
    title = ""
    button = ""  # the text of its button; empty means the title

    def __init__(
        self,
        typed: Mapping[str, Any] | None = None,
        *,
        request: Any,
        now: datetime,
        subject: Any = None,
        url: str = "",
        initial: dict[str, Any] | None = None,
    ):
        """Show an empty form, or check the `typed` values. `subject` is what the action is about: a row, or its id."""
        # A page shows several forms: the id of each field begins with the name of its form.
        super().__init__(typed, auto_id=f"{self.name}-%s", initial=initial)
        self.request, self.caller, self.now, self.subject, self.url = request, request.user, now, subject, url
        self.outcome = ""
        self.prepare()

    def prepare(self) -> None:
        """Set the choices and initial values that depend on the subject and the caller."""

    @property
    def hint(self) -> str:
        """A sentence above the fields: what to do first, or what to expect. It may hold a link."""
        return ""

    @property
    def is_possible(self) -> bool:
        """Whether the page offers the action: False when there is nothing to choose from."""
        return True

    def perform(self) -> str:
        """Call the service, and return one sentence for the caller that says what was done.

        :raises DomainError: the service refuses
        """
        raise NotImplementedError

    def run(self) -> bool:
        """Perform the action if the typed values are valid. Return whether it was done.

        Afterwards `outcome` says what was done, or `errors` say why it was not.
        """
        if not self.is_valid():
            return False
        try:
            self.outcome = self.perform()
        except DomainError as refusal:
            self.add_error(None, KEY_REUSED if isinstance(refusal, IdempotencyKeyReused) else refusal.message)
            return False
        return True

    @property
    def error_text(self) -> str:
        """All errors of the form in one line."""
        return " ".join(str(error) for errors in self.errors.values() for error in errors)


class KeyedAction(StaffAction):
    """An action that counts once, however often its form is sent. A hidden key, drawn with the page, identifies it."""

    key = forms.RegexField(idempotency.KEY, widget=forms.HiddenInput, initial=uuid.uuid4)

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """The key with the fingerprint of the typed values."""
        typed = {name: self.data.get(name) for name in self.fields}
        return IdempotencyKey(self.cleaned_data["key"], idempotency.fingerprint(self.url, typed))


def report(request, action: StaffAction) -> None:
    """Run the action, and leave a message for the next page: its outcome or its errors."""
    if action.run():
        messages.success(request, action.outcome)
    else:
        messages.error(request, action.error_text)


def by_name(*actions: type[StaffAction]) -> dict[str, type[StaffAction]]:
    """Return the actions of a page by their names, in the order in which the page shows them."""
    return {action.name: action for action in actions}


def action_named(name: str, actions: Mapping[str, type[StaffAction]]) -> type[StaffAction]:
    """Return an action of a page.

    :raises PermissionDenied: the page has no such action
    """
    if name not in actions:
        raise PermissionDenied
    return actions[name]
