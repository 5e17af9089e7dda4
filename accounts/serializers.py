"""Shapes of people, sessions and log-ins."""

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
from api.fields import PhoneField
from api.phones import masked
from api.serializers import ModelSerializer

CustomUser = get_user_model()
# Longer ones cost hashing time and nothing else.
LONGEST_PASSWORD = 512


class OthersPhoneField(PhoneField):
    """Somebody else's number: masked for trainers."""

    def to_representation(self, value):
        return value if sees_phones(self.context["request"].user) else masked(value)


class EmailField(serializers.EmailField):
    """An e-mail address to be kept."""

    def __init__(self, **kwargs):
        super().__init__(**{"max_length": 254, "validators": [plain_email], **kwargs})


class PasswordField(serializers.CharField):
    """A password, never trimmed and never shown."""

    def __init__(self, **kwargs):
        super().__init__(**{"max_length": LONGEST_PASSWORD, "trim_whitespace": False, "write_only": True, **kwargs})


def check_new_password(password: str, user=None, *, field: str = "password") -> None:
    """:raises ValidationError: the password, sent as `field`, is too weak"""
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise serializers.ValidationError({field: error.messages}) from error


class AddedBySerializer(ModelSerializer):
    """Who added a person."""

    class Meta:
        model = CustomUser
        fields = ["id", "username", "first_name", "last_name", "role"]
        read_only_fields = fields


class UserSerializer(ModelSerializer):
    """A person. Creating goes through CustomUserManager, which hashes the password."""

    password = PasswordField(required=False)
    phone_number = OthersPhoneField(required=False, allow_null=True, help_text="Masked for trainers.")
    email = EmailField(required=False, allow_null=True)
    added_by = AddedBySerializer(read_only=True, allow_null=True)
    consent = serializers.BooleanField(
        write_only=True,
        required=False,
        help_text="They, or a guardian, agree to the club's terms; false: no more.",
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
        ]
        read_only_fields = ["id", "profile_picture"]
        extra_kwargs = {
            # Uniqueness in any case is the database's to decide, in one statement.
            "username": {"required": False, "validators": [CustomUser.username_validator]},
        }

    def validate_username(self, value):
        """Refuse what could be taken for somebody's phone, e-mail or member number at log-in, except one's own."""
        is_kept = self.instance is not None and self.instance.username == value
        if not is_kept and looks_like_contact(value):
            raise serializers.ValidationError("Begin with a letter, and use no @.", code="invalid")
        return value

    def validate(self, attrs):
        if attrs.get("password"):
            check_new_password(attrs["password"])
        return attrs


