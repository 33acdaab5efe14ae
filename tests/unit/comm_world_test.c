/* What lib/comm promises between processes: the same sums as in one, and failures that reach everybody. */
#include "comm/world_parts.h"
#include "comm_check.h"
#include "comm_ranks.h"

#include <netinet/in.h>

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

static aios_status all_collectives(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    return comm_check_sizes(c, s->stream, comm_check_flat_sum);
}

static void sums_have_the_bits_of_one_process(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= RANKS_MOST; ranks++)
        for (int stage = 0; stage < 2; stage++) {
            struct process all[RANKS_MOST];
            struct setting s = {.ranks = ranks, .stage = stage, .run = all_collectives, .chunk = 32768};
            ranks_start(all, &s);
            ranks_end(all, &s);
            ranks_expect_fine(all, &s);
        }
}

static void addresses_of_version_6_will_do(void **state)
{
    (void)state;
    int port = 0;
    os_socket s;
    if (os_socket_listen("::1", &port, &s) != AIOS_OK) skip();
    os_socket_close(&s);
    struct process all[RANKS_MOST];
    struct setting setting = {.ranks = 2, .address = "::1", .run = all_collectives};
    ranks_start(all, &setting);
    ranks_end(all, &setting);
    ranks_expect_fine(all, &setting);
}

/* ---- failures ------------------------------------------------------------------------------------------------------ */

/* Sums over and over; rank 1 does something to itself in the middle. */
static aios_status sum_until(comm_world *world, communicator *c, const struct setting *s, int signal_at, int signal)
{
    enum { COUNT = 500000 };
    void *memory;
    aios_device *device = aios_stream_device(s->stream);
    (void)world;
    TRY_QUIET(aios_device_alloc(device, COUNT * sizeof(float), &memory));
    memset(memory, 0, COUNT * sizeof(float));
    aios_status status = AIOS_OK;
    for (int n = 0; n < 100000 && status == AIOS_OK; n++) {
        if (comm_rank(c) == 1 && n == signal_at) (void)kill(getpid(), signal);
        status = comm_all_reduce(c, memory, COUNT);
    }
    aios_device_free(device, memory);
    return status;
}

static aios_status die(comm_world *world, communicator *c, struct setting *s)
{
    return sum_until(world, c, s, 20, SIGKILL);
}

static aios_status freeze(comm_world *world, communicator *c, struct setting *s)
{
    return sum_until(world, c, s, 20, SIGSTOP);
}

static void a_rank_that_is_killed_is_named_at_once(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = die};
    ranks_start(all, &s);
    ranks_end(all, &s);
    assert_int_equal(all[1].exited, 0);
    ranks_expect(&all[0], AIOS_DEVICE_LOST, "rank 1 (cpu:1) ended", 10);
    ranks_expect(&all[2], AIOS_DEVICE_LOST, "rank 1 (cpu:1) ended", 10);
}

static void a_rank_that_is_stopped_is_named_after_the_deadline(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = freeze, .deadline = 4};
    ranks_start(all, &s);
    process_end(&all[0]);
    process_end(&all[2]);
    (void)kill(all[1].id, SIGKILL);
    process_end(&all[1]);
    ranks_expect(&all[0], AIOS_TIMEOUT, "rank 1 (cpu:1) gave no sign of life for", 20);
    ranks_expect(&all[2], AIOS_TIMEOUT, "rank 1 (cpu:1) gave no sign of life for", 20);
}

static aios_status stay_away(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    if (comm_rank(c) != 1) return comm_barrier(c);
    os_sleep(s->deadline + 1);
    return AIOS_OK;
}

static void a_rank_that_does_not_come_is_named_after_the_deadline(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = stay_away, .deadline = 3};
    ranks_start(all, &s);
    ranks_end(all, &s);
    for (int r = 0; r < 3; r += 2) {
        ranks_expect(&all[r], AIOS_TIMEOUT, "rank 1 (cpu:1) did not come to its barrier within 3 s", 20);
    }
    ranks_expect(&all[1], AIOS_OK, "", 10);
}

