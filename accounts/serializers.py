"""Serializers of accounts: people, logins, codes, login sessions and security events."""

from copy import copy

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers

from accounts.backends import looks_like_contact
from accounts.models import LoginSession, SecurityEvent
from accounts.pictures import LARGEST_FILE
from accounts.services import two_factor
from api.admin.roles import sees_phones
from api.emails import plain_email
from api.fields import MomentField, PhoneField
from api.phones import masked
from api.serializers import ModelSerializer, Serializer

CustomUser = get_user_model()
# A longer password would only cost time to hash.
LONGEST_PASSWORD = 512


class MaskedPhoneField(PhoneField):
    """The phone number of another user, masked for Trainers."""

    def to_representation(self, value):
        return value if sees_phones(self.context["request"].user) else masked(value)


class EmailField(serializers.EmailField):
    """An e-mail address to be stored."""

    def __init__(self, **kwargs):
        super().__init__(**{"max_length": 254, "validators": [plain_email], **kwargs})


class PasswordField(serializers.CharField):
    """A password: spaces are not trimmed, and no response contains it."""

    def __init__(self, **kwargs):
        super().__init__(**{"max_length": LONGEST_PASSWORD, "trim_whitespace": False, "write_only": True, **kwargs})


def check_new_password(password: str, user=None, *, field: str = "password") -> None:
    """:raises ValidationError: the password, sent as `field`, is too weak"""
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise serializers.ValidationError({field: error.messages}) from error


class AddedBySerializer(ModelSerializer):
    """The user who added another user."""

    class Meta:
        model = CustomUser
        fields = ["id", "username", "first_name", "last_name", "role"]
        read_only_fields = fields


class UserSerializer(ModelSerializer):
    """A user. Creating goes through CustomUserManager, which hashes the password."""

    password: serializers.CharField | None = PasswordField(required=False)
    phone_number: serializers.CharField = MaskedPhoneField(
        required=False, allow_null=True, help_text="Masked for trainers."
    )
    email: serializers.CharField = EmailField(required=False, allow_null=True)
    added_by = AddedBySerializer(read_only=True, allow_null=True)
    consent = serializers.BooleanField(
        write_only=True,
        required=False,
        help_text="The person, or a guardian, agrees to the club's terms; false withdraws it.",
    )

    class Meta:
        model = CustomUser
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "email",
            "role",
            "dob",
            "profile_picture",
            "password",
            "phone_number",
            "emergency_contact",
            "added_by",
            "consent",
            "member_number",
        ]
        read_only_fields = ["id", "profile_picture", "member_number"]
        extra_kwargs = {
            # The database checks uniqueness, ignoring case.
            "username": {"required": False, "validators": [CustomUser.username_validator]},
            "first_name": {"required": True, "allow_blank": False},
            "last_name": {"required": True, "allow_blank": False},
        }

    def validate_username(self, value):
        """Refuse a new username that could be mistaken for a phone number, e-mail address or member number at login."""
        is_unchanged = self.instance is not None and self.instance.username == value
        if not is_unchanged and looks_like_contact(value):
            raise serializers.ValidationError("Start with a letter and do not use @.", code="invalid")
        return value

    def validate(self, attrs):
        if attrs.get("password"):
            known = CustomUser() if self.instance is None else copy(self.instance)
            for name, value in attrs.items():
                setattr(known, name, value)
            check_new_password(attrs["password"], known)
        return attrs


class MeSerializer(UserSerializer):
    """One's own profile. E-mail address, phone number, role and password are changed by other calls."""

    class Meta(UserSerializer.Meta):
        fields = [
            *[name for name in UserSerializer.Meta.fields if name != "password"],
            "has_second_factor",
        ]
        read_only_fields = [
            "id",
            "username",
            "email",
            "role",
            "phone_number",
            "profile_picture",
            "added_by",
            "member_number",
        ]

    phone_number = serializers.CharField(read_only=True, allow_null=True)
    email = serializers.EmailField(read_only=True, allow_null=True)
    password = None
    has_second_factor = serializers.SerializerMethodField(help_text="Whether logins ask for a second factor.")

    def get_has_second_factor(self, user) -> bool:
        """Read it from the login session, which has it if the user does. A session of the admin needs a query."""
        session = self.context.get("session") or self.context["request"].auth
        return session.has_second_factor if session else two_factor.has_second_factor(user)


class RegisterSerializer(Serializer):
    """A new member, with a phone number, an e-mail address or both."""

    first_name = serializers.CharField(max_length=150)
    last_name = serializers.CharField(max_length=150)
    email = EmailField(required=False, allow_null=True)
    phone_number = PhoneField(required=False, allow_null=True)
    password = PasswordField()
    consent = serializers.BooleanField(help_text="The person agrees to the club's terms.")

    def validate(self, attrs):
        if not attrs.pop("consent"):
            raise serializers.ValidationError({"consent": ["Please agree to the club's terms."]})
        attrs.setdefault("email", None)
        attrs.setdefault("phone_number", None)
        if not attrs["email"] and not attrs["phone_number"]:
            raise serializers.ValidationError("Enter a phone number or an e-mail address.")
        person = CustomUser(**{name: value for name, value in attrs.items() if name != "password"})
        check_new_password(attrs["password"], person)
        return attrs


