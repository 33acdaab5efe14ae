/* http_server.h: an HTTP server on loopback that answers as a test tells it, wrongly where it should: one thread, one connection at a time.
 */
#ifndef AIOS_TEST_HTTP_SERVER_H
#define AIOS_TEST_HTTP_SERVER_H

#include "base/os.h"
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct http_request {
    char path[2048];
    char authorization[256];
    uint64_t from; /* of "Range: bytes=FROM-" */
    int has_range;
    int number; /* of all that came, from 0 */
    int socket;
} http_request;

typedef void (*http_handler)(void *user, const http_request *request);

typedef struct http_server {
    int socket;
    os_thread thread;
    http_handler handler;
    void *user;
    atomic_int requests, ending;
    char url[64];
} http_server;

/* Sends all of it, or as much as the other side takes. */
static inline void http_send(const http_request *request, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(request->socket, (const char *)bytes + done, size - done, MSG_NOSIGNAL);
        if (sent <= 0) return;
        done += (size_t)sent;
    }
}

#define HTTP_NO_LENGTH UINT64_MAX
/* A head: `length` is told, whatever comes; headers are whole lines. */
static inline void http_send_head(const http_request *request, int code, uint64_t length, const char *headers)
{
    char head[1024], told[64] = "";
    if (length != HTTP_NO_LENGTH) (void)snprintf(told, sizeof told, "Content-Length: %llu\r\n", (unsigned long long)length);
    int size = snprintf(head, sizeof head, "HTTP/1.1 %d Said\r\n%sConnection: close\r\n%s\r\n", code, told, headers);
    http_send(request, head, (size_t)size);
}

static inline void http_answer(const http_request *request, int code, const char *headers, const char *text)
{
    http_send_head(request, code, strlen(text), headers);
    http_send(request, text, strlen(text));
}

static inline int http_read_request(http_request *request)
{
    char text[8192];
    size_t size = 0;
    while (size < sizeof text - 1) {
        ssize_t got = recv(request->socket, text + size, sizeof text - 1 - size, 0);
        if (got <= 0) return 0;
        size += (size_t)got;
        text[size] = 0;
        if (strstr(text, "\r\n\r\n")) break;
    }
    if (sscanf(text, "GET %2047s HTTP/1.1", request->path) != 1) return 0;
    const char *range = strcasestr(text, "\r\nrange: bytes="), *authorization = strcasestr(text, "\r\nauthorization: ");
    request->has_range = range != NULL;
    if (range) request->from = strtoull(range + 15, NULL, 10);
    if (authorization) (void)sscanf(authorization + 17, "%255[^\r]", request->authorization);
    return 1;
}

static inline void *http_serve(void *user)
{
    http_server *server = user;
    while (!server->ending) {
        struct pollfd ready = {server->socket, POLLIN, 0};
        if (poll(&ready, 1, 20) != 1) continue;
        http_request request = {.socket = accept(server->socket, NULL, NULL)};
        if (request.socket < 0) continue;
        struct timeval patience = {5, 0};
        (void)setsockopt(request.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (http_read_request(&request)) {
            request.number = server->requests++;
            server->handler(server->user, &request);
        }
        (void)shutdown(request.socket, SHUT_RDWR);
        (void)close(request.socket);
    }
    return NULL;
}

/* On a free port; server->url is its address. */
static inline void http_server_start(http_server *server, http_handler handler, void *user)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(server, 0, sizeof *server);
    server->handler = handler;
    server->user = user;
    server->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->socket >= 0);
    assert_int_equal(bind(server->socket, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->socket, 16), 0);
    assert_int_equal(getsockname(server->socket, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_ok(os_thread_start(&server->thread, "http", http_serve, server));
}

static inline void http_server_stop(http_server *server)
{
    server->ending = 1;
    os_thread_join(server->thread);
    (void)close(server->socket);
}

#endif
