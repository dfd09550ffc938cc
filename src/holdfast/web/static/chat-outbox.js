// What this browser said and the room has not shown yet. Each message has an id of its own, so that one whose answer
// was lost is simply said again: the server keeps and shows it once. It outlives a reload, not the tab.

import { Failed } from "./channels.js";
import { make, words } from "./chat-message.js";
import { formatted } from "./chat-text.js";

export class Outbox {
  #entries = new Map(); // id: { said, element, mark, state }
  #ready = false; // while what is said goes out at once: else it would overtake what waits
  #list;
  #send;
  #key;

  /** `send(said)` answers a promise of the reply; `list` shows what waits. */
  constructor(list, key, send) {
    this.#list = list;
    this.#key = key;
    this.#send = send;
    for (const said of this.#stored()) this.#put(said);
  }

  /** Say it now, or as soon as there is a connection. */
  add(name, message) {
    const entry = this.#put({ id: randomId(), name, message });
    this.#store();
    if (this.#ready) this.#try(entry);
  }

  /** The room is lost for now. */
  hold() {
    this.#ready = false;
  }

  /** It is back: say everything that waits, in order. */
  flush() {
    this.#ready = true;
    for (const entry of this.#entries.values()) if (entry.state !== "failed") this.#try(entry);
  }

  /** The room has shown it. */
  shown(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    entry.element.remove();
    this.#store();
  }

  #put(said) {
    const element = make("li", "message mine waiting", {}, make("div", "text", { dir: "auto" }, formatted(said.message)));
    const mark = make("div", "mark", {});
    element.append(mark);
    const entry = { said, element, mark, state: "waiting" };
    this.#entries.set(said.id, entry);
    this.#list.append(element);
    this.#say(entry, "Waits for the connection");
    return entry;
  }

  async #try(entry) {
    if (entry.state === "sending") return;
    entry.state = "sending";
    entry.element.classList.remove("failed");
    this.#say(entry, "Sending…");
    try {
      await this.#send(entry.said);
      this.#say(entry, ""); // kept; the room is about to show it
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      if (error.reason === "disconnected") {
        entry.state = "waiting";
        this.#say(entry, "Waits for the connection");
      } else {
        this.#failed(entry, error);
      }
    }
  }

  #failed(entry, error) {
    entry.state = "failed";
    entry.element.classList.add("failed");
    const again = make("button", "small", { type: "button" }, "Try again");
    const never = make("button", "small", { type: "button" }, "Discard");
    again.addEventListener("click", () => this.#try(entry));
    never.addEventListener("click", () => this.shown(entry.said.id));
    entry.mark.replaceChildren(make("span", "", { role: "alert" }, `Not sent. ${words(error)}`), again, never);
  }

  #say(entry, text) {
    entry.mark.replaceChildren(text);
  }

  #store() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify([...this.#entries.values()].map(({ said }) => said)));
    } catch {
      // This browser keeps nothing, or has no room: what waits then lives as long as the page.
    }
  }

  #stored() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key) ?? "[]");
    } catch {
      return [];
    }
  }
}

/** 128 bits; `crypto.randomUUID` is for pages over TLS and on localhost alone. */
function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
