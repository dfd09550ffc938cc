// One npm client, told over stdin what to do and telling over stdout what happens; a JSON object a line.
//
//   node driver.mjs 1.8
//   < {"id": 1, "do": "connect", "url": "ws://127.0.0.1:8000/socket", "transport": "longpoll"}
//   > {"id": 1, "answer": null}
//   > {"on": "open", "socket": "main"}
//
// The package is used as it comes. Only its waiting times are shortened, by the options it has for that.

import { createInterface } from "node:readline"
import { XMLHttpRequest } from "./xhr.mjs"

globalThis.self = globalThis // what the package takes a browser's globals from
globalThis.XMLHttpRequest = process.argv[2] === "1.8" ? undefined : XMLHttpRequest
const { LongPoll, Presence, Socket } = await import(`phoenix-${process.argv[2]}`)

let [sockets, channels, positions, presences] = [{}, {}, {}, {}]
let turn = 0 // counts resets: what an earlier turn's sockets still tell is nobody's

function say(words) {
  process.stdout.write(JSON.stringify(words) + "\n")
}

function teller() {
  const mine = turn
  return (words) => mine === turn && say(words)
}

function plain(value) {
  return value instanceof ArrayBuffer ? { hex: Buffer.from(value).toString("hex") } : value
}

function answered(push) {
  return new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout", "teapot"]) {
      push.receive(status, (response) => resolve({ status, response: plain(response) }))
    }
  })
}

function shown(presence) {
  return Object.fromEntries(presence.list((key, { metas }) => [key, metas.map((meta) => meta.status ?? meta.name)]))
}

const actions = {
  connect({ socket = "main", url, transport, params = {}, token, heartbeat = 30000, session = {} }) {
    const tell = teller()
    const found = (sockets[socket] = new Socket(url, {
      params,
      authToken: token,
      heartbeatIntervalMs: heartbeat,
      rejoinAfterMs: () => 50,
      reconnectAfterMs: () => 50,
      timeout: 10000,
      transport: transport === "longpoll" ? LongPoll : WebSocket,
      sessionStorage: { getItem: (name) => session[name] ?? null, setItem: (name, value) => (session[name] = value) },
    }))
    found.onOpen(() => tell({ on: "open", socket }))
    found.onClose((event) => tell({ on: "close", socket, code: event?.code ?? null }))
    found.onError(() => tell({ on: "error", socket }))
    found.onMessage(({ topic, event, payload, ref }) => {
      if (topic === "phoenix") tell({ on: "heartbeat", socket, event, payload, ref: typeof ref })
    })
    found.connect()
    return null
  },

  // `since`: join with the position of the last kept message, as an application would.
  channel({ socket = "main", name, topic, params = {}, since = false }) {
    const [tell, known] = [teller(), positions]
    const channel = (channels[name] = sockets[socket].channel(
      topic,
      since ? () => (known[name] ? { ...params, since: known[name] } : params) : params,
    ))
    channel.onMessage = (event, payload) => {
      if (event === "phx_reply" || event.startsWith("chan_reply_")) return payload
      const position = payload?._holdfast?.position
      if (position) known[name] = position
      tell({ on: "message", name, event, payload: plain(payload) })
      return payload
    }
    channel.onError(() => tell({ on: "channel error", name }))
    channel.onClose(() => tell({ on: "channel close", name }))
    return null
  },

  // Every later answer to a join, which the client repeats by itself, is told as "joined".
  join({ name }) {
    const [tell, known] = [teller(), positions]
    const push = channels[name].join()
    push.receive("ok", (response) => {
      if (!known[name] && response.position) known[name] = response.position
      tell({ on: "joined", name, response })
    })
    return answered(push)
  },

  push({ name, event, payload = {}, hex }) {
    const data = hex === undefined ? payload : new Uint8Array(Buffer.from(hex, "hex")).buffer
    return answered(channels[name].push(event, data))
  },

  leave({ name }) {
    return answered(channels[name].leave())
  },

  presence({ name }) {
    const tell = teller()
    const presence = (presences[name] = new Presence(channels[name]))
    presence.onJoin((key) => tell({ on: "presence join", name, key }))
    presence.onLeave((key, current) => tell({ on: "presence leave", name, key, left: current.metas.length }))
    presence.onSync(() => tell({ on: "presence", name, who: shown(presence) }))
    return null
  },

  state({ name }) {
    return channels[name].state
  },

  // As if it had just begun.
  reset() {
    turn += 1
    for (const socket of Object.values(sockets)) socket.disconnect()
    ;[sockets, channels, positions, presences] = [{}, {}, {}, {}]
    return null
  },

  disconnect({ socket = "main" }) {
    return new Promise((resolve) => sockets[socket].disconnect(() => resolve(null)))
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: action, ...words } = JSON.parse(line)
  Promise.resolve()
    .then(() => actions[action](words))
    .then(
      (answer) => say({ id, answer }),
      (error) => say({ id, failed: String(error?.stack ?? error) }),
    )
}
process.exit(0)
