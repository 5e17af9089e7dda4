"""People in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm

from accounts.models import CustomUser, LoginSession, SecurityEvent


@admin.register(CustomUser)
class CustomUserAdmin(UserAdmin):
    """People: looked up by any of their names and numbers."""

    add_form = AdminUserCreationForm
    list_display = ["member_number", "username", "first_name", "last_name", "role", "phone_number", "is_active"]
    list_filter = ["role", "is_active"]
    search_fields = ["member_number", "username", "first_name", "last_name", "email", "phone_number"]
    readonly_fields = ["member_number", "added_by", "last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["member_number", "username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "dob", "email", "phone_number", "emergency_contact"]}),
        ("Access", {"fields": ["role", "is_active", "is_staff", "is_superuser", "groups"]}),
        ("Dates", {"fields": ["added_by", "last_login", "date_joined", "consented_at"]}),
    ]


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that are looked at, never edited."""

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(LoginSession)
class LoginSessionAdmin(ReadOnlyAdmin):
    list_display = ["user", "created_at", "rotated_at", "revoked_at", "revoke_reason", "ip"]
    list_select_related = ["user"]


@admin.register(SecurityEvent)
class SecurityEventAdmin(ReadOnlyAdmin):
    list_display = ["at", "event", "outcome", "user", "actor", "ip"]
    list_select_related = ["user", "actor"]
