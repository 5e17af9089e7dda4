"""Which role may do what in the admin: one table, from the user's `role` alone.

Neither `is_superuser` nor Django's permissions and groups count: what is no role's is nobody's.
The admin follows the API: a role that may not do a thing over HTTP may not do it here.
"""

from dataclasses import dataclass, field

from api.permissions import is_at_least
from api.roles import Role


@dataclass(frozen=True)
class Page:
    """The least role for each thing done with a model's rows; None is nobody. Nothing is ever deleted."""

    view: Role
    add: Role | None = None
    change: Role | None = None
    acts: dict[str, Role] = field(default_factory=dict)  # what the page's own buttons do


def exported_by(role: Role) -> dict[str, Role]:
    """Return the acts that take a list's rows out as a file (api/admin/exports.py)."""
    return {"export_csv": role, "export_xlsx": role}


PAGES = {
    # People, and what happened to their access. Who is below whom is asked besides (accounts/admin.py).
    # The acts are those of the member page (config/desk/member_page.py).
    "accounts.customuser": Page(
        view=Role.TRAINER,
        add=Role.RECEPTIONIST,
        change=Role.RECEPTIONIST,
        acts={
            "sell": Role.RECEPTIONIST,
            "prompt": Role.RECEPTIONIST,
            "take": Role.RECEPTIONIST,
            "claim": Role.RECEPTIONIST,
            "freeze": Role.RECEPTIONIST,
            "unfreeze": Role.RECEPTIONIST,
            "gift": Role.MANAGER,
            "refund": Role.MANAGER,
            "lost": Role.MANAGER,
            **exported_by(Role.MANAGER),
        },
    ),
    "accounts.loginsession": Page(view=Role.MANAGER),
    "accounts.securityevent": Page(view=Role.MANAGER),
    # Money is only read: services write it.
    "payments.payment": Page(view=Role.TRAINER, acts=exported_by(Role.MANAGER)),
    "payments.paymentevent": Page(view=Role.TRAINER),
    "payments.stkpush": Page(view=Role.TRAINER),
    "payments.receipt": Page(view=Role.TRAINER, acts={"tax": Role.RECEPTIONIST, **exported_by(Role.MANAGER)}),
    "payments.taxnumber": Page(view=Role.TRAINER),
    "payments.allocation": Page(view=Role.TRAINER),
    "payments.ledgerentry": Page(view=Role.MANAGER, acts=exported_by(Role.MANAGER)),
    "payments.refund": Page(view=Role.MANAGER),
    # The acts are those of the cash desk (config/desk/cash_desk.py).
    "payments.cashsession": Page(
        view=Role.RECEPTIONIST,
        acts={
            "open": Role.RECEPTIONIST,
            "take": Role.RECEPTIONIST,
            "claim": Role.RECEPTIONIST,
            "ask": Role.RECEPTIONIST,
            "close": Role.RECEPTIONIST,
            "day": Role.MANAGER,  # everybody's drawers and all that came in (config/desk/day_page.py)
        },
    ),
    "payments.voidrequest": Page(
        view=Role.RECEPTIONIST, acts={"confirm": Role.RECEPTIONIST, "decline": Role.RECEPTIONIST}
    ),
    "payments.codeclaim": Page(view=Role.RECEPTIONIST),
    "payments.codecheck": Page(view=Role.MANAGER),
    "payments.callback": Page(view=Role.MANAGER),
    "payments.reviewitem": Page(
        view=Role.MANAGER,
        acts={"assign": Role.MANAGER, "undo": Role.MANAGER, "sent_back": Role.MANAGER, "dismiss": Role.MANAGER},
    ),
    # The price list is edited, what was sold is only read.
    "subscriptions.plangroup": Page(view=Role.TRAINER, add=Role.MANAGER, change=Role.MANAGER),
    "subscriptions.plan": Page(view=Role.TRAINER, add=Role.MANAGER, change=Role.MANAGER),
    "subscriptions.subscription": Page(view=Role.TRAINER, acts=exported_by(Role.RECEPTIONIST)),
    "subscriptions.freeze": Page(view=Role.TRAINER),
    "subscriptions.closure": Page(view=Role.TRAINER),
    "subscriptions.visit": Page(view=Role.TRAINER, acts=exported_by(Role.RECEPTIONIST)),
    # Files of exports: one's own, and everybody's for an Administrator.
    "api.export": Page(view=Role.RECEPTIONIST),
    # Jobs.
    "procrastinate.procrastinatejob": Page(
        view=Role.ADMIN, acts={"retry": Role.ADMIN, "cancel": Role.ADMIN, "abort": Role.ADMIN}
    ),
    "procrastinate.procrastinateevent": Page(view=Role.ADMIN),
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
    return is_at_least(user, Role.RECEPTIONIST)
