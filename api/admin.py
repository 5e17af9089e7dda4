"""What every page of the admin stands on: its looks, who may open it, and what nobody may do there."""

from unfold.admin import ModelAdmin, TabularInline

from api.roles import may


class ByRole:
    """Who may do what is asked of the table in api/roles.py. Nobody deletes anything: rows end by their services."""

    def has_module_permission(self, request):
        return may(request.user, "view", self.model)

    def has_view_permission(self, request, obj=None):
        return may(request.user, "view", self.model)

    def has_add_permission(self, request, obj=None):
        return may(request.user, "add", self.model)

    def has_change_permission(self, request, obj=None):
        return may(request.user, "change", self.model)

    def has_delete_permission(self, request, obj=None):
        return False


class ClubModelAdmin(ByRole, ModelAdmin):
    """Base of every page of the admin."""

    list_per_page = 50

    def may(self, request, act: str) -> bool:
        """Say whether the caller may do one of the page's own acts."""
        return may(request.user, act, self.model)

    def get_actions(self, request):
        """Acts on ticked rows stand in the table, too."""
        return {name: act for name, act in super().get_actions(request).items() if self.may(request, name)}

    def lookup_allowed(self, lookup, value, request):
        """Refuse a filter in the address that the page does not offer: it would tell what the page hides."""
        offered = {"pk", "id", *self.list_filter}
        return lookup.split("__")[0] in offered and super().lookup_allowed(lookup, value, request)


class ReadOnly(ByRole):
    """Rows that are looked at: services alone write them, whatever the table says."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False


class ReadOnlyAdmin(ReadOnly, ClubModelAdmin):
    """Base of the pages of such rows: a list and a page to read."""


class ReadOnlyInline(ReadOnly, TabularInline):
    """Rows of another table on a page, to read."""

    extra = 0
    can_delete = False
