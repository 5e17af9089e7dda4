"""Admin pages of accounts: people, login sessions and security events."""

import re
from contextlib import suppress
from copy import copy
from functools import partial

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower, Reverse
from django.db.models.lookups import Exact, StartsWith
from django.shortcuts import redirect
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.forms import AdminPasswordChangeForm

from accounts.admin_site import LOG_IN_AGAIN, is_fresh
from accounts.forms import PersonForm
from accounts.models import CustomUser, LoginSession, SecurityEvent
from accounts.services import people
from accounts.views.login import caller_of
from api.admin.base import EMPTY_VALUES, ChangeableAdmin, Exportable, ReadOnlyAdmin
from api.admin.exports import Column
from api.admin.roles import sees_phones
from api.clock import now
from api.phones import InvalidPhoneNumber, masked, normalise

# A search by the end of a phone number: fewer digits would match too many people.
LAST_DIGITS = re.compile("[0-9]{4,9}")

# Permissions come from the role alone, so groups are not used.
admin.site.unregister(Group)
# The pages of django-otp would save a second factor without audit and without encryption.
admin.site.unregister([TOTPDevice, StaticDevice])


class RefuseAccessChanges:
    """A form mixin for a caller without a fresh login: it refuses changes of access fields."""

    def clean(self):
        cleaned = super().clean()
        if set(people.ACCESS_FIELDS) & set(self.changed_data):
            raise ValidationError(LOG_IN_AGAIN, code="reauth_required")
        return cleaned


@admin.register(CustomUser)
class CustomUserAdmin(Exportable, ChangeableAdmin, UserAdmin):
    """People, found by name, username, e-mail address, member number or phone number."""

    form, change_password_form = PersonForm, AdminPasswordChangeForm
    list_display = ["member_number", "username", "first_name", "last_name", "role", "phone_number", "is_active"]
    list_filter = ["role", "is_active"]
    search_fields = ["member_number", "username", "phone_number"]
    export_columns = [
        Column("member number", "member_number"),
        Column("username", "username"),
        Column("first name", "first_name"),
        Column("last name", "last_name"),
        Column("role", "role"),
        Column("phone number", "phone_number", is_phone=True),
        Column("e-mail", "email"),
        Column("date of birth", "dob"),
        Column("active", "is_active"),
        Column("joined at (Nairobi)", "date_joined"),
        Column("consented at (Nairobi)", "consented_at"),
    ]
    ordering = ["-pk"]
    readonly_fields = ["member_number", "masked_phone", "added_by", "last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["member_number", "username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "dob", "email", "phone_number", "emergency_contact"]}),
        ("Access", {"fields": ["role", "is_active", "is_staff", "is_superuser"]}),
        ("Dates", {"fields": ["added_by", "last_login", "date_joined", "consented_at"]}),
    ]

    def get_list_display(self, request):
        return [_visible_field(name, request) for name in super().get_list_display(request)]

    def get_search_fields(self, request):
        return [name for name in super().get_search_fields(request) if _visible_field(name, request) == name]

    def get_fieldsets(self, request, obj=None):
        """Return the fields that the caller sees. Who may only read the page sees no empty field, and no password."""
        is_shown = (
            (lambda name: True) if obj is None or self.has_change_permission(request, obj) else partial(_has_value, obj)
        )
        return [
            (
                title,
                {**options, "fields": [_visible_field(name, request) for name in options["fields"] if is_shown(name)]},
            )
            for title, options in super().get_fieldsets(request, obj)
        ]

    def search_condition(self, typed, request):
        """Return the condition of a search: a phone number in any form or its last digits, a member number, a username,
        an e-mail address, or the start of the first and last name.
        """
        found = super().search_condition(typed, request) | Q(Exact(Lower("email"), typed.lower()))
        if "phone_number" in self.get_search_fields(request):
            with suppress(InvalidPhoneNumber):
                return Q(phone_number=normalise(typed))
            digits = "".join(typed.split())
            if LAST_DIGITS.fullmatch(digits):
                found |= Q(StartsWith(Reverse("phone_number"), digits[::-1]))
        first, _, last = typed.partition(" ")
        if last:
            return found | Q(first_name__istartswith=first, last_name__istartswith=last.strip())
        return found | Q(first_name__istartswith=first) | Q(last_name__istartswith=first)

    @admin.display(description="phone number")
    def masked_phone(self, person):
        return masked(person.phone_number) if person.phone_number else None

    def get_readonly_fields(self, request, obj=None):
        """Only a superuser may change the fields that make a user staff."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "role", "is_staff", "is_superuser"]

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and self.may_change(request.user, obj)

    def may_change(self, user, person) -> bool:
        """Return whether `user` may change `person`: only people with a lower role, as in the API."""
        return person is None or user.is_superuser or people.is_below(person, user)

    def get_form(self, request, obj=None, change=False, **kwargs):
        """Return the form; for a caller without a fresh login, one that refuses changes of access fields."""
        form = super().get_form(request, obj, change=change, **kwargs)
        return form if is_fresh(request) else type("StaleLoginForm", (RefuseAccessChanges, form), {})

    def save_model(self, request, obj, form, change):
        """Save only the fields that were changed on the page. The row is locked since the form read it."""
        old = CustomUser.objects.get(pk=obj.pk)
        for name in set(form.cleaned_data) - set(form.changed_data):
            setattr(obj, name, getattr(old, name))
        people.clear_lost_verifications(obj, old=old)
        columns = {field.name: field.attname for field in obj._meta.concrete_fields}
        obj.save(update_fields=[name for name, key in columns.items() if getattr(obj, key) != getattr(old, key)])
        people.end_old_access(obj, old=old, by=request.user, caller=caller_of(request), now=now())

    @transaction.atomic
    def user_change_password(self, request, id, form_url=""):
        """Extend Django's page for a user's password, which saves without calling `save_model`."""
        if request.method == "POST" and not is_fresh(request):
            self.message_user(request, LOG_IN_AGAIN, messages.ERROR)
            return redirect(request.path)
        old = copy(self.get_object(request, id))
        response = super().user_change_password(request, id, form_url)
        person = self.get_object(request, id)
        if old and person:
            people.end_old_access(person, old=old, by=request.user, caller=caller_of(request), now=now())
        return response


@admin.register(LoginSession)
class LoginSessionAdmin(ReadOnlyAdmin):
    ordering = ["-absolute_expires_at"]
    list_display = ["user", "created_at", "rotated_at", "revoked_at", "revoke_reason", "ip"]
    list_select_related = ["user"]


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin):
    list_display = ["at", "event", "outcome", "user", "actor", "ip"]
    list_select_related = ["user", "actor"]


def _has_value(person: CustomUser, field: str) -> bool:
    return field != "password" and getattr(person, field) not in EMPTY_VALUES


def _visible_field(field: str, request) -> str:
    """Return the field to show in place of `field`: Trainers see only masked phone numbers."""
    if field == "phone_number" and not sees_phones(request.user):
        return "masked_phone"
    return field
