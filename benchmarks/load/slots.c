#define _GNU_SOURCE
#include "slots.h"

#include "answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 256 };

int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void rest(struct slots *slots, struct slot *slot) {
    slot->state = IDLE;
    slot->link = -1;
    slots->queue[(slots->queue_start + slots->idle++) % slots->options->connections] = slot->number;
}

static struct slot *wake(struct slots *slots) {
    struct slot *slot = &slots->all[slots->queue[slots->queue_start]];
    slots->queue_start = (slots->queue_start + 1) % slots->options->connections;
    slots->idle--;
    return slot;
}

struct slots slots_make(const struct options *options, const struct links *links, const struct truth *truth) {
    struct slots slots = {.options = options, .links = links, .truth = truth, .context = wire_context(options)};
    slots.poll = epoll_create1(EPOLL_CLOEXEC);
    slots.all = calloc((size_t)options->connections, sizeof *slots.all);
    slots.queue = calloc((size_t)options->connections, sizeof *slots.queue);
    if (slots.poll < 0 || slots.all == NULL || slots.queue == NULL) {
        perror("load");
        exit(1);
    }
    for (int number = 0; number < options->connections; number++) {
        slots.all[number].number = number;
        slots.all[number].wire.fd = -1;
        rest(&slots, &slots.all[number]);
    }
    return slots;
}

/* A request is over; whatever it was, the slot is idle. */
static void finish(struct slots *slots, struct slot *slot) {
    if (slot->link >= 0)
        slots->counts.finished++;
    rest(slots, slot);
}

static void fail(struct slots *slots, struct slot *slot, enum error error) {
    slots->counts.errors[error]++;
    wire_close(&slot->wire);
    finish(slots, slot);
}

static void send_request(struct slots *slots, struct slot *slot) {
    char request[REQUEST_BYTES_MAX];
    if (slots->truth->spans != NULL)
        slot->floor = atomic_load_explicit(&slots->truth->spans[slot->link].floor, memory_order_acquire);
    int size = links_request(slots->links, &slots->links->all[slot->link], request);
    slot->state = ASKING;
    slot->got = 0;
    /* A request is smaller than any socket's buffer, which is empty: it goes whole or not at all. */
    if (wire_send(&slot->wire, request, (size_t)size) != size)
        fail(slots, slot, BROKEN);
}

static void go_on_connecting(struct slots *slots, struct slot *slot) {
    int result = wire_connect(&slot->wire);
    if (result == WIRE_AGAIN)
        return;
    if (result == WIRE_BROKEN) {
        fail(slots, slot, CONNECT);
        return;
    }
    slots->counts.opened++;
    slots->counts.resumed += wire_is_resumed(&slot->wire);
    if (slots->counts.protocol[0] == 0)
        wire_describe(&slot->wire, slots->counts.protocol, sizeof slots->counts.protocol);
    if (slot->link >= 0)
        send_request(slots, slot);
    else
        rest(slots, slot);
}

