"""Models of accounts: users, login sessions, one-time codes, notices and the audit log of access."""

import secrets
import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Reverse, Upper
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import seals
from accounts.managers import CustomUserManager
from api.emails import plain_email
from api.names import NameField
from api.phones import PhoneSha256
from api.roles import Role


def random_picture_name(user: "CustomUser", name: str) -> str:
    """Return a file name that cannot be guessed: anyone with the link can see the picture."""
    return f"profile_pictures/{secrets.token_hex(16)}.jpg"


class CustomUser(AbstractUser):
    """A user account: a member, an employee, or both. Children and walk-ins have no password."""

    # Plain ASCII, so that a username has one spelling in upper and in lower case.
    username_validator = ASCIIUsernameValidator()  # type: ignore[assignment]  # the stubs know only AbstractUser's
    username = models.CharField(
        max_length=150,
        unique=True,
        validators=[username_validator],
        error_messages={"unique": "A user with that username already exists."},
        help_text="Letters, digits and @ . + - _ only.",
    )
    first_name = NameField("first name", max_length=150, blank=True)
    last_name = NameField("last name", max_length=150, blank=True)
    # Null, since many people have none and it is unique; the stubs know only AbstractUser's.
    email = models.EmailField(null=True, blank=True, validators=[plain_email])  # type: ignore[assignment]
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    dob = models.DateField("date of birth", null=True, blank=True)
    profile_picture = models.ImageField(upload_to=random_picture_name, null=True, blank=True)
    phone_number = models.CharField(
        max_length=12, null=True, blank=True, unique=True, help_text="254 and nine digits, as M-Pesa writes it."
    )
    phone_is_self_declared = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Typed at registration and not verified yet: no money is matched by it.",
    )
    emergency_contact = NameField(max_length=150, blank=True)
    added_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="added")
    member_number = models.CharField(max_length=7, unique=True, editable=False)
    email_verified_at = models.DateTimeField(null=True, blank=True)
    phone_verified_at = models.DateTimeField(null=True, blank=True)
    consented_at = models.DateTimeField(
        null=True, blank=True, help_text="When the person, or a guardian, agreed to the club's terms."
    )

    # Not a column. The admin's login sets it: the methods used (RFC 8176 names).
    amr: list[str]

    objects: ClassVar[CustomUserManager] = CustomUserManager()

    # For each contact field, the field with the time when its owner confirmed it by a code.
    VERIFIED_AT = {"email": "email_verified_at", "phone_number": "phone_verified_at"}

    class Meta(AbstractUser.Meta):
        verbose_name = "person"
        verbose_name_plural = "people"
        # Safaricom reports some senders only as a hash; payments.matching looks them up here.
        indexes = [
            models.Index(PhoneSha256("phone_number"), name="user_by_phone_sha256"),
            # For a search by the last digits of a phone number.
            models.Index(OpClass(Reverse("phone_number"), name="text_pattern_ops"), name="user_by_last_digits"),
            # For a search by the start of a name: `istartswith` compares UPPER(name) LIKE 'WAN%'.
            models.Index(OpClass(Upper("first_name"), name="text_pattern_ops"), name="user_by_first_name"),
            models.Index(OpClass(Upper("last_name"), name="text_pattern_ops"), name="user_by_last_name"),
        ]
        constraints = [
            models.UniqueConstraint(Lower("email"), name="user_email_unique_in_any_case"),
            models.UniqueConstraint(Lower("username"), name="user_username_unique_in_any_case"),
            models.CheckConstraint(condition=~Q(email=""), name="user_email_is_null_not_empty"),
            models.CheckConstraint(
                condition=Q(phone_number__isnull=True) | Q(phone_number__regex=r"^254[17][0-9]{8}$"),
                name="user_phone_number_is_kenyan",
            ),
            models.CheckConstraint(
                condition=Q(member_number__regex=r"^[0-9]{7}$"), name="user_member_number_is_seven_digits"
            ),
        ]

    def __str__(self) -> str:
        """Return the full name, or the username of a user without one."""
        return self.get_full_name() or self.username

    def clean(self):
        """Validate as Django does, then turn an empty e-mail address into null, since the column is unique."""
        super().clean()
        self.email = self.email or None

    @property
    def is_verified(self) -> bool:
        """Whether the user has confirmed an e-mail address or a phone number by a code."""
        return self.email_verified_at is not None or self.phone_verified_at is not None

    @property
    def verified_contact(self) -> str | None:
        """The verified phone number, or else the verified e-mail address: messages about access go there."""
        return self.verified("phone_number") or self.verified("email")

    @property
    def known_contact(self) -> str | None:
        """The verified contact, or else a phone number that staff or an import entered."""
        return self.verified_contact or (None if self.phone_is_self_declared else self.phone_number)

    def verified(self, field: str) -> str | None:
        """Return the user's `email` or `phone_number` if it is verified, else None."""
        return (getattr(self, self.VERIFIED_AT[field]) and getattr(self, field)) or None


class LoginSessionQuerySet(models.QuerySet):
    """Login sessions."""

    def live(self, now: datetime) -> Self:
        """Keep the sessions that are neither revoked nor expired."""
        return self.filter(revoked_at=None, idle_expires_at__gt=now, absolute_expires_at__gt=now)


