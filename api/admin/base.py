"""Base classes of the admin's pages: permissions by role, bounded lists, search, read-only pages and exports."""

from collections.abc import Sequence

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.utils import lookup_field
from django.contrib.admin.views.main import PAGE_VAR
from django.core.paginator import Paginator
from django.db import connection, models
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, QueryDict
from django.shortcuts import redirect
from django.urls import NoReverseMatch, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from unfold.admin import ModelAdmin, TabularInline

from api.admin import exports
from api.admin.form_fields import WholeNumberField
from api.admin.roles import may, sees_phones
from api.clock import now
from api.models import Change, Export, ExportState

# What may follow a field's name in the URL of a list. Django itself fails at some values of the other lookups.
LOOKUPS = {"id", "exact", "in", "isnull", "gt", "gte", "lt", "lte"}
EMPTY_VALUES: tuple = (None, "", [], {})  # not shown on read-only pages. 0 and False are shown


class BoundedPaginator(Paginator):
    """A paginator of the first 10,000 rows: counting millions of rows takes longer than reading a page of them.

    Users find the other rows by searching and filtering.
    """

    max_rows = 10_000
    template_name = "api/admin_pages.html"
    object_list: QuerySet

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[: self.max_rows].count()

    @property
    def is_cut(self) -> bool:
        """Return whether there may be more rows than the pages show."""
        return self.count == self.max_rows


def kes(name: str):
    """Return a list column for an amount in whole shillings, with commas between the thousands."""

    @admin.display(description=f"{name.replace('_', ' ')} (KES)")
    def shown(row):
        amount = getattr(row, name)
        return None if amount is None else f"{amount:,}"

    return shown


class ByRole:
    """Permissions from the roles table (api/admin/roles.py). No role may delete rows."""

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
    sortable_by = ()  # most columns have no index. The one in `ordering` has
    ordering: Sequence[str] = ["-pk"]
    # Indexed columns that must equal the search text: of the model itself, or of a related model (`member__username`).
    search_fields: Sequence[str] = ()
    # Columns by which links from other pages filter the list, in addition to `list_filter`.
    link_filters: Sequence[str] = ()

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        """Return the form field of a column. Every number is written in the digits 0 to 9."""
        if isinstance(db_field, models.IntegerField) and not db_field.choices:
            kwargs.setdefault("form_class", WholeNumberField)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_search_results(self, request, queryset, search_term):
        """Search by indexed columns only, so that no search reads a whole table."""
        text = search_term.strip()
        return queryset.filter(self.search_condition(text, request)) if text else queryset, False

    def search_condition(self, text: str, request) -> Q:
        """Return the condition of a search.

        Related tables are searched by queries of their own, because an OR over two tables would use no index.
        """
        found = Q(pk__in=[])
        for name in self.get_search_fields(request):
            relation, _, column = name.rpartition("__")
            condition = {f"{column}__in": sorted({text, text.upper()})}
            if relation:
                others = self.opts.get_field(relation).related_model.objects.filter(**condition)
                found |= Q(
                    **{f"{relation}__in": list(others.values_list("pk", flat=True)[: BoundedPaginator.max_rows])}
                )
            else:
                found |= Q(**condition)
        return found

    def may(self, request, action: str) -> bool:
        """Return whether the user may do one of the page's own actions."""
        return may(request.user, action, self.model)

    def get_actions(self, request, action_location=None):
        """Return the actions on selected rows that the roles table allows. Django 6.1 also passes a location."""
        location = {} if action_location is None else {"action_location": action_location}
        actions = super().get_actions(request, **location)
        return {name: action for name, action in actions.items() if self.may(request, name)}

    def log_addition(self, request, obj, message):
        """Leave it to the service, which writes the audit trail for the API too (api/changes.py)."""

    def log_change(self, request, obj, message):
        """Leave it to the service, as `log_addition` does."""

    def history_view(self, request, object_id, extra_context=None):
        """Show the changes of the row in the audit trail."""
        query = urlencode({"table": self.opts.label_lower, "row": object_id})
        return redirect(f"{reverse('admin:api_change_changelist')}?{query}")

    def lookup_allowed(self, lookup, value, request):
        """Refuse a filter in the URL that the page does not offer: it could reveal columns that the page hides."""
        filters = (getattr(each, "parameter_name", each) for each in self.list_filter)
        offered = {"pk", "id", *filters, *self.link_filters}
        name, *lookups = lookup.split("__")
        return name in offered and LOOKUPS.issuperset(lookups) and super().lookup_allowed(lookup, value, request)


class UnchangedSinceShownForm(forms.ModelForm):
    """A form that rejects a change of a field that somebody else has changed since the page was opened.

    The page also submits the values that it showed. Only a field whose value differs from them is changed.
    """

    def clean(self):
        for name in self.changed_data if self.instance.pk else ():
            bound = self[name]
            hidden = bound.field.hidden_widget()
            shown = hidden.value_from_datadict(self.data, self.files, bound.html_initial_name)
            if bound.field.has_changed(bound.initial, shown):
                self.add_error(name, "Somebody else has changed this. Reload the page and try again.")
        return super().clean()


class ChangeableAdmin(ClubModelAdmin):
    """Base of the pages that change a row. `save_model` writes only the fields of `form.changed_data`."""

    form: type[forms.ModelForm] = UnchangedSinceShownForm

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        return super().formfield_for_dbfield(db_field, request, show_hidden_initial=True, **kwargs)

    def get_object(self, request, object_id, from_field=None):
        """Return the row. To be changed it is locked first: what the form compares cannot change before it is saved."""
        row = super().get_object(request, object_id, from_field)
        if row is None or request.method != "POST" or not connection.in_atomic_block:
            return row
        return self.model._default_manager.select_for_update(no_key=True).filter(pk=row.pk).first()


