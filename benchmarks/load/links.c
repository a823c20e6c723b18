#define _GNU_SOURCE
#include "links.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refuse(const char *path, const char *what) {
    fprintf(stderr, "load: %s: %s\n", path, what);
    exit(2);
}

static char *content(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        refuse(path, "cannot be read");
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
        refuse(path, "cannot be read");
    fclose(file);
    return bytes;
}

static long lines_in(const char *bytes, size_t size) {
    long lines = 0;
    for (size_t at = 0; at < size; at++)
        lines += bytes[at] == '\n';
    return lines;
}

static struct link link_of(const char *path, const char *line, const char *end) {
    const char *space = memchr(line, ' ', (size_t)(end - line));
    if (space == NULL || space == line || space - line > CODE_BYTES_MAX || end - space < 2 || end - space > 60000)
        refuse(path, "lines must read CODE TARGET");
    struct link link = {.code = line, .code_size = (unsigned short)(space - line), .target = space + 1};
    int is_absent = end - space == 2 && space[1] == '-';
    link.target_size = is_absent ? 0 : (unsigned short)(end - space - 1);
    return link;
}

static void take_order(struct links *links, const char *path) {
    size_t size;
    links->order = (const int32_t *)content(path, &size);
    links->turns = (long)(size / sizeof *links->order);
    if (links->turns == 0)
        refuse(path, "has no number");
    for (long turn = 0; turn < links->turns; turn++)
        if (links->order[turn] < 0 || links->order[turn] >= links->count)
            refuse(path, "has a number of no link");
}

long links_at(const struct links *links, long turn) {
    return links->order == NULL ? turn : links->order[turn];
}

struct links links_read(const char *path, const char *order, int port, int is_closing) {
    struct links links = {0};
    size_t size;
    char *bytes = content(path, &size), *line = bytes;
    long lines = lines_in(bytes, size);
    links.all = malloc((size_t)(lines + 1) * sizeof *links.all);
    for (; links.count < lines; links.count++) {
        char *end = memchr(line, '\n', (size_t)(bytes + size - line));
        links.all[links.count] = link_of(path, line, end);
        line = end + 1;
    }
    if (links.count == 0)
        refuse(path, "has no line");
    links.turns = links.count;
    if (order != NULL)
        take_order(&links, order);
    /* The same head as wrk sends. */
    links.head_size = snprintf(links.head, sizeof links.head, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", port,
                               is_closing ? "Connection: close\r\n" : "");
    return links;
}

int links_request(const struct links *links, const struct link *link, char *to) {
    char *at = mempcpy(to, "GET /", 5);
    at = mempcpy(at, link->code, link->code_size);
    at = mempcpy(at, links->head, (size_t)links->head_size);
    return (int)(at - to);
}
