// The one way to talk to Kilabu. The session lives in HttpOnly cookies that no script can read; the CSRF token is
// kept here, in memory. docs/api.md says why each step is there.

const API = "/api/v1/";
let csrf = null;
// The last refresh of any tab, also of another soon after: no secret, only another value each time.
const lastRefresh = () => localStorage.getItem("kilabu-refreshed");

/** What the server refused. Act on `code`, show `message`; `details` name fields: [{field, code, message}]. */
export class ApiError extends Error {
  constructor(status, error, requestId) {
    super(error.message);
    Object.assign(this, { status, code: error.code, details: error.details ?? [], retryAfter: error.retry_after, requestId });
  }
}

/** Call the API and return the answer's data. A GET gives its parameters as `body`. */
export const call = /** @type {import("./types").Call} */ (async (method, path, body) => (await send(method, path, body)).data);

/** The same, with `meta` beside `data`: a list's pagination is there. */
export const answer = /** @type {import("./types").Ask} */ (send);

/** Calls of the log-in pages: a 401 there is an answer for the form, not the end of a session. */
export const ask = /** @type {import("./types").Post} */ (async (path, body) => (await sendWithCsrf("POST", path, body)).data);

async function send(method, path, body = undefined) {
  const known = lastRefresh();
  try {
    return await sendWithCsrf(method, path, body);
  } catch (error) {
    if (!["not_authenticated", "token_expired"].includes(error.code)) return loggedOut(error);
    await refresh(known).catch(loggedOut);
    return sendWithCsrf(method, path, body).catch(loggedOut); // once, never in a loop
  }
}

async function sendOnce(method, path, body = undefined) {
  const headers = { Accept: "application/json" };
  const isUpload = body instanceof FormData;
  let query = "";
  if (method === "GET") {
    if (body) query = `?${new URLSearchParams(body)}`;
  } else {
    if (csrf === null) await sendOnce("GET", "auth/csrf/");
    headers["X-CSRFToken"] = csrf;
    if (!isUpload) headers["Content-Type"] = "application/json"; // of an upload the browser writes it
  }
  const response = await fetch(API + path + query, {
    method, headers, credentials: "same-origin", body: method === "GET" ? undefined : isUpload ? body : JSON.stringify(body ?? {}),
  }).catch(() => {
    throw new ApiError(0, { code: "offline", message: "The club cannot be reached. Check your connection and try again." });
  });
  csrf = response.headers.get("X-CSRFToken") ?? csrf;
  if (response.status === 204) return { data: null };
  const said = await response.json().catch(() => ({})); // a proxy's own error page is no JSON
  if (response.ok) return said;
  const unknown = { code: "server_error", message: "Something went wrong. Please try again." };
  throw new ApiError(response.status, said.error ?? unknown, said.meta?.request_id);
}

// Another tab may have logged in or refreshed, which changes the CSRF token: fetch it and try once more.
async function sendWithCsrf(method, path, body = undefined) {
  try {
    return await sendOnce(method, path, body);
  } catch (error) {
    if (error.code !== "csrf_failed") throw error;
    await sendOnce("GET", "auth/csrf/");
    return sendOnce(method, path, body);
  }
}

// One call of one tab refreshes; who had to wait for it, or hears of a 401 later, goes on with the new cookies.
async function refresh(known) {
  const isMine = await navigator.locks.request("kilabu", { ifAvailable: true }, async (lock) => {
    if (lock === null) return false;
    if (lastRefresh() !== known) return true;
    await sendWithCsrf("POST", "auth/refresh/");
    localStorage.setItem("kilabu-refreshed", crypto.randomUUID());
    return true;
  });
  if (!isMine) await navigator.locks.request("kilabu", () => {});
}

function loggedOut(error) {
  if (error.status === 401 && error.code !== "reauth_required") dispatchEvent(new CustomEvent("logged-out"));
  throw error;
}
