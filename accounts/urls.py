"""Addresses of accounts, under /api/v1/."""

from django.db import transaction
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from accounts.views import contact, factors, people, pictures, signing_in

app_name = "accounts"

router = SimpleRouter(use_regex_path=False)
router.register("users", people.UserViewSet, basename="user")

auth = [
    # First what is asked most: they are tried in this order.
    path("me/", people.MeView.as_view(), name="me"),
    path("csrf/", signing_in.CsrfView.as_view(), name="csrf"),
    path("register/", signing_in.RegisterView.as_view(), name="register"),
    path("verify/", signing_in.VerifyView.as_view(), name="verify"),
    path("verify/resend/", signing_in.ResendView.as_view(), name="verify-resend"),
    path("login/", signing_in.LoginView.as_view(), name="login"),
    path("refresh/", signing_in.RefreshView.as_view(), name="refresh"),
    path("logout/", signing_in.LogoutView.as_view(), name="logout"),
    path("logout-all/", signing_in.LogoutAllView.as_view(), name="logout-all"),
    path("me/picture/", pictures.PictureView.as_view(), name="my-picture"),
    path("sessions/", people.SessionListView.as_view(), name="sessions"),
    path("sessions/<uuid:session_id>/", people.SessionView.as_view(), name="session"),
    path("security-events/", people.SecurityEventListView.as_view(), name="security-events"),
    path("email/change/", contact.EmailChangeView.as_view(), name="email-change"),
    path("email/change/confirm/", contact.EmailChangeConfirmView.as_view(), name="email-change-confirm"),
    path("phone/change/", contact.PhoneChangeView.as_view(), name="phone-change"),
    path("phone/change/confirm/", contact.PhoneChangeConfirmView.as_view(), name="phone-change-confirm"),
    path("password/change/", signing_in.PasswordChangeView.as_view(), name="password-change"),
    path("password/reset/", signing_in.PasswordResetView.as_view(), name="password-reset"),
    path("password/reset/confirm/", signing_in.PasswordResetConfirmView.as_view(), name="password-reset-confirm"),
    path("mfa/verify/", factors.MfaVerifyView.as_view(), name="mfa-verify"),
    path("mfa/recovery/", factors.MfaRecoveryView.as_view(), name="mfa-recovery"),
    path("mfa/totp/", factors.TotpView.as_view(), name="mfa-totp"),
    path("mfa/totp/confirm/", factors.TotpConfirmView.as_view(), name="mfa-totp-confirm"),
    path("mfa/recovery-codes/", factors.RecoveryCodesView.as_view(), name="mfa-recovery-codes"),
]

# A try that was refused, a session that was ended: what these views write about a refusal must stay, also for who runs
# them under ATOMIC_REQUESTS. Their services own the transactions.
for each in auth:
    transaction.non_atomic_requests(each.callback)

urlpatterns = [
    path("auth/", include(auth)),
    path("users/<int:user_id>/revoke-sessions/", people.RevokeSessionsView.as_view(), name="revoke-sessions"),
    *router.urls,
]