static void connect_slot(struct slots *slots, struct slot *slot) {
    uint32_t from = slots->options->from + (uint32_t)(slot->number % slots->options->addresses);
    /* Edge-triggered and for both directions: one epoll_ctl for a connection's whole life. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = slot};
    slot->answered = 0;
    slot->state = CONNECTING;
    if (wire_open(&slot->wire, slots->context, from, slots->options->port) != 0 ||
        epoll_ctl(slots->poll, EPOLL_CTL_ADD, slot->wire.fd, &event) < 0)
        fail(slots, slot, CONNECT);
}

void slots_ask(struct slots *slots, long link, int64_t intended_ns) {
    struct slot *slot = wake(slots);
    slot->link = link;
    slot->intended_ns = intended_ns;
    slots->counts.asked++;
    if (slot->wire.fd < 0)
        connect_slot(slots, slot);
    else
        send_request(slots, slot);
}

void slots_open(struct slots *slots) {
    struct slot *slot = wake(slots);
    if (slot->wire.fd < 0)
        connect_slot(slots, slot);
    else
        rest(slots, slot);
}

/* What is wrong with an answer about a link that somebody may have changed meanwhile, or ERRORS. */
static enum error check_changing(const struct slots *slots, const struct slot *slot, const struct answer *answer) {
    const struct link *link = &slots->links->all[slot->link];
    if (!truth_allows_status(slots->truth, slot->link, slot->floor, answer->status))
        return WRONG_STATUS;
    int is_right = answer->status == 404 ||
                   truth_allows_location(slots->truth, link, slot->link, slot->floor, answer);
    return is_right ? ERRORS : WRONG_LOCATION;
}

/* What is wrong with an answer, or ERRORS. */
static enum error check(const struct slots *slots, const struct slot *slot, const struct answer *answer) {
    const struct link *link = &slots->links->all[slot->link];
    if (slots->options->is_any)
        return ERRORS;
    if (slots->truth->spans != NULL)
        return check_changing(slots, slot, answer);
    if (link->target_size == 0)
        return answer->status == 404 ? ERRORS : WRONG_STATUS;
    if (answer->status != 302)
        return WRONG_STATUS;
    int is_right = answer->location_size == link->target_size &&
                   memcmp(answer->location, link->target, link->target_size) == 0;
    return is_right ? ERRORS : WRONG_LOCATION;
}

static void take_answer(struct slots *slots, struct slot *slot, const struct answer *answer) {
    enum error error = check(slots, slot, answer);
    int per_connection = slots->options->per_connection;
    if (answer->status > 0 && answer->status < STATUS_END)
        slots->counts.statuses[answer->status]++;
    slots->counts.bytes += answer->size;
    if (error != ERRORS) {
        slots->counts.errors[error]++;
        wrongs_add(&slots->wrongs, &slots->links->all[slot->link], slot->floor, answer);
    } else
        histogram_add(&slots->counts.latencies_ns, (uint64_t)(clock_ns() - slot->intended_ns));
    if (answer->is_last || (per_connection > 0 && ++slot->answered >= per_connection))
        wire_close(&slot->wire);
    finish(slots, slot);
}

static void read_answer(struct slots *slots, struct slot *slot) {
    while (slot->state == ASKING) {
        ssize_t got = wire_receive(&slot->wire, slot->bytes + slot->got, (size_t)(ANSWER_BYTES_MAX - slot->got));
        if (got == WIRE_AGAIN)
            return;
        if (got <= 0) {
            fail(slots, slot, BROKEN);
            return;
        }
        slot->got += (int)got;
        struct answer answer = answer_read(slot->bytes, slot->got);
        if (answer.size > 0)
            take_answer(slots, slot, &answer);
        else if (answer.size < 0 || slot->got == ANSWER_BYTES_MAX)
            fail(slots, slot, UNREADABLE);
    }
}

/* Nothing was asked: either the server closes, or TLS has something to say. The slot stays in the queue. */
static void read_idle(struct slots *slots, struct slot *slot) {
    ssize_t got = slot->wire.fd < 0 ? WIRE_AGAIN : wire_receive(&slot->wire, slot->bytes, ANSWER_BYTES_MAX);
    if (got == WIRE_AGAIN)
        return;
    slots->counts.errors[got > 0 ? UNREADABLE : DROPPED]++;
    wire_close(&slot->wire);
}

static void handle(struct slots *slots, struct slot *slot, uint32_t events) {
    int has_ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (slot->state == CONNECTING)
        go_on_connecting(slots, slot);
    else if (slot->state == ASKING && (events & ~(uint32_t)EPOLLOUT) != 0)
        read_answer(slots, slot);
    else if (slot->state == IDLE && (events & ~(uint32_t)EPOLLOUT) != 0)
        read_idle(slots, slot);
    /* The end came with the answer: edge-triggered, it is not told again. */
    if (has_ended && slot->state == IDLE && slot->wire.fd >= 0) {
        slots->counts.errors[DROPPED]++;
        wire_close(&slot->wire);
    }
}

void slots_turn(struct slots *slots, int64_t wait_ns) {
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
    int ready = epoll_pwait2(slots->poll, events, EVENTS_MAX, &wait, NULL);
    if (ready < 0 && errno != EINTR) {
        perror("load: epoll_pwait2");
        exit(1);
    }
    /* A closed socket leaves epoll, and nothing is opened in this loop: no event is another connection's. */
    for (int i = 0; i < ready; i++)
        handle(slots, events[i].data.ptr, events[i].events);
}
