/* The conversation: Phoenix Channels V2 as JSON, or the same in Socket.IO's frames.
 *
 * A message's text carries "~T", the run's tag (4 hex digits), when it was sent
 * or was due (16), its publisher (6) and sequence number (8): each delivery is
 * attributed exactly, loss and duplicates are seen, and what a history replays
 * from another run is told apart.
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK 36
#define EVENT "new_message"

Publisher *publishers;
int npublishers;
Count count;
Hist latency, upgrading, joining, replaying, setting_up;
static uint32_t ring = 1024, tag;
static int turn;

void chat_make(void) {
  npublishers = opt.rooms * opt.publishers;
  while (ring < (uint32_t)opt.window * 2) ring *= 2;
  if (npublishers == 1 && ring < 65536) ring = 65536;
  tag = (getpid() ^ now_ns()) & 0xffff;
  publishers = calloc(npublishers, sizeof *publishers);
  for (int i = 0; i < npublishers; i++) {
    publishers[i].conn = i / opt.publishers * opt.members + i % opt.publishers;
    publishers[i].remain = calloc(ring, sizeof(uint32_t));
  }
}

static void topic(char *t, size_t size, int room) { snprintf(t, size, "%s%d", opt.prefix, room); }

static void join(Conn *c) {
  char t[64], b[256];
  topic(t, sizeof t, c->room);
  int n = opt.socketio ? snprintf(b, sizeof b, "42[\"phx_join\",{\"topic\":\"%s\"}]", t)
                       : snprintf(b, sizeof b, "[\"1\",\"%u\",\"%s\",\"phx_join\",{}]", ++c->ref, t);
  conn_send(c, 1, b, n);
}

void chat_upgraded(Conn *c) {
  c->state = JOINING;
  if (!opt.socketio) join(c); /* Socket.IO has a greeting of its own first */
}

void chat_publish(Publisher *p, uint64_t due) {
  Conn *c = conns + p->conn;
  char t[64], text[2048], b[4096];
  if (c->state != READY) return;
  topic(t, sizeof t, c->room);
  int n = sprintf(text, "~T%04x%016llx%06x%08x", tag, (unsigned long long)due, (unsigned)(p - publishers), p->seq);
  for (; n < opt.length; n++) text[n] = 'x';
  text[n] = 0;
  if (opt.socketio)
    n = sprintf(b, "42[\"" EVENT "\",{\"topic\":\"%s\",\"payload\":{\"name\":\"user%06d\",\"message\":\"%s\"}}]", t,
                p->conn, text);
  else
    n = sprintf(b, "[\"1\",\"%u\",\"%s\",\"" EVENT "\",{\"name\":\"user%06d\",\"message\":\"%s\"}]", ++c->ref, t,
                p->conn, text);
  p->remain[p->seq & (ring - 1)] = opt.members - opt.stalled;
  p->seq++;
  p->outstanding++;
  if (count.measuring) count.published++;
  conn_send(c, 1, b, n);
}

bool chat_publish_next(uint64_t due) {
  for (int tries = 0; tries < npublishers; tries++) {
    Publisher *p = publishers + turn;
    turn = (turn + 1) % npublishers;
    if (p->outstanding >= ring - 1 || conns[p->conn].state != READY) continue;
    chat_publish(p, due);
    return true;
  }
  count.late++;
  return false;
}

uint64_t chat_outstanding(void) {
  uint64_t n = 0;
  for (int i = 0; i < npublishers; i++) n += publishers[i].outstanding;
  return n;
}

static uint64_t hex(const uint8_t *s, int n) {
  uint64_t v = 0;
  for (; n--; s++) v = v << 4 | (*s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10);
  return v;
}

static void delivered(const uint8_t *s, size_t n, uint64_t now) {
  const uint8_t *q = s, *end = s + n;
  while ((q = memchr(q, '~', end - q)) && q + MARK <= end && q[1] != 'T') q++;
  if (!q || q + MARK > end || hex(q + 2, 4) != tag || !count.running) return;
  uint64_t due = hex(q + 6, 16);
  uint32_t publisher = hex(q + 22, 6), seq = hex(q + 28, 8);
  if (publisher >= (uint32_t)npublishers) return;
  Publisher *p = publishers + publisher;
  count.total_deliveries++;
  if (count.measuring) {
    count.deliveries++;
    hist_add(&latency, now > due ? now - due : 0);
  }
  uint32_t *missing = &p->remain[seq & (ring - 1)];
  if (!*missing || p->seq - seq > ring) {
    count.twice++;
    return;
  }
  if (--*missing) return;
  if (p->outstanding) p->outstanding--;
  count.total_completed++;
  if (count.measuring) count.completed++;
  if (opt.rate) return;
  while (p->outstanding < (uint32_t)opt.window && now < count.stop_at) chat_publish(p, now_ns());
}

static bool socketio_own(Conn *c, const uint8_t *s, size_t n) {
  if (!n || s[0] == '4') { /* a packet of Socket.IO; 40: welcome */
    if (n < 2 || s[1] != '0') return false;
    join(c);
  } else if (s[0] == '0') conn_send(c, 1, "40", 2);
  else if (s[0] == '2') conn_send(c, 1, "3", 1);
  return true;
}

void chat_text(Conn *c, const uint8_t *s, size_t n, uint64_t now) {
  if (opt.socketio && socketio_own(c, s, n)) return;
  if (c->state == READY) {
    if (!c->stalled) delivered(s, n, now);
    return;
  }
  if (c->state == JOINING && memmem(s, n, "phx_reply", 9)) {
    c->joined = now;
    c->state = REPLAYING;
    hist_add(&joining, now - c->upgraded);
    if (!opt.history) conn_ready(c, now);
  } else if (c->state == REPLAYING && memmem(s, n, EVENT, sizeof EVENT - 1) && ++c->replayed == opt.history) {
    hist_add(&replaying, now - c->joined);
    conn_ready(c, now);
  }
}
