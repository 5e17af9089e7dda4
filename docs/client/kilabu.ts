// Kilabu's API with types: every address, body and answer is checked against ../openapi.yaml when this is compiled.
// "openapi" is what `openapi-typescript openapi.yaml --default-non-nullable=false` makes of it.
import createClient from "openapi-fetch";
import type { components, paths } from "openapi";

export type Person = components["schemas"]["Me"];
export type Refusal = components["schemas"]["Error"]["error"];

let csrf: string | null = null; // in memory; the session is in cookies that no script can read

async function send(request: Request): Promise<Response> {
  if (request.method !== "GET") {
    if (csrf === null) await send(new Request(new URL("/api/v1/auth/csrf/", request.url)));
    if (csrf !== null) request.headers.set("X-CSRFToken", csrf);
  }
  const response = await fetch(request);
  csrf = response.headers.get("X-CSRFToken") ?? csrf;
  return response;
}

async function refusalOf(response: Response): Promise<string | null> {
  if (response.status !== 401 && response.status !== 403) return null;
  return ((await response.clone().json()) as components["schemas"]["Error"]).error.code;
}

// The last refresh of any tab, also of another soon after: no secret, only another value each time.
const lastRefresh = () => localStorage.getItem("kilabu-refreshed");

// One call of one tab refreshes; who had to wait for it, or hears of a 401 later, goes on with the new cookies.
async function refresh(known: string | null, base: string): Promise<void> {
  const isMine = await navigator.locks.request("kilabu", { ifAvailable: true }, async (lock) => {
    if (lock === null) return false;
    if (lastRefresh() !== known) return true;
    const response = await withSession(new Request(new URL("/api/v1/auth/refresh/", base), { method: "POST" }));
    if (response.ok) localStorage.setItem("kilabu-refreshed", crypto.randomUUID());
    return true;
  });
  if (!isMine) await navigator.locks.request("kilabu", () => {});
}

// As docs/api.md says: fetch the CSRF token anew and repeat once; refresh in one tab and repeat once; never in a loop.
async function withSession(request: Request): Promise<Response> {
  const known = lastRefresh();
  const again = request.clone();
  const response = await send(request);
  const code = await refusalOf(response);
  if (code === "csrf_failed") {
    csrf = null;
    return send(again);
  }
  if (code !== "not_authenticated" && code !== "token_expired") return response;
  await refresh(known, request.url);
  return send(again);
}

export const kilabu = createClient<paths>({ baseUrl: "", fetch: withSession });

// The answer of a log-in is one of two, and the compiler asks which.
export async function logIn(identifier: string, password: string): Promise<Person | "code"> {
  const { data, error } = await kilabu.POST("/api/v1/auth/login/", { body: { identifier, password } });
  if (error) throw new Error(error.error.message);
  return "mfa_required" in data.data ? "code" : data.data.user;
}

export async function buy(plan: string): Promise<{ reference: string; owed: number }> {
  const { data, error } = await kilabu.POST("/api/v1/subscriptions/", {
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { plan },
  });
  if (error) throw new Error(error.error.message);
  const bought = Array.isArray(data.data) ? data.data[0] : data.data; // several, when bought for several members
  return { reference: bought!.payment.reference, owed: bought!.payment.amount_owed };
}

// A list's rows are `data`, and where its next page is stands in `meta`.
export async function trainersBornIn(year: number): Promise<{ names: string[]; more: boolean }> {
  const { data, error } = await kilabu.GET("/api/v1/users/", {
    params: { query: { role: "Trainer", dob__gte: `${year}-01-01`, dob__lte: `${year}-12-31`, ordering: "-dob" } },
  });
  if (error) throw new Error(error.error.message);
  const names = data.data.map((person) => `${person.first_name} ${person.last_name}`);
  return { names, more: data.meta.pagination.next !== null };
}
