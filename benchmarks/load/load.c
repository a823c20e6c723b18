/* A load generator for redirect servers: every answer is checked, and latency counts from the time at which a request
 * should have been sent, so that a server that stalls cannot hide behind the requests that it kept from being sent.
 *
 *     pace ── which requests are due ──▶ slots ── connections, requests, answers ──▶ counts ──▶ JSON
 *
 * Paces: closed (each slot asks again at once), open (--rate), bursts (--burst-ms), held (--held). See options.h.
 */
#define _GNU_SOURCE
#include "slots.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* OPENING_MAX: less than the queue of any listening socket, so that opening many connections overflows none. */
enum { OPENING_MAX = 128, GRACE_MS = 5000, LOOK_MS = 20 };
static const int64_t MS = 1000000;

static volatile sig_atomic_t is_stopped;

struct pace {
    int64_t start_ns, end_ns; /* end_ns 0: none by time */
    long total;               /* requests to be asked; 0: no such end */
    long next_turn;
    int is_ready;             /* `ready` was printed */
    int is_ended;
    int64_t next_burst_ns;
    int bursts;
};

static void on_signal(int number) {
    is_stopped = number;
}

static void tell_ready(struct pace *pace) {
    if (pace->is_ready)
        return;
    puts("ready");
    fflush(stdout);
    pace->is_ready = 1;
}

static long in_flight(const struct slots *slots) {
    return slots->counts.asked - slots->counts.finished;
}

static void ask_next(struct slots *slots, struct pace *pace, int64_t intended_ns) {
    slots_ask(slots, links_at(slots->links, pace->next_turn), intended_ns);
    pace->next_turn = (pace->next_turn + 1) % slots->links->turns;
}

static int is_over(const struct slots *slots, const struct pace *pace, int64_t now_ns) {
    long asked = slots->counts.asked;
    return is_stopped || (pace->total > 0 && asked >= pace->total) || (pace->end_ns > 0 && now_ns >= pace->end_ns);
}

/* Each of these asks for what is due and returns how long nothing else is. */

static int64_t pace_closed(struct slots *slots, struct pace *pace) {
    int64_t now_ns = clock_ns();
    pace->is_ended = is_over(slots, pace, now_ns);
    /* Those idle now, once: a slot that fails at once may not be asked for ever. */
    for (int due = slots->idle; due > 0 && !pace->is_ended; due--) {
        ask_next(slots, pace, now_ns);
        pace->is_ended = is_over(slots, pace, now_ns);
    }
    return slots->idle > 0 && !pace->is_ended ? 0 : LOOK_MS * MS;
}

static int64_t pace_open(struct slots *slots, struct pace *pace) {
    double period_ns = 1e9 / slots->options->rate;
    int64_t now_ns = clock_ns(), due_ns = 0;
    /* The end is by count: what is due and waits for a slot is still asked. */
    while (!(pace->is_ended = is_stopped || (pace->total > 0 && slots->counts.asked >= pace->total))) {
        due_ns = pace->start_ns + (int64_t)((double)slots->counts.asked * period_ns);
        if (due_ns > now_ns || slots->idle == 0)
            break;
        ask_next(slots, pace, due_ns);
    }
    return slots->idle == 0 || pace->is_ended || due_ns - now_ns > LOOK_MS * MS ? LOOK_MS * MS
           : due_ns > now_ns                                                    ? due_ns - now_ns
                                                                                : 0;
}

static int64_t pace_bursts(struct slots *slots, struct pace *pace) {
    int64_t now_ns = clock_ns();
    int connections = slots->options->connections;
    pace->is_ended = is_over(slots, pace, now_ns);
    if (pace->is_ended)
        return LOOK_MS * MS;
    if (slots->counts.opened < connections) {
        while (slots->idle > 0 && connections - slots->idle < OPENING_MAX && slots->counts.opened < connections &&
               slots->all[slots->queue[slots->queue_start]].wire.fd < 0)
            slots_open(slots);
        return LOOK_MS * MS;
    }
    tell_ready(pace);
    if (slots->idle < connections || now_ns < pace->next_burst_ns)
        return MS;
    for (int i = 0; i < connections; i++)
        slots_ask(slots, links_at(slots->links, pace->next_turn), now_ns);
    pace->next_turn = (pace->next_turn + 1) % slots->links->turns;
    pace->next_burst_ns = now_ns + slots->options->burst_ms * MS;
    pace->bursts++;
    return 0;
}

