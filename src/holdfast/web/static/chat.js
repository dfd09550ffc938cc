// The page of a room: puts the connection, the log, what waits to be sent, and the people together.

import { Presence, Socket } from "./channels.js";
import { Log } from "./chat-log.js";
import { hue, make, words } from "./chat-message.js";
import { Outbox } from "./chat-outbox.js";

const TYPING = 2_000; // between two words that somebody types
const TYPED = 5_000; // after which that is over
const BACK = 8_000; // how long it is said what was missed

const page = document.getElementById("room");
const { topic, room, socket: address } = page.dataset;
const find = (name) => document.getElementById(name);
const say = find("say");
const field = find("message");
const naming = find("naming");
const title = document.title;

// --- the name, remembered ---

const NAME = "holdfast.chat.name";
let name = remembered();

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return ""; // a browser that keeps nothing asks every time
  }
}

function ask() {
  naming.hidden = false;
  say.hidden = true;
  const input = naming.elements.namedItem("name");
  input.value = name;
  find("unchanged").hidden = !name;
  input.focus();
}

function named() {
  naming.hidden = true;
  say.hidden = false;
  find("as").textContent = name;
  field.focus();
}

naming.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = naming.elements.namedItem("name").value.replace(/\s+/g, " ").trim();
  if (!chosen) return;
  name = chosen;
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // then for this page alone
  }
  channel.push("rename", { name }).catch(() => {}); // without a connection the next join says it
  named();
});
naming.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && name) named();
});
find("unchanged").addEventListener("click", named);
find("rename").addEventListener("click", ask);

// --- the room ---

let wasLive = false;
let isBack = 0;

function state(kind, text) {
  page.dataset.state = kind;
  const words = find("state").querySelector("[data-words]");
  if (words.textContent !== text) words.textContent = text; // read aloud only when it changes
}

function backAgain(missed) {
  const what = missed === 0 ? "nothing missed" : `${missed} missed message${missed === 1 ? "" : "s"} caught up`;
  state("live", `Back again: ${what}`);
  clearTimeout(isBack);
  isBack = setTimeout(() => page.dataset.state === "live" && state("live", "Live"), BACK);
}

const log = new Log({
  scroller: find("log"),
  region: find("said"),
  edge: find("edge"),
  older: (position) => channel.push("older", { position }),
  unread(count) {
    const button = find("unread");
    button.hidden = count === 0;
    button.textContent = count === 1 ? "1 new message" : `${count} new messages`;
    document.title = count ? `(${count}) ${title}` : title;
  },
  actions: {
    edit: (id, message) => channel.push("edit", { id, message }),
    remove: (id) => channel.push("remove", { id }),
    done: () => field.focus(),
  },
});
find("unread").addEventListener("click", () => {
  log.toEnd();
  log.seen();
  field.focus();
});

const people = new Presence();
const socket = new Socket(address);
let isHistory = false;

const channel = socket.channel(topic, () => ({ name }), {
  joined(reply) {
    log.belongsTo(reply.author);
    isHistory = !reply.recovered;
    if (reply.reason === "history_lost") log.clear();
    find("lost").hidden = reply.reason !== "history_lost";
  },
  live(missed) {
    // A message that was lost on its way is among what was missed, or it is said again now.
    outbox.flush();
    if (isHistory || !wasLive) log.hasMore(!log.isEmpty);
    if (wasLive && !isHistory) backAgain(missed);
    else state("live", "Live");
    wasLive = true;
    isHistory = false;
  },
  lost(reason) {
    if (reason === "phx_close") state("waiting", "You were shown out. Reload the page to come back.");
    outbox.hold();
    people.heard("presence_state", {}); // nobody knows who is there
    showPeople();
    find("count").textContent = "–";
    typing.clear();
    showTyping();
  },
  refused(reason) {
    state("waiting", `${words({ reason })} Trying again…`);
  },
  event(event, payload) {
    if (event === "new_message") heard(payload);
    else if (event === "message_edited") log.edit(payload);
    else if (event === "message_removed") removed(payload._holdfast.id);
    else if (event === "typing") typed(payload);
    else if (people.heard(event, payload)) showPeople();
  },
});

function heard(payload) {
  outbox.shown(payload._holdfast.id);
  if (isHistory) log.quietly(() => log.add(payload, { fresh: false }));
  else log.add(payload);
  if (typing.delete(payload.author ?? payload.name)) showTyping();
}

function removed(id) {
  outbox.shown(id);
  log.remove(id);
}

socket.onstate = (kind) => {
  if (kind === "waiting") state("waiting", wasLive ? "Connection lost. Trying again…" : "The server does not answer. Trying again…");
  else if (!wasLive) state("connecting", "Connecting…");
};

const outbox = new Outbox(find("outbox"), `holdfast.chat.unsent:${topic}`, (said) => channel.push("new_message", said));

// --- saying something ---

say.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = field.value.trim();
  if (!message) return;
  outbox.add(name, message);
  field.value = "";
  lastTyped = 0;
  log.toEnd();
});

const isTouch = matchMedia("(pointer: coarse)");
field.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey && !isTouch.matches) {
    event.preventDefault();
    say.requestSubmit();
  } else if (event.key === "ArrowUp" && field.value === "" && log.latestOwn) {
    event.preventDefault();
    log.latestOwn.edit();
  }
});

// --- who types, who is here ---

const typing = new Map(); // key: { name, timer }
let lastTyped = 0;

field.addEventListener("input", () => {
  const now = Date.now();
  if (!field.value.trim() || now - lastTyped < TYPING) return;
  lastTyped = now;
  channel.push("typing", { name }).catch(() => {}); // not worth a word
});

function typed({ name: who, author }) {
  if (author && author === log.author) return; // another window of this browser
  const key = author ?? who;
  clearTimeout(typing.get(key)?.timer);
  const timer = setTimeout(() => typing.delete(key) && showTyping(), TYPED);
  typing.set(key, { name: who, timer });
  showTyping();
}

function showTyping() {
  const names = [...typing.values()].map((each) => make("bdi", "", {}, each.name));
  const line = find("typing");
  if (names.length === 0) line.replaceChildren();
  else if (names.length === 1) line.replaceChildren(names[0], " is typing…");
  else if (names.length === 2) line.replaceChildren(names[0], " and ", names[1], " are typing…");
  else line.replaceChildren(`${names.length} people are typing…`);
}

function showPeople() {
  const here = people.list();
  here.sort(([a, one], [b, other]) => (b === log.author) - (a === log.author) || one.name.localeCompare(other.name));
  find("count").textContent = here.length;
  find("people").replaceChildren(
    ...here.map(([key, meta]) => {
      const own = key === log.author ? [" ", make("span", "hint", {}, "you")] : [];
      return make("li", "", {}, make("bdi", hue(key), {}, meta.name), ...own);
    }),
  );
}

page.hidden = false;
if (name) named();
else ask();
socket.connect();
