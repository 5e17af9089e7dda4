// Registration, and the confirmation of the phone number by a code.

import { ask } from "../api.js";
import { club } from "../club.js";
import { action, field, form, h, link, localPhone, title } from "../dom.js";
import * as phone from "../phone.js";
import { logIn } from "../session.js";

export async function join() {
  const { terms_url: terms } = await club();
  const section = h("section", { class: "narrow" });
  section.append(
    title("Join the club"),
    h("p", { class: "lead" }, "First you, then your plan."),
    h("p", { class: "hint" }, "Has the desk added you already? Join with the same first name, last name and phone number, and you will find your membership."),
    form([
      h("div", { class: "pair" },
        field("first_name", "First name", { autocomplete: "given-name", maxlength: 150, "data-first": true }),
        field("last_name", "Last name", { autocomplete: "family-name", maxlength: 150 })),
      field("phone_number", "M-Pesa phone number", {
        type: "tel", autocomplete: "tel", value: localPhone(phone.unusedNumber()), placeholder: "0712 345 678",
        hint: "We send a code to it, and M-Pesa asks it for your PIN when you pay.",
      }),
      field("password", "Password", {
        type: "password", autocomplete: "new-password", minlength: 10, hint: "Ten characters or more.",
      }),
      field("consent", ["I agree to ", terms ? h("a", { href: terms, target: "_blank" }, "the club's terms") : "the club's terms", "."], { type: "checkbox" }),
    ], {
      button: "Join",
      async submit(person) {
        phone.show(person.phone_number);
        await ask("auth/register/", person);
        phone.ring();
        section.replaceChildren(...confirm(person));
        section.querySelector("input").focus();
      },
    }),
    h("p", {}, "Already a member? ", link("login", "Log in")));
  return section;
}

/** The second step: type the code. A login before the phone number was confirmed leads here too. */
export function confirm({ phone_number: identifier, password }) {
  return [
    title("Check your phone"),
    h("p", { class: "lead" }, `We have sent a message to ${identifier}.`),
    h("p", {}, "It has a code, or says that you have an account already: then ", link("login", "log in"), "."),
    form([
      field("code", "Code", {
        class: "code", inputmode: "numeric", autocomplete: "one-time-code", pattern: "[0-9]{6}", maxlength: 6, "data-first": true,
        hint: "Six digits.",
      }),
    ], {
      button: "Continue",
      async submit({ code }) {
        await ask("auth/verify/", { identifier, password, code });
        await logIn(identifier, password);
        goOn();
      },
    }),
    action("Send another code", () => ask("auth/verify/resend/", { identifier }), { class: "plain" }),
  ];
}

/** Open the page that the visitor wanted before the login. */
export function goOn() {
  const wanted = sessionStorage.getItem("wanted") || "#membership";
  sessionStorage.removeItem("wanted");
  location.replace(wanted);
}
