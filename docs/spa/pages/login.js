// Log in, with a second factor for who has one.

import { field, form, h, link, title } from "../dom.js";
import * as phone from "../phone.js";
import { logIn, logInWithCode } from "../session.js";
import { confirm, goOn } from "./join.js";

export async function login() {
  const section = h("section", { class: "narrow" });

  function next(...content) {
    section.replaceChildren(...content);
    section.querySelector("input").focus();
  }

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
        else next(...secondFactor(() => next(...firstFactor())));
      } catch (error) {
        if (error.code !== "email_not_verified") throw error;
        phone.show(identifier);
        next(...confirm({ phone_number: identifier, password }));
      }
    },
  });
  const firstFactor = () => [title("Log in"), password, 
    h("p", {}, link("reset", "Forgot your password?")), h("p", {}, "Not a member yet? ", link("join", "Join the club"))];

  section.append(...firstFactor());
  return section;
}

function secondFactor(startAgain) {
  return [
    title("One more step"),
    h("p", { class: "lead" }, "Type the code that your authenticator app shows, or one of your recovery codes."),
    form([field("code", "Code", { class: "code", autocomplete: "one-time-code", maxlength: 20 })], {
      button: "Continue",
      async submit({ code }) {
        await logInWithCode(code.trim());
        goOn();
      },
      also: h("button", { type: "button", class: "plain", onclick: startAgain }, "Start again"),
    }),
  ];
}
