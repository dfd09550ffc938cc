// The messages of a room, in the order of its log: what is new comes below, what is older above when one scrolls up.

import { Message, make } from "./chat-message.js";

const MOST = 600; // messages on the page; beyond, the oldest go, and come again by scrolling up
const NEAR = 48; // pixels from the end that still count as the end

const days = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

/**
 * `scroller` scrolls; in it are `region`, which is read aloud and whose list holds the messages, and above it `edge`, a
 * button that says whether there is more. `older(position)` fetches it. `unread(count)` is told how many messages came
 * that nobody can have seen.
 */
export class Log {
  author = null; // this browser's
  #messages = []; // Message, oldest first
  #known = new Map(); // id: Message
  #more = false;
  #loading = false;
  #unread = 0;
  #silence = 0;
  #following = true; // whether the end was in sight when it was last scrolled
  #divider = make("li", "divider unread", {}, make("span", "", {}, "New"));

  constructor({ scroller, region, edge, older, unread, actions }) {
    Object.assign(this, { scroller, region, edge, older, unread, actions });
    this.list = region.querySelector("ol");
    let size = "";
    const measured = () => `${scroller.clientWidth} ${scroller.clientHeight} ${scroller.scrollHeight}`;
    scroller.addEventListener("scroll", () => {
      // What is scrolled by a new size is not scrolled by anybody.
      if (measured() === size) this.#following = this.isAtEnd;
      this.seen();
    });
    document.addEventListener("visibilitychange", () => this.seen());
    edge.addEventListener("click", () => this.load());
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.load(), {
      root: scroller,
      rootMargin: "200px",
    }).observe(edge);
    // The end stays in sight when a keyboard opens, the composer grows, or a line is wrapped anew.
    const resized = new ResizeObserver(() => {
      size = measured();
      if (this.#following) this.toEnd();
    });
    resized.observe(scroller);
    resized.observe(region);
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  get isEmpty() {
    return this.#messages.length === 0;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  has(id) {
    return this.#known.has(id);
  }

  /** The latest message that this browser wrote. */
  get latestOwn() {
    return this.#messages.findLast((message) => this.#isMine(message));
  }

  /** What was said next. One that is here already changes nothing; whether it was new. */
  add(payload, { fresh = true } = {}) {
    if (this.has(payload._holdfast.id)) return false;
    const follow = (this.#following = this.isAtEnd);
    const message = this.#made(payload);
    const own = this.#isMine(message);
    const unseen = fresh && !own && (!follow || document.hidden);
    if (fresh && own) this.#divider.remove();
    if (unseen && this.#unread === 0) this.list.append(this.#divider);
    this.#messages.push(message);
    this.list.append(message.element);
    this.#settle(this.#messages.length - 1);
    if (follow) this.toEnd();
    if (unseen) this.unread((this.#unread += 1));
    if (follow && this.#messages.length > MOST) this.#shorten();
    return true;
  }

  edit({ message, _holdfast }) {
    this.#known.get(_holdfast.id)?.write(message, true);
  }

  remove(id) {
    const message = this.#known.get(id);
    if (!message) return;
    const focused = message.element.contains(document.activeElement);
    const at = this.#messages.indexOf(message);
    const isAbove = message.element.getBoundingClientRect().bottom < this.scroller.getBoundingClientRect().top;
    this.#steady(isAbove, () => {
      this.#take(at);
      if (at < this.#messages.length) this.#settle(at);
    });
    if (focused) this.actions.done();
  }

  /** Forget everything: another history has taken its place. */
  clear() {
    this.#following = true;
    this.#messages = [];
    this.#known.clear();
    this.list.replaceChildren();
    this.#unread = 0;
    this.unread(0);
  }

  /** Who this browser is became known. */
  belongsTo(author) {
    this.author = author;
    for (const message of this.#messages) message.mine(this.#isMine(message));
  }

  /** Whether there is something above what is shown. */
  hasMore(more) {
    this.#more = more;
    this.edge.classList.toggle("end", !more);
    this.edge.disabled = !more;
    this.edge.textContent = more ? "Show older messages" : "This is where the room begins.";
    if (more) requestAnimationFrame(() => this.#isNearTop && this.load());
  }

  get #isNearTop() {
    return this.scroller.scrollTop < 200;
  }

  /** Fetch what is older and put it on top; what is in sight stays where it is. */
  async load() {
    if (!this.#more || this.#loading || !this.#messages.length) return;
    this.#loading = true;
    this.edge.textContent = "Fetching older messages…";
    try {
      const { messages, more } = await this.older(this.#messages[0].position);
      this.#prepend(messages);
      this.#loading = false;
      this.hasMore(more);
    } catch {
      this.#loading = false;
      this.edge.textContent = "Show older messages";
    }
  }

  #prepend(payloads) {
    const made = payloads.filter((payload) => !this.has(payload._holdfast.id)).map((payload) => this.#made(payload));
    const follow = (this.#following = this.isAtEnd);
    this.#steady(true, () =>
      this.quietly(() => {
        const above = this.#messages[0]?.element.previousElementSibling;
        if (above?.matches(".day")) above.remove();
        this.list.prepend(...made.map((message) => message.element));
        this.#messages.unshift(...made);
        for (let at = 0; at <= made.length && at < this.#messages.length; at += 1) this.#settle(at);
      }),
    );
    if (follow) this.toEnd();
  }

  /** Where the change is above what is in sight, that stays where it is. */
  #steady(isAbove, change) {
    const { scrollHeight, scrollTop } = this.scroller;
    change();
    if (isAbove) this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
  }

  /** Change the list without having it read aloud: only what is said now is news. */
  quietly(change) {
    this.region.setAttribute("aria-live", "off");
    change();
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.region.setAttribute("aria-live", "polite"), 500);
  }

  /** What is new was seen, if the end is in sight. */
  seen() {
    if (this.#unread === 0 || document.hidden || !this.isAtEnd) return;
    this.#unread = 0;
    this.unread(0);
  }

  #made(payload) {
    const message = new Message(payload, this.actions);
    message.mine(this.#isMine(message));
    this.#known.set(message.id, message);
    return message;
  }

  #isMine(message) {
    return this.author !== null && message.author === this.author;
  }

  /** Put the day above a message where another day begins, and hide its head where it goes on from the one before. */
  #settle(at) {
    const message = this.#messages[at];
    const before = this.#messages[at - 1];
    const above = message.element.previousElementSibling;
    const isDay = above?.matches(".day");
    const sameDay = before && before.at.toDateString() === message.at.toDateString();
    if (sameDay && isDay) above.remove();
    if (!sameDay && !isDay) message.element.before(make("li", "divider day", {}, make("span", "", {}, days.format(message.at))));
    message.follows(sameDay && !message.element.previousElementSibling?.matches(".divider") ? before : null);
  }

  #take(at) {
    const [message] = this.#messages.splice(at, 1);
    this.#known.delete(message.id);
    const above = message.element.previousElementSibling;
    if (above?.matches(".day")) above.remove(); // the one that follows gets its own
    message.element.remove();
  }

  #shorten() {
    this.quietly(() => {
      while (this.#messages.length > MOST / 2) this.#take(0);
      this.#settle(0);
    });
    this.toEnd();
    this.hasMore(true);
  }
}
