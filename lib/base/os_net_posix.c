/* The only file of libaios that talks to POSIX about connections. */
#include "os_net.h"

#include "os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 256

static aios_status resolve(const char *address, int port, int flags, struct addrinfo **list)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    int error = getaddrinfo(address, service, &hints, list);
    if (error) return FAIL(AIOS_NOT_FOUND, "address \"%s\": %s", address ? address : "*", gai_strerror(error));
    return AIOS_OK;
}

static void make_quick(int descriptor)
{
    int on = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static int port_of(int descriptor)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    if (getsockname(descriptor, (struct sockaddr *)&own, &size) != 0) return 0;
    if (own.ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)(const void *)&own)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)&own)->sin_port);
}

static aios_status listen_at(const struct addrinfo *at, const char *address, int port, os_socket *listener)
{
    int on = 1;
    int descriptor = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (descriptor < 0) return FAIL_OS(AIOS_IO, errno, "a socket to listen at %s", address);
    (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(descriptor, at->ai_addr, at->ai_addrlen) == 0 && listen(descriptor, BACKLOG) == 0) {
        listener->descriptor = descriptor;
        return AIOS_OK;
    }
    int error = errno;
    (void)close(descriptor);
    if (error == EADDRINUSE) return FAIL(AIOS_ALREADY_EXISTS, "port %d of %s is in use by another program: give another", port, address);
    return FAIL_OS(error == EADDRNOTAVAIL ? AIOS_UNAVAILABLE : AIOS_IO, error, "listening at %s, port %d", address, port);
}

aios_status os_socket_listen(const char *address, int *port, os_socket *listener)
{
    struct addrinfo *list;
    *listener = OS_SOCKET_CLOSED;
    TRY_QUIET(resolve(address, *port, AI_PASSIVE, &list));
    aios_status status = AIOS_UNAVAILABLE;
    for (const struct addrinfo *at = list; at && status != AIOS_OK && status != AIOS_ALREADY_EXISTS; at = at->ai_next)
        status = listen_at(at, address ? address : "*", *port, listener);
    freeaddrinfo(list);
    if (status == AIOS_OK) *port = port_of(listener->descriptor);
    return status;
}

int os_socket_accept(os_socket listener, os_socket *s)
{
    s->descriptor = accept4(listener.descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (s->descriptor < 0) return 0;
    make_quick(s->descriptor);
    return 1;
}

static int milliseconds(double seconds)
{
    if (seconds <= 0) return 0;
    return seconds > 1e6 ? INT_MAX : (int)(seconds * 1e3) + 1;
}

/* 1: ready; 0: the time passed (until 0: never). */
static int wait_one(int descriptor, short events, double until)
{
    struct pollfd one = {.fd = descriptor, .events = events};
    for (;;) {
        int ready = poll(&one, 1, until > 0 ? milliseconds(until - os_now()) : -1);
        if (ready > 0) return 1;
        if (ready < 0 && errno != EINTR) return 1; /* what comes next says why */
        if (until > 0 && os_now() >= until) return 0;
    }
}

static aios_status connect_to(const struct addrinfo *at, const char *address, int port, double until, os_socket *s)
{
    int error = 0;
    socklen_t size = sizeof error;
    int descriptor = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (descriptor < 0) return FAIL_OS(AIOS_IO, errno, "a socket to %s", address);
    if (connect(descriptor, at->ai_addr, at->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS || error == EINTR) {
            if (!wait_one(descriptor, POLLOUT, until))
                error = ETIMEDOUT;
            else if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
                error = errno;
        }
    }
    if (error) {
        (void)close(descriptor);
        return FAIL_OS(error == ETIMEDOUT ? AIOS_TIMEOUT : AIOS_IO, error, "connecting to %s, port %d", address, port);
    }
    make_quick(descriptor);
    s->descriptor = descriptor;
    return AIOS_OK;
}

aios_status os_socket_connect(const char *address, int port, double seconds, os_socket *s)
{
    struct addrinfo *list;
    double until = os_now() + seconds;
    *s = OS_SOCKET_CLOSED;
    TRY_QUIET(resolve(address, port, 0, &list));
    aios_status status = AIOS_IO;
    for (const struct addrinfo *at = list; at && status != AIOS_OK; at = at->ai_next) status = connect_to(at, address, port, until, s);
    freeaddrinfo(list);
    return status;
}

void os_socket_close(os_socket *s)
{
    if (s->descriptor >= 0) (void)close(s->descriptor);
    *s = OS_SOCKET_CLOSED;
}

void os_socket_shut(os_socket s)
{
    if (s.descriptor >= 0) (void)shutdown(s.descriptor, SHUT_RDWR);
}

void os_socket_address(os_socket s, char text[64])
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    *text = 0;
    if (getsockname(s.descriptor, (struct sockaddr *)&own, &size) != 0) return;
    if (getnameinfo((struct sockaddr *)&own, size, text, 64, NULL, 0, NI_NUMERICHOST) != 0) *text = 0;
}

