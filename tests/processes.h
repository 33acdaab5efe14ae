/* processes.h: a test's ranks in processes of their own, and what became of them. */
#ifndef AIOS_TEST_PROCESSES_H
#define AIOS_TEST_PROCESSES_H

#include "base/os.h"
#include "base/os_net.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child ends without the checks of a normal end. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define PROCESS_LEAKS() __lsan_do_recoverable_leak_check()
#else
#define PROCESS_LEAKS() 0
#endif

/* One rank: what its function returned, and with what words; or how the process ended. */
struct process {
    pid_t id;
    int pipe;
    int exited; /* by itself */
    aios_status status;
    char message[640];
    double seconds; /* that it took */
};

/* The child runs run(rank, user), tells what came of it, and ends.  The caller has no threads. */
static inline void process_start(struct process *p, int rank, aios_status (*run)(int rank, void *user), void *user)
{
    int ends[2];
    if (pipe(ends) != 0) fail_msg("pipe: %s", strerror(errno));
    (void)fflush(NULL);
    *p = (struct process){.pipe = ends[0]};
    p->id = fork();
    if (p->id < 0) fail_msg("fork: %s", strerror(errno));
    if (p->id > 0) {
        (void)close(ends[1]);
        return;
    }
    struct process told = {.exited = 1};
    double began = os_now();
    (void)close(ends[0]);
    told.status = run(rank, user);
    told.seconds = os_now() - began;
    (void)snprintf(told.message, sizeof told.message, "%s", told.status == AIOS_OK ? "" : aios_error_message());
    _exit(write(ends[1], &told, sizeof told) == (ssize_t)sizeof told && !PROCESS_LEAKS() ? 0 : 1);
}

static inline void process_end(struct process *p)
{
    struct process told = {.exited = 0, .status = AIOS_INTERNAL};
    int state = 0;
    if (read(p->pipe, &told, sizeof told) != (ssize_t)sizeof told) told.exited = 0;
    (void)close(p->pipe);
    (void)waitpid(p->id, &state, 0);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) told.exited = 0; /* a sanitizer's finding, a signal */
    pid_t id = p->id;
    *p = told;
    p->id = id;
}

/* A port that was free a moment ago. */
static inline int process_free_port(void)
{
    int port = 0;
    os_socket s;
    do {
        os_socket_listen("127.0.0.1", &port, &s);
        os_socket_close(&s);
    } while (port > 60000);
    return port;
}

#endif
