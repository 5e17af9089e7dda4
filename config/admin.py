"""What only the whole product can put into the admin: its first page, and procrastinate's under our roles."""

from django.contrib import admin
from procrastinate.contrib.django.admin import ProcrastinateJobAdmin
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from api.admin import ReadOnlyAdmin, ReadOnlyInline

admin.site.index_template = "config/dashboard.html"
admin.site.unregister(ProcrastinateJob)


class EventInline(ReadOnlyInline):
    model = ProcrastinateEvent
    fields = ["type", "at"]


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin, ProcrastinateJobAdmin):
    """Jobs hold ids only; retrying and stopping them is an Administrator's."""

    actions = ProcrastinateJobAdmin.actions
    inlines = [EventInline]
    list_filter = ["status"]
