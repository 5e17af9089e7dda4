"use strict";

// Login and refresh change the CSRF token, so this fetches the current token before each call that needs it.
const withCsrfToken = async (request) => {
  if (!request.loadSpec && request.method !== "GET") {
    const answer = await fetch("/api/v1/auth/csrf/");
    request.headers["X-CSRFToken"] = answer.headers.get("X-CSRFToken");
  }
  return request;
};

SwaggerUIBundle({
  url: "{{ schema_url|escapejs }}",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  requestInterceptor: withCsrfToken,
  ...{{ settings|safe }},
});
