"""What every page of the admin stands on: its looks, who may open it, and what nobody may do there."""

from unfold.admin import ModelAdmin, TabularInline


class ClubModelAdmin(ModelAdmin):
    """Base of every page of the admin."""

    list_per_page = 50


class ReadOnly:
    """Rows that are looked at: services alone write them."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class ReadOnlyAdmin(ReadOnly, ClubModelAdmin):
    """Base of the pages of such rows: a list and a page to read, without any act."""

    actions = None


class ReadOnlyInline(ReadOnly, TabularInline):
    """Rows of another table on a page, to read."""

    extra = 0
    can_delete = False
