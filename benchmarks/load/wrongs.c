#include "wrongs.h"

#include <stdio.h>
#include <time.h>

static void keep(char *to, const char *text, int size) {
    int kept = 0;
    for (; kept < size && kept < WRONG_TEXT_BYTES - 1; kept++)
        to[kept] = text[kept] < ' ' || text[kept] > '~' || text[kept] == '"' || text[kept] == '\\' ? '?' : text[kept];
    to[kept] = 0;
}

void wrongs_add(struct wrongs *wrongs, const struct link *link, int32_t floor, const struct answer *answer) {
    if (wrongs->count == WRONGS_MAX)
        return;
    struct wrong *wrong = &wrongs->all[wrongs->count++];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    wrong->wall_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    wrong->status = answer->status;
    wrong->floor = floor;
    keep(wrong->code, link->code, link->code_size);
    keep(wrong->location, answer->location, answer->location == NULL ? 0 : answer->location_size);
}

void wrongs_print(const struct wrongs *wrongs) {
    printf("[");
    for (int i = 0; i < wrongs->count; i++) {
        const struct wrong *wrong = &wrongs->all[i];
        printf("%s{\"wall_s\": %.3f, \"code\": \"%s\", \"status\": %d, \"location\": \"%s\", \"floor\": %d}",
               i > 0 ? ", " : "", wrong->wall_s, wrong->code, wrong->status, wrong->location, wrong->floor);
    }
    printf("]");
}