static int64_t pace_held(struct slots *slots, struct pace *pace) {
    long connections = slots->options->connections;
    long due = is_stopped && pace->is_ready ? 2 * connections : connections;
    while (slots->counts.asked < due && in_flight(slots) < OPENING_MAX)
        ask_next(slots, pace, clock_ns());
    if (slots->counts.finished == connections)
        tell_ready(pace);
    pace->is_ended = slots->counts.asked == 2 * connections || (is_stopped && !pace->is_ready);
    return LOOK_MS * MS;
}

static void drive(struct slots *slots, struct pace *pace) {
    const struct options *options = slots->options;
    int64_t (*due)(struct slots *, struct pace *) = options->is_held        ? pace_held
                                                    : options->burst_ms > 0 ? pace_bursts
                                                    : options->rate > 0     ? pace_open
                                                                            : pace_closed;
    pace->start_ns = clock_ns();
    pace->end_ns = options->seconds > 0 ? pace->start_ns + (int64_t)(options->seconds * 1e9) : 0;
    pace->total = options->rate > 0 && options->seconds > 0 ? (long)(options->rate * options->seconds) : options->count;
    if (!options->is_held && options->burst_ms == 0)
        tell_ready(pace);
    int64_t deadline_ns = 0;
    while (!pace->is_ended || in_flight(slots) > 0) {
        int64_t wait_ns = due(slots, pace);
        slots_turn(slots, wait_ns);
        int64_t now_ns = clock_ns();
        if (deadline_ns == 0 && (pace->is_ended || (pace->end_ns > 0 && now_ns > pace->end_ns)))
            deadline_ns = now_ns + GRACE_MS * MS;
        if (deadline_ns > 0 && now_ns > deadline_ns)
            break;
    }
}

static double in_us(const struct histogram *of, double share) {
    return (double)histogram_at(of, share) / 1e3;
}

static void print_latencies(const struct histogram *of) {
    printf("\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}, ",
           in_us(of, 0.5), in_us(of, 0.9), in_us(of, 0.99), in_us(of, 0.999), in_us(of, 1));
}

static void print_statuses(const long *statuses) {
    const char *comma = "";
    printf("\"statuses\": {");
    for (int status = 0; status < STATUS_END; status++)
        if (statuses[status] > 0) {
            printf("%s\"%d\": %ld", comma, status, statuses[status]);
            comma = ", ";
        }
    printf("}, ");
}

static void print_report(const struct slots *slots, const struct pace *pace) {
    const struct counts *counts = &slots->counts;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    long unasked = slots->options->rate > 0 && !is_stopped ? pace->total - counts->asked : 0;
    printf("{\"asked\": %ld, \"answered\": %ld, \"seconds\": %.6f, \"bytes\": %ld, \"bursts\": %d, ", counts->asked,
           (long)counts->latencies_ns.total, (double)(clock_ns() - pace->start_ns) / 1e9, counts->bytes, pace->bursts);
    print_latencies(&counts->latencies_ns);
    print_statuses(counts->statuses);
    printf("\"wrong\": ");
    wrongs_print(&slots->wrongs);
    printf(", \"errors\": {\"connect\": %ld, \"broken\": %ld, \"unreadable\": %ld, \"status\": %ld, \"location\": %ld, "
           "\"unanswered\": %ld}, ",
           counts->errors[CONNECT], counts->errors[BROKEN], counts->errors[UNREADABLE], counts->errors[WRONG_STATUS],
           counts->errors[WRONG_LOCATION], in_flight(slots) + unasked);
    printf("\"dropped\": %ld, \"opened\": %ld, \"resumed\": %ld, \"protocol\": \"%s\", \"cpu_us\": %ld}\n",
           counts->errors[DROPPED], counts->opened, counts->resumed, counts->protocol,
           (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

int main(int argc, char **argv) {
    struct options options = options_read(argc, argv);
    struct links links = links_read(options.links, options.order, options.port, options.per_connection == 1);
    struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
    prctl(PR_SET_TIMERSLACK, 1UL); /* 50 µs by default: as much as some answers take */
    struct truth truth = {0};
    if (options.truth != NULL)
        truth = truth_open(options.truth, links.count);
    struct slots slots = slots_make(&options, &links, &truth);
    struct pace pace = {0};
    drive(&slots, &pace);
    print_report(&slots, &pace);
    return 0;
}
