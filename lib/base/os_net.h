/* os_net.h: connections between processes.  os_net_posix.c is the only file that includes the system's headers for them. */
#ifndef AIOS_BASE_OS_NET_H
#define AIOS_BASE_OS_NET_H

#include "error.h"

#include <stddef.h>

/* A TCP connection or a listening socket, never inherited by a program that this one starts.  A peer that is gone is an error, no signal.
 */
typedef struct os_socket {
    int descriptor;
} os_socket;
#define OS_SOCKET_CLOSED ((os_socket){-1})

/* address: a name or a number; NULL: every interface.  *port: in, what is wanted (0: any that is free); out, what it is.  Errors:
 * ALREADY_EXISTS where the port is in use, NOT_FOUND for a name that nobody knows, UNAVAILABLE where the address is none of this machine's,
 * IO. */
aios_status os_socket_listen(const char *address, int *port, os_socket *listener);
/* 1: *s is a new connection; 0: there is none now. */
int os_socket_accept(os_socket listener, os_socket *s);
/* Errors: NOT_FOUND for a name that nobody knows, IO where nobody listens, TIMEOUT. */
aios_status os_socket_connect(const char *address, int port, double seconds, os_socket *s);
void os_socket_close(os_socket *s);                 /* closed already is fine */
void os_socket_shut(os_socket s);                   /* ends what waits for it in other threads; it is closed afterwards */
void os_socket_address(os_socket s, char text[64]); /* this end's, as a number; "" where it can't be told */

/* All of it, or an error: TIMEOUT, IO where the other end closed.  seconds 0: for ever. */
aios_status os_socket_write(os_socket s, const void *from, size_t size, double seconds);
aios_status os_socket_read(os_socket s, void *to, size_t size, double seconds);
/* What goes now, without waiting: bytes, 0: nothing goes now, -1: it is closed. */
long os_socket_write_some(os_socket s, const void *from, size_t size);
long os_socket_read_some(os_socket s, void *to, size_t size);

typedef struct os_socket_event {
    os_socket socket;
    int writing;         /* 1: wanted is to write too */
    int ready, writable; /* out */
} os_socket_event;
/* Waits until one is ready, or the time passed. */
void os_socket_wait(os_socket_event *events, int count, double seconds);

int os_address_is_loopback(const char *address); /* "127.…", "::1", "localhost" */
/* The address of the first interface that is up and is no loopback; "127.0.0.1" where there is none. */
void os_host_address(char text[64]);
void os_host_name(char text[64]);

#endif
