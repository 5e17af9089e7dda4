// Calls that need a login of the last ten minutes.

import { call } from "./api.js";
import { field, form, h, title } from "./dom.js";
import { logIn, logInWithCode, whoAmI } from "./session.js";

/** Replace the content of a page by its next step, and move the focus there. */
export function next(section, ...content) {
  section.replaceChildren(...content);
  (section.querySelector("[data-first]") ?? section.querySelector("h1")).focus();
}

/**
 * Call `act`. If the login was too long ago, first ask for the password in `section`, and for the second factor if the user
 * has one. The new login session replaces the one before.
 * @param {HTMLElement} section
 * @param {() => Promise<void>} act
 */
export async function proven(section, act) {
  try {
    await act();
  } catch (error) {
    if (error.code !== "reauth_required") throw error;
    const [{ username }, sessions] = await Promise.all([whoAmI(), call("GET", "auth/sessions/")]);
    const { id, remember } = sessions.find((session) => session.is_current);
    const goOn = async () => {
      await call("DELETE", `auth/sessions/${id}/`).catch(() => {}); // it may have ended meanwhile
      await act();
    };
    next(section, ...password(async (typed) => {
      if (await logIn(username, typed, remember) === "done") await goOn();
      else next(section, ...code(goOn));
    }));
  }
}

function password(submit) {
  return [
    title("Your password, please"),
    h("p", { class: "lead" }, "You logged in a while ago, and this needs to be you."),
    form([field("password", "Password", { type: "password", autocomplete: "current-password", "data-first": true })], {
      button: "Continue",
      submit: ({ password: typed }) => submit(typed),
    }),
  ];
}

/** The step of a login that asks for the second factor. */
export function code(goOn, also = null) {
  return [
    title("One more step"),
    h("p", { class: "lead" }, "Type the code of your authenticator app, a recovery code, or the code that we have just sent you."),
    form([field("code", "Code", { class: "code", autocomplete: "one-time-code", maxlength: 20, "data-first": true })], {
      button: "Continue",
      async submit({ code: typed }) {
        await logInWithCode(typed.trim());
        await goOn();
      },
      also,
    }),
  ];
}
