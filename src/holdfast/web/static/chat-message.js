// One message on the page: who, when, what; and, on one's own, the two things one can do with it.

import { formatted } from "./chat-text.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** An element with a class, attributes and children. */
export function make(tag, name = "", attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

function button(text, name, press, attributes = {}) {
  const element = make("button", name, { type: "button", ...attributes }, text);
  element.addEventListener("click", press);
  return element;
}

/** One of a few colours by who it is, so that two people of one name look different. */
export function hue(key) {
  let sum = 0;
  for (const character of key) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return `hue-${sum % 5}`;
}

/** `actions` are what one may do with one's own: edit(id, text) and remove(id), which answer promises. */
export class Message {
  #actions;
  #text;
  #mark;
  #tools = null;
  #form = null;

  constructor({ name, author, message, _holdfast }, actions) {
    this.#actions = actions;
    this.id = _holdfast.id;
    this.position = _holdfast.position;
    this.at = new Date(_holdfast.at);
    this.author = author ?? null;
    this.name = name;
    const time = make("time", "", { datetime: this.at.toISOString(), title: whole.format(this.at) }, clock.format(this.at));
    this.#text = make("div", "text", { dir: "auto" });
    this.#mark = make("span", "mark");
    this.element = make(
      "li",
      "message",
      {},
      make("div", "who", {}, make("bdi", `name ${hue(author ?? name)}`, {}, name), " ", time, " ", this.#mark),
      this.#text,
    );
    this.write(message, _holdfast.edited);
  }

  /** Another text. */
  write(message, edited) {
    this.message = message;
    this.#text.replaceChildren(formatted(message));
    this.#mark.textContent = edited ? "edited" : "";
    this.element.classList.toggle("edited", Boolean(edited));
  }

  /** Whether it follows upon one of the same person, so that its head need not be seen. */
  follows(before) {
    const close = before && this.author === before.author && this.name === before.name && this.at - before.at < 300_000;
    this.element.classList.toggle("follows", Boolean(close));
  }

  /** It is this browser's, or is not. */
  mine(yes) {
    this.element.classList.toggle("mine", yes);
    if (!yes || this.#tools) return;
    this.#tools = make("div", "tools");
    this.#offer();
    this.#text.before(this.#tools);
  }

  #offer(focused = false) {
    const about = `: ${this.message.slice(0, 40)}`;
    const edit = button("Edit", "small", () => this.edit(), { "aria-label": `Edit${about}` });
    const remove = button("Remove", "small", () => this.#confirm(), { "aria-label": `Remove${about}` });
    this.#tools.replaceChildren(edit, remove);
    if (focused) remove.focus();
  }

  #confirm() {
    const no = button("Keep", "small", () => this.#offer(true));
    const yes = button("Remove for good", "small danger", async () => {
      if (yes.ariaDisabled) return;
      yes.ariaDisabled = "true"; // not `disabled`, which would take the focus away
      try {
        await this.#actions.remove(this.id);
      } catch (error) {
        this.#tools.replaceChildren(make("span", "trouble", { role: "alert" }, words(error)), no);
        no.focus();
      }
    });
    this.#tools.replaceChildren(yes, no);
    no.focus();
  }

  /** Write over it, in its place. */
  edit() {
    if (this.#form) return;
    const field = make("textarea", "", { "aria-label": "Your message", maxlength: "4000", rows: "2" });
    const trouble = make("span", "trouble", { role: "alert" });
    const form = make(
      "form",
      "rewrite",
      {},
      field,
      make("div", "actions", {}, make("button", "small primary", {}, "Save"), button("Cancel", "small", () => this.#close()), trouble),
    );
    field.value = this.message;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (!text || text === this.message) return this.#close();
      try {
        await this.#actions.edit(this.id, text);
        this.#close();
      } catch (error) {
        trouble.textContent = words(error);
      }
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.#form = form;
    this.element.classList.add("editing");
    this.element.append(form);
    field.focus();
    form.scrollIntoView({ block: "nearest" });
  }

  #close() {
    this.#form?.remove();
    this.#form = null;
    this.element.classList.remove("editing");
    if (this.#tools) this.#offer();
    this.#actions.done();
  }
}

/** Why something was not done, for people. */
export function words({ reason, message }) {
  const known = {
    disconnected: "There is no connection just now.",
    timeout: "The server did not answer in time.",
    invalid: "The server did not take it.",
    "store unavailable": "The store does not answer just now.",
    "no such message": "It is gone already.",
    phx_error: "Something went wrong in the room.",
    "not yours": "Only the browser that wrote it can change it.",
  };
  return known[reason] ?? `The server said: ${reason ?? message}`;
}
