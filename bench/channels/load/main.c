/* load: drives a server that speaks the Phoenix Channels V2 wire format over WebSocket.
 *
 * Connects rooms x members, joins each to its room, then either publishes
 * (closed loop: --window; open loop: --rate, where latency counts from the
 * moment a message was due, so a stall is not hidden) or stays for --hold
 * seconds. Prints one JSON object.
 *
 * Build: cc -O2 -o load *.c
 */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull
#define SETTING_UP_SECONDS 60
#define DRAINING_SECONDS 3
#define WAKING_SECONDS 1

Options opt = {.host = "127.0.0.1", .path = "/socket/websocket?vsn=2.0.0", .prefix = "chat_room:", .port = 4000,
               .rooms = 1, .members = 100, .publishers = 1, .window = 1, .warm = 0.5, .seconds = 2,
               .concurrent = 64, .length = 64};

typedef struct {
  double wall, own, server, busy[2];
  long before_kb, joined_kb, end_kb;
  uint64_t unfinished;
  double join_s, join_cpu_s;
} Found;

static const struct option NAMES[] = {
    {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},       {"path", 1, 0, 'P'},       {"prefix", 1, 0, 'x'},
    {"rooms", 1, 0, 'r'},   {"members", 1, 0, 'm'},    {"publishers", 1, 0, 'u'}, {"window", 1, 0, 'w'},
    {"rate", 1, 0, 'R'},    {"warm", 1, 0, 'W'},       {"seconds", 1, 0, 's'},    {"messages", 1, 0, 'n'},
    {"history", 1, 0, 'H'}, {"concurrent", 1, 0, 'c'}, {"stalled", 1, 0, 'S'},    {"length", 1, 0, 'l'},
    {"hold", 1, 0, 'd'},    {"publish", 0, 0, 'b'},    {"socketio", 0, 0, 'o'},   {"pids", 1, 0, 'q'}, {0}};

static void pids(char *text) {
  for (char *t = strtok(text, ","); t && opt.npids < 64; t = strtok(NULL, ",")) opt.pids[opt.npids++] = atoi(t);
}

static bool take(int name, char *value) {
  switch (name) {
    case 'h': opt.host = value; break;
    case 'p': opt.port = atoi(value); break;
    case 'P': opt.path = value; break;
    case 'x': opt.prefix = value; break;
    case 'r': opt.rooms = atoi(value); break;
    case 'm': opt.members = atoi(value); break;
    case 'u': opt.publishers = atoi(value); break;
    case 'w': opt.window = atoi(value); break;
    case 'R': opt.rate = atof(value); break;
    case 'W': opt.warm = atof(value); break;
    case 's': opt.seconds = atof(value); break;
    case 'n': opt.messages = atol(value); break;
    case 'H': opt.history = atoi(value); break;
    case 'c': opt.concurrent = atoi(value); break;
    case 'S': opt.stalled = atoi(value); break;
    case 'l': opt.length = atoi(value); break;
    case 'd': opt.hold = atof(value); break;
    case 'b': opt.publish = true; break;
    case 'o': opt.socketio = true; break;
    case 'q': pids(value); break;
    default: return false;
  }
  return true;
}

static void set_up(Found *found) {
  found->before_kb = server_kb("VmRSS:");
  double cpu = server_cpu();
  uint64_t began = now_ns();
  while (ready + dead < nconns) {
    conns_start();
    conns_poll(SECOND / 10);
    if (now_ns() - began > SETTING_UP_SECONDS * SECOND) {
      fprintf(stderr, "joins timed out: ready %d, dead %d\n", ready, dead);
      break;
    }
  }
  found->join_s = (now_ns() - began) / 1e9;
  found->join_cpu_s = server_cpu() - cpu;
  found->joined_kb = server_kb("VmRSS:");
}

static void readings(Found *found, double sign) {
  found->server += sign * server_cpu();
  found->own += sign * own_cpu();
  for (int core = 0; core < 2; core++) found->busy[core] += sign * core_busy(core);
}

/* A server that drops messages would stop a closed loop for good: open its windows again. */
static void nudge(uint64_t now) {
  static uint64_t looked_at, seen;
  if (opt.rate || now - looked_at < 2 * SECOND) return;
  if (looked_at && seen == count.total_deliveries)
    for (int i = 0; i < npublishers; i++) publishers[i].outstanding = 0, chat_publish(publishers + i, now);
  looked_at = now;
  seen = count.total_deliveries;
}

/* Publishes what is due by now; answers when the next one is. */
static double pace(double next, uint64_t now) {
  for (int budget = 256; next <= now && budget--; next += 1e9 / opt.rate)
    if (!chat_publish_next((uint64_t)next)) break;
  return next;
}