static aios_status leave_early(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    (void)s;
    return comm_rank(c) == 1 ? AIOS_OK : comm_barrier(c);
}

static void a_rank_that_leaves_is_waited_for_by_nobody(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = leave_early};
    ranks_start(all, &s);
    ranks_end(all, &s);
    for (int r = 0; r < 3; r += 2) ranks_expect(&all[r], AIOS_WRONG_STATE, "rank 1 (cpu:1) left the group", 10);
}

static aios_status abort_others(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    (void)s;
    if (comm_rank(c) == 2) comm_abort(c, AIOS_NOT_FINITE, "injected");
    return comm_barrier(c);
}

static void an_abort_ends_waiting_for_all(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = abort_others};
    ranks_start(all, &s);
    ranks_end(all, &s);
    for (int r = 0; r < 3; r++) ranks_expect(&all[r], AIOS_NOT_FINITE, "injected", 10);
}

static aios_status want_different(comm_world *world, communicator *c, struct setting *s)
{
    float x[8] = {0};
    (void)world;
    (void)s;
    return comm_all_reduce(c, x, comm_rank(c) == 1 ? 7 : 8);
}

static void ranks_that_want_different_things_are_told(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = want_different};
    ranks_start(all, &s);
    ranks_end(all, &s);
    for (int r = 0; r < 3; r++) ranks_expect(&all[r], AIOS_WRONG_STATE, "of 7 elements", 10);
}

/* ---- going on ------------------------------------------------------------------------------------------------------- */

static aios_status die_and_go_on(comm_world *world, communicator *c, struct setting *s)
{
    int left[RANKS_MOST], left_count, old = comm_world_rank(world);
    aios_status status = die(world, c, s);
    if (status != AIOS_DEVICE_LOST) return FAIL(AIOS_INTERNAL, "status %d", status);
    TRY_QUIET(comm_world_reform(world, 10, left, &left_count));
    if (comm_world_check(world) != AIOS_OK || comm_world_ranks(world) != 2 || left_count != 1 || left[0] != 1 ||
        comm_world_generation(world) != 1)
        return FAIL(AIOS_INTERNAL, "%d ranks, %d left, the first %d, generation %d", comm_world_ranks(world), left_count, left[0],
                    comm_world_generation(world));
    if (comm_world_rank(world) != (old ? 1 : 0) || comm_world_first_rank(world, 1) != 2 || strcmp(comm_world_name(world, 1), "cpu:2") != 0)
        return FAIL(AIOS_INTERNAL, "rank %d was %d", comm_world_rank(world), old);
    return ranks_sum_again(world, s, 2);
}

static void survivors_go_on_without_the_dead(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = die_and_go_on};
    ranks_start(all, &s);
    ranks_end(all, &s);
    ranks_expect(&all[0], AIOS_OK, "", 10);
    ranks_expect(&all[2], AIOS_OK, "", 10);
}

static aios_status freeze_and_go_on(comm_world *world, communicator *c, struct setting *s)
{
    comm_bytes ids[RANKS_MOST];
    char id[16];
    (void)snprintf(id, sizeof id, "%d", os_process_id());
    TRY_QUIET(comm_world_gather(world, id, strlen(id), ids));
    int frozen = atoi(ids[1].bytes);
    for (int r = 0; r < 3; r++) aios_memory_free(s->context, ids[r].bytes);
    aios_status status = freeze(world, c, s);
    if (frozen == os_process_id()) { /* it was woken up: the others have done without it */
        if (status != AIOS_WRONG_STATE) return FAIL(AIOS_INTERNAL, "status %d", status);
        status = comm_world_reform(world, 1, NULL, NULL);
        return status == AIOS_WRONG_STATE ? AIOS_OK : FAIL(AIOS_INTERNAL, "status %d", status);
    }
    TRY_QUIET(comm_world_reform(world, 1, NULL, NULL));
    TRY_QUIET(ranks_sum_again(world, s, 2));
    if (comm_world_rank(world) == 0) (void)kill(frozen, SIGCONT); /* and waits for it as it closes the store */
    return AIOS_OK;
}

