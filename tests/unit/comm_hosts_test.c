/* Ranks on several hosts: network namespaces of this machine, joined by a bridge, each with its own address and link.  Everything is in
 * namespaces of this program and ends with it.  Skipped where the kernel permits no namespaces, or the command ip is missing. */
#include "comm_check.h"
#include "comm_ranks.h"

#include <sched.h>

#define HOSTS 3

/* A host: its process waits in its own namespace until its link is there. */
struct host {
    struct setting *setting;
    int ready[2], go[2]; /* pipes */
};

static void skip_all(const char *why)
{
    print_message("skipped: %s\n", why);
    exit(77);
}

static int shell(const char *format, ...)
{
    char command[512];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(command, sizeof command, format, list);
    va_end(list);
    return system(command);
}

static aios_status run_host(int rank, void *user)
{
    struct host *h = user;
    char byte = 0;
    if (unshare(CLONE_NEWNET) != 0) return FAIL_OS(AIOS_INTERNAL, errno, "unshare");
    if (write(h[rank].ready[1], "r", 1) != 1 || read(h[rank].go[0], &byte, 1) != 1) return FAIL(AIOS_INTERNAL, "the test is gone");
    if (shell("ip address add 10.77.0.%d/24 dev eth0 && ip link set eth0 up && ip link set lo up", rank + 1) != 0)
        return FAIL(AIOS_INTERNAL, "ip failed");
    return ranks_run(rank, h[rank].setting);
}

static void start_hosts(struct process *all, struct host *hosts, struct setting *s)
{
    char byte;
    s->address = "10.77.0.1";
    s->port = 29500;
    for (int r = 0; r < HOSTS; r++) {
        hosts[r].setting = s;
        if (pipe(hosts[r].ready) != 0 || pipe(hosts[r].go) != 0) fail_msg("pipe: %s", strerror(errno));
    }
    for (int r = 0; r < HOSTS; r++) {
        process_start(&all[r], r, run_host, hosts);
        assert_int_equal(read(hosts[r].ready[0], &byte, 1), 1);
        assert_int_equal(
            shell("ip link add veth%d type veth peer name eth0 netns %d && ip link set veth%d master bridge up", r, (int)all[r].id, r), 0);
    }
    for (int r = 0; r < HOSTS; r++) assert_int_equal(write(hosts[r].go[1], "g", 1), 1);
}

static void end_hosts(struct process *all, struct host *hosts)
{
    for (int r = 0; r < HOSTS; r++) process_end(&all[r]);
    for (int r = 0; r < HOSTS; r++) {
        (void)close(hosts[r].ready[0]), (void)close(hosts[r].ready[1]), (void)close(hosts[r].go[0]), (void)close(hosts[r].go[1]);
        (void)shell("ip link delete veth%d 2>/dev/null", r);
    }
}

static aios_status all_collectives(comm_world *world, communicator *c, struct setting *s)
{
    (void)world;
    return comm_check_sizes(c, s->stream, comm_check_flat_sum);
}

static void hosts_add_up(void **state)
{
    (void)state;
    struct process all[HOSTS];
    struct host hosts[HOSTS];
    struct setting s = {.ranks = HOSTS, .run = all_collectives, .deadline = 30};
    start_hosts(all, hosts, &s);
    end_hosts(all, hosts);
    ranks_expect_fine(all, &s);
}

/* Sums until it fails; then those that can go on without the host that is cut off. */
static aios_status sum_and_go_on(comm_world *world, communicator *c, struct setting *s)
{
    static float x[100000];
    aios_error_record record;
    aios_status status = AIOS_OK;
    while (status == AIOS_OK) status = comm_all_reduce(c, x, COUNT_OF(x));
    aios_error_save(&record);
    if (comm_world_rank(world) == 1) return aios_error_restore(&record);
    TRY_QUIET(comm_world_reform(world, 2, NULL, NULL));
    TRY_QUIET(ranks_sum_again(world, s, 2));
    return aios_error_restore(&record);
}

static void a_host_that_is_cut_off_is_named_and_the_others_go_on(void **state)
{
    (void)state;
    struct process all[HOSTS];
    struct host hosts[HOSTS];
    struct setting s = {.ranks = HOSTS, .run = sum_and_go_on, .deadline = 4};
    start_hosts(all, hosts, &s);
    os_sleep(1.5);
    assert_int_equal(shell("ip link set veth1 down"), 0);
    end_hosts(all, hosts);
    ranks_expect(&all[0], AIOS_TIMEOUT, "rank 1 (cpu:1) gave no sign of life for", 30);
    ranks_expect(&all[2], AIOS_TIMEOUT, "rank 1 (cpu:1) gave no sign of life for", 30);
    if (!strstr(all[1].message, "the store at 10.77.0.1, port 29500, does not answer") && !strstr(all[1].message, "did not come"))
        fail_msg("rank 1 says \"%s\"", all[1].message);
}

/* Root of a user namespace of its own, where the user is not root already. */
static void become_root(int id)
{
    FILE *map = fopen("/proc/self/uid_map", "w");
    int written = map && fprintf(map, "0 %d 1", id) > 0;
    if (map && fclose(map) != 0) written = 0;
    if (!written || getuid() != 0) skip_all("this kernel permits no user namespaces");
}

static int begin(void **state)
{
    int id = (int)getuid();
    if (shell("command -v ip >/dev/null") != 0) skip_all("the command ip is missing (Debian: iproute2)");
    if (unshare(id ? CLONE_NEWUSER | CLONE_NEWNET : CLONE_NEWNET) != 0) skip_all("this kernel permits no network namespaces");
    if (id) become_root(id);
    if (shell("ip link add bridge type bridge 2>/dev/null && ip link set bridge up") != 0)
        skip_all("this kernel has no bridges between namespaces");
    return ranks_begin(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_add_up),
        cmocka_unit_test(a_host_that_is_cut_off_is_named_and_the_others_go_on),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
