/* Raw sockets, blocking, without framing and channels: what the kernel and the loopback allow. A reference, not a peer.
 *
 * Messages one way go in writes of the size that is fastest here; round trips send back whatever one read has brought.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    /* The loopback's largest segment is 65,483 bytes: from a little more on, the rest of each write goes alone, at a
     * fifth of the speed. */
    WRITE_SIZE = 65280,
    BUFFER_SIZE = 1 << 18,
    LATENCIES = 1 << 22,
};

static const double LEVELS[] = {1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9}; /* as in muxtcp/bench/stage.py */
enum { LEVEL_COUNT = sizeof LEVELS / sizeof LEVELS[0] };

static char buffer[BUFFER_SIZE];
static double latencies[LATENCIES]; /* seconds, of one message under way */
static size_t latency_count;

static char job[4096];
static double warmup, interval;
static long size;
static double begun, opened, opened_cpu; /* the clock and the CPU; 0: not yet */
static unsigned long long bytes, opened_bytes;
static int published;

static void fail(const char *what)
{
    printf("{\"error\": \"%s: %m\"}\n", what);
    exit(1);
}

/* The number after a key of the job. The runner writes it, so it is looked for, not parsed. */
static double number(const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(job, quoted);
    return found ? strtod(found + strlen(quoted), NULL) : 0;
}

static int asks_for(const char *word) { return strstr(job, word) != NULL; }

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int ascending(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void publish(double seconds)
{
    printf("{\"result\": {\"seconds\": %f, \"cpu\": %f, \"rate\": %f", seconds, cpu() - opened_cpu,
           (bytes - opened_bytes) / (double)size / seconds);
    qsort(latencies, latency_count, sizeof latencies[0], ascending);
    for (int at = 0; latency_count && at < LEVEL_COUNT; at++)
        printf(", \"p%g\": %f", LEVELS[at], latencies[(size_t)((latency_count - 1) * LEVELS[at] / 100)] * 1e6);
    puts("}}");
    published = 1;
}

/* Traffic flows: after the warm-up the interval is opened, and at its end the figures are published. */
static void moved(size_t count)
{
    double time = now();
    bytes += count;
    if (!begun)
        begun = time;
    if (!opened && time >= begun + warmup) {
        opened = time, opened_cpu = cpu(), opened_bytes = bytes;
        latency_count = 0;
    } else if (opened && !published && time >= opened + interval) {
        publish(time - opened);
    }
}

static void put(int sock, const char *data, size_t count)
{
    while (count) {
        ssize_t written = write(sock, data, count);
        if (written < 0)
            fail("write");
        data += written, count -= written;
    }
}

static size_t get(int sock)
{
    ssize_t count = read(sock, buffer, sizeof buffer);
    if (count <= 0)
        fail("read");
    return count;
}

static int connected(int server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int sock = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (server) {
        if (bind(sock, (struct sockaddr *)&address, length) || listen(sock, 1))
            fail("listen");
        getsockname(sock, (struct sockaddr *)&address, &length);
        printf("{\"port\": %d}\n", ntohs(address.sin_port));
        sock = accept(sock, NULL, NULL);
    } else {
        address.sin_port = htons((int)number("port"));
        if (connect(sock, (struct sockaddr *)&address, length))
            fail("connect");
    }
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return sock;
}

/* Nothing follows the job but the end of the pipe: the runner is gone. */
static void *watch(void *unused)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    _exit(unused ? 1 : 0);
}

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1 && !strcmp(arguments[1], "--version")) {
        printf("{\"version\": \"gcc %s\"}\n", __VERSION__);
        return 0;
    }
    if (read(STDIN_FILENO, job, sizeof job - 1) <= 0)
        fail("no job");
    warmup = number("warmup"), interval = number("seconds"), size = (long)number("size");
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch, job))
        fail("pthread_create");

    int server = asks_for("\"server\""), sock = connected(server);
    if (asks_for("\"flood\"")) {
        for (;;) {
            if (server) {
                moved(get(sock));
            } else {
                put(sock, buffer, WRITE_SIZE);
                moved(WRITE_SIZE);
            }
        }
    }
    long under_way = (long)number("channels");
    double sent = now();
    if (!server)
        put(sock, buffer, size * under_way);
    for (;;) {
        size_t arrived = get(sock);
        if (!server && under_way == 1 && latency_count < LATENCIES) {
            double time = now();
            latencies[latency_count++] = time - sent;
            sent = time;
        }
        moved(arrived);
        put(sock, buffer, arrived);
    }
}
