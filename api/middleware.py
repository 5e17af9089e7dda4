"""What every request passes: a request id, and headers that keep answers private."""

from api import request_ids

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class RequestIdMiddleware:
    """Give each request an id: in its log lines, its envelope and the X-Request-ID header of its answer."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.request_id = request_ids.from_header(request.headers.get("X-Request-ID"))
        token = request_ids.current.set(request.request_id)
        try:
            response = self.get_response(request)
        finally:
            request_ids.current.reset(token)
        response["X-Request-ID"] = request.request_id
        response.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response