long os_socket_write_some(os_socket s, const void *from, size_t size)
{
    for (;;) {
        ssize_t done = send(s.descriptor, from, size, MSG_NOSIGNAL);
        if (done >= 0) return (long)done;
        if (errno == EAGAIN) return 0;
        if (errno != EINTR) return -1;
    }
}

long os_socket_read_some(os_socket s, void *to, size_t size)
{
    for (;;) {
        ssize_t done = recv(s.descriptor, to, size, 0);
        if (done > 0) return (long)done;
        if (done == 0) return -1;
        if (errno == EAGAIN) return 0;
        if (errno != EINTR) return -1;
    }
}

aios_status os_socket_write(os_socket s, const void *from, size_t size, double seconds)
{
    double until = seconds > 0 ? os_now() + seconds : 0;
    const char *at = from;
    while (size) {
        long done = os_socket_write_some(s, at, size);
        if (done < 0) return FAIL(AIOS_IO, "the other end closed the connection");
        if (done == 0 && !wait_one(s.descriptor, POLLOUT, until)) return FAIL(AIOS_TIMEOUT, "the other end took nothing for %g s", seconds);
        at += done;
        size -= (size_t)done;
    }
    return AIOS_OK;
}

aios_status os_socket_read(os_socket s, void *to, size_t size, double seconds)
{
    double until = seconds > 0 ? os_now() + seconds : 0;
    char *at = to;
    while (size) {
        long done = os_socket_read_some(s, at, size);
        if (done < 0) return FAIL(AIOS_IO, "the other end closed the connection");
        if (done == 0 && !wait_one(s.descriptor, POLLIN, until)) return FAIL(AIOS_TIMEOUT, "the other end said nothing for %g s", seconds);
        at += done;
        size -= (size_t)done;
    }
    return AIOS_OK;
}

void os_socket_wait(os_socket_event *events, int count, double seconds)
{
    struct pollfd list[1024];
    if (count > (int)COUNT_OF(list)) count = (int)COUNT_OF(list);
    for (int i = 0; i < count; i++) {
        list[i] = (struct pollfd){.fd = events[i].socket.descriptor, .events = events[i].writing ? POLLIN | POLLOUT : POLLIN};
        events[i].ready = events[i].writable = 0;
    }
    if (poll(list, (nfds_t)count, milliseconds(seconds)) <= 0) return;
    for (int i = 0; i < count; i++) {
        events[i].ready = (list[i].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0;
        events[i].writable = (list[i].revents & POLLOUT) != 0;
    }
}

int os_address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || strcmp(address, "localhost") == 0;
}

void os_host_address(char text[64])
{
    struct ifaddrs *list;
    (void)snprintf(text, 64, "127.0.0.1");
    if (getifaddrs(&list) != 0) return;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || !(at->ifa_flags & IFF_UP) || at->ifa_flags & IFF_LOOPBACK) continue;
        if (getnameinfo(at->ifa_addr, sizeof(struct sockaddr_in), text, 64, NULL, 0, NI_NUMERICHOST) == 0) break;
    }
    freeifaddrs(list);
}

void os_host_name(char text[64])
{
    if (gethostname(text, 64) != 0) (void)snprintf(text, 64, "localhost");
    text[63] = 0;
}
