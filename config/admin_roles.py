"""Roles of the pages of the front desk, and of the admin pages of jobs."""

from api.admin.roles import Page, register
from api.roles import Role

MEMBER_PAGE, DAY, TAKINGS = "member-page", "day", "takings"

register(
    {
        MEMBER_PAGE: Page(
            view=Role.TRAINER,
            actions={
                "see_money": Role.RECEPTIONIST,
                "sell": Role.RECEPTIONIST,
                "prompt": Role.RECEPTIONIST,
                "take": Role.RECEPTIONIST,
                "claim": Role.RECEPTIONIST,
                "freeze": Role.RECEPTIONIST,
                "unfreeze": Role.RECEPTIONIST,
                "gift": Role.MANAGER,
                "refund": Role.MANAGER,
                "lost": Role.MANAGER,
            },
        ),
        # The takings and every cash drawer of one day.
        DAY: Page(view=Role.MANAGER),
        # The takings and the charts of the dashboard.
        TAKINGS: Page(view=Role.MANAGER),
        "procrastinate.procrastinatejob": Page(
            view=Role.ADMIN, actions={"retry": Role.ADMIN, "cancel": Role.ADMIN, "abort": Role.ADMIN}
        ),
        "procrastinate.procrastinateevent": Page(view=Role.ADMIN),
    }
)
