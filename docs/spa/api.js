// The client of Kilabu's API. The login session is in HttpOnly cookies that scripts cannot read; the CSRF token is stored
// here, in memory. docs/api.md explains each step.

const API = "/api/v1/";
let csrf = null;
// A random value that every refresh changes, in every tab. It is not a secret.
const lastRefresh = () => localStorage.getItem("kilabu-refreshed");

/** An error of the API. Decide by `code`, show `message`; `details` name fields: [{field, code, message}]. */
export class ApiError extends Error {
  constructor(status, error, requestId) {
    super(error.message);
    Object.assign(this, { status, code: error.code, details: error.details ?? [], retryAfter: error.retry_after, requestId });
  }
}

/** Call the API and return the answer's data. For a GET, `body` has the parameters. */
export const call = /** @type {import("./types").Call} */ (async (method, path, body) => (await send(method, path, body)).data);

/** Call the API and return the whole answer; `meta` has the pagination of a list. */
export const answer = /** @type {import("./types").Ask} */ (send);

/** POST from a login page: there, a 401 is an error for the form, not the end of a session. */
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
    if (!isUpload) headers["Content-Type"] = "application/json"; // for an upload the browser sets it
  }
  const response = await fetch(API + path + query, {
    method, headers, credentials: "same-origin", body: method === "GET" ? undefined : isUpload ? body : JSON.stringify(body ?? {}),
  }).catch(() => {
    throw new ApiError(0, { code: "offline", message: "The club cannot be reached. Check your connection and try again." });
  });
  csrf = response.headers.get("X-CSRFToken") ?? csrf;
  if (response.status === 204) return { data: null };
  const parsed = await response.json().catch(() => ({})); // a proxy's own error page is not JSON
  if (response.ok) return parsed;
  const unknown = { code: "server_error", message: "Something went wrong. Please try again." };
  throw new ApiError(response.status, parsed.error ?? unknown, parsed.meta?.request_id);
}

// A login or refresh in another tab changes the CSRF token: fetch it and repeat once.
async function sendWithCsrf(method, path, body = undefined) {
  try {
    return await sendOnce(method, path, body);
  } catch (error) {
    if (error.code !== "csrf_failed") throw error;
    await sendOnce("GET", "auth/csrf/");
    return sendOnce(method, path, body);
  }
}

// One call in one tab refreshes. Calls that waited for it, or whose 401 arrives after it, repeat with the new cookies.
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
