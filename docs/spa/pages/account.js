// The member's account: personal details, links to change them, and the login sessions.

import { call } from "../api.js";
import { action, day, h, link, localPhone, moment, title } from "../dom.js";
import { logOut, whoAmI } from "../session.js";

export async function account() {
  const me = await whoAmI();
  const list = h("ul", { class: "sessions" });

  async function show() {
    const sessions = await call("GET", "auth/sessions/");
    list.replaceChildren(...sessions.map((session) => item(session, show)));
    others.hidden = sessions.length < 2;
  }

  const others = action("Log out everywhere else", async () => {
    await call("POST", "auth/logout-all/", { keep_current: true });
    await show();
  }, { class: "plain" });
  await show();
  return h("section", { class: "narrow" },
    h("div", { class: "person" },
      me.profile_picture && h("img", { src: me.profile_picture, alt: "You", width: 72, height: 72 }), title("Account")),
    h("dl", { class: "facts" },
      fact("Name", `${me.first_name} ${me.last_name}`),
      fact("Member number", me.member_number),
      me.dob && fact("Birthday", day(me.dob)),
      me.emergency_contact && fact("In an emergency", me.emergency_contact),
      me.phone_number && fact("Phone", localPhone(me.phone_number)),
      me.email && fact("E-mail", me.email)),
    h("ul", { class: "changes" }, [
      link("profile", "Change your name, birthday, emergency contact or picture"),
      link("address/phone", me.phone_number ? "Change your phone number" : "Add a phone number"),
      link("address/email", me.email ? "Change your e-mail address" : "Add an e-mail address"),
      link("password", "Change your password"),
      link("factor", "Second factor: ask for an app's code when I log in"),
    ].map((each) => h("li", {}, each))),
    action("Log out", async () => {
      await logOut();
      location.hash = "#plans";
    }, { class: "main" }),
    h("h2", {}, "Where you are logged in"),
    list, others);
}

/**
 * @param {import("../types").Session} session
 * @param {() => Promise<void>} show
 */
function item(session, show) {
  const where = device(session.user_agent);
  return h("li", {},
    h("div", {}, h("strong", {}, where), session.is_current && h("span", { class: "pill active" }, "here"),
      h("p", { class: "hint" }, `Since ${moment(session.created_at)} · ${session.ip}`)),
    session.is_current ? null : action("End", async () => {
      await call("DELETE", `auth/sessions/${session.id}/`);
      await show();
    }, { class: "plain", "aria-label": `End the session of ${where} since ${moment(session.created_at)}` }));
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** "Chrome on Android" for a user agent. Browsers also name other browsers, so the order matters. */
function device(agent) {
  const find = (names) => Object.keys(names).find((name) => agent.includes(names[name]));
  const browser = find({ Edge: "Edg/", Firefox: "Firefox/", Opera: "OPR/", Chrome: "Chrome/", Safari: "Safari/" });
  const system = find({ Android: "Android", iPhone: "iPhone", iPad: "iPad", Windows: "Windows", Mac: "Mac OS", Linux: "Linux" });
  return [browser ?? "A browser", system].filter(Boolean).join(" on ");
}
