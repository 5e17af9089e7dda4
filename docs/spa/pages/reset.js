// A forgotten password: request a code, then set a new password.

import { ask } from "../api.js";
import { action, field, form, h, title } from "../dom.js";
import * as phone from "../phone.js";
import { logIn } from "../session.js";
import { goOn } from "./join.js";

export async function reset() {
  const section = h("section", { class: "narrow" });
  section.append(
    title("Forgot your password?"),
    h("p", { class: "lead" }, "We send a code to your phone, or by e-mail."),
    form([field("identifier", "Phone number or e-mail", { autocomplete: "username", maxlength: 254, "data-first": true })], {
      button: "Send a code",
      async submit({ identifier }) {
        phone.show(identifier);
        await ask("auth/password/reset/", { identifier });
        phone.ring();
        section.replaceChildren(...confirm(identifier));
        section.querySelector("input").focus();
      },
    }));
  return section;
}

function confirm(identifier) {
  return [
    title("Check your phone"),
    h("p", { class: "lead" }, `If ${identifier} is a member's, a code is on its way.`),
    form([
      field("code", "Code", {
        class: "code", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6, hint: "Six digits.",
      }),
      field("password", "New password", {
        type: "password", autocomplete: "new-password", minlength: 10, hint: "Ten characters or more.",
      }),
    ], {
      button: "Set the password",
      async submit({ code, password }) {
        await ask("auth/password/reset/confirm/", { identifier, code, password });
        if (await logIn(identifier, password) === "done") goOn();
        else location.hash = "#login"; // a second factor is asked for there
      },
    }),
    action("Send another code", () => ask("auth/password/reset/", { identifier }), { class: "plain" }),
  ];
}