class PictureSerializer(Serializer):
    """An uploaded picture. Its file name and content type are ignored; the service checks the content."""

    picture = serializers.FileField()

    def validate_picture(self, value):
        if value.size > LARGEST_FILE:
            raise serializers.ValidationError(
                "This picture is larger than 5 MB. Choose a smaller one.", code="too_large"
            )
        return value


class LoginSerializer(Serializer):
    identifier = serializers.CharField(max_length=254, help_text="Username, e-mail address or phone number.")
    password = PasswordField()
    remember = serializers.BooleanField(default=True)


class IdentifierSerializer(Serializer):
    identifier = serializers.CharField(max_length=254, help_text="E-mail address or phone number.")


class CodeSerializer(Serializer):
    code = serializers.RegexField(r"^[0-9]{6}$")


class VerifySerializer(IdentifierSerializer, CodeSerializer):
    """The code that was sent, and the password chosen at registration."""

    password = PasswordField()


class PasswordResetConfirmSerializer(IdentifierSerializer, CodeSerializer):
    """The code that was sent, and the new password."""

    password = PasswordField()

    def validate(self, attrs):
        check_new_password(attrs["password"])  # the service compares it with the user's own data
        return attrs


class EmailSerializer(Serializer):
    email = EmailField(help_text="The new e-mail address.")


class PhoneSerializer(Serializer):
    phone_number = PhoneField(help_text="The new phone number.")


class PasswordChangeSerializer(Serializer):
    current = PasswordField()
    new = PasswordField()

    def validate(self, attrs):
        check_new_password(attrs["new"], self.context["request"].user, field="new")
        return attrs


class KeepCurrentSerializer(Serializer):
    keep_current = serializers.BooleanField(default=False)


class LoginSessionSerializer(ModelSerializer):
    """A login session, as its owner sees it, without tokens."""

    is_current = serializers.SerializerMethodField()

    class Meta:
        model = LoginSession
        fields = ["id", "is_current", "created_at", "rotated_at", "ip", "user_agent", "remember"]
        read_only_fields = fields

    def get_is_current(self, session) -> bool:
        current = self.context["request"].auth
        return bool(current) and session.pk == current.pk


class SecurityEventSerializer(ModelSerializer):
    """A security event of the caller. For an action by staff, the IP address and browser of staff are left out."""

    class Meta:
        model = SecurityEvent
        fields = ["id", "event", "outcome", "at", "ip", "user_agent"]
        read_only_fields = fields

    def to_representation(self, event):
        row = super().to_representation(event)
        is_by_staff = event.actor_id not in (None, event.user_id)
        return {**row, "ip": None, "user_agent": ""} if is_by_staff else row


class CsrfTokenSerializer(Serializer):
    """A response with the CSRF token, which is also in the X-CSRFToken header."""

    csrf_token = serializers.CharField(read_only=True)


class LoggedInSerializer(CsrfTokenSerializer):
    user = MeSerializer(read_only=True)


class RefreshedSerializer(CsrfTokenSerializer):
    access_expires_at = MomentField(read_only=True)
    refresh_expires_at = MomentField(read_only=True)


class RegisteredSerializer(Serializer):
    next = serializers.CharField(read_only=True, help_text="`verify`: a code was sent.")


class RevokedSerializer(Serializer):
    revoked = serializers.IntegerField(read_only=True, help_text="The number of sessions that ended.")


class TotpCodeSerializer(Serializer):
    """The six digits that an authenticator app shows."""

    code = serializers.RegexField(r"^[0-9]{6}$")


class RecoveryCodeSerializer(Serializer):
    code = serializers.CharField(max_length=20, help_text="A recovery code. Case and hyphens do not matter.")


class NewAuthenticatorSerializer(Serializer):
    """The secret of a new authenticator app. Only this response has it; a code of the app must confirm it."""

    otpauth_uri = serializers.CharField(read_only=True, help_text="The client itself shows it as a QR code.")
    secret = serializers.CharField(read_only=True, help_text="The same secret in base 32, to type into the app.")


class RecoveryCodesSerializer(Serializer):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Only this response has them. Each works once."
    )


class SecondFactorAskedSerializer(Serializer):
    """The password is correct. Continue with auth/mfa/verify/ or auth/mfa/recovery/."""

    mfa_required = serializers.ChoiceField([True], read_only=True)
    methods = serializers.ListField(child=serializers.ChoiceField(["totp", "recovery", "message"]), read_only=True)
