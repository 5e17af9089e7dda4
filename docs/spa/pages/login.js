// Login, with the second factor if the user has one.

import { field, form, h, link, title } from "../dom.js";
import * as phone from "../phone.js";
import { code, next } from "../proof.js";
import { logIn } from "../session.js";
import { confirm, goOn } from "./join.js";

export async function login() {
  const section = h("section", { class: "narrow" });

  // The answer does not show whether the password was wrong or the code is still missing.
  let given = { phone_number: "", password: "" };
  const unconfirmed = h("button", {
    type: "button", class: "plain", hidden: true,
    onclick: () => {
      phone.show(given.phone_number);
      next(section, ...confirm(given));
    },
  }, "I have joined, and want to enter my code");
  const password = form([
    field("identifier", "Phone number, e-mail or username", { autocomplete: "username", maxlength: 254, "data-first": true }),
    field("password", "Password", { type: "password", autocomplete: "current-password" }),
    field("remember", "Stay logged in on this device", { type: "checkbox", checked: true, required: false }),
  ], {
    button: "Log in",
    async submit({ identifier, password, remember }) {
      try {
        const step = await logIn(identifier, password, remember);
        if (step === "done") goOn();
        else next(section, ...code(goOn, startAgain()));
      } catch (error) {
        if (error.code === "invalid_credentials") {
          given = { phone_number: identifier, password };
          unconfirmed.hidden = false;
        }
        throw error;
      }
    },
  });
  const firstFactor = () => [title("Log in"), password, unconfirmed,
    h("p", {}, link("reset", "Forgot your password?")), h("p", {}, "Not a member yet? ", link("join", "Join the club"))];
  const startAgain = () => h("button", { type: "button", class: "plain", onclick: () => next(section, ...firstFactor()) }, "Start again");

  section.append(...firstFactor());
  return section;
}
