"""What every page of the admin stands on: its looks, who may open it, and what nobody may do there."""

from collections.abc import Sequence

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.utils import lookup_field
from django.contrib.admin.views.main import PAGE_VAR
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, QueryDict
from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from api.admin import exports
from api.admin.roles import may, sees_phones
from api.clock import now
from api.models import Export, ExportState

NOTHING: tuple = (None, "", [], {})  # what a field holds that says nothing; 0 and False do


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


def kes(name: str):
    """Return the column of an amount in whole shillings, with its thousands apart."""

    @admin.display(description=f"{name.replace('_', ' ')} (KES)")
    def shown(row):
        amount = getattr(row, name)
        return None if amount is None else f"{amount:,}"

    return shown


class ByRole:
    """Ask the table in api/admin/roles.py who may do what. Nobody deletes a row: services end rows."""

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
    link_filters: Sequence[str] = ()

    def get_search_results(self, request, queryset, search_term):
        """Find by indexed columns, so that no table is read through."""
        typed = search_term.strip()
        return queryset.filter(self.search_condition(typed, request)) if typed else queryset, False

    def search_condition(self, typed: str, request) -> Q:
        """Return the condition of a search. Other tables are asked first: one OR over two tables uses no index."""
        found = Q(pk__in=[])
        for name in self.get_search_fields(request):
            relation, _, column = name.rpartition("__")
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
        offered = {"pk", "id", *filters, *self.link_filters}
        return lookup.split("__")[0] in offered and super().lookup_allowed(lookup, value, request)


class ReadOnly(ByRole):
    """Rows that are looked at: services alone write them, whatever the table says."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False


class ReadOnlyAdmin(ReadOnly, ClubModelAdmin):
    """Base of the pages of such rows: a list and a page to read, which shows what there is."""

    phone_fields: Sequence[str] = ()  # fields that may hold a whole phone number

    def get_fields(self, request, obj=None):
        fields = super().get_fields(request, obj)
        if not sees_phones(request.user):
            fields = [name for name in fields if name not in self.phone_fields]
        return fields if obj is None else [name for name in fields if self.fact(name, obj) not in NOTHING]

    def fact(self, name, obj):
        """Return what the page shows of a row under a name: its own field, or what the page makes of it."""
        _, _, value = lookup_field(name, obj, self)
        return value


class ReadOnlyInline(ReadOnly, TabularInline):
    """Rows of another table on a page, to read."""

    extra = 0
    can_delete = False
    hide_title = True  # its columns say what a row is
    ordering = ["pk"]
    list_select_related: Sequence[str] = ()

    def get_queryset(self, request) -> QuerySet:
        return super().get_queryset(request).select_related(*self.list_select_related)


class Exportable:
    """A list whose rows, ticked or all that it was filtered down to, can be taken out as a file."""

    export_columns: Sequence[exports.Column] = ()
    actions = ["export_csv", "export_xlsx"]

    @admin.action(description="Export as CSV")
    def export_csv(self, request, queryset):
        return self.export(request, queryset, "csv")

    @admin.action(description="Export as XLSX")
    def export_xlsx(self, request, queryset):
        return self.export(request, queryset, "xlsx")

    def export(self, request, queryset, file_format):
        """Answer with the file, or say where it will be."""
        try:
            export, file = exports.start_export(
                queryset=queryset,
                columns=self.export_columns,
                filters={name: values for name, values in request.GET.lists() if name != PAGE_VAR},
                file_format=file_format,
                by=request.user,
                now=now(),
            )
        except exports.ExportWaiting as refusal:
            self.message_user(request, refusal.message, messages.ERROR)
            return None
        if file:
            return as_download(export, file)
        told = format_html(
            'The file is being written. Find it under <a class="underline" href="{}">Exports</a>.',
            reverse("admin:api_export_changelist"),
        )
        self.message_user(request, told)
        return None

    def filtered_rows(self, user, filters: dict[str, list[str]]) -> QuerySet:
        """Return the rows that the list shows to `user` when it is filtered so."""
        request = HttpRequest()
        request.method, request.user, request.GET = "GET", user, QueryDict(mutable=True)
        for name, values in filters.items():
            request.GET.setlist(name, values)
        return self.get_changelist_instance(request).queryset


def as_download(export: Export, file) -> FileResponse:
    """Return the answer that makes a browser keep the file."""
    content_type = exports.FORMATS[export.file_format].content_type
    return FileResponse(file, as_attachment=True, filename=export.file_name, content_type=content_type)


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    """Who took which rows out as a file, and the files that wait."""

    list_display = ["asked_at", "asked_by", "what", "file_format", "filtered_by", "state", "rows", "download"]
    list_filter = ["state"]
    list_select_related = ["asked_by"]
    readonly_fields = ["what", "filtered_by", "download"]
    exclude = ["page", "filters"]

    def get_queryset(self, request):
        """One's own; an Administrator sees everybody's."""
        every = super().get_queryset(request)
        return every if self.may(request, "see_all") else every.filter(asked_by=request.user)

    @admin.display(description="what")
    def what(self, export):
        return apps.get_model(export.page)._meta.verbose_name_plural

    @admin.display(description="searched and filtered by")
    def filtered_by(self, export):
        return ", ".join(f"{name}: {' '.join(values)}" for name, values in export.filters.items()) or None

    @admin.display(description="file")
    def download(self, export):
        """Return the link to a file that is there."""
        if export.state != ExportState.READY:
            return None
        address = reverse("admin:api_export_download", args=[export.pk])
        return format_html('<a class="text-primary-600" href="{}">Download</a>', address)

    def get_urls(self):
        download = self.admin_site.admin_view(self.send)
        return [path("<int:pk>/download/", download, name="api_export_download"), *super().get_urls()]

    def send(self, request, pk):
        """Answer with a file that waits for the caller."""
        export = self.get_queryset(request).filter(pk=pk, state=ExportState.READY).first()
        if export is None or not exports.may_take_out(request.user, export):
            raise Http404
        try:
            return as_download(export, exports.path_of(export).open("rb"))
        except FileNotFoundError as error:  # its week has just ended
            raise Http404 from error
