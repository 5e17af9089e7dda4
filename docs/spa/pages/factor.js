// The second factor: add an authenticator app, save its recovery codes, or remove it.

import { call } from "../api.js";
import { action, field, form, h, link, title } from "../dom.js";
import { next, proven } from "../proof.js";

export async function factor() {
  const section = h("section", { class: "narrow" });
  const begin = () => proven(section, async () => next(section, ...confirm(await call("POST", "auth/mfa/totp/"), showCodes)));
  const remove = () => proven(section, async () => {
    await call("DELETE", "auth/mfa/totp/");
    next(section, title("Second factor"), h("p", { class: "lead" }, "Your password alone logs you in again."), back());
  });
  const showCodes = (codes) => next(section, ...recoveryCodes(codes));

  section.append(
    title("Second factor"),
    h("p", { class: "lead" }, "An authenticator app on your phone shows a code that we ask for when you log in. A stolen password alone is then not enough to log in."),
    action("Add an authenticator app", begin, { class: "main" }),
    action("Remove it", remove, { class: "plain" }),
    back());
  return section;
}

function confirm({ otpauth_uri: uri, secret }, showCodes) {
  return [
    title("Add it to your app"),
    h("p", { class: "lead" }, "On this phone, ", h("a", { href: uri }, "open your authenticator app"), ". On another, type this key into it:"),
    h("p", { class: "secret" }, h("code", {}, secret.match(/.{1,4}/g).join(" "))),
    form([
      field("code", "The code it shows", {
        class: "code", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6, hint: "Six digits.",
      }),
    ], {
      button: "Turn it on",
      async submit({ code }) {
        showCodes((await call("POST", "auth/mfa/totp/confirm/", { code })).recovery_codes);
      },
    }),
  ];
}

function recoveryCodes(codes) {
  return [
    title("It is on"),
    h("p", { class: "lead" }, "Save these recovery codes in a safe place: each logs you in once if you lose the phone. We cannot show them again."),
    h("ul", { class: "codes" }, codes.map((code) => h("li", {}, h("code", {}, code)))),
    back(),
  ];
}

const back = () => h("p", {}, link("account", "Back to your account"));
