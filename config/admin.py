"""What only the whole product can put into the admin: its first page, the way to the member page, and procrastinate's
pages under our roles.
"""

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
from api.admin.base import ReadOnlyAdmin, ReadOnlyInline
from api.clock import now

admin.site.index_template = "desk/dashboard.html"
admin.site.unregister([CustomUser, ProcrastinateJob])


@admin.register(CustomUser)
class PersonAdmin(CustomUserAdmin):
    """People, each with the way to their member page."""

    list_display = [*CustomUserAdmin.list_display, "member_page"]
    change_form_outer_before_template = "desk/member_link.html"

    def add_view(self, request, form_url="", extra_context=None):
        """A form of its own: it adds by the service, and leads to the member page."""
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


def kept(act):
    """Let an act on jobs leave who asked for it, and when: procrastinate's own events do not say."""

    @wraps(act)
    def act_and_keep(page, request, jobs):
        asked = list(jobs)
        answer = act(page, request, jobs)
        for job in asked:
            page.log_change(request, job, f"Asked to {act.__name__} it.")
        return answer

    return act_and_keep


class EventInline(ReadOnlyInline):
    model = ProcrastinateEvent
    fields = ["type", "at"]


@admin.register(ProcrastinateJob)
class JobAdmin(ReadOnlyAdmin, ProcrastinateJobAdmin):
    """Jobs hold ids only; retrying and stopping them is an Administrator's."""

    actions = ProcrastinateJobAdmin.actions
    inlines = [EventInline]
    list_filter = ["status"]

    def get_actions(self, request):
        return {name: (kept(act), name, title) for name, (act, _, title) in super().get_actions(request).items()}
