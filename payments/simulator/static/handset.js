// One phone: its wallet, messages, pay bill form and statement, and the prompt above them.

import { clock, day, localPhone, post, shillings, signed } from "./api.js";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "Clear", "0", "Delete"];

export class Handset {
  constructor(phone, { say, close }) {
    this.phone = phone;
    this.say = say;
    this.prompt = null;
    this.lastMessage = null;
    this.root = document.querySelector("#handset").content.firstElementChild.cloneNode(true);
    this.root.setAttribute("aria-label", `Phone ${localPhone(phone)}`);
    this.find(".number").textContent = localPhone(phone);
    this.find(".close").setAttribute("aria-label", `Remove phone ${localPhone(phone)}`);
    this.find(".close").addEventListener("click", () => close(this));
    this.find(".deposit").addEventListener("click", () => post("deposit/", { phone, amount: 5000 }));
    this.setUpTabs();
    this.find(".paybill").addEventListener("submit", (event) => this.payBill(event));
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  setUpTabs() {
    const tabs = [...this.root.querySelectorAll("[role=tab]")];
    const panels = [...this.root.querySelectorAll("[role=tabpanel]")];
    const open = (tab, focus) => {
      for (const other of tabs) {
        other.setAttribute("aria-selected", String(other === tab));
        other.tabIndex = other === tab ? 0 : -1;
      }
      for (const panel of panels) panel.hidden = panel.dataset.panel !== tab.dataset.tab;
      if (focus) tab.focus();
    };
    tabs.forEach((tab, index) => {
      tab.id = `${tab.dataset.tab}-${this.phone}`;
      panels[index].setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => open(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) open(tabs[(index + step + tabs.length) % tabs.length], true);
      });
    });
    open(tabs[0]);
  }

  show(state, business) {
    this.find(".name").textContent = state.name;
    this.find(".time").textContent = clock();
    this.find(".balance").textContent = shillings(state.balance);
    const number = this.find("[name=business]");
    if (!number.value && number !== document.activeElement) number.value = business.number;
    this.find(".account").hidden = Boolean(business.till);
    this.showMessages(state.messages);
    this.showStatement(state.statement);
    this.showPrompt(state.prompts[0] ?? null);
  }

  showMessages(messages) {
    const newest = messages[0]?.id ?? 0;
    if (newest === this.lastMessage) return;
    if (this.lastMessage !== null && newest > this.lastMessage) {
      this.say(`Message on ${localPhone(this.phone)}: ${messages[0].text}`);
    }
    const fresh = this.lastMessage ?? newest;
    this.lastMessage = newest;
    const items = messages.map((message) => {
      const item = element("li", message.sender === "MPESA" ? "message" : "message other");
      if (message.id > fresh) item.classList.add("fresh");
      const head = element("p", "sender", message.sender);
      head.append(element("time", "", clock(message.at)));
      head.lastChild.dateTime = message.at;
      item.append(head, element("p", "", message.text));
      return item;
    });
    if (!items.length) items.push(element("li", "empty", "No messages yet. Prompts and receipts appear here."));
    this.find(".messages").replaceChildren(...items);
  }

  showStatement(movements) {
    const rows = movements.map(({ code, what, account, amount, at }) => {
      const row = element("tr");
      const words = element("th", "", [what, account].filter(Boolean).join(" · "));
      words.scope = "row";
      words.append(element("small", "", `${code} · ${day(at)}, ${clock(at)}`));
      row.append(words, element("td", amount < 0 ? "amount" : "amount in", signed(amount)));
      return row;
    });
    if (!rows.length) {
      const row = element("tr");
      row.append(element("td", "empty", "No payments yet."));
      row.firstChild.colSpan = 2;
      rows.push(row);
    }
    this.find("tbody").replaceChildren(...rows);
  }

  // --- The prompt ---------------------------------------------------------------------------

  showPrompt(prompt) {
    if (prompt?.checkout_request_id === this.prompt?.checkout_request_id) return;
    this.prompt = prompt;
    const shade = this.find(".shade");
    shade.replaceChildren();
    shade.hidden = !prompt;
    this.root.classList.toggle("ringing", Boolean(prompt));
    if (!prompt) return;

    const dialog = document.querySelector("#prompt").content.firstElementChild.cloneNode(true);
    const form = dialog.querySelector("form");
    const question = form.querySelector(".question");
    question.id = `question-${prompt.checkout_request_id}`;
    dialog.setAttribute("aria-labelledby", question.id);
    question.append(
      "Do you want to pay ", element("strong", "", shillings(prompt.amount)), " to ",
      element("strong", "", prompt.business.toUpperCase()), " Account no. ", element("strong", "", prompt.reference), "?",
    );
    const pin = form.querySelector(".pin");
    pin.addEventListener("input", () => {
      pin.value = pin.value.replace(/\D/g, "").slice(0, 4);
    });
    form.querySelector(".pad").append(...KEYS.map((key) => padKey(key, pin)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (pin.value.length === 4) this.answer(pin.value === "0000" ? "wrong_pin" : "pay");
      else pin.focus();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.answer("cancel");
    });
    form.querySelector(".cancel").addEventListener("click", () => this.answer("cancel"));
    for (const button of form.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => this.answer(button.dataset.action));
    }
    shade.append(dialog);
    this.say(`Phone ${localPhone(this.phone)} asks: ${question.textContent}`);
    this.focusPrompt();
    this.tick();
  }

  // Move the focus to the PIN of an open prompt, unless another element of the page has it.
  focusPrompt() {
    if (document.activeElement === document.body) this.find(".pin")?.focus({ preventScroll: true });
  }

  async answer(action) {
    const { checkout_request_id: id } = this.prompt;
    if (action === "ignore") {
      this.find(".shade").hidden = true;
      this.root.classList.remove("ringing");
    }
    try {
      await post(`prompts/${id}/answer/`, { action });
    } catch (error) {
      this.say(error.message);
    }
  }

  // Called every second: update the clock and the time left for the prompt.
  tick() {
    this.find(".time").textContent = clock();
    const left = this.find(".left");
    if (!this.prompt || !left) return;
    const opened = Date.parse(this.prompt.opened_at);
    const expires = Date.parse(this.prompt.expires_at);
    const seconds = Math.max(0, Math.ceil((expires - Date.now()) / 1000));
    left.textContent = `${seconds} s`;
    const share = Math.max(0, Math.min(1, (expires - Date.now()) / (expires - opened)));
    this.find(".life div").style.transform = `scaleX(${share})`;
  }

  async payBill(event) {
    event.preventDefault();
    const form = event.target;
    const said = form.querySelector(".said");
    const amount = Number(form.amount.value);
    said.className = "said";
    if (!form.business.value || !Number.isInteger(amount) || amount < 1) {
      said.textContent = "Enter a business number and an amount in whole shillings.";
      return;
    }
    said.textContent = "Sending…";
    try {
      const paid = await post("paybill/", {
        phone: this.phone,
        business: form.business.value.trim(),
        account: form.account.value,
        amount,
      });
      said.textContent = `Sent. Receipt ${paid.code}.`;
      said.classList.add("good");
      form.amount.value = "";
    } catch (error) {
      said.textContent = error.message;
      said.classList.add("bad");
    }
  }
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function padKey(key, pin) {
  const button = element("button", /\d/.test(key) ? "digit" : "edit", key === "Delete" ? "⌫" : key === "Clear" ? "C" : key);
  button.type = "button";
  button.setAttribute("aria-label", key);
  button.addEventListener("click", () => {
    if (key === "Clear") pin.value = "";
    else if (key === "Delete") pin.value = pin.value.slice(0, -1);
    else pin.value += key;
    pin.dispatchEvent(new Event("input"));
  });
  return button;
}
