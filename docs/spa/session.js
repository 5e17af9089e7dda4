// Who is logged in. The cookies are out of reach, so a note without any secret says whether asking is worth it.

import { ask, call } from "./api.js";

const NOTE = "kilabu-logged-in";
/** @type {import("./types").Me | null | undefined} */
let me; // undefined: not asked yet; null: nobody

/** The member's profile, or null. Asks the server once. */
export async function whoAmI() {
  if (me === undefined) me = localStorage.getItem(NOTE) ? await call("GET", "auth/me/").catch(nobody) : null;
  return me;
}

function nobody(error) {
  if (error.status !== 401) throw error;
  return null;
}

/** Log in. Returns "done", or "code" when a second factor is asked for. */
export async function logIn(identifier, password, remember = true) {
  return settle(await ask("auth/login/", { identifier, password, remember }));
}

/** Give the second factor: the six digits of an authenticator app, or a recovery code. */
export async function logInWithCode(code) {
  return settle(await ask(/^\d{6}$/.test(code) ? "auth/mfa/verify/" : "auth/mfa/recovery/", { code }));
}

function settle(data) {
  if (data.mfa_required) return "code";
  me = data.user;
  localStorage.setItem(NOTE, "yes");
  return "done";
}

/** The profile is another now: what a change of it answered. */
export function know(profile) {
  me = profile;
}

/** End this session here and on the server. */
export async function logOut() {
  await ask("auth/logout/");
  forget();
}

/** The session is over, whoever ended it. */
export function forget() {
  me = null;
  localStorage.removeItem(NOTE);
}

// Another tab logged in or out: find out again.
addEventListener("storage", ({ key }) => {
  if (key !== NOTE) return;
  me = undefined;
  dispatchEvent(new CustomEvent("session-changed"));
});
