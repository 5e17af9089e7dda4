"""The admin site: login by the rules of the API, and setup of the second factor that some roles need."""

from base64 import b32encode
from functools import wraps

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_variables
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.sites import UnfoldAdminSite
from unfold.widgets import BASE_INPUT_CLASSES

from accounts.models import Authenticator
from accounts.receivers import AMR, KEPT_AT, LOGGED_IN_AT
from accounts.services import admin_login, passwords, two_factor_setup
from accounts.views.login import caller_of, remember_device
from api.authentication import needs_second_factor
from api.clock import now
from api.errors import DomainError
from api.views import outdated_form

LOG_IN_AGAIN = "This needs a login within the last ten minutes. Log out and log in again, then repeat it."


def is_fresh(request) -> bool:
    """Return whether the login to the admin is within FRESH_LOGIN_LIFETIME, as for the API."""
    logged_in_at = request.session.get(LOGGED_IN_AT, 0)
    return now().timestamp() - logged_in_at <= settings.FRESH_LOGIN_LIFETIME.total_seconds()


class StaffLoginForm(AdminAuthenticationForm):
    """The login form: username, password, and the code of a second factor."""

    code = forms.CharField(
        required=False,
        max_length=20,
        label="Code of your authenticator app (if you have one)",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _style_fields(self)

    @sensitive_variables()
    def clean(self):
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username and password:
            code = self.cleaned_data.get("code", "")
            try:
                self.user_cache = admin_login.log_in(
                    identifier=username, password=password, code=code, caller=caller_of(self.request), now=now()
                )
            except DomainError as refusal:
                raise ValidationError(refusal.message, code=refusal.code) from refusal
        return self.cleaned_data


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Change of one's own password, by the same service as in the API."""

    def __init__(self, *args, request, **kwargs):
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self):
        return self.cleaned_data["old_password"]  # the service checks it and counts the attempt

    @sensitive_variables()
    def clean(self):
        cleaned = super().clean()
        if not self.errors:
            old, new = cleaned["old_password"], cleaned["new_password1"]
            try:
                passwords.change_in_admin(
                    user=self.user, current=old, new=new, caller=caller_of(self.request), now=now()
                )
            except DomainError as refusal:
                self.add_error("old_password", refusal.message)
        return cleaned

    def save(self, commit=True):
        return self.user


class OwnPasswordView(PasswordChangeView):
    """Change one's own password. The caller stays logged in here; their other sessions end."""

    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self):
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form):
        answer = super().form_valid(form)
        self.request.session[KEPT_AT] = now().timestamp()  # the change ended all earlier logins
        return answer


class CodeForm(forms.Form):
    """The six digits of an authenticator app."""

    code = forms.RegexField(r"^[0-9]{6}$", widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}))

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _style_fields(self)


def _style_fields(form) -> None:
    """Style the fields like those of the admin."""
    for field in form.fields.values():
        field.widget.attrs["class"] = " ".join(BASE_INPUT_CLASSES)


class ClubAdminSite(UnfoldAdminSite):
    """The admin site. Its login asks for no less than the login of the API."""

    index_title = "Front desk"
    login_form = StaffLoginForm
    login_template = "accounts/admin_login.html"

    def has_permission(self, request):
        return super().has_permission(request) and self.login_state(request).may_act

    def admin_view(self, view, cacheable=False):
        """Protect a page of the admin. A form sent after the login ended keeps what was typed.

        Django itself redirects to the login page, which loses it.
        """
        protected = super().admin_view(view, cacheable)

        @wraps(protected)
        def page(request, *args, **kwargs):
            may_see = self.has_permission(request) or request.path == reverse("admin:logout", current_app=self.name)
            if request.method == "POST" and not may_see:
                return outdated_form(request)
            return protected(request, *args, **kwargs)

        return page

    def login_state(self, request) -> admin_login.LoginState:
        """Return the state of the caller's login, read once a request."""
        if not hasattr(request, "login_state"):
            request.login_state = admin_login.state_of(request.user, request.session)
        return request.login_state

    def get_urls(self):
        return [path("second-factor/", self.second_factor, name="second_factor"), *super().get_urls()]

    @method_decorator(never_cache)
    def login(self, request, extra_context=None):
        if request.method == "GET" and self.must_enrol(request):
            return redirect("admin:second_factor")
        response = super().login(request, extra_context)
        if request.method == "POST" and request.user.is_authenticated:
            remember_device(request, response, request.user)
        return response

    def must_enrol(self, request) -> bool:
        """Return whether the caller is staff, has no second factor, and needs one for their role."""
        return self.may_enrol(request) and needs_second_factor(request.user)

    def may_enrol(self, request) -> bool:
        """Return whether the caller is staff and has no second factor."""
        if not super().has_permission(request):
            return False
        state = self.login_state(request)
        return not state.has_second_factor and not state.was_ended

    def search(self, request, extra_context=None):
        """Run Unfold's sidebar search. It has one page and does not check the `page` parameter, so refuse that."""
        if "page" in request.GET:
            raise Http404
        return super().search(request, extra_context)

    def password_change(self, request, extra_context=None):
        """Replace Django's page for one's own password, which would end no session and count no attempt."""
        request.current_app = self.name
        page = {**self.each_context(request), **(extra_context or {})}
        return OwnPasswordView.as_view(extra_context=page)(request)

    @method_decorator([never_cache, csrf_protect])
    def second_factor(self, request):
        """Set up an authenticator app: show a new secret, check a code of the app, then show the recovery codes."""
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
            page["secret"] = _in_groups_of_four(two_factor_setup.begin(user=request.user, now=now()))
            return
        page["form"] = form = CodeForm(request.POST)
        unconfirmed = Authenticator.objects.filter(user=request.user, confirmed=False).first()
        page["secret"] = unconfirmed and _in_groups_of_four(unconfirmed)
        if form.is_valid():
            page["recovery_codes"] = two_factor_setup.confirm(
                user=request.user, session=None, **form.cleaned_data, caller=caller_of(request), now=now()
            )
            request.session.cycle_key()
            request.session[AMR] = ["pwd", "otp"]
            request.session[KEPT_AT] = now().timestamp()  # the change ended all earlier logins


def _in_groups_of_four(device: Authenticator) -> str:
    """Return the secret of the app in base 32, in groups of four letters for typing."""
    secret = b32encode(device.bin_key).decode()
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