static void a_rank_that_wakes_up_late_is_told_that_the_others_went_on(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = freeze_and_go_on, .deadline = 4};
    ranks_start(all, &s);
    ranks_end(all, &s);
    ranks_expect_fine(all, &s);
}

static aios_status send_texts(comm_world *world, communicator *c, struct setting *s)
{
    comm_bytes got, all[RANKS_MOST];
    char own[16];
    (void)c;
    TRY_QUIET(comm_world_broadcast(world, 2, comm_world_rank(world) == 2 ? "of rank 2" : NULL, comm_world_rank(world) == 2 ? 9 : 0, &got));
    aios_status status = strcmp(got.bytes, "of rank 2") == 0 && got.size == 9 ? AIOS_OK : FAIL(AIOS_INTERNAL, "\"%s\"", got.bytes);
    aios_memory_free(s->context, got.bytes);
    TRY_QUIET(status);
    (void)snprintf(own, sizeof own, "%*d", comm_world_rank(world), comm_world_rank(world));
    TRY_QUIET(comm_world_gather(world, own, strlen(own), all));
    for (int r = 0; r < 3; r++) {
        if (atoi(all[r].bytes) != r || all[r].size != (size_t)(r ? r : 1))
            status = FAIL(AIOS_INTERNAL, "\"%s\" of rank %d", all[r].bytes, r);
        aios_memory_free(s->context, all[r].bytes);
    }
    return status;
}

static void few_bytes_reach_all(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = send_texts};
    ranks_start(all, &s);
    ranks_end(all, &s);
    ranks_expect_fine(all, &s);
}

/* ---- a stranger at the engine's port -------------------------------------------------------------------------------------- */

/* Rank 1 connects nothing, but says nonsense where rank 0 waits for it. */
static aios_status say_nonsense(comm_world *world, comm_bytes *all, os_socket *socket, double seconds)
{
    static const char words[] = "GET / HTTP/1.1\r\nHost: somewhere\r\nUser-Agent: a scanner of ports, and a rather talkative one\r\n\r\n";
    struct sockaddr_in at;
    TRY_QUIET(world_get(world, "group/0/0", seconds, all));
    char *address = all->bytes + ENGINE_ADDRESS_MOST; /* that for rank 1: its size, then what begins with the system's */
    memcpy(&at, address + 1, sizeof at);
    memcpy(all->bytes, address, ENGINE_ADDRESS_MOST); /* ours for rank 0: of a higher port, so that it listens */
    memset(all->bytes + 1 + offsetof(struct sockaddr_in, sin_port), 0xff, sizeof at.sin_port);
    TRY_QUIET(world_set(world, "group/0/1", 1, all->bytes, all->size));
    TRY_QUIET(os_socket_connect("127.0.0.1", ntohs(at.sin_port), 5, socket));
    for (int n = 0; n < 20; n++) (void)os_socket_write(*socket, words, sizeof words - 1, 5);
    return world_await_failure(world, 2 * seconds) == AIOS_TIMEOUT ? AIOS_OK : FAIL(AIOS_INTERNAL, "no failure");
}

static aios_status run_stranger(const struct setting *s)
{
    comm_world_options options = {.rank = 1, .ranks = 2, .name = "stranger", .port = s->port, .deadline = s->deadline};
    comm_world *world;
    comm_bytes all = {NULL, 0};
    os_socket socket = OS_SOCKET_CLOSED;
    aios_context *context = test_context();
    TRY_QUIET(comm_world_open(context, &options, &world));
    aios_status status = say_nonsense(world, &all, &socket, s->deadline);
    os_socket_close(&socket);
    aios_memory_free(context, all.bytes);
    comm_world_close(world);
    aios_context_destroy(context);
    return status;
}

static aios_status first_or_stranger(int rank, void *user)
{
    return rank ? run_stranger(user) : ranks_run(rank, user);
}

static void a_stranger_at_an_engines_port_is_an_error(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 2, .run = all_collectives, .deadline = 4, .port = process_free_port()};
    for (int r = 0; r < 2; r++) process_start(&all[r], r, first_or_stranger, &s);
    ranks_end(all, &s);
    ranks_expect(&all[1], AIOS_OK, "", 30);
    ranks_expect(&all[0], AIOS_TIMEOUT, "rank 1 (stranger) did not come to its barrier within 4 s", 30);
}

