"""Forms of the admin to add and change people, with the same rules as the API."""

from contextlib import suppress
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from unfold.forms import UserChangeForm
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts.admin_site import LOG_IN_AGAIN, is_fresh
from accounts.backends import looks_like_contact
from accounts.models import CustomUser
from accounts.serializers import LONGEST_PASSWORD
from accounts.services import people
from accounts.views.login import caller_of
from api.admin.base import UnchangedSinceShownForm
from api.admin.form_fields import DayField, PhoneField
from api.admin.staff_actions import StaffAction
from api.emails import plain_email
from api.roles import Role


class AddPersonForm(StaffAction):
    """A new user: a member, or an employee with a role below that of the caller."""

    name, title, button = "add", "Add a person", "Add"
    first_name = forms.CharField(max_length=150, widget=UnfoldAdminTextInputWidget)
    last_name = forms.CharField(max_length=150, widget=UnfoldAdminTextInputWidget)
    phone_number = PhoneField(required=False)
    email = forms.EmailField(
        required=False, max_length=254, label="E-mail", widget=UnfoldAdminEmailInputWidget, validators=[plain_email]
    )
    role = forms.ChoiceField(widget=UnfoldAdminSelectWidget, initial=Role.MEMBER)
    username = forms.RegexField(
        r"^[A-Za-z][A-Za-z0-9_.+-]*$",
        required=False,
        max_length=150,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Begins with a letter. Leave empty to use the member number.",
    )
    password = forms.CharField(
        required=False,
        strip=False,
        max_length=LONGEST_PASSWORD,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="For the first login. Leave empty for a person who does not log in.",
    )
    dob = DayField(required=False, label="Date of birth")
    emergency_contact = forms.CharField(required=False, max_length=150, widget=UnfoldAdminTextInputWidget)
    consent = forms.BooleanField(
        required=False,
        label="They agree to the club's terms",
        help_text="The person agrees, or a guardian. Without it nothing can be sold to them.",
        widget=UnfoldBooleanWidget,
    )

    def prepare(self):
        self.fields["role"].choices = assignable_roles(self.caller)

    def clean_password(self) -> str | None:
        return self.cleaned_data["password"] or None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password"):
            about = ("first_name", "last_name", "phone_number", "email", "username")
            try:
                validate_password(cleaned["password"], CustomUser(**{name: cleaned.get(name) or "" for name in about}))
            except ValidationError as error:
                self.add_error("password", error)
        if cleaned.get("role", Role.MEMBER) != Role.MEMBER and not is_fresh(self.request):
            raise ValidationError(LOG_IN_AGAIN, code="reauth_required")
        return cleaned

    def perform(self):
        """Create the user, and store it in `person`."""
        given = {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}
        self.person = people.add_person(added_by=self.caller, caller=caller_of(self.request), now=self.now, **given)
        return f"{self.person.get_full_name()} is added, member number {self.person.member_number}."


class PersonForm(UnchangedSinceShownForm, UserChangeForm):
    """A user's page in the admin."""

    def clean_username(self) -> str:
        """Refuse a new username that looks like a contact: the login of its owner would no longer be unique."""
        username = self.cleaned_data["username"]
        if "username" in self.changed_data and looks_like_contact(username):
            raise ValidationError("Start with a letter and do not use @.", code="invalid")
        return username


def assignable_roles(user: CustomUser) -> list[tuple[str, str]]:
    """Return the choices of roles that `user` may assign, the lowest first."""
    choices = []
    for role in reversed(Role):
        with suppress(people.RoleAboveOwn):
            people.require_may_assign(user, role)
            choices.append((role.value, str(role.label)))
    return choices
