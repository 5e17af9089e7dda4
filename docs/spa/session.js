// The logged-in user. Scripts cannot read the cookies, so a note in localStorage, without any secret, says whether to ask the
// API.

import { ask, call } from "./api.js";

const NOTE = "kilabu-logged-in";
/** @type {import("./types").Me | null | undefined} */
let me; // undefined: not requested yet; null: not logged in

/** The member's profile, or null. It is requested once. */
export async function whoAmI() {
  if (me === undefined) me = localStorage.getItem(NOTE) ? await call("GET", "auth/me/").catch(nullIfLoggedOut) : null;
  return me;
}

function nullIfLoggedOut(error) {
  if (error.status !== 401) throw error;
  return null;
}

/** Log in. Return "done", or "code" if the second factor is needed. */
export async function logIn(identifier, password, remember = true) {
  return store(await ask("auth/login/", { identifier, password, remember }));
}

/** Send the second factor: the six digits of an authenticator app, or a recovery code. */
export async function logInWithCode(code) {
  return store(await ask(/^\d{6}$/.test(code) ? "auth/mfa/verify/" : "auth/mfa/recovery/", { code }));
}

function store(data) {
  if (data.mfa_required) return "code";
  me = data.user;
  localStorage.setItem(NOTE, "yes");
  return "done";
}

/** Store the profile that a change of it returned. */
export function setProfile(profile) {
  me = profile;
}

/** End this session here and on the server. */
export async function logOut() {
  await ask("auth/logout/");
  forget();
}

/** Forget the user: the session has ended, here or elsewhere. */
export function forget() {
  me = null;
  localStorage.removeItem(NOTE);
}

// Another tab logged in or out: request the profile again.
addEventListener("storage", ({ key }) => {
  if (key !== NOTE) return;
  me = undefined;
  dispatchEvent(new CustomEvent("session-changed"));
});