class ReadOnly(ByRole):
    """Permission to view only, whatever the roles table allows: services write these rows."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False


class ReadOnlyAdmin(ReadOnly, ClubModelAdmin):
    """Base of the read-only pages: a list, and a page of one row without its empty fields."""

    phone_fields: Sequence[str] = ()  # fields that may contain a whole phone number

    def get_fields(self, request, obj=None):
        fields = super().get_fields(request, obj)
        if not sees_phones(request.user):
            fields = [name for name in fields if name not in self.phone_fields]
        return (
            fields if obj is None else [name for name in fields if self.displayed_value(name, obj) not in EMPTY_VALUES]
        )

    def displayed_value(self, name, obj):
        """Return the value that the page shows for a field or a method of its own."""
        _, _, value = lookup_field(name, obj, self)
        return value


class ReadOnlyInline(ReadOnly, TabularInline):
    """Read-only rows of another table on a page."""

    extra = 0
    can_delete = False
    # The columns are enough. Newer versions of unfold read `show_title`; 0.91 reads only `hide_title`.
    show_title = False
    if not hasattr(TabularInline, "show_title"):
        hide_title = True
    ordering = ["pk"]
    list_select_related: Sequence[str] = ()

    def get_queryset(self, request) -> QuerySet:
        return super().get_queryset(request).select_related(*self.list_select_related)


class Exportable(ClubModelAdmin):
    """A list whose selected rows, or all filtered rows, can be exported to a file."""

    export_columns: Sequence[exports.Column] = ()
    actions = ["export_csv", "export_xlsx"]

    @admin.action(description="Export as CSV")
    def export_csv(self, request, queryset):
        return self.export(request, queryset, "csv")

    @admin.action(description="Export as XLSX")
    def export_xlsx(self, request, queryset):
        return self.export(request, queryset, "xlsx")

    def export(self, request, queryset, file_format):
        """Answer with the file, or with a message where to find it later."""
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
        message = format_html(
            'The file is being written. Find it under <a class="underline" href="{}">Exports</a>.',
            reverse("admin:api_export_changelist"),
        )
        self.message_user(request, message)
        return None

    def filtered_rows(self, user, filters: dict[str, list[str]]) -> QuerySet:
        """Return the rows that the list shows to `user` with these filters."""
        request = HttpRequest()
        request.method, request.user, request.GET = "GET", user, QueryDict(urlencode(filters, doseq=True))
        return self.get_changelist_instance(request).queryset


def as_download(export: Export, file) -> FileResponse:
    """Return the answer with which a browser saves the file."""
    content_type = exports.FORMATS[export.file_format].content_type
    return FileResponse(file, as_attachment=True, filename=export.file_name, content_type=content_type)


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    """The exports: who took out which rows, and links to the files."""

    list_display = ["asked_at", "asked_by", "exported_list", "file_format", "filtered_by", "state", "rows", "download"]
    list_filter = ["state"]
    list_select_related = ["asked_by"]
    readonly_fields = ["exported_list", "filtered_by", "download"]
    exclude = ["page", "filters"]

    def get_queryset(self, request):
        """Return the user's own exports, or all of them for an Admin."""
        exports_of_all = super().get_queryset(request)
        return exports_of_all if self.may(request, "see_all") else exports_of_all.filter(asked_by=request.user)

    @admin.display(description="list")
    def exported_list(self, export):
        return apps.get_model(export.page)._meta.verbose_name_plural

    @admin.display(description="searched and filtered by")
    def filtered_by(self, export):
        return ", ".join(f"{name}: {' '.join(values)}" for name, values in export.filters.items()) or None

    @admin.display(description="file")
    def download(self, export):
        """Return the link to the file, if there is one."""
        if export.state != ExportState.READY:
            return None
        url = reverse("admin:api_export_download", args=[export.pk])
        return format_html('<a class="text-primary-600" href="{}">Download</a>', url)

    def get_urls(self):
        download = self.admin_site.admin_view(self.send)
        return [path("<int:pk>/download/", download, name="api_export_download"), *super().get_urls()]

    def send(self, request, pk):
        """Answer with the file of an export."""
        export = self.get_queryset(request).filter(pk=pk, state=ExportState.READY).first()
        if export is None or not exports.may_export(request.user, export):
            raise Http404
        try:
            return as_download(export, exports.path_of(export).open("rb"))
        except FileNotFoundError as error:  # deleted a moment ago, after its week
            raise Http404 from error


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdmin):
    """The audit trail: who added, changed or deleted what. Links from other pages show the changes of one row."""

    list_display = ["at", "by", "kind", "changed_row", "columns"]
    list_filter = ["kind"]
    link_filters = ["table", "row"]
    list_select_related = ["by"]

    @admin.display(description="of")
    def changed_row(self, change):
        name = f"{apps.get_model(change.table)._meta.verbose_name} {change.row}"
        try:
            url = reverse(f"admin:{change.table.replace('.', '_')}_change", args=[change.row])
        except NoReverseMatch:  # it has no page
            return name
        return format_html('<a class="text-primary-600" href="{}">{}</a>', url, name)

    @admin.display(description="before and after")
    def columns(self, change):
        names = {**change.before, **change.after}
        empty = "empty"
        return format_html_join(
            ", ",
            "{}: {} \N{RIGHTWARDS ARROW} {}",
            (
                (
                    name.replace("_", " "),
                    _text(change.before.get(name)) or empty,
                    _text(change.after.get(name)) or empty,
                )
                for name in names
            ),
        )


def _text(value) -> str:
    return "" if value is None else str(value)
