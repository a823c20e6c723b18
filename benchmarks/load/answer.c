#define _GNU_SOURCE
#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int is_field(const char *line, const char *end, const char *name, const char **value) {
    size_t size = strlen(name);
    if ((size_t)(end - line) <= size || line[size] != ':' || strncasecmp(line, name, size) != 0)
        return 0;
    *value = line + size + 1;
    while (*value < end && **value == ' ')
        (*value)++;
    return 1;
}

struct answer answer_read(const char *bytes, int size) {
    struct answer answer = {0};
    const char *end = memmem(bytes, (size_t)size, "\r\n\r\n", 4);
    if (end == NULL)
        return answer;
    answer.size = -1;
    if (size < 16 || memcmp(bytes, "HTTP/1.", 7) != 0)
        return answer;
    answer.status = atoi(bytes + 9);
    long body = 0;
    const char *line = memchr(bytes, '\n', (size_t)size), *value;
    while (line + 1 < end) {
        line++;
        const char *stop = memchr(line, '\r', (size_t)(end + 1 - line));
        if (is_field(line, stop, "location", &value)) {
            answer.location = value;
            answer.location_size = (int)(stop - value);
        } else if (is_field(line, stop, "content-length", &value)) {
            body = atol(value);
        } else if (is_field(line, stop, "connection", &value)) {
            answer.is_last = stop - value == 5 && strncasecmp(value, "close", 5) == 0;
        } else if (is_field(line, stop, "transfer-encoding", &value)) {
            return answer;
        }
        line = stop + 1;
    }
    long whole = end + 4 - bytes + body;
    answer.size = whole <= size ? (int)whole : 0;
    return answer;
}
