/* What the store of lib/comm promises: ranks find each other by it, and nobody else gets anything of it. */
#include "comm/engine.h"
#include "comm/store.h"
#include "comm/world.h"

#include "base/rng.h"
#include "processes.h"

static aios_context *context;

#define assert_fails(call, want, words)                                                                                                    \
    do {                                                                                                                                   \
        assert_int_equal((call), (want));                                                                                                  \
        if (!strstr(aios_error_message(), (words))) fail_msg("\"%s\" doesn't say %s", aios_error_message(), (words));                      \
    } while (0)

static comm_host *open_host(int *port, int ranks)
{
    comm_host *host;
    *port = 0;
    assert_ok(comm_host_open(context, NULL, port, ranks, "job", 5, &host));
    return host;
}

static comm_world_options options_of(int rank, int ranks, int port)
{
    return (comm_world_options){.rank = rank, .ranks = ranks, .name = rank ? "one" : "zero", .port = port, .token = "job", .deadline = 5};
}

/* The store is well: a run of one rank begins and ends. */
static void expect_service(int port)
{
    comm_world *world;
    comm_world_options options = options_of(0, 1, port);
    assert_ok(comm_world_open(context, &options, &world));
    assert_int_equal(comm_world_ranks(world), 1);
    comm_world_close(world);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------ */

static void expect_closed(os_socket *s)
{
    char byte;
    aios_status status = os_socket_read(*s, &byte, 1, 10);
    while (status == AIOS_OK) status = os_socket_read(*s, &byte, 1, 10); /* an answer may come first */
    assert_int_equal(status, AIOS_IO);
    os_socket_close(s);
}

static void whoever_says_no_hello_is_dropped(void **state)
{
    (void)state;
    int port;
    comm_host *host = open_host(&port, 1);
    static const char *const words[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\n", "AIOSTORE", "aiostor", "\x16\x03\x01\x02"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        os_socket s;
        assert_ok(os_socket_connect("127.0.0.1", port, 5, &s));
        assert_ok(os_socket_write(s, words[i], strlen(words[i]), 5));
        expect_closed(&s);
    }
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint32_t noise[256][4];
        os_socket s;
        for (uint64_t i = 0; i < 256; i++) rng_block(seed, 1, i, noise[i]);
        assert_ok(os_socket_connect("127.0.0.1", port, 5, &s));
        (void)os_socket_write(s, noise, sizeof noise, 5);
        expect_closed(&s);
    }
    expect_service(port);
    comm_host_close(host);
}

static void silent_connections_keep_nobody_out(void **state)
{
    (void)state;
    int port;
    comm_host *host = open_host(&port, 1);
    static os_socket silent[300];
    for (size_t i = 0; i < COUNT_OF(silent); i++) assert_ok(os_socket_connect("127.0.0.1", port, 5, &silent[i]));
    expect_service(port);
    for (size_t i = 0; i < COUNT_OF(silent); i++) os_socket_close(&silent[i]);
    comm_host_close(host);
}

static void say_hello(int port, const char *token, uint32_t version, uint32_t rank, uint32_t ranks, os_socket *s)
{
    struct store_hello hello = {.magic = STORE_MAGIC};
    store_put(hello.version, version);
    store_put(hello.rank, rank);
    store_put(hello.ranks, ranks);
    (void)snprintf(hello.token, sizeof hello.token, "%s", token);
    assert_ok(os_socket_connect("127.0.0.1", port, 5, s));
    assert_ok(os_socket_write(*s, &hello, sizeof hello, 5));
}

static aios_status read_status(os_socket s)
{
    struct store_head head;
    char text[STORE_TEXT_MOST];
    assert_ok(os_socket_read(s, &head, sizeof head, 5));
    uint32_t size = store_take(head.length);
    assert_true(size < sizeof text);
    assert_ok(os_socket_read(s, text, size, 5));
    return (aios_status)store_take(head.word);
}

static void send_frame(os_socket s, uint32_t length, uint32_t word, const void *body, size_t size)
{
    struct store_head head;
    store_put(head.length, length);
    store_put(head.word, word);
    assert_ok(os_socket_write(s, &head, sizeof head, 5));
    assert_ok(os_socket_write(s, body, size, 5));
}

