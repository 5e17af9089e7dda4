"""The admin's doors: logging in as the API does, and adding the second factor that some roles need."""

from base64 import b32encode

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_variables
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.sites import UnfoldAdminSite
from unfold.widgets import BASE_INPUT_CLASSES

from accounts.models import Authenticator
from accounts.receivers import AMR, LOGGED_IN_AT
from accounts.services import passwords, staff, two_factor_setup
from accounts.views.login import caller_of
from api.authentication import needs_second_factor
from api.clock import now
from api.errors import DomainError

LOG_IN_AGAIN = "Please log out and in again first: this asks for a log-in of the last ten minutes."


def is_fresh(request) -> bool:
    """Say whether the admin's log-in is as fresh as the API asks for."""
    began = request.session.get(LOGGED_IN_AT, 0)
    return now().timestamp() - began <= settings.FRESH_LOGIN_LIFETIME.total_seconds()


class StaffLogInForm(AdminAuthenticationForm):
    """Name, password and, for who has a second factor, its code."""

    code = forms.CharField(
        required=False,
        max_length=20,
        label="Code of your authenticator app, if you have one",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _dress(self)

    @sensitive_variables()
    def clean(self):
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name and password:
            code = self.cleaned_data.get("code", "")
            try:
                self.user_cache = staff.log_in(
                    identifier=name, password=password, code=code, caller=caller_of(self.request), now=now()
                )
            except DomainError as refusal:
                raise ValidationError(refusal.message, code=refusal.code) from refusal
        return self.cleaned_data


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """One's own password, changed by the service that the API calls."""

    def __init__(self, *args, request, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self):
        return self.cleaned_data["old_password"]  # whether it is right is the service's to say, which counts the tries

    @sensitive_variables()
    def clean(self):
        cleaned = super().clean()
        if not self.errors:
            old, new = cleaned["old_password"], cleaned["new_password1"]
            try:
                passwords.replace(user=self.user, current=old, new=new, caller=caller_of(self.request), now=now())
            except DomainError as refusal:
                self.add_error("old_password", refusal.message)
        return cleaned

    def save(self, commit=True):
        return self.user


class OwnPasswordView(PasswordChangeView):
    """Keeps the caller in, whose other sessions end."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self):
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form):
        answer = super().form_valid(form)
        self.request.session[LOGGED_IN_AT] = now().timestamp()  # every session from before has just ended
        return answer


class CodeForm(forms.Form):
    """Six digits."""

    code = forms.RegexField(r"^[0-9]{6}$", widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}))

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _dress(self)


def _dress(form) -> None:
    """Give the fields the looks of the admin's own."""
    for field in form.fields.values():
        field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)


class ClubAdminSite(UnfoldAdminSite):
    """The admin, which lets nobody in by less than the API asks for."""

    index_title = "Front desk"
    login_form = StaffLogInForm
    login_template = "accounts/admin_login.html"

    def has_permission(self, request):
        return super().has_permission(request) and self.standing(request).may_act

    def standing(self, request) -> staff.Standing:
        """Return what has become of the caller's log-in; asked once a request."""
        if not hasattr(request, "standing"):
            request.standing = staff.standing_of(request.user, request.session)
        return request.standing

    def get_urls(self):
        return [path("second-factor/", self.second_factor, name="second_factor"), *super().get_urls()]

    @method_decorator(never_cache)
    def login(self, request, extra_context=None):
        if request.method == "GET" and self.must_enrol(request):
            return redirect("admin:second_factor")
        return super().login(request, extra_context)

    def must_enrol(self, request) -> bool:
        """Say whether this is somebody of the staff whose role needs a second factor, and who has none."""
        return self.may_enrol(request) and needs_second_factor(request.user)

    def may_enrol(self, request) -> bool:
        """Say whether the caller is somebody of the staff who has no second factor."""
        if not super().has_permission(request):
            return False
        standing = self.standing(request)
        return not standing.has_second_factor and not standing.was_ended

    def search(self, request, extra_context=None):
        """Unfold's search of the sidebar, which knows one page and takes any other for a number of one."""
        if "page" in request.GET:
            raise Http404
        return super().search(request, extra_context)

    def password_change(self, request, extra_context=None):
        """Django's page for one's own password, which would end no session and count no try."""
        request.current_app = self.name
        page = {**self.each_context(request), **(extra_context or {})}
        return OwnPasswordView.as_view(extra_context=page)(request)

    @method_decorator([never_cache, csrf_protect])
    def second_factor(self, request):
        """Add an authenticator app: draw its secret, then ask for a code of it, then tell the recovery codes."""
        if not self.may_enrol(request) or not is_fresh(request):
            return redirect("admin:login")
        page = {**self.each_context(request), "title": "Your second factor", "form": CodeForm()}
        if request.method == "POST":
            try:
                self._enrol(request, page)
            except DomainError as refusal:
                page["error"] = refusal.message
        return TemplateResponse(request, "accounts/second_factor.html", page)

    def _enrol(self, request, page) -> None:
        if "code" not in request.POST:
            page["secret"] = _as_typed(two_factor_setup.begin(user=request.user, now=now()))
            return
        page["form"] = form = CodeForm(request.POST)
        begun = Authenticator.objects.filter(user=request.user, confirmed=False).first()
        page["secret"] = begun and _as_typed(begun)
        if form.is_valid():
            page["recovery_codes"] = two_factor_setup.confirm(
                user=request.user, session=None, **form.cleaned_data, caller=caller_of(request), now=now()
            )
            request.session.cycle_key()
            request.session[AMR] = ["pwd", "otp"]
            request.session[LOGGED_IN_AT] = now().timestamp()  # every session from before has just ended


def _as_typed(device: Authenticator) -> str:
    """Return the app's secret in groups of four letters."""
    secret = b32encode(device.bin_key).decode()
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
