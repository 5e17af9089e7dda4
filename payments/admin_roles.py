"""Roles of the admin pages of money. Rows of money are read-only: services write them."""

from api.admin.roles import Page, exported_by, register
from api.roles import Role

register(
    {
        "payments.payment": Page(view=Role.RECEPTIONIST, actions=exported_by(Role.MANAGER)),
        "payments.paymentevent": Page(view=Role.RECEPTIONIST),
        "payments.stkpush": Page(view=Role.RECEPTIONIST),
        "payments.receipt": Page(
            view=Role.RECEPTIONIST, actions={"tax": Role.RECEPTIONIST, **exported_by(Role.MANAGER)}
        ),
        "payments.taxnumber": Page(view=Role.RECEPTIONIST),
        "payments.allocation": Page(view=Role.RECEPTIONIST),
        "payments.ledgerentry": Page(view=Role.MANAGER, actions=exported_by(Role.MANAGER)),
        "payments.refund": Page(view=Role.MANAGER),
        # The actions of the cash desk.
        "payments.cashsession": Page(
            view=Role.RECEPTIONIST,
            actions={
                "open": Role.RECEPTIONIST,
                "take": Role.RECEPTIONIST,
                "claim": Role.RECEPTIONIST,
                "ask": Role.RECEPTIONIST,
                "close": Role.RECEPTIONIST,
            },
        ),
        "payments.voidrequest": Page(
            view=Role.RECEPTIONIST, actions={"confirm": Role.RECEPTIONIST, "decline": Role.RECEPTIONIST}
        ),
        "payments.codeclaim": Page(view=Role.RECEPTIONIST),
        "payments.codecheck": Page(view=Role.MANAGER),
        "payments.callback": Page(view=Role.MANAGER),
        "payments.reviewitem": Page(
            view=Role.MANAGER,
            actions={
                "assign": Role.MANAGER,
                "same_money": Role.MANAGER,
                "other_money": Role.MANAGER,
                "take": Role.MANAGER,
                "undo": Role.MANAGER,
                "sent_back": Role.MANAGER,
                "dismiss": Role.MANAGER,
            },
        ),
    }
)
