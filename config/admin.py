"""Parts of the admin that need several apps: the dashboard, the link to the member page, and the pages of jobs."""

from functools import wraps

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from procrastinate.contrib.django.admin import ProcrastinateJobAdmin
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from accounts.admin import CustomUserAdmin
from accounts.forms import AddPersonForm
from accounts.models import CustomUser
from api import changes
from api.admin.base import ReadOnlyAdmin, ReadOnlyInline
from api.clock import now

admin.site.index_template = "desk/dashboard.html"
admin.site.unregister([CustomUser, ProcrastinateJob])


@admin.register(CustomUser)
class PersonAdmin(CustomUserAdmin):
    """People, each with a link to their member page."""

    list_display = [*CustomUserAdmin.list_display, "member_page"]
    change_form_outer_before_template = "desk/member_link.html"

    def add_view(self, request, form_url="", extra_context=None):
        """Show a form that adds a person by the service, and opens their member page."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AddPersonForm(request.POST or None, request=request, now=now())
        if form.run():
            self.message_user(request, form.outcome)
            return redirect("member-page", form.person.pk)
        page = {**self.admin_site.each_context(request), "title": form.title, "form": form}
        return TemplateResponse(request, "desk/add_person.html", page)

    @admin.display(description="member page")
    def member_page(self, person):
        return format_html('<a class="text-primary-600" href="{}">Open</a>', reverse("member-page", args=[person.pk]))


def logged(action):
    """Return the action on jobs, which also records its caller and time: the events of procrastinate have neither."""

    @wraps(action)
    def act_and_log(page, request, jobs):
        jobs_before = list(jobs)
        answer = action(page, request, jobs)
        for job in jobs_before:
            changes.record_action(job, action.__name__, by_id=request.user.pk, now=now())
        return answer

    return act_and_log


class EventInline(ReadOnlyInline):
    model = ProcrastinateEvent
    fields = ["type", "at"]


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin, ProcrastinateJobAdmin):
    """Jobs, whose arguments are ids only. Only an Admin may retry and stop them."""

    actions = [logged(action) for action in ProcrastinateJobAdmin.actions]
    inlines = [EventInline]
    list_filter = ["status"]

    def lookup_allowed(self, lookup, value, request):
        """Refuse a status that does not exist: the column is an enum of PostgreSQL, which fails at any other text."""
        statuses = {name for name, _ in ProcrastinateJob._meta.get_field("status").choices}
        is_known = not lookup.startswith("status") or statuses.issuperset(value.split(","))
        return is_known and super().lookup_allowed(lookup, value, request)
