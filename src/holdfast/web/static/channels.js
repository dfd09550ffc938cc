// A client of Holdfast's channels: Phoenix Channels V2 over one WebSocket, as much of it as a page needs, and
// on top of it what the protocol's own client does not do: who comes back gets exactly what was missed.
//
// Why our own and not npm's `phoenix`, which works as well: that one would have to be fetched and its licence
// carried along whenever this package is built; this one is read in five minutes, served as it lies here, and
// remembers positions. Nothing in it knows of the chat: copy it.
//
//     const socket = new Socket("/socket/websocket");
//     const room = socket.channel("chat_room:lobby", () => ({ name: "Ada" }), {
//       joined(reply) {},           // `reply.recovered`: what follows is what was missed, else the latest
//       event(name, payload) {},    // history, then what is said now, in one order
//       live(missed) {},            // the history has come; `missed` is how many messages that were
//       lost(reason) {},            // in the room no more; it joins again by itself, unless "phx_close" ended it
//       refused(reason) {},         // the join was refused; the same
//     });
//     socket.connect();
//     await room.push("new_message", { name: "Ada", message: "Hello" });   // the reply, or raises `Failed`

const HEARTBEAT = 30_000;
const PATIENCE = 10_000; // for a connection, a heartbeat's answer, a reply
const RESTS = [100, 250, 500, 1000, 2000, 5000]; // before the next try; a random half of it is taken off

/** Why a push has no good reply: "disconnected" (it may have arrived), "timeout" (the same), or the server's words. */
export class Failed extends Error {
  constructor(reason, response = {}) {
    super(reason);
    this.reason = reason;
    this.response = response;
  }
}

export class Socket {
  /** Called with "connecting", "open" or "waiting" when that changes. */
  onstate = () => {};
  #url;
  #wire = null;
  #timer = 0;
  #tries = 0;
  #refs = 0;
  #asked = new Map(); // ref: { resolve, reject, timer }
  #channels = new Map(); // topic: Channel

  constructor(url) {
    this.#url = url;
    addEventListener("online", () => this.#wake());
    addEventListener("pageshow", (event) => event.persisted && this.#wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
  }

  /** A topic of this socket: joined as soon as there is a connection, and again with each new one. */
  channel(topic, params, hooks) {
    const channel = new Channel(this, topic, params, hooks);
    this.#channels.set(topic, channel);
    if (this.isOpen) channel.join();
    return channel;
  }

  forget(topic) {
    this.#channels.delete(topic);
  }

  get isOpen() {
    return this.#wire?.readyState === WebSocket.OPEN;
  }

  connect() {
    if (this.#wire) return;
    const wire = (this.#wire = new WebSocket(`${this.#url}?vsn=2.0.0`));
    this.#within(() => this.#drop());
    wire.onopen = () => {
      this.onstate("open");
      this.#within(() => this.#beat(), HEARTBEAT);
      for (const channel of this.#channels.values()) channel.join();
    };
    wire.onmessage = (message) => this.#heard(JSON.parse(message.data));
    wire.onclose = () => this.#drop();
    this.onstate("connecting");
  }

  nextRef() {
    return String(++this.#refs);
  }

  /** Send one frame and wait for its reply. */
  ask(joinRef, ref, topic, event, payload) {
    if (!this.isOpen) return Promise.reject(new Failed("disconnected"));
    const reply = new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(ref, (waiting) => waiting.reject(new Failed("timeout"))), PATIENCE);
      this.#asked.set(ref, { resolve, reject, timer });
    });
    this.#wire.send(JSON.stringify([joinRef, ref, topic, event, payload]));
    return reply;
  }

  #heard([joinRef, ref, topic, event, payload]) {
    this.#tries = 0;
    if (event !== "phx_reply") {
      this.#channels.get(topic)?.heard(joinRef, event, payload);
    } else if (payload.status === "ok") {
      this.#settle(ref, (waiting) => waiting.resolve(payload.response));
    } else {
      const reason = payload.response?.reason ?? payload.status;
      this.#settle(ref, (waiting) => waiting.reject(new Failed(reason, payload.response)));
    }
  }

  #settle(ref, how) {
    const waiting = this.#asked.get(ref);
    if (!waiting) return;
    this.#asked.delete(ref);
    clearTimeout(waiting.timer);
    how(waiting);
  }

  /** One timer, for whatever the connection waits for at the moment. */
  #within(then, milliseconds = PATIENCE) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, milliseconds);
  }

