"""What every page of the admin stands on: its looks, who may open it, and what nobody may do there."""

from collections.abc import Sequence

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin, TabularInline

from api.roles import may


class BoundedPaginator(Paginator):
    """Pages of the first rows. Counting all of millions takes longer than reading a page of them.

    What lies further down is found by searching and filtering.
    """

    most = 10_000
    template_name = "api/admin_pages.html"

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[: self.most].count()

    @property
    def is_cut(self) -> bool:
        """Whether there may be more rows than the pages show."""
        return self.count == self.most


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
    paginator = BoundedPaginator
    show_full_result_count = False
    sortable_by = ()  # by columns without an index; `ordering` has one
    ordering: Sequence[str] = ["-pk"]
    # Indexed columns, compared whole with what is typed; of the row itself or of a row it points at.
    search_fields: Sequence[str] = ()
    # Columns besides those of `list_filter` that links of ours filter by.
    linked_by: Sequence[str] = ()

    def get_search_results(self, request, queryset, search_term):
        """Find by indexed columns, so that no table is read through."""
        typed = search_term.strip()
        return queryset.filter(self.found_by(typed, request)) if typed else queryset, False

    def found_by(self, typed: str, request) -> Q:
        """Return the condition of a search. Other tables are asked first: one OR over two tables uses no index."""
        found = Q(pk__in=[])
        for path in self.get_search_fields(request):
            relation, _, column = path.rpartition("__")
            condition = {f"{column}__in": sorted({typed, typed.upper()})}
            if relation:
                others = self.opts.get_field(relation).related_model.objects.filter(**condition)
                found |= Q(**{f"{relation}__in": list(others.values_list("pk", flat=True)[: BoundedPaginator.most])})
            else:
                found |= Q(**condition)
        return found

    def may(self, request, act: str) -> bool:
        """Say whether the caller may do one of the page's own acts."""
        return may(request.user, act, self.model)

    def get_actions(self, request):
        """Acts on ticked rows stand in the table, too."""
        return {name: act for name, act in super().get_actions(request).items() if self.may(request, name)}

    def lookup_allowed(self, lookup, value, request):
        """Refuse a filter in the address that the page does not offer: it would tell what the page hides."""
        filters = (getattr(each, "parameter_name", each) for each in self.list_filter)
        offered = {"pk", "id", *filters, *self.linked_by}
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
    ordering = ["pk"]
    list_select_related: Sequence[str] = ()

    def get_queryset(self, request) -> QuerySet:
        return super().get_queryset(request).select_related(*self.list_select_related)
