/* The load generator: what its files share. One thread, one epoll, plain TCP on loopback. */
#ifndef LOAD_H
#define LOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- what was asked for (main.c) --- */

typedef struct {
  const char *host, *path, *prefix;
  int port, rooms, members, publishers; /* members and publishers of each room */
  int window;                           /* closed loop: messages of a publisher that not every member has */
  double rate;                          /* open loop: messages a second of all publishers together; 0: closed */
  double warm, seconds;
  long messages;  /* end after so many, whatever the time; 0: time decides */
  int concurrent; /* connections being set up at once */
  int history;    /* messages that a joiner waits for */
  int stalled;    /* members of each room that never read again once they have joined */
  int length;     /* of a message's text */
  double hold;    /* without publishing: seconds to stay connected */
  bool publish, socketio;
  int pids[64], npids; /* the server's processes, to read their CPU and memory */
} Options;
extern Options opt;

/* --- clocks, histograms, /proc (stats.c) --- */

typedef struct {
  uint64_t n, max, bucket[64 * 64];
} Hist;

uint64_t now_ns(void);
void hist_add(Hist *h, uint64_t ns);
void hist_print(const char *name, const Hist *h);
double server_cpu(void);            /* seconds, all its processes */
long server_kb(const char *key);    /* a line of /proc/PID/status, summed */
double core_busy(int core);         /* seconds that this core has been busy, for whomever */
double own_cpu(void);

/* --- connections (conn.c) --- */

enum State { NEW, CONNECTING, UPGRADING, JOINING, REPLAYING, READY, DEAD };

typedef struct {
  int fd, room, replayed;
  uint8_t state, stalled, writing;
  uint8_t *in, *out;
  uint32_t inlen, incap, outlen, outcap, ref;
  uint64_t began, upgraded, joined;
} Conn;
extern Conn *conns;
extern int nconns, ready, dead, under_way;

void conns_make(void);
void conns_start(void);                                 /* as many as may be set up at once */
void conns_poll(int64_t ns);                            /* wait for events, at most so long, and act on them */
void conns_wake(void);                                  /* those that stalled read on */
void conn_send(Conn *c, int op, const char *d, size_t n); /* one masked frame */
void conn_ready(Conn *c, uint64_t now);

/* --- the conversation (chat.c) --- */

typedef struct {
  int conn;
  uint32_t seq, outstanding, *remain; /* a ring: deliveries that are missing, by sequence number */
} Publisher;
extern Publisher *publishers;
extern int npublishers;

typedef struct {
  bool running, measuring;
  uint64_t stop_at, published, completed, deliveries, total_completed, total_deliveries, twice, late, bytes, reads;
} Count;
extern Count count;
extern Hist latency, upgrading, joining, replaying, setting_up;

void chat_make(void);
void chat_upgraded(Conn *c);
void chat_text(Conn *c, const uint8_t *s, size_t n, uint64_t now);
void chat_publish(Publisher *p, uint64_t due);
bool chat_publish_next(uint64_t due); /* the next publisher that may; false: none may */
uint64_t chat_outstanding(void);
#endif