  /** A connection may be dead without a word: nobody answers, and it is given up. */
  #beat() {
    const wire = this.#wire;
    this.#within(() => this.#drop());
    this.ask(null, this.nextRef(), "phoenix", "heartbeat", {}).then(
      () => wire === this.#wire && this.#within(() => this.#beat(), HEARTBEAT),
      () => {},
    );
  }

  /** The machine slept, the network is another, the page was hidden: see at once how things are. */
  #wake() {
    if (this.isOpen) this.#beat();
    else if (!this.#wire) this.connect();
  }

  #drop() {
    const wire = this.#wire;
    if (!wire) return;
    this.#wire = null;
    wire.onopen = wire.onmessage = wire.onclose = null;
    wire.close();
    for (const ref of [...this.#asked.keys()]) this.#settle(ref, ({ reject }) => reject(new Failed("disconnected")));
    for (const channel of this.#channels.values()) channel.gone("disconnected");
    const rest = RESTS[Math.min(this.#tries++, RESTS.length - 1)];
    this.#within(() => this.connect(), rest * (1 - Math.random() / 2));
    this.onstate("waiting");
  }
}

/** One topic. `position` is how far it was seen: a join goes on from there. */
class Channel {
  position = null;
  joined = false;
  #socket;
  #topic;
  #params;
  #hooks;
  #joinRef = null;
  #replaying = false; // history comes
  #missed = 0;
  #timer = 0;
  #tries = 0;

  constructor(socket, topic, params, hooks) {
    this.#socket = socket;
    this.#topic = topic;
    this.#params = params;
    this.#hooks = hooks;
  }

  /** Say something; the promise is of the reply. What has no reply may have been heard: say it with an id. */
  push(event, payload) {
    if (!this.joined) return Promise.reject(new Failed("disconnected"));
    return this.#socket.ask(this.#joinRef, this.#socket.nextRef(), this.#topic, event, payload);
  }

  async join() {
    clearTimeout(this.#timer);
    const ref = (this.#joinRef = this.#socket.nextRef());
    const since = this.position === null ? {} : { since: this.position };
    try {
      this.#welcomed(await this.#socket.ask(ref, ref, this.#topic, "phx_join", { ...this.#params(), ...since }));
    } catch (error) {
      // Without a connection there is nothing to repeat: the next one joins.
      if (ref === this.#joinRef && error.reason !== "disconnected") this.#again(error.reason);
    }
  }

  #welcomed(reply) {
    this.#tries = 0;
    this.#missed = 0;
    this.#replaying = reply.position !== undefined;
    this.position = reply.position ?? this.position; // before all that follows
    this.joined = true;
    this.#hooks.joined?.(reply);
  }

  /** A frame of this topic that is no reply. */
  heard(joinRef, event, payload) {
    if (!this.joined || (joinRef !== null && joinRef !== this.#joinRef)) return; // said to an earlier stay
    if (event === "phx_error" || event === "phx_close") {
      this.gone(event);
      if (event === "phx_error") this.#again(event);
      else this.#socket.forget(this.#topic); // for good
      return;
    }
    const marks = payload._holdfast;
    // What the join brings carries its ref; the first frame without, or without a position, comes after it.
    const historic = this.#replaying && joinRef !== null && marks;
    if (this.#replaying && !historic) {
      this.#replaying = false;
      this.#hooks.live?.(this.#missed);
    }
    if (marks) this.position = marks.position;
    if (historic) this.#missed += 1;
    this.#hooks.event?.(event, payload);
  }

  /** It is not in the room, for now. */
  gone(reason) {
    this.#joinRef = null;
    if (!this.joined) return;
    this.joined = false;
    this.#replaying = false;
    this.#hooks.lost?.(reason);
  }

  #again(reason) {
    const rest = RESTS[Math.min(this.#tries++ + 2, RESTS.length - 1)];
    this.#timer = setTimeout(() => this.#socket.isOpen && this.join(), rest * (1 - Math.random() / 2));
    this.#hooks.refused?.(reason);
  }
}

/** Who is in a topic, of the events `presence_state` and `presence_diff`. */
export class Presence {
  #metas = new Map(); // key: Map of phx_ref: meta

  /** Takes what is one of the two events; whether it was. */
  heard(event, payload) {
    if (event === "presence_state") {
      this.#metas.clear();
      this.#join(payload);
    } else if (event === "presence_diff") {
      this.#join(payload.joins); // first, so that nobody who only changed is gone in between
      this.#leave(payload.leaves);
    } else {
      return false;
    }
    return true;
  }

  /** Everybody once, however many windows: `[key, latest meta]`. */
  list() {
    return [...this.#metas].map(([key, metas]) => [key, [...metas.values()].at(-1)]);
  }

  #join(people) {
    for (const [key, { metas }] of Object.entries(people)) {
      const known = this.#metas.get(key) ?? new Map();
      for (const meta of metas) known.set(meta.phx_ref, meta);
      this.#metas.set(key, known);
    }
  }

  #leave(people) {
    for (const [key, { metas }] of Object.entries(people)) {
      const known = this.#metas.get(key);
      for (const meta of metas) known?.delete(meta.phx_ref);
      if (known?.size === 0) this.#metas.delete(key);
    }
  }
}
