"""Lock a lost or stolen phone out of its owner's account."""

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldBooleanWidget

from accounts.admin_site import LOG_IN_AGAIN, is_fresh
from accounts.services import lost_phones
from accounts.views.login import caller_of
from api.admin.form_fields import PhoneField, TextField
from config.desk.actions.base import MemberAction


class LostPhoneForm(MemberAction):
    """End every login session of the member; change their number and remove their second factor if asked to.

    A second sending ends no further session.
    """

    name, title, button = "lost", "Phone lost or stolen", "Lock the phone out"
    reason = TextField(
        max_length=200,
        label="How you recognised the member",
        help_text="For example an ID card, or the picture. All their login sessions end.",
    )
    phone_number = PhoneField(required=False, label="New number", help_text="Leave empty to keep the old number.")
    remove_second_factor = forms.BooleanField(
        required=False,
        label="Remove the second factor",
        help_text="When the authenticator app was on that phone.",
        widget=UnfoldBooleanWidget,
    )

    @property
    def is_possible(self):
        return lost_phones.may_secure(self.member, by=self.caller)

    def clean(self):
        if not is_fresh(self.request):
            raise ValidationError(LOG_IN_AGAIN, code="reauth_required")
        return super().clean()

    def perform(self):
        ended = lost_phones.secure(
            person_id=self.member.pk,
            by=self.caller,
            reason=self.cleaned_data["reason"],
            phone_number=self.cleaned_data["phone_number"],
            remove_second_factor=self.cleaned_data["remove_second_factor"],
            caller=caller_of(self.request),
            now=self.now,
        )
        done = [
            f"{ended} login session{'' if ended == 1 else 's'} ended",
            "the number is changed" if self.cleaned_data["phone_number"] else "",
            "the second factor is removed" if self.cleaned_data["remove_second_factor"] else "",
        ]
        return f"The lost phone is locked out: {', '.join(filter(None, done))}."
