"""The search of the front desk: a person, payment or receipt, by a name, number, code or reference.

Every condition uses an index, so that no search reads a whole table.
"""

from collections.abc import Iterator

from django.contrib import admin
from django.db.models import Q
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import CustomUser
from api.admin.pages import admin_page
from api.admin.roles import may
from config.admin_roles import MEMBER_PAGE
from config.desk.member_page import MOST, row_url
from payments.daraja.messages import canonical_code
from payments.matching import references
from payments.models import Payment, Receipt


@admin_page(MEMBER_PAGE, "view")
def find(request):
    """Show the results, or open the only one.

    The text is sent in the body of a form, so that no phone number is in a URL or a log.
    """
    typed = " ".join(request.POST.get("q", "").split())[:100]
    found = dict(results(request, typed)) if typed else {}
    if len(found) == 1:
        return redirect(next(iter(found)))
    page = {**admin.site.each_context(request), "title": "Find", "typed": typed, "found": found, "most": MOST}
    return TemplateResponse(request, "desk/found.html", page)


def results(request, typed: str) -> Iterator[tuple[str, str]]:
    """Yield the URL and the description of each result."""
    # The list of people searches by name, phone (not for a Trainer), member number, username and e-mail address.
    people, _ = admin.site.get_model_admin(CustomUser).get_search_results(request, CustomUser.objects.all(), typed)
    for person in people.order_by("-pk")[:MOST]:
        yield member_page(person)
    if may(request.user, "view", Payment):
        for payment in Payment.objects.filter(reference=references.repair(typed) or typed):
            yield row_url(payment), f"Payment {payment.reference}: {payment.description}"
    if may(request.user, "view", Receipt):
        code = canonical_code(
            "".join(typed.split())
        )  # None if it is no code, which would match every receipt without one
        named = Q(number=typed) | Q(code=code) if code else Q(number=typed)
        for receipt in Receipt.objects.filter(named).select_related("member"):
            yield member_page(receipt.member) if receipt.member else (row_url(receipt), f"Receipt {receipt}")


def member_page(person: CustomUser) -> tuple[str, str]:
    """Return the URL of a person's member page, and their name and number."""
    name = person.get_full_name() or person.username
    return reverse("member-page", args=[person.pk]), f"{name}, member number {person.member_number}"
