/* The floor: what one core can send through epoll and send(2), with no language in the way.
 *
 * A WebSocket server that slices an incoming new_message into a broadcast and
 * sends it to every member of the room, each with a send of its own. It checks
 * nothing that a real server must check and trusts its peer.
 *
 * floor PORT        Build: cc -O2 -o floor floor.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 20000 /* by file descriptor */
#define ROOMS 2048
#define TOPIC 64
#define FRAME 4096 /* the longest that is sent */
#define OK "\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"

typedef struct {
  bool open;
  int room; /* -1: none */
  size_t nin, nout, capout;
  char *in, *out;
} Conn;

typedef struct {
  char topic[TOPIC];
  int *members, n, cap;
} Room;

static Conn conns[CONNS];
static Room rooms[ROOMS];
static int nrooms, epoll;

static void watch(int fd, int how, uint32_t events) {
  struct epoll_event e = {.events = events, .data.fd = fd};
  epoll_ctl(epoll, how, fd, &e);
}

static void put(int fd, const char *d, size_t n) {
  Conn *c = conns + fd;
  if (!c->nout) {
    ssize_t sent = send(fd, d, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return; /* its end is read soon */
    if (sent > 0) d += sent, n -= sent;
    if (!n) return;
  }
  if (c->nout + n > c->capout) c->out = realloc(c->out, c->capout = (c->nout + n) * 2);
  memcpy(c->out + c->nout, d, n);
  c->nout += n;
  watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

/* A text frame of the parts, in `to`; its length. */
static size_t frame(char *to, const char *start, size_t nstart, const char *rest, size_t nrest) {
  size_t n = nstart + nrest, head = n < 126 ? 2 : 4;
  if (n + head > FRAME) return 0;
  to[0] = (char)0x81;
  if (n < 126) to[1] = n;
  else to[1] = 126, to[2] = n >> 8, to[3] = n & 255;
  memcpy(to + head, start, nstart);
  memcpy(to + head + nstart, rest, nrest);
  return head + n;
}

static Room *room_of(const char *topic, size_t n) {
  int i = 0;
  while (i < nrooms && !(strlen(rooms[i].topic) == n && !memcmp(rooms[i].topic, topic, n))) i++;
  if (i == ROOMS || n >= TOPIC) return NULL;
  if (i == nrooms) memcpy(rooms[nrooms++].topic, topic, n);
  return rooms + i;
}

static void join(int fd, const char *topic, size_t n) {
  char b[FRAME], text[256];
  Room *r = room_of(topic, n);
  if (!r) return;
  if (r->n == r->cap) r->members = realloc(r->members, sizeof(int) * (r->cap = r->cap * 2 + 16));
  r->members[r->n++] = fd;
  conns[fd].room = r - rooms;
  int k = snprintf(text, sizeof text, "[\"1\",\"1\",\"%s\",", r->topic);
  put(fd, b, frame(b, text, k, OK, sizeof OK - 1));
}

/* [join_ref, ref, topic, event, payload]: the first eight quotes bound four strings. */
static void text(int fd, char *s, size_t n) {
  char b[FRAME], *quote[8], *at = s;
  for (int k = 0; k < 8; k++, at++) {
    at = memchr(at, '"', s + n - at);
    if (!at) return;
    quote[k] = at;
  }
  const char *topic = quote[4] + 1, *event = quote[6] + 1;
  if (!memcmp(event, "phx_join\"", 9)) return join(fd, topic, quote[5] - topic);
  if (memcmp(event, "new_message\"", 12) || conns[fd].room < 0) return;
  Room *r = rooms + conns[fd].room;
  size_t k = frame(b, "[null,null,", 11, quote[4], s + n - quote[4]);
  for (int i = 0; i < r->n; i++) put(r->members[i], b, k);
}

static void gone(int fd) {
  Conn *c = conns + fd;
  Room *r = c->room < 0 ? NULL : rooms + c->room;
  for (int i = 0; r && i < r->n; i++)
    if (r->members[i] == fd) {
      r->members[i] = r->members[--r->n];
      break;
    }
  free(c->in);
  free(c->out);
  close(fd);
}

static void accept_all(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
    if (fd >= CONNS) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conns[fd] = (Conn){.room = -1};
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static char *upgrade(int fd, char *p, char *end) {
  static const char ACCEPT[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* of the RFC's key */
  char *q = memmem(p, end - p, "\r\n\r\n", 4);
  if (!q) return p;
  put(fd, ACCEPT, sizeof ACCEPT - 1);
  conns[fd].open = true;
  return q + 4;
}

static void readable(int fd) {
  static char b[1 << 18];
  Conn *c = conns + fd;
  if (c->nin) memcpy(b, c->in, c->nin);
  ssize_t got = recv(fd, b + c->nin, 65536, 0);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) gone(fd);
    return;
  }
  char *p = b, *end = b + c->nin + got;
  if (!c->open) p = upgrade(fd, p, end);
  while (c->open && end - p >= 6) { /* masked frames of at most 64 KiB, whole ones */
    size_t n = p[1] & 127, head = 6;
    if (n == 126) {
      if (end - p < 8) break;
      n = (uint8_t)p[2] << 8 | (uint8_t)p[3], head = 8;
    }
    if ((size_t)(end - p) < head + n) break;
    char *mask = p + head - 4, *d = p + head;
    if (mask[0] | mask[1] | mask[2] | mask[3])
      for (size_t i = 0; i < n; i++) d[i] ^= mask[i & 3];
    int op = p[0] & 15;
    p += head + n;
    if (op == 1) text(fd, d, n);
  }
  c->nin = end - p;
  if (c->nin) c->in = realloc(c->in, c->nin), memcpy(c->in, p, c->nin);
}

static void writable(int fd) {
  Conn *c = conns + fd;
  ssize_t sent = c->nout ? send(fd, c->out, c->nout, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
  if (sent > 0) memmove(c->out, c->out + sent, c->nout -= sent);
  if (!c->nout) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

int main(int argc, char **argv) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return perror("bind"), 1;
  epoll = epoll_create1(0);
  watch(listener, EPOLL_CTL_ADD, EPOLLIN);
  for (;;) {
    struct epoll_event events[512];
    int n = epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) accept_all(listener);
      else if (events[i].events & ~EPOLLOUT) readable(fd);
      else writable(fd);
    }
  }
}
