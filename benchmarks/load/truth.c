#include "truth.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHURNING = 4, DIGITS_MAX = 9 };

struct truth truth_open(const char *path, long count) {
    struct truth truth = {0};
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found) < 0 || found.st_size != count * (long)sizeof *truth.spans) {
        fprintf(stderr, "load: %s: has not one span for each of %ld links\n", path, count);
        exit(2);
    }
    truth.spans = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (truth.spans == MAP_FAILED) {
        perror("load: mmap");
        exit(1);
    }
    return truth;
}

static int is_absent(long number, int32_t version) {
    return number % CHURNING == CHURNING - 1 && version % 2 == 1;
}

static int32_t ceiling_of(const struct truth *truth, long number) {
    return atomic_load_explicit(&truth->spans[number].ceiling, memory_order_acquire);
}

int truth_allows_status(const struct truth *truth, long number, int32_t floor, int status) {
    /* Of two versions in a row one is the other kind. */
    int is_single = ceiling_of(truth, number) == floor, is_churning = number % CHURNING == CHURNING - 1;
    if (status == 302)
        return !is_single || !is_absent(number, floor);
    return status == 404 && (is_single ? is_absent(number, floor) : is_churning);
}

int truth_allows_location(const struct truth *truth, const struct link *link, long number, int32_t floor,
                          const struct answer *answer) {
    int digits = answer->location_size - link->target_size;
    if (digits < 1 || digits > DIGITS_MAX || memcmp(answer->location, link->target, link->target_size) != 0)
        return 0;
    int32_t version = 0;
    for (int i = 0; i < digits; i++) {
        char digit = answer->location[link->target_size + i];
        if (digit < '0' || digit > '9')
            return 0;
        version = version * 10 + digit - '0';
    }
    return version >= floor && version <= ceiling_of(truth, number) && !is_absent(number, version);
}
