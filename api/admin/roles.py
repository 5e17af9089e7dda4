"""The roles table of the admin: which role may do which action on which page.

Each app declares its own pages in a module named `admin_roles`, which is found as `admin` modules are. The user's role
alone decides: `is_superuser` and Django's permissions and groups do not count, and an action that no app declares is
refused to everybody. The admin follows the API: it lets no role do more than the API does.
"""

from dataclasses import dataclass, field

from django.db.models import Model

from api.permissions import is_at_least
from api.roles import Role


@dataclass(frozen=True)
class Page:
    """The lowest role for each action on one page. None refuses everybody; no page deletes rows."""

    view: Role
    add: Role | None = None
    change: Role | None = None
    actions: dict[str, Role] = field(default_factory=dict)  # the buttons and forms of the page, by name

    def lowest_role(self, action: str) -> Role | None:
        """Return the lowest role that may do an action, or None."""
        return {"view": self.view, "add": self.add, "change": self.change, **self.actions}.get(action)


_pages: dict[str, Page] = {}


def register(pages: dict[str, Page]) -> None:
    """Add pages to the table.

    The key is the label of a model in lower case, or a name without a dot for a page that shows no single model.

    :raises ValueError: the table has the page already
    """
    if known := _pages.keys() & pages.keys():
        raise ValueError(f"Pages registered twice: {', '.join(sorted(known))}")
    _pages.update(pages)


def page_for(page: str | Model | type[Model]) -> Page:
    """Return the line of the table for a page, by its name or its model.

    :raises KeyError: no app has declared the page
    """
    return _pages[page if isinstance(page, str) else page._meta.label_lower]


def may(user, action: str, page: str | Model | type[Model]) -> bool:
    """Return whether `user` may do an action on a page: view, add, change, or one of the page's own.

    :raises KeyError: no app has declared the page
    """
    lowest = page_for(page).lowest_role(action)
    return bool(lowest and user.is_active and is_at_least(user, lowest))


def exported_by(role: Role) -> dict[str, Role]:
    """Return the actions that export the rows of a list (api/admin/exports.py)."""
    return {"export_csv": role, "export_xlsx": role}


def sees_phones(user) -> bool:
    """Return whether `user` sees whole phone numbers. Everybody else sees them masked."""
    return is_at_least(user, Role.RECEPTIONIST)
