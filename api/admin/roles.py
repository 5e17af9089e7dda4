"""Which role may do what in the admin: one table, from the user's `role` alone.

Neither `is_superuser` nor Django's permissions and groups count: what is no role's is nobody's.
The admin follows the API: a role that may not do a thing over HTTP may not do it here.
"""

from dataclasses import dataclass, field

from api.permissions import is_at_least


@dataclass(frozen=True)
class Page:
    """The least role for each thing done with a model's rows; None is nobody. Nothing is ever deleted."""

    view: str
    add: str | None = None
    change: str | None = None
    acts: dict[str, str] = field(default_factory=dict)  # what the page's own buttons do


def exported_by(role: str) -> dict[str, str]:
    """Return the acts that take a list's rows out as a file (api/admin/exports.py)."""
    return {"export_csv": role, "export_xlsx": role}


PAGES = {
    # People, and what happened to their access. Who is below whom is asked besides (accounts/admin.py).
    # The acts are those of the member page (config/desk/member_page.py).
    "accounts.customuser": Page(
        view="Trainer",
        add="Receptionist",
        change="Receptionist",
        acts={
            "sell": "Receptionist",
            "prompt": "Receptionist",
            "take": "Receptionist",
            "claim": "Receptionist",
            "freeze": "Receptionist",
            "unfreeze": "Receptionist",
            "gift": "Manager",
            "refund": "Manager",
            "lost": "Manager",
            **exported_by("Manager"),
        },
    ),
    "accounts.loginsession": Page(view="Manager"),
    "accounts.securityevent": Page(view="Manager"),
    # Money is only read: services write it.
    "payments.payment": Page(view="Trainer", acts=exported_by("Manager")),
    "payments.paymentevent": Page(view="Trainer"),
    "payments.stkpush": Page(view="Trainer"),
    "payments.receipt": Page(view="Trainer", acts={"tax": "Receptionist", **exported_by("Manager")}),
    "payments.taxnumber": Page(view="Trainer"),
    "payments.allocation": Page(view="Trainer"),
    "payments.ledgerentry": Page(view="Manager", acts=exported_by("Manager")),
    "payments.refund": Page(view="Manager"),
    # The acts are those of the cash desk (config/desk/cash_desk.py).
    "payments.cashsession": Page(
        view="Receptionist",
        acts={
            "open": "Receptionist",
            "take": "Receptionist",
            "claim": "Receptionist",
            "ask": "Receptionist",
            "close": "Receptionist",
            "day": "Manager",  # everybody's drawers and all that came in (config/desk/day_page.py)
        },
    ),
    "payments.voidrequest": Page(view="Receptionist", acts={"confirm": "Receptionist", "decline": "Receptionist"}),
    "payments.codeclaim": Page(view="Receptionist"),
    "payments.codecheck": Page(view="Manager"),
    "payments.callback": Page(view="Manager"),
    "payments.reviewitem": Page(
        view="Manager", acts={"assign": "Manager", "undo": "Manager", "sent_back": "Manager", "dismiss": "Manager"}
    ),
    # The price list is edited, what was sold is only read.
    "subscriptions.plangroup": Page(view="Trainer", add="Manager", change="Manager"),
    "subscriptions.plan": Page(view="Trainer", add="Manager", change="Manager"),
    "subscriptions.subscription": Page(view="Trainer", acts=exported_by("Receptionist")),
    "subscriptions.freeze": Page(view="Trainer"),
    "subscriptions.closure": Page(view="Trainer"),
    "subscriptions.visit": Page(view="Trainer", acts=exported_by("Receptionist")),
    # Files of exports: one's own, and everybody's for an Administrator.
    "api.export": Page(view="Receptionist"),
    # Jobs.
    "procrastinate.procrastinatejob": Page(view="Admin", acts={"retry": "Admin", "cancel": "Admin", "abort": "Admin"}),
    "procrastinate.procrastinateevent": Page(view="Admin"),
}


def may(user, act: str, model) -> bool:
    """Say whether `user` may view, add, change or do another act with the rows of `model`.

    :raises KeyError: the model stands in no line of the table
    """
    page = PAGES[model._meta.label_lower]
    least = page.acts.get(act) or getattr(page, act, None)
    return bool(least and user.is_active and is_at_least(user, least))


def sees_phones(user) -> bool:
    """Say whether `user` is shown whole phone numbers; to everybody else they are masked."""
    return is_at_least(user, "Receptionist")