/* ---- a store without a rank --------------------------------------------------------------------------------------------- */

/* As a supervisor of the ranks; the test ends it. */
static aios_status host_store(int rank, void *user)
{
    struct setting *s = user;
    comm_host *host;
    (void)rank;
    TRY_QUIET(comm_host_open(test_context(), NULL, &s->port, s->ranks, NULL, s->deadline, &host));
    for (;;) os_sleep(1);
}

/* 1: the host goes while the ranks are at work. */
static void run_hosted(struct process *all, struct setting *s, int host_goes)
{
    struct process host;
    s->hosted = 1;
    s->deadline = 60;
    s->port = process_free_port();
    process_start(&host, 0, host_store, s);
    for (int r = 0; r < s->ranks; r++) process_start(&all[r], r, ranks_run, s);
    if (host_goes) {
        os_sleep(1.5);
        (void)kill(host.id, SIGKILL);
    }
    ranks_end(all, s);
    (void)kill(host.id, SIGKILL);
    process_end(&host);
}

static aios_status first_dies(comm_world *world, communicator *c, struct setting *s)
{
    if (comm_rank(c) == 0) {
        os_sleep(0.2);
        (void)kill(getpid(), SIGKILL);
    }
    if (comm_barrier(c) != AIOS_DEVICE_LOST) return FAIL(AIOS_INTERNAL, "no failure");
    TRY_QUIET(comm_world_reform(world, 10, NULL, NULL));
    if (comm_world_rank(world) != comm_world_first_rank(world, comm_world_rank(world)) - 1) return FAIL(AIOS_INTERNAL, "another rank");
    return ranks_sum_again(world, s, 2);
}

static void under_a_supervisor_the_first_rank_may_die(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 3, .run = first_dies};
    run_hosted(all, &s, 0);
    assert_int_equal(all[0].exited, 0);
    for (int r = 1; r < 3; r++) ranks_expect(&all[r], AIOS_OK, "", 20);
}

static aios_status wait_for_ever(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    if (comm_rank(c) == 1) os_sleep(4); /* at work on its own */
    aios_status status = comm_barrier(c);
    if (status == AIOS_OK || comm_world_reform(world, 1, NULL, NULL) == AIOS_OK) return FAIL(AIOS_INTERNAL, "they go on without a store");
    (void)s;
    return comm_world_check(world);
}

static void nobody_goes_on_without_the_store(void **state)
{
    (void)state;
    struct process all[RANKS_MOST];
    struct setting s = {.ranks = 2, .run = wait_for_ever};
    run_hosted(all, &s, 1);
    for (int r = 0; r < 2; r++) ranks_expect(&all[r], AIOS_DEVICE_LOST, "is gone: its process ended", 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_bits_of_one_process),
        cmocka_unit_test(addresses_of_version_6_will_do),
        cmocka_unit_test(a_rank_that_is_killed_is_named_at_once),
        cmocka_unit_test(a_rank_that_is_stopped_is_named_after_the_deadline),
        cmocka_unit_test(a_rank_that_does_not_come_is_named_after_the_deadline),
        cmocka_unit_test(a_rank_that_leaves_is_waited_for_by_nobody),
        cmocka_unit_test(an_abort_ends_waiting_for_all),
        cmocka_unit_test(ranks_that_want_different_things_are_told),
        cmocka_unit_test(survivors_go_on_without_the_dead),
        cmocka_unit_test(a_rank_that_wakes_up_late_is_told_that_the_others_went_on),
        cmocka_unit_test(few_bytes_reach_all),
        cmocka_unit_test(a_stranger_at_an_engines_port_is_an_error),
        cmocka_unit_test(under_a_supervisor_the_first_rank_may_die),
        cmocka_unit_test(nobody_goes_on_without_the_store),
    };
    return cmocka_run_group_tests(tests, ranks_begin, NULL);
}
