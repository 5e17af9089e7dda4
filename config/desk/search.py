"""The search box of the front desk: whatever somebody at the counter says of themselves or shows on their phone.

Every condition is a lookup in an index, so that no table is read through.
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
from config.desk.member_page import MOST, row_of
from payments.daraja.messages import canonical_code
from payments.matching import references
from payments.models import Payment, Receipt


@admin_page(MEMBER_PAGE, "view")
def find(request):
    """Show who and what was found; the one thing found is opened at once.

    What is typed is sent as a form's body: a phone number stands in no address and no log.
    """
    typed = " ".join(request.POST.get("q", "").split())[:100]
    found = dict(places(request, typed)) if typed else {}
    if len(found) == 1:
        return redirect(next(iter(found)))
    page = {**admin.site.each_context(request), "title": "Find", "typed": typed, "found": found, "most": MOST}
    return TemplateResponse(request, "desk/found.html", page)


def places(request, typed: str) -> Iterator[tuple[str, str]]:
    """Return the addresses of what was found, each with what it is."""
    # As the list of people searches: by name, phone (not for a Trainer), member number, username or e-mail address.
    people, _ = admin.site.get_model_admin(CustomUser).get_search_results(request, CustomUser.objects.all(), typed)
    for person in people.order_by("-pk")[:MOST]:
        yield member_page(person)
    if may(request.user, "view", Payment):
        for payment in Payment.objects.filter(reference=references.repair(typed) or typed):
            yield row_of(payment), f"Payment {payment.reference}: {payment.description}"
    if may(request.user, "view", Receipt):
        code = canonical_code("".join(typed.split()))  # None, of what is no code, would find all that have none
        named = Q(number=typed) | Q(code=code) if code else Q(number=typed)
        for receipt in Receipt.objects.filter(named).select_related("member"):
            yield member_page(receipt.member) if receipt.member else (row_of(receipt), f"Receipt {receipt}")


def member_page(person: CustomUser) -> tuple[str, str]:
    """Return the address of a person's page, and who it is."""
    name = person.get_full_name() or person.username
    return reverse("member-page", args=[person.pk]), f"{name}, member number {person.member_number}"