/* A rank that says things that make no sense. */
static void damaged_requests_end_the_connection_alone(void **state)
{
    (void)state;
    int port;
    comm_host *host = open_host(&port, 1);
    static const unsigned char long_key[12] = {0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255};
    static const struct {
        uint32_t length, word;
        size_t size;
        int answered;
    } cases[] = {
        {UINT32_MAX, STORE_SET, 0, 0},
        {STORE_FRAME_MOST + 1, STORE_GET, 0, 0},
        {0, 0, 0, 1},
        {0, 99, 0, 1},
        {0, STORE_SET, 0, 1},
        {3, STORE_GET, 3, 1},
        {12, STORE_SET, 12, 1},
        {12, STORE_GET, 12, 1},
        {8, STORE_PULSE_, 8, 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        os_socket s;
        say_hello(port, "job", STORE_VERSION, 0, 1, &s);
        assert_int_equal(read_status(s), AIOS_OK);
        send_frame(s, cases[i].length, cases[i].word, long_key, cases[i].size);
        if (cases[i].answered) assert_int_equal(read_status(s), AIOS_CORRUPT);
        expect_closed(&s);
        os_sleep(0.1); /* until the store has seen that rank 0 is free again */
    }
    for (uint64_t seed = 0; seed < 50; seed++) { /* a proper hello, then noise behind proper heads */
        uint32_t noise[64][4];
        os_socket s;
        for (uint64_t i = 0; i < 64; i++) rng_block(seed, 2, i, noise[i]);
        say_hello(port, "job", STORE_VERSION, 0, 1, &s);
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t size = noise[i][0] % 200;
            struct store_head head;
            store_put(head.length, size);
            store_put(head.word, noise[i][1] % 7);
            (void)os_socket_write(s, &head, sizeof head, 5);
            (void)os_socket_write(s, noise, size, 5);
        }
        os_socket_close(&s);
        os_sleep(0.06);
    }
    expect_service(port);
    comm_host_close(host);
}

/* ---- who may come --------------------------------------------------------------------------------------------------- */

static void ranks_of_another_job_are_refused(void **state)
{
    (void)state;
    int port;
    comm_world *world;
    os_socket s, twin;
    comm_host *host = open_host(&port, 2);
    comm_world_options options = options_of(0, 2, port);
    options.token = "other";
    assert_fails(comm_world_open(context, &options, &world), AIOS_WRONG_STATE, "another job uses this port");
    assert_null(world);
    options = options_of(0, 3, port);
    assert_fails(comm_world_open(context, &options, &world), AIOS_WRONG_STATE, "rank 0 of 3: this job has 2 ranks");
    say_hello(port, "job", STORE_VERSION + 1, 0, 2, &s);
    assert_int_equal(read_status(s), AIOS_ABI_MISMATCH);
    expect_closed(&s);
    say_hello(port, "job", STORE_VERSION, 1, 2, &s);
    assert_int_equal(read_status(s), AIOS_OK);
    say_hello(port, "job", STORE_VERSION, 1, 2, &twin);
    assert_int_equal(read_status(twin), AIOS_ALREADY_EXISTS);
    expect_closed(&twin);
    os_socket_close(&s);
    comm_host_close(host);
}

static void whoever_is_missing_is_named(void **state)
{
    (void)state;
    comm_world *world;
    comm_world_options options = options_of(1, 3, process_free_port());
    options.deadline = 1;
    assert_fails(comm_world_open(context, &options, &world), AIOS_TIMEOUT, "no store of this job at 127.0.0.1");
    options.host_store = 1;
    assert_fails(comm_world_open(context, &options, &world), AIOS_TIMEOUT, "1 of 3 ranks came in time; missing: 0, 2");
    options.address = "no.such.host.invalid";
    options.host_store = 0;
    assert_fails(comm_world_open(context, &options, &world), AIOS_TIMEOUT, "no.such.host.invalid");
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    os_socket other;
    int port = 0;
    comm_world *world;
    assert_ok(os_socket_listen("127.0.0.1", &port, &other));
    comm_world_options options = options_of(0, 1, port);
    options.host_store = 1;
    char words[64];
    (void)snprintf(words, sizeof words, "port %d of 127.0.0.1 is in use", port);
    assert_fails(comm_world_open(context, &options, &world), AIOS_ALREADY_EXISTS, words);
    os_socket_close(&other);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    comm_world *world;
    char longer[STORE_TOKEN + 1];
    memset(longer, 'x', STORE_TOKEN), longer[STORE_TOKEN] = 0;
    comm_world_options options = options_of(2, 2, 1);
    assert_fails(comm_world_open(context, &options, &world), AIOS_INVALID_ARGUMENT, "rank 2 of 2");
    options = options_of(0, COMM_RANKS_MOST + 1, 1);
    assert_fails(comm_world_open(context, &options, &world), AIOS_INVALID_ARGUMENT, "257 ranks");
    options = options_of(0, 1, 65536);
    assert_fails(comm_world_open(context, &options, &world), AIOS_OUT_OF_RANGE, "port 65536");
    options = options_of(0, 1, 1);
    options.token = longer;
    assert_fails(comm_world_open(context, &options, &world), AIOS_OUT_OF_RANGE, "token has 128 bytes");
}

struct opening {
    comm_world_options options;
    comm_world *world;
    aios_status status;
    char message[512];
    os_thread thread;
};

