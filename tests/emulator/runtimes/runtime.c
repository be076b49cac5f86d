/*
 * A runtime that is a compiled program with nothing below it but sockets: one connection for all requests, replies
 * read by their Content-Length. The event goes back inside an object.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int api;
static char reply[65536];

static int give_up(const char *why) {
    perror(why);
    exit(1);
}

static void connect_to(char *address) {
    char *port = strrchr(address, ':');
    struct sockaddr_in at = {.sin_family = AF_INET};

    *port++ = '\0';
    at.sin_port = htons((unsigned short)atoi(port));
    inet_pton(AF_INET, address, &at.sin_addr);
    api = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(api, (struct sockaddr *)&at, sizeof at) != 0) give_up("connect");
}

/* The value of a header of the reply, up to the end of its line. */
static char *header(const char *name) {
    size_t length = strlen(name);

    for (char *line = strstr(reply, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') return line + length + 2;
    }
    return NULL;
}

/* Send a request; return the body of the reply, which is kept until the next one. */
static char *exchange(const char *request) {
    size_t size = 0, length = strlen(request);
    char *body = NULL;

    if (write(api, request, length) != (ssize_t)length) give_up("write");
    while (body == NULL || size < (size_t)(body - reply) + (size_t)atol(header("Content-Length"))) {
        ssize_t count = read(api, reply + size, sizeof reply - 1 - size);
        if (count <= 0) give_up("read");
        reply[size += (size_t)count] = '\0';
        body = strstr(reply, "\r\n\r\n");
        if (body != NULL) body += 4;
    }
    return body;
}

int main(void) {
    static char request[65536], answer[32768];
    char id[64];

    connect_to(getenv("AWS_LAMBDA_RUNTIME_API"));
    for (;;) {
        char *event = exchange("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        snprintf(answer, sizeof answer, "{\"compiled\":%s}", event);
        snprintf(id, sizeof id, "%.*s", 36, header("Lambda-Runtime-Aws-Request-Id"));
        fprintf(stderr, "got %s\n", id);
        snprintf(request, sizeof request,
                 "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\n"
                 "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 id, strlen(answer), answer);
        exchange(request);
    }
}
