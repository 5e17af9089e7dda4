"""The roles of the admin: the roles tables of all apps, page by page."""

import pytest
from django.contrib.admin.sites import site
from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.tests.factories import UserFactory
from api.admin import roles
from api.models import Change
from api.roles import Role
from payments.models import Payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# What each role may do with each page: l(ist), a(dd), c(hange), d(elete).
EXPECTED = {
    #                                  Admin   Manager  Receptionist  Trainer  Member
    "accounts.customuser":            ("lac",  "lac",   "lac",        "l",     ""),
    "accounts.loginsession":          ("l",    "l",     "",           "",      ""),
    "accounts.securityevent":         ("l",    "l",     "",           "",      ""),
    "payments.payment":               ("l",    "l",     "l",          "",      ""),
    "payments.stkpush":               ("l",    "l",     "l",          "",      ""),
    "payments.receipt":               ("l",    "l",     "l",          "",      ""),
    "payments.ledgerentry":           ("l",    "l",     "",           "",      ""),
    "payments.refund":                ("l",    "l",     "",           "",      ""),
    "payments.cashsession":           ("l",    "l",     "l",          "",      ""),
    "payments.voidrequest":           ("l",    "l",     "l",          "",      ""),
    "payments.codeclaim":             ("l",    "l",     "l",          "",      ""),
    "payments.codecheck":             ("l",    "l",     "",           "",      ""),
    "payments.callback":              ("l",    "l",     "",           "",      ""),
    "payments.reviewitem":            ("l",    "l",     "",           "",      ""),
    "subscriptions.plangroup":        ("lac",  "lac",   "l",          "l",     ""),
    "subscriptions.plan":             ("lac",  "lac",   "l",          "l",     ""),
    "subscriptions.subscription":     ("l",    "l",     "l",          "l",     ""),
    "subscriptions.freeze":           ("l",    "l",     "l",          "l",     ""),
    "subscriptions.closure":          ("l",    "l",     "l",          "l",     ""),
    "subscriptions.visit":            ("l",    "l",     "l",          "l",     ""),
    "api.change":                     ("l",    "l",     "l",          "",      ""),
    "api.export":                     ("l",    "l",     "l",          "",      ""),
    "procrastinate.procrastinatejob": ("l",    "",      "",           "",      ""),
}  # fmt: skip
ROLES = ("Admin", "Manager", "Receptionist", "Trainer", "Member")


def allowed(client, page, request):
    """Return the letters of what the caller may do with a page, by its URLs and its permissions for a row."""
    base = f"/admin/{page.opts.app_label}/{page.opts.model_name}/"
    lists = client.get(base, secure=True).status_code == 200
    adds = client.get(f"{base}add/", secure=True).status_code == 200
    return "".join(
        letter
        for letter, may in [
            ("l", lists),
            ("a", adds),
            ("c", page.has_change_permission(request)),
            ("d", page.has_delete_permission(request) or "delete_selected" in page.get_actions(request)),
        ]
        if may
    )


def test_every_admin_page_is_in_the_roles_table():
    registered = {model._meta.label_lower for model in site._registry}

    assert registered == set(EXPECTED)
    assert all(roles.page_for(model) for model in site._registry)


def test_page_is_declared_once():
    with pytest.raises(ValueError, match=r"payments\.payment"):
        roles.register({"payments.payment": roles.Page(view=Role.MEMBER)})

    assert roles.page_for(Payment).view == Role.RECEPTIONIST


@pytest.mark.parametrize("is_superuser", [False, True])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_follows_the_table_even_as_superuser(client, rf, role, is_superuser):
    caller = UserFactory(role=role, is_staff=True, is_superuser=is_superuser)
    client.force_login(caller)
    request = rf.get("/admin/")
    request.user = caller

    found = {model._meta.label_lower: allowed(client, page, request) for model, page in site._registry.items()}

    assert found == {label: letters[ROLES.index(role)] for label, letters in EXPECTED.items()}


def test_menu_shows_only_pages_of_the_role(client):
    client.force_login(UserFactory(role=Role.TRAINER, is_staff=True))

    page = client.get("/admin/", secure=True)

    shown = {model["model"]._meta.label_lower for app in page.context["app_list"] for model in app["models"]}
    assert shown == {label for label, letters in EXPECTED.items() if letters[ROLES.index("Trainer")]}


@pytest.mark.parametrize("role", ["Member", "Trainer", "Receptionist"])
def test_roles_below_admin_have_no_job_actions(rf, role):
    page = next(page for model, page in site._registry.items() if model.__name__ == "ProcrastinateJob")
    request = rf.get("/admin/")
    request.user = UserFactory(role=role, is_staff=True, is_superuser=True)

    assert page.get_actions(request) == {}


def test_admin_has_the_job_actions(rf):
    page = next(page for model, page in site._registry.items() if model.__name__ == "ProcrastinateJob")
    request = rf.get("/admin/")
    request.user = UserFactory(role="Admin", is_staff=True)

    assert set(page.get_actions(request)) == {"retry", "cancel", "abort"}


@pytest.mark.parametrize(("act", "state"), [("retry", "failed"), ("cancel", "todo"), ("abort", "doing")])
def test_job_action_is_recorded_with_its_caller(client, act, state):
    app.configure_task("nothing").defer()
    job = ProcrastinateJob.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = %s", [state])
    admin = UserFactory(role="Admin", is_staff=True)
    client.force_login(admin)

    client.post("/admin/procrastinate/procrastinatejob/", {"action": act, "_selected_action": [job.pk]}, secure=True)

    kept = Change.objects.get()
    assert (kept.by, kept.table, kept.row) == (admin, "procrastinate.procrastinatejob", str(job.pk))
    assert kept.after == {"action": act}


def test_manager_cannot_cancel_a_job(client):
    app.configure_task("nothing").defer()
    job = ProcrastinateJob.objects.get()
    client.force_login(UserFactory(role="Manager", is_staff=True, is_superuser=True))

    answer = client.post(
        "/admin/procrastinate/procrastinatejob/", {"action": "cancel", "_selected_action": [job.pk]}, secure=True
    )

    job.refresh_from_db()
    assert (answer.status_code, job.status) == (403, "todo")
