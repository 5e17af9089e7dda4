"""What only the whole product can put into the admin: its first page, the way to the member page, and procrastinate's
pages under our roles.
"""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from procrastinate.contrib.django.admin import ProcrastinateJobAdmin
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from accounts.admin import CustomUserAdmin
from accounts.models import CustomUser
from api.admin import ReadOnlyAdmin, ReadOnlyInline

admin.site.index_template = "config/dashboard.html"
admin.site.unregister([CustomUser, ProcrastinateJob])


@admin.register(CustomUser)
class PersonAdmin(CustomUserAdmin):
    """People, each with the way to their member page."""

    list_display = [*CustomUserAdmin.list_display, "member_page"]
    change_form_outer_before_template = "config/member_link.html"

    @admin.display(description="member page")
    def member_page(self, person):
        return format_html('<a class="text-primary-600" href="{}">Open</a>', reverse("member-page", args=[person.pk]))


class EventInline(ReadOnlyInline):
    model = ProcrastinateEvent
    fields = ["type", "at"]


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin, ProcrastinateJobAdmin):
    """Jobs hold ids only; retrying and stopping them is an Administrator's."""

    actions = ProcrastinateJobAdmin.actions
    inlines = [EventInline]
    list_filter = ["status"]
