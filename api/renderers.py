"""The envelope: one shape for every answer under /api/ that has a body."""

from rest_framework.renderers import JSONRenderer

from api import request_ids


def meta() -> dict:
    """Return the envelope's `meta` for the request being answered."""
    return {"request_id": request_ids.current.get()}


def success(data, *, pagination: dict | None = None) -> dict:
    """Wrap a result: `{"status": "success", "data": ..., "meta": {...}}`."""
    about = meta()
    if pagination is not None:
        about["pagination"] = pagination
    return {"status": "success", "data": data, "meta": about}


class EnvelopeRenderer(JSONRenderer):
    """Wrap a view's data on its way out; `response.data` itself stays as the view made it.

    Errors come from api.exceptions in their envelope already. A paginator says what belongs into `meta`
    by putting `pagination` on the response.
    """

    def render(self, data, accepted_media_type=None, renderer_context=None):
        response = (renderer_context or {}).get("response")
        if response is None or response.status_code == 204:
            return super().render(data, accepted_media_type, renderer_context)
        if not getattr(response, "is_enveloped", False):
            data = success(data, pagination=getattr(response, "pagination", None))
        return super().render(data, accepted_media_type, renderer_context)
