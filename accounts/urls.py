"""URLs of accounts, under /api/v1/."""

from django.db import transaction
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from accounts.views import contact_details, login, people, pictures, two_factor

app_name = "accounts"

router = SimpleRouter(use_regex_path=False)
router.register("users", people.UserViewSet, basename="user")

auth = [
    # The most frequent first, since Django tries them in this order.
    path("me/", people.MeView.as_view(), name="me"),
    path("csrf/", login.CsrfView.as_view(), name="csrf"),
    path("register/", login.RegisterView.as_view(), name="register"),
    path("verify/", login.VerifyView.as_view(), name="verify"),
    path("verify/resend/", login.ResendView.as_view(), name="verify-resend"),
    path("login/", login.LoginView.as_view(), name="login"),
    path("refresh/", login.RefreshView.as_view(), name="refresh"),
    path("logout/", login.LogoutView.as_view(), name="logout"),
    path("logout-all/", login.LogoutAllView.as_view(), name="logout-all"),
    path("me/picture/", pictures.PictureView.as_view(), name="my-picture"),
    path("sessions/", people.SessionListView.as_view(), name="sessions"),
    path("sessions/<uuid:session_id>/", people.SessionView.as_view(), name="session"),
    path("security-events/", people.SecurityEventListView.as_view(), name="security-events"),
    path("email/change/", contact_details.EmailChangeView.as_view(), name="email-change"),
    path("email/change/confirm/", contact_details.EmailChangeConfirmView.as_view(), name="email-change-confirm"),
    path("phone/change/", contact_details.PhoneChangeView.as_view(), name="phone-change"),
    path("phone/change/confirm/", contact_details.PhoneChangeConfirmView.as_view(), name="phone-change-confirm"),
    path("password/change/", login.PasswordChangeView.as_view(), name="password-change"),
    path("password/reset/", login.PasswordResetView.as_view(), name="password-reset"),
    path("password/reset/confirm/", login.PasswordResetConfirmView.as_view(), name="password-reset-confirm"),
    path("mfa/verify/", two_factor.MfaVerifyView.as_view(), name="mfa-verify"),
    path("mfa/recovery/", two_factor.MfaRecoveryView.as_view(), name="mfa-recovery"),
    path("mfa/totp/", two_factor.TotpView.as_view(), name="mfa-totp"),
    path("mfa/totp/confirm/", two_factor.TotpConfirmView.as_view(), name="mfa-totp-confirm"),
    path("mfa/recovery-codes/", two_factor.RecoveryCodesView.as_view(), name="mfa-recovery-codes"),
]

# A refused login is counted and audited, and a reused token revokes a session. ATOMIC_REQUESTS would roll these writes
# back together with the refusal. The services own the transactions.
for url in auth:
    transaction.non_atomic_requests(url.callback)

urlpatterns = [
    path("auth/", include(auth)),
    path("users/<int:user_id>/revoke-sessions/", people.RevokeSessionsView.as_view(), name="revoke-sessions"),
    *router.urls,
]