static bool over(uint64_t now) {
  return now >= count.stop_at || dead == nconns ||
         (opt.messages && count.total_completed >= (uint64_t)opt.messages);
}

static void talk(Found *found) {
  uint64_t began = now_ns(), warmed = began + (uint64_t)(opt.warm * 1e9), measured = 0, now;
  double next = began;
  count.running = true;
  count.stop_at = warmed + (uint64_t)(opt.seconds * 1e9);
  for (int i = 0; !opt.rate && i < npublishers; i++)
    for (int w = 0; w < opt.window; w++) chat_publish(publishers + i, now_ns());
  while (now = now_ns(), !over(now)) {
    if (!count.measuring && now >= warmed) {
      count.measuring = true;
      measured = now;
      readings(found, -1);
    }
    int64_t wait = SECOND / 10, left = (count.measuring ? count.stop_at : warmed) - now;
    if (opt.rate) {
      next = pace(next, now);
      if ((int64_t)(next - now) < wait) wait = next - now;
    }
    nudge(now);
    conns_poll(wait < left ? wait : left);
  }
  if (measured) readings(found, 1), found->wall = (now_ns() - measured) / 1e9;
  count.measuring = false;
  count.stop_at = 0; /* what comes from now on is answered by no further message */
  found->end_kb = server_kb("VmRSS:");
  uint64_t limit = now_ns() + DRAINING_SECONDS * SECOND; /* slow is told from lost */
  while ((found->unfinished = chat_outstanding()) && now_ns() < limit && dead < nconns) conns_poll(SECOND / 50);
  if (!opt.stalled) return;
  conns_wake(); /* one that was closed finds out only by reading */
  for (limit = now_ns() + WAKING_SECONDS * SECOND; now_ns() < limit;) conns_poll(SECOND / 50);
}

static void stay(Found *found) {
  uint64_t until = now_ns() + (uint64_t)(opt.hold * 1e9);
  while (now_ns() < until) conns_poll(SECOND / 10);
  found->end_kb = server_kb("VmRSS:");
}

static void print(const Found *f) {
  double wall = f->wall > 0 ? f->wall : 1;
  uint64_t sent = 0;
  for (int i = 0; i < npublishers; i++) sent += publishers[i].seq;
  printf("{\"connections\":%d,\"ready\":%d,\"dead\":%d,\"wall_s\":%.3f", nconns, ready, dead, f->wall);
  printf(",\"published\":%.1f,\"completed\":%.1f,\"deliveries\":%.0f", count.published / wall, count.completed / wall,
         count.deliveries / wall);
  printf(",\"sent\":%llu,\"lost\":%llu,\"twice\":%llu,\"late\":%llu", (unsigned long long)sent,
         (unsigned long long)f->unfinished, (unsigned long long)count.twice, (unsigned long long)count.late);
  printf(",\"frames_per_read\":%.2f,\"bytes_per_frame\":%.1f",
         count.reads ? (double)count.deliveries / count.reads : 0,
         count.deliveries ? (double)count.bytes / count.deliveries : 0);
  printf(",\"busy\":[%.3f,%.3f],\"generator\":%.3f,\"server\":%.3f", f->busy[0] / wall, f->busy[1] / wall,
         f->own / wall, f->server / wall);
  printf(",\"before_kb\":%ld,\"joined_kb\":%ld,\"end_kb\":%ld,\"peak_kb\":%ld", f->before_kb, f->joined_kb, f->end_kb,
         server_kb("VmHWM:"));
  printf(",\"join_s\":%.4f,\"join_cpu_s\":%.2f", f->join_s, f->join_cpu_s);
  hist_print("latency_ms", &latency);
  hist_print("upgrade_ms", &upgrading);
  hist_print("join_ms", &joining);
  hist_print("history_ms", &replaying);
  hist_print("ready_ms", &setting_up);
  printf("}\n");
}

int main(int argc, char **argv) {
  int name;
  while ((name = getopt_long(argc, argv, "", NAMES, 0)) != -1)
    if (!take(name, optarg)) return 2;
  if (opt.length > 1500) opt.length = 1500;
  if (opt.stalled >= opt.members || opt.publishers > opt.members - opt.stalled) {
    fprintf(stderr, "too many stalled members or publishers\n");
    return 2;
  }
  Found found = {0};
  conns_make();
  chat_make();
  set_up(&found);
  if (opt.publish && ready) talk(&found);
  else stay(&found);
  print(&found);
  return 0;
}