class LoginSession(models.Model):
    """A login session. Only the refresh token of its current generation works; revoking the row ends the session."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(CustomUser, on_delete=models.CASCADE, related_name="login_sessions")
    generation = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    rotated_at = models.DateTimeField(null=True, blank=True)
    idle_expires_at = models.DateTimeField()
    absolute_expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoke_reason = models.CharField(max_length=32, blank=True)
    auth_time = models.DateTimeField(help_text="When the person last proved who they are.")
    amr = models.JSONField(default=list, help_text="How the person logged in: RFC 8176 method names.")
    has_second_factor = models.GeneratedField(
        expression=Q(amr__contains="otp"),  # type: ignore[arg-type]  # the stubs miss that Q is an expression
        output_field=models.BooleanField(),
        db_persist=True,
        help_text="What of `amr` is asked on every request.",  # Django can alter nothing of a generated field
    )
    remember = models.BooleanField(default=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=256, blank=True)

    objects = LoginSessionQuerySet.as_manager()

    class Meta:
        verbose_name = "login session"
        indexes = [
            models.Index(fields=["user", "revoked_at"], name="login_session_by_user"),
            models.Index(fields=["absolute_expires_at"], name="login_session_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.user}, {date_format(localtime(self.created_at), 'DATETIME_FORMAT')}"


class PendingLogin(models.Model):
    """A login before its second step. It becomes one login session or expires.

    It follows the correct password. At a place with too many failed logins it follows every password, so that nobody
    learns there which one was correct: then a wrong one has no user.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(CustomUser, null=True, on_delete=models.CASCADE, related_name="pending_logins")
    is_guarded = models.BooleanField(
        default=False, db_default=False, help_text="After too many failed logins: a message may replace the app."
    )
    code_hash = models.CharField(
        max_length=64, blank=True, db_default="", help_text="Of the code that was sent by message, if any."
    )
    remember = models.BooleanField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    used_at = models.DateTimeField(null=True, help_text="When it became a login session, or was ended.")


class Authenticator(TOTPDevice):
    """A user's authenticator app: the row of django-otp, with its secret encrypted."""

    class Meta:
        proxy = True

    @property
    def bin_key(self) -> bytes:
        return seals.open_seal(self.key, owner=self.user_id)

    def throttle_increment(self, commit=True):
        """Do nothing: services/two_factor.py counts attempts. A wait that doubles locks the owner out for hours."""

    def verify_is_allowed(self):
        """Allow every attempt, for the same reason."""
        return True, None


class CodePurpose(models.TextChoices):
    VERIFY = "verify"  # confirm the contact given at registration
    RESET = "reset"  # set a new password without the old one
    EMAIL = "email"  # replace the e-mail address
    PHONE = "phone"  # replace the phone number


class OneTimeCode(models.Model):
    """A short code sent to a phone number or an e-mail address. Only its keyed hash is stored.

    A code that somebody asks for by an identifier has no user until a job has looked the identifier up, so that the
    request does the same work for a known and for an unknown one.
    """

    user = models.ForeignKey(CustomUser, null=True, on_delete=models.CASCADE, related_name="codes")
    purpose = models.CharField(max_length=8, choices=CodePurpose)
    address = models.CharField(
        max_length=254, help_text="The e-mail address or the phone number it goes to. At first, what was typed."
    )
    code_hash = models.CharField(max_length=64, blank=True, help_text="Empty until the job has created the code.")
    password = models.CharField(
        max_length=128, blank=True, help_text="Hash of the password that this code activates, if any."
    )
    selector = models.CharField(
        max_length=4,
        blank=True,
        db_default="",
        help_text="A part of a keyed hash of the password chosen at registration: it tells registrations apart.",
    )
    request = models.JSONField(
        default=dict, help_text="What the job needs: the caller, and the data of a registration."
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["user", "purpose", "-created_at"], name="code_newest_first")]


class NoticeKind(models.TextChoices):
    """The event that a notice reports."""

    EMAIL_CHANGE_ASKED = "email_change_asked"
    EMAIL_CHANGED = "email_changed"
    PHONE_CHANGE_ASKED = "phone_change_asked"
    PHONE_CHANGED = "phone_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an event
    SESSION_COPIED = "session_copied"
    NEW_DEVICE = "new_device"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    RECOVERY_CODE_USED = "recovery_code_used"
    KNOWN_CONTACT = "known_contact"
    ORDER_EXPIRED = "order_expired"


class Notice(models.Model):
    """A message to a user about their access or an order. It stores the recipient: the user's contact may change."""

    user = models.ForeignKey(CustomUser, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=32, choices=NoticeKind)
    address = models.CharField(max_length=254, help_text="The e-mail address or the phone number it goes to.")
    text = models.CharField(max_length=480, blank=True, help_text="The whole message; empty: the kind says it.")
    created_at = models.DateTimeField(db_index=True)
    sent_at = models.DateTimeField(null=True)


class SecurityEvent(models.Model):
    """A row of the audit log of access. A database trigger refuses updates and deletes."""

    user = models.ForeignKey(
        CustomUser, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="security_events"
    )
    actor = models.ForeignKey(CustomUser, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    event = models.CharField(max_length=48)
    outcome = models.CharField(max_length=16, default="ok")
    session_id = models.UUIDField(null=True)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=256, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    detail = models.JSONField(default=dict, help_text="No secrets; identifiers of unknown people only hashed.")
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["user", "-at"], name="security_event_by_user")]

    def __str__(self) -> str:
        return self.event.replace("_", " ").capitalize()
