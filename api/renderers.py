"""The envelope: the common form of every JSON answer under /api/."""

from rest_framework.renderers import JSONRenderer

from api import request_ids


def meta() -> dict:
    """Return the envelope's `meta` for the current request."""
    return {"request_id": request_ids.current.get()}


def success(data, *, pagination: dict | None = None) -> dict:
    """Wrap a result: `{"status": "success", "data": ..., "meta": {...}}`."""
    about = meta()
    if pagination is not None:
        about["pagination"] = pagination
    return {"status": "success", "data": data, "meta": about}


class EnvelopeRenderer(JSONRenderer):
    """Put a view's data into the envelope. `response.data` itself is not changed.

    Errors from api/exceptions.py have an envelope already. A paginator sets `pagination` on the response, for `meta`.
    """

    def render(self, data, accepted_media_type=None, renderer_context=None):
        response = (renderer_context or {}).get("response")
        if response is None or response.status_code == 204:
            return super().render(data, accepted_media_type, renderer_context)
        if not getattr(response, "is_enveloped", False):
            data = success(data, pagination=getattr(response, "pagination", None))
        return super().render(data, accepted_media_type, renderer_context)
