/* Connections: TCP, the WebSocket handshake, frames in and out. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

Conn *conns;
int nconns, ready, dead, under_way;
static int epoll, next;

void conns_make(void) {
  epoll = epoll_create1(0);
  nconns = opt.rooms * opt.members;
  conns = calloc(nconns, sizeof *conns);
  for (int i = 0; i < nconns; i++) {
    conns[i].room = i / opt.members;
    conns[i].stalled = i % opt.members >= opt.members - opt.stalled; /* publishers are the first ones of a room */
  }
}

static void die(Conn *c) {
  if (c->state == DEAD) return;
  if (c->state != READY) under_way--;
  c->state = DEAD;
  close(c->fd);
  dead++;
}

static void watch(Conn *c, bool writing) {
  if (c->writing == writing) return;
  c->writing = writing;
  bool reading = !(c->stalled && c->state == READY);
  struct epoll_event e = {.events = (reading ? EPOLLIN : 0) | (writing ? EPOLLOUT : 0), .data.u32 = c - conns};
  epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void push(Conn *c, const void *data, size_t n) {
  const uint8_t *p = data;
  if (c->state == DEAD) return;
  if (!c->outlen) {
    ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return die(c);
    if (sent > 0) p += sent, n -= sent;
    if (!n) return;
  }
  if (c->outlen + n > c->outcap) c->out = realloc(c->out, c->outcap = (c->outlen + n) * 2);
  memcpy(c->out + c->outlen, p, n);
  c->outlen += n;
  watch(c, true);
}

void conn_send(Conn *c, int op, const char *d, size_t n) {
  uint8_t b[8192];
  size_t k = 0;
  b[k++] = 0x80 | op;
  if (n < 126) b[k++] = 0x80 | n;
  else b[k++] = 0x80 | 126, b[k++] = n >> 8, b[k++] = n & 255;
  memset(b + k, 0, 4); /* a client masks its frames; with a key of zeros that costs us nothing */
  memcpy(b + k + 4, d, n);
  push(c, b, k + 4 + n);
}

void conn_ready(Conn *c, uint64_t now) {
  c->state = READY;
  ready++;
  under_way--;
  hist_add(&setting_up, now - c->began);
  if (c->stalled) c->writing = 2, watch(c, false); /* 2: is neither, so the events are set anew */
}

static void connect_one(Conn *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
  inet_pton(AF_INET, opt.host, &to.sin_addr);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) perror("socket"), exit(1);
  int one = 1, small = 8192, segment = 1400;
  struct linger reset = {1, 0}; /* thousands of ports in TIME_WAIT would be the next run's trouble */
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (c->stalled) { /* as over a real network: with loopback's segments of 64 KiB the kernel takes in megabytes */
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  }
  c->began = now_ns();
  c->state = CONNECTING;
  c->writing = 1;
  under_way++;
  struct epoll_event e = {.events = EPOLLOUT, .data.u32 = c - conns};
  epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
  if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) perror("connect"), die(c);
}

void conns_wake(void) {
  for (int i = 0; i < nconns; i++) {
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    if (conns[i].stalled && conns[i].state == READY) epoll_ctl(epoll, EPOLL_CTL_MOD, conns[i].fd, &e);
  }
}

void conns_start(void) {
  while (next < nconns && under_way < opt.concurrent) connect_one(conns + next++);
}

static void connected(Conn *c) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    fprintf(stderr, "connect: %s\n", strerror(error));
    return die(c);
  }
  char b[512];
  c->state = UPGRADING;
  watch(c, false);
  int n = snprintf(b, sizeof b,
                   "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                   opt.path, opt.host, opt.port);
  push(c, b, n);
}

static uint8_t *upgraded(Conn *c, uint8_t *p, uint8_t *end, uint64_t now) {
  uint8_t *q = memmem(p, end - p, "\r\n\r\n", 4);
  if (!q) return NULL;
  if (end - p < 12 || memcmp(p + 9, "101", 3)) {
    fprintf(stderr, "handshake refused: %.60s\n", p);
    die(c);
    return NULL;
  }
  c->upgraded = now;
  hist_add(&upgrading, now - c->began);
  chat_upgraded(c);
  return q + 4;
}

static uint8_t *parse(Conn *c, uint8_t *p, uint8_t *end, uint64_t now) {
  if (c->state == UPGRADING) {
    uint8_t *q = upgraded(c, p, end, now);
    if (!q) return p;
    p = q;
  }
  while (end - p >= 2 && c->state != DEAD) {
    size_t n = p[1] & 127, head = 2;
    if (n == 126) {
      if (end - p < 4) break;
      n = p[2] << 8 | p[3], head = 4;
    } else if (n == 127) {
      if (end - p < 10) break;
      n = 0, head = 10;
      for (int i = 0; i < 8; i++) n = n << 8 | p[2 + i];
    }
    if ((size_t)(end - p) < head + n) break;
    int op = p[0] & 15;
    if (op == 1 || op == 2) chat_text(c, p + head, n, now);
    else if (op == 9) conn_send(c, 10, (char *)p + head, n);
    else if (op == 8) die(c);
    p += head + n;
  }
  return p;
}

static void readable(Conn *c) {
  static uint8_t b[1 << 18];
  ssize_t n = recv(c->fd, b + c->inlen, sizeof b - c->inlen, MSG_DONTWAIT);
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) die(c);
    return;
  }
  uint64_t now = now_ns();
  if (count.measuring) count.bytes += n, count.reads++;
  if (c->inlen) memcpy(b, c->in, c->inlen);
  uint8_t *end = b + c->inlen + n, *p = parse(c, b, end, now);
  c->inlen = c->state == DEAD ? 0 : end - p;
  if (c->inlen > c->incap) c->in = realloc(c->in, c->incap = c->inlen * 2);
  if (c->inlen) memcpy(c->in, p, c->inlen);
}

static void act(Conn *c, uint32_t events) {
  if (c->state == DEAD) return;
  if (c->state == CONNECTING) return connected(c);
  if ((events & EPOLLOUT) && c->outlen) {
    ssize_t sent = send(c->fd, c->out, c->outlen, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return die(c);
    if (sent > 0) memmove(c->out, c->out + sent, c->outlen -= sent);
    if (!c->outlen) watch(c, false);
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
}

void conns_poll(int64_t ns) {
  struct epoll_event events[512];
  if (ns < 0) ns = 0;
  struct timespec limit = {ns / 1000000000, ns % 1000000000};
  int n = epoll_pwait2(epoll, events, 512, &limit, NULL);
  for (int i = 0; i < n; i++) act(conns + events[i].data.u32, events[i].events);
}