class MeSerializer(UserSerializer):
    """One's own profile: what opens doors (e-mail, phone, role, password) is changed elsewhere."""

    class Meta(UserSerializer.Meta):
        fields = [
            *[name for name in UserSerializer.Meta.fields if name != "password"],
            "member_number",
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
    has_second_factor = serializers.SerializerMethodField(help_text="Whether log-ins ask for one.")

    def get_has_second_factor(self, user) -> bool:
        """Ask the session, which has proved it if the person has one; the admin's own does not tell."""
        session = self.context.get("session") or self.context["request"].auth
        return session.has_second_factor if session else two_factor.has_second_factor(user)


class RegisterSerializer(serializers.Serializer):
    """A new member: a phone number or an e-mail address is enough."""

    first_name = serializers.CharField(max_length=150)
    last_name = serializers.CharField(max_length=150)
    email = EmailField(required=False, allow_null=True)
    phone_number = PhoneField(required=False, allow_null=True)
    password = PasswordField()
    consent = serializers.BooleanField(help_text="The club's terms are agreed to.")

    def validate(self, attrs):
        if not attrs.pop("consent"):
            raise serializers.ValidationError({"consent": ["Please agree to the club's terms."]})
        attrs.setdefault("email", None)
        attrs.setdefault("phone_number", None)
        if not attrs["email"] and not attrs["phone_number"]:
            raise serializers.ValidationError("Give a phone number or an e-mail address.")
        check_new_password(attrs["password"], CustomUser(first_name=attrs["first_name"], email=attrs["email"]))
        return attrs


class PictureSerializer(serializers.Serializer):
    """An upload; what is in it shows when it is read, its name and type are not believed."""

    picture = serializers.FileField()

    def validate_picture(self, value):
        if value.size > LARGEST_FILE:
            raise serializers.ValidationError("The picture may have 5 MB at most.", code="too_large")
        return value


class LoginSerializer(serializers.Serializer):
    identifier = serializers.CharField(max_length=254, help_text="Username, e-mail address or phone number.")
    password = PasswordField()
    remember = serializers.BooleanField(default=True)


class IdentifierSerializer(serializers.Serializer):
    identifier = serializers.CharField(max_length=254, help_text="E-mail address or phone number.")


class CodeSerializer(serializers.Serializer):
    code = serializers.RegexField(r"^[0-9]{6}$")


class VerifySerializer(IdentifierSerializer, CodeSerializer):
    """The code that was sent, and the password of the registration it was sent for."""

    password = PasswordField()


class PasswordResetConfirmSerializer(IdentifierSerializer, CodeSerializer):
    """The code that was sent, and the new password."""

    password = PasswordField()

    def validate(self, attrs):
        check_new_password(attrs["password"])
        return attrs


class EmailSerializer(serializers.Serializer):
    email = EmailField(help_text="The new one.")


class PhoneSerializer(serializers.Serializer):
    phone_number = PhoneField(help_text="The new one.")


class PasswordChangeSerializer(serializers.Serializer):
    current = PasswordField()
    new = PasswordField()

    def validate(self, attrs):
        check_new_password(attrs["new"], self.context["request"].user, field="new")
        return attrs


class KeepCurrentSerializer(serializers.Serializer):
    keep_current = serializers.BooleanField(default=False)


class LoginSessionSerializer(ModelSerializer):
    """One log-in, as its owner sees it: no token, nothing to copy."""

    is_current = serializers.SerializerMethodField()

    class Meta:
        model = LoginSession
        fields = ["id", "is_current", "created_at", "rotated_at", "ip", "user_agent", "remember"]
        read_only_fields = fields

    def get_is_current(self, session) -> bool:
        current = self.context["request"].auth
        return bool(current) and session.pk == current.pk


class SecurityEventSerializer(ModelSerializer):
    """What happened to one's own access; where staff sat when they acted is their own affair."""

    class Meta:
        model = SecurityEvent
        fields = ["id", "event", "outcome", "at", "ip", "user_agent"]
        read_only_fields = fields

    def to_representation(self, event):
        row = super().to_representation(event)
        is_by_staff = event.actor_id not in (None, event.user_id)
        return {**row, "ip": None, "user_agent": ""} if is_by_staff else row


class CsrfTokenSerializer(serializers.Serializer):
    """Answers that carry the CSRF token; the X-CSRFToken header says the same."""

    csrf_token = serializers.CharField(read_only=True)


class LoggedInSerializer(CsrfTokenSerializer):
    user = MeSerializer(read_only=True)


class RefreshedSerializer(CsrfTokenSerializer):
    access_expires_at = serializers.DateTimeField(read_only=True)
    refresh_expires_at = serializers.DateTimeField(read_only=True)


class RegisteredSerializer(serializers.Serializer):
    next = serializers.CharField(read_only=True, help_text="`verify`: a code is on its way.")


class RevokedSerializer(serializers.Serializer):
    revoked = serializers.IntegerField(read_only=True, help_text="How many sessions ended.")


class TotpCodeSerializer(serializers.Serializer):
    """The six digits that an authenticator app shows."""

    code = serializers.RegexField(r"^[0-9]{6}$")


class RecoveryCodeSerializer(serializers.Serializer):
    code = serializers.CharField(max_length=20, help_text="One of the recovery codes; capitals and hyphens are one.")


class NewAuthenticatorSerializer(serializers.Serializer):
    """What an authenticator app needs: told once, and good for nothing until a code of the app confirms it."""

    otpauth_uri = serializers.CharField(read_only=True, help_text="To be shown as a QR code, by the client itself.")
    secret = serializers.CharField(read_only=True, help_text="The same secret in base 32, for typing.")


class RecoveryCodesSerializer(serializers.Serializer):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Told once; each works once."
    )


class SecondFactorAskedSerializer(serializers.Serializer):
    """The password was right; go on with auth/mfa/verify/ or auth/mfa/recovery/."""

    mfa_required = serializers.ChoiceField([True], read_only=True)
    methods = serializers.ListField(child=serializers.ChoiceField(["totp", "recovery"]), read_only=True)
