"""Tables of people and of their access: login sessions, one-time codes, second factors and the audit."""

from uuid import uuid4

from django.conf import settings
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.contrib.postgres.indexes import OpClass
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Lower, Reverse, Upper
from django.utils import timezone

from accounts.managers import CustomUserManager
from accounts.models import random_picture_name
from api.emails import plain_email
from api.phones import PhoneSha256


class Migration(migrations.Migration):
    initial = True

    dependencies = [("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        # A person: a member, one of the staff, or both.
        migrations.CreateModel(
            name="CustomUser",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                ("date_joined", models.DateTimeField(default=timezone.now, verbose_name="date joined")),
                ("email", models.EmailField(blank=True, max_length=254, null=True, validators=[plain_email])),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("Admin", "Admin"),
                            ("Manager", "Manager"),
                            ("Receptionist", "Receptionist"),
                            ("Trainer", "Trainer"),
                            ("Member", "Member"),
                        ],
                        default="Member",
                        max_length=16,
                    ),
                ),
                ("dob", models.DateField(blank=True, null=True, verbose_name="date of birth")),
                ("profile_picture", models.ImageField(blank=True, null=True, upload_to=random_picture_name)),
                (
                    "phone_number",
                    models.CharField(
                        blank=True,
                        help_text="254 and nine digits, as M-Pesa writes it.",
                        max_length=12,
                        null=True,
                        unique=True,
                    ),
                ),
                ("emergency_contact", models.CharField(blank=True, max_length=150)),
                ("member_number", models.CharField(editable=False, max_length=7, unique=True)),
                ("email_verified_at", models.DateTimeField(blank=True, null=True)),
                ("phone_verified_at", models.DateTimeField(blank=True, null=True)),
                (
                    "consented_at",
                    models.DateTimeField(
                        blank=True, help_text="When the person, or a guardian, agreed to the club's terms.", null=True
                    ),
                ),
                (
                    "added_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=models.SET_NULL,
                        related_name="added",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "person",
                "verbose_name_plural": "people",
                "indexes": [
                    models.Index(PhoneSha256("phone_number"), name="user_by_phone_sha256"),
                    models.Index(OpClass(Upper("first_name"), name="text_pattern_ops"), name="user_by_first_name"),
                    models.Index(OpClass(Upper("last_name"), name="text_pattern_ops"), name="user_by_last_name"),
                    models.Index(OpClass(Reverse("phone_number"), name="text_pattern_ops"), name="user_by_last_digits"),
                ],
                "constraints": [
                    models.UniqueConstraint(Lower("email"), name="user_email_unique_in_any_case"),
                    models.UniqueConstraint(Lower("username"), name="user_username_unique_in_any_case"),
                    models.CheckConstraint(condition=~Q(email=""), name="user_email_is_null_not_empty"),
                    models.CheckConstraint(
                        condition=Q(phone_number__isnull=True) | Q(phone_number__regex="^254[17][0-9]{8}$"),
                        name="user_phone_number_is_kenyan",
                    ),
                    models.CheckConstraint(
                        condition=Q(member_number__regex="^[0-9]{7}$"), name="user_member_number_is_seven_digits"
                    ),
                ],
            },
            managers=[
                ("objects", CustomUserManager()),
            ],
        ),
        # One login session. A refresh token is good for the current generation only.
        migrations.CreateModel(
            name="LoginSession",
            fields=[
                ("id", models.UUIDField(default=uuid4, editable=False, primary_key=True, serialize=False)),
                ("generation", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("rotated_at", models.DateTimeField(blank=True, null=True)),
                ("idle_expires_at", models.DateTimeField()),
                ("absolute_expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                ("revoke_reason", models.CharField(blank=True, max_length=32)),
                ("auth_time", models.DateTimeField(help_text="When the person last proved who they are.")),
                ("amr", models.JSONField(default=list, help_text="How the person logged in: RFC 8176 method names.")),
                ("remember", models.BooleanField(default=True)),
                ("ip", models.GenericIPAddressField(blank=True, null=True)),
                ("user_agent", models.CharField(blank=True, max_length=256)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="login_sessions", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "has_second_factor",
                    models.GeneratedField(
                        db_persist=True,
                        expression=Q(amr__contains="otp"),
                        help_text="What of `amr` is asked on every request.",
                        output_field=models.BooleanField(),
                    ),
                ),
            ],
            options={
                "verbose_name": "login session",
                "indexes": [
                    models.Index(fields=["user", "revoked_at"], name="login_session_by_user"),
                    models.Index(fields=["absolute_expires_at"], name="login_session_by_end"),
                ],
            },
        ),
        # A login with the right password that waits for its second factor.
        migrations.CreateModel(
            name="PendingLogin",
            fields=[
                ("id", models.UUIDField(default=uuid4, editable=False, primary_key=True, serialize=False)),
                ("remember", models.BooleanField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("used_at", models.DateTimeField(help_text="When it became a login session, or was ended.", null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="pending_logins", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        # A short code sent to a phone or an e-mail address. Only a keyed hash of it is stored.
        migrations.CreateModel(
            name="OneTimeCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "purpose",
                    models.CharField(
                        choices=[("verify", "Verify"), ("reset", "Reset"), ("email", "Email"), ("phone", "Phone")],
                        max_length=8,
                    ),
                ),
                (
                    "address",
                    models.CharField(help_text="The e-mail address or the phone number it goes to.", max_length=254),
                ),
                (
                    "code_hash",
                    models.CharField(blank=True, help_text="Empty until the job has created the code.", max_length=64),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="codes", to=settings.AUTH_USER_MODEL),
                ),
                (
                    "password",
                    models.CharField(
                        blank=True, help_text="Hash of the password that this code activates, if any.", max_length=128
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user", "purpose", "-created_at"], name="code_newest_first"),
                ],
            },
        ),
        # A message to a person about a change of their account.
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("email_change_asked", "Email Change Asked"),
                            ("email_changed", "Email Changed"),
                            ("phone_change_asked", "Phone Change Asked"),
                            ("phone_changed", "Phone Changed"),
                            ("password_changed", "Password Changed"),
                            ("session_copied", "Session Copied"),
                            ("new_device", "New Device"),
                            ("second_factor_added", "Second Factor Added"),
                            ("second_factor_removed", "Second Factor Removed"),
                            ("recovery_code_used", "Recovery Code Used"),
                        ],
                        max_length=32,
                    ),
                ),
                (
                    "address",
                    models.CharField(help_text="The e-mail address or the phone number it goes to.", max_length=254),
                ),
                ("created_at", models.DateTimeField(db_index=True)),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="notices", to=settings.AUTH_USER_MODEL),
                ),
            ],
        ),
        # The audit. Rows outlive the people they name, so no foreign key is enforced: see 0002_protect_the_audit.
        migrations.CreateModel(
            name="SecurityEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event", models.CharField(max_length=48)),
                ("outcome", models.CharField(default="ok", max_length=16)),
                ("session_id", models.UUIDField(null=True)),
                ("ip", models.GenericIPAddressField(null=True)),
                ("user_agent", models.CharField(blank=True, max_length=256)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                (
                    "detail",
                    models.JSONField(default=dict, help_text="No secrets; identifiers of unknown people only hashed."),
                ),
                ("at", models.DateTimeField()),
                (
                    "actor",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=models.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=models.DO_NOTHING,
                        related_name="security_events",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user", "-at"], name="security_event_by_user"),
                ],
            },
        ),
    ]