static void *open_world(void *argument)
{
    struct opening *o = argument;
    o->status = comm_world_open(context, &o->options, &o->world);
    (void)snprintf(o->message, sizeof o->message, "%s", o->status == AIOS_OK ? "" : aios_error_message());
    return NULL;
}

static void *close_world(void *argument)
{
    struct opening *o = argument;
    comm_world_close(o->world);
    return NULL;
}

/* As under torchrun: the port has a store that is not ours, the next one another job's. */
static void a_taken_port_is_gone_around(void **state)
{
    (void)state;
    struct opening ranks[2];
    os_socket agent;
    int port = process_free_port(), next = port + 1;
    comm_host *job;
    assert_ok(os_socket_listen("127.0.0.1", &port, &agent));
    assert_ok(comm_host_open(context, NULL, &next, 2, "another job", 5, &job));
    for (int r = 1; r >= 0; r--) { /* who hosts comes last */
        ranks[r] = (struct opening){.options = options_of(r, 2, port)};
        ranks[r].options.port_taken = 1;
        ranks[r].options.host_store = r == 0;
        assert_ok(os_thread_start(&ranks[r].thread, "rank", open_world, &ranks[r]));
        os_sleep(0.2);
    }
    for (int r = 0; r < 2; r++) {
        os_thread_join(ranks[r].thread);
        if (ranks[r].status != AIOS_OK) fail_msg("rank %d: %s", r, ranks[r].message);
        assert_int_equal(comm_world_rank(ranks[r].world), r);
        assert_string_equal(comm_world_name(ranks[r].world, 1), "one");
    }
    for (int r = 0; r < 2; r++) assert_ok(os_thread_start(&ranks[r].thread, "rank", close_world, &ranks[r]));
    for (int r = 0; r < 2; r++) os_thread_join(ranks[r].thread);
    comm_host_close(job);
    os_socket_close(&agent);
}

/* The name of the host, which may stand for a loopback address on itself, is good for others too. */
static void the_hosts_own_name_will_do(void **state)
{
    (void)state;
    char name[64], address[64];
    int port = 0;
    comm_host *host;
    os_socket s;
    os_host_name(name);
    os_host_address(address);
    if (os_socket_connect(name, 1, 1, &s) == AIOS_NOT_FOUND) skip(); /* a machine that doesn't know itself */
    assert_ok(comm_host_open(context, name, &port, 1, "job", 5, &host));
    assert_ok(os_socket_connect(address, port, 5, &s));
    os_socket_close(&s);
    comm_world *world;
    comm_world_options options = options_of(0, 1, port);
    options.address = name;
    assert_ok(comm_world_open(context, &options, &world));
    comm_world_close(world);
    comm_host_close(host);
}

/* ---- without Gloo ---------------------------------------------------------------------------------------------------- */

static void a_missing_engine_is_named(void **state)
{
    (void)state;
    const engine_table *engine;
    assert_fails(engine_load(&engine), AIOS_UNAVAILABLE, "libgloo-dev");
}

static void one_rank_needs_no_engine(void **state)
{
    (void)state;
    comm_world *world;
    comm_group *group;
    communicator *c;
    aios_device *device;
    aios_stream *stream;
    float x[3] = {1, 2, 3};
    double one = 1;
    comm_world_options options = options_of(0, 1, process_free_port());
    comm_options group_options = {0};
    options.host_store = 1;
    assert_ok(comm_world_open(context, &options, &world));
    assert_ok(aios_device_open(context, "cpu", &device));
    assert_ok(aios_stream_create(device, &stream));
    assert_ok(comm_world_group(world, &group_options, &group));
    assert_int_equal(comm_join(group, 1, "x", stream, &c), AIOS_INVALID_ARGUMENT);
    assert_ok(comm_join(group, 0, "x", stream, &c));
    assert_ok(comm_all_reduce(c, x, 3));
    assert_ok(comm_sum_numbers(c, &one, 1));
    assert_true(x[2] == 3 && one == 1);
    comm_leave(c);
    comm_group_destroy(group);
    comm_world_close(world);
    aios_stream_destroy(stream);
    aios_device_close(device);
}

static int begin(void **state)
{
    (void)state;
    (void)setenv("AIOS_BACKEND_PATH", "/nowhere", 1);
    context = test_context();
    return 0;
}

static int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_says_no_hello_is_dropped),
        cmocka_unit_test(silent_connections_keep_nobody_out),
        cmocka_unit_test(damaged_requests_end_the_connection_alone),
        cmocka_unit_test(ranks_of_another_job_are_refused),
        cmocka_unit_test(whoever_is_missing_is_named),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(a_taken_port_is_gone_around),
        cmocka_unit_test(the_hosts_own_name_will_do),
        cmocka_unit_test(a_missing_engine_is_named),
        cmocka_unit_test(one_rank_needs_no_engine),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
