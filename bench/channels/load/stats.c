/* Clocks, histograms (64 buckets for each doubling: 1.6% wide) and what /proc tells. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int bucket_of(uint64_t v) {
  if (v < 64) return (int)v;
  int e = 63 - __builtin_clzll(v);
  return (e - 5) * 64 + (int)((v >> (e - 6)) & 63);
}

static uint64_t value_of(int bucket) {
  if (bucket < 64) return bucket;
  return (64ull + (bucket & 63)) << (bucket / 64 + 5 - 6);
}

void hist_add(Hist *h, uint64_t ns) {
  h->n++;
  h->bucket[bucket_of(ns)]++;
  if (ns > h->max) h->max = ns;
}

static double quantile_ms(const Hist *h, double q) {
  uint64_t wanted = (uint64_t)(q * h->n), seen = 0;
  if (!h->n) return 0;
  for (int i = 0; i < 64 * 64; i++) {
    seen += h->bucket[i];
    if (seen > wanted) return value_of(i) / 1e6;
  }
  return h->max / 1e6;
}

void hist_print(const char *name, const Hist *h) {
  printf(",\"%s\":{\"n\":%llu,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name, (unsigned long long)h->n,
         quantile_ms(h, .5), quantile_ms(h, .99), h->max / 1e6);
}

static double process_cpu(int pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = 0;
  char *after_name = strrchr(text, ')');
  unsigned long user = 0, sys = 0;
  if (after_name) sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
  return (double)(user + sys) / sysconf(_SC_CLK_TCK);
}

static long process_kb(int pid, const char *key) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  long kb = 0;
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, key, strlen(key))) {
      kb = atol(line + strlen(key) + 1);
      break;
    }
  fclose(f);
  return kb;
}

double server_cpu(void) {
  double seconds = 0;
  for (int i = 0; i < opt.npids; i++) seconds += process_cpu(opt.pids[i]);
  return seconds;
}

long server_kb(const char *key) {
  long kb = 0;
  for (int i = 0; i < opt.npids; i++) kb += process_kb(opt.pids[i], key);
  return kb;
}

double core_busy(int core) {
  char wanted[16], line[512];
  double busy = 0;
  int n = snprintf(wanted, sizeof wanted, "cpu%d ", core);
  FILE *f = fopen("/proc/stat", "r");
  if (!f) return 0;
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, wanted, n)) continue;
    double user = 0, nice = 0, sys = 0, idle, wait, irq = 0, softirq = 0, steal = 0;
    sscanf(line + n, "%lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &sys, &idle, &wait, &irq, &softirq, &steal);
    busy = (user + nice + sys + irq + softirq + steal) / sysconf(_SC_CLK_TCK);
  }
  fclose(f);
  return busy;
}

double own_cpu(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
