/* Ranks on simulated devices of one vendor, by the stand-in for its collectives: collectives_test VENDOR.  With "mixed": on devices of two
 * vendors and the CPU. */
#include "comm/vendor.h"
#include "process.h"

#include <pthread.h>

#define RANKS_MOST 4
#define COUNT      4099

struct rank {
    int number, ranks, times;
    comm_group *group;
    aios_device *device;
    float *buffer;
    const struct rank *all;
    aios_status status;
    char error[1024];
};

enum { BY_HOST_IF_NEED_BE = 0, DEMANDED = 1 };

static aios_context *make_hasty_context(void)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    options.log = keep_log;
    options.device_deadline = 2;
    OK(aios_context_create(&options, &context));
    return context;
}

/* ---- one rank's thread ------------------------------------------------------------------------------------------- */

/* Numbers whose sums are exact in any order. */
static float value(int rank, int i)
{
    return (float)((i * 7 + rank * 31) % 1000);
}

static aios_status fill(aios_stream *stream, const struct rank *r)
{
    float values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = value(r->number, i);
    TRY_QUIET(aios_stream_copy(stream, r->buffer, values, sizeof values, AIOS_COPY_HOST_TO_DEVICE));
    return aios_stream_synchronize(stream);
}

/* What element i is afterwards: of rank `owner` where that is not negative, else the sum. */
static aios_status expect(aios_stream *stream, const struct rank *r, int first, int last, int owner)
{
    float values[COUNT];
    TRY_QUIET(aios_stream_copy(stream, values, r->buffer, sizeof values, AIOS_COPY_DEVICE_TO_HOST));
    TRY_QUIET(aios_stream_synchronize(stream));
    for (int i = first; i < last; i++) {
        float want = owner >= 0 ? value(owner, i) : 0;
        for (int k = 0; k < r->ranks && owner < 0; k++) want += value(k, i);
        if (values[i] != want)
            return FAIL(AIOS_INTERNAL, "element %d of rank %d is %g: %g is right", i, r->number, (double)values[i], (double)want);
    }
    return AIOS_OK;
}

static aios_status each_collective(const struct rank *r, communicator *c, aios_stream *stream, const uint64_t *offsets)
{
    int from = (int)offsets[r->number], to = (int)offsets[r->number + 1], end = (int)offsets[r->ranks];
    TRY_QUIET(fill(stream, r));
    TRY_QUIET(comm_all_reduce(c, r->buffer, (uint64_t)end));
    TRY_QUIET(expect(stream, r, 0, end, -1));
    TRY_QUIET(expect(stream, r, end, COUNT, r->number));
    TRY_QUIET(fill(stream, r));
    TRY_QUIET(comm_reduce_scatter(c, r->buffer, offsets));
    TRY_QUIET(expect(stream, r, from, to, -1));
    TRY_QUIET(expect(stream, r, 0, from, r->number));
    TRY_QUIET(expect(stream, r, to, COUNT, r->number));
    TRY_QUIET(fill(stream, r));
    TRY_QUIET(comm_all_gather(c, r->buffer, offsets));
    for (int k = 0; k < r->ranks; k++) TRY_QUIET(expect(stream, r, (int)offsets[k], (int)offsets[k + 1], k));
    TRY_QUIET(fill(stream, r));
    TRY_QUIET(comm_broadcast(c, r->buffer, (uint64_t)end, r->ranks - 1));
    return expect(stream, r, 0, end, r->ranks - 1);
}

static aios_status all_collectives(const struct rank *r, communicator *c, aios_stream *stream)
{
    static const uint64_t parts[][RANKS_MOST + 1] = {
        {0, 1000, 2000, 3000, 4000}, {0, 7, 1024, 4000, COUNT}, {0, 0, 5, 5, 6}, {0, 0, 0, 0, 0}};
    double numbers[] = {1, r->number};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) TRY_QUIET(each_collective(r, c, stream, parts[i]));
    TRY_QUIET(comm_barrier(c));
    TRY_QUIET(comm_sum_numbers(c, numbers, 2));
    if (numbers[0] != r->ranks || numbers[1] != r->ranks * (r->ranks - 1) / 2) return FAIL(AIOS_INTERNAL, "sums of numbers are wrong");
    return AIOS_OK;
}

static aios_status many_reductions(const struct rank *r, communicator *c, aios_stream *stream)
{
    for (int i = 0; i < r->times; i++) {
        TRY_QUIET(fill(stream, r));
        TRY_QUIET(comm_all_reduce(c, r->buffer, COUNT));
        TRY_QUIET(expect(stream, r, 0, COUNT, -1));
    }
    return AIOS_OK;
}

static aios_status different_counts(const struct rank *r, communicator *c, aios_stream *stream)
{
    TRY_QUIET(fill(stream, r));
    return comm_all_reduce(c, r->buffer, (uint64_t)(COUNT - r->number));
}

static aios_status (*body)(const struct rank *r, communicator *c, aios_stream *stream);

static void *run_rank(void *user)
{
    struct rank *r = user;
    communicator *c = NULL;
    aios_stream *stream = NULL;
    r->status = aios_stream_create(r->device, &stream);
    if (r->status == AIOS_OK) r->status = aios_device_alloc(r->device, COUNT * sizeof(float), (void **)&r->buffer);
    if (r->status == AIOS_OK) r->status = comm_join(r->group, r->number, aios_device_spec(r->device), stream, &c);
    if (r->status == AIOS_OK) r->status = body(r, c, stream);
    (void)snprintf(r->error, sizeof r->error, "rank %d (%s): %s", r->number, aios_device_spec(r->device), aios_error_message());
    if (r->status != AIOS_OK) comm_abort(c, r->status, r->error); /* nothing where the group is broken already */
    /* at once, as whoever failed would: nobody may read it any more */
    aios_device_free(r->device, r->buffer);
    comm_leave(c);
    aios_stream_destroy(stream);
    return NULL;
}

/* ---- a group ----------------------------------------------------------------------------------------------------- */

struct plan {
    aios_context *context;
    int ranks, demanded, times, on_one_device;
    double deadline;
    int absent;               /* this rank never comes; -1: none */
    const char *const *specs; /* of devices whose group is chosen; NULL: the vendor's */
};

static struct rank ranks[RANKS_MOST];

static void open_devices(const struct plan *plan)
{
    for (int i = 0; i < plan->ranks; i++) {
        ranks[i] = (struct rank){.number = i, .ranks = plan->ranks, .times = plan->times};
        if (plan->specs)
            OK(aios_device_open(plan->context, plan->specs[i], &ranks[i].device));
        else
            ranks[i].device = plan->on_one_device && i ? aios_device_retain(ranks[0].device) : open_device(plan->context, i);
    }
}

static comm_group *make_group(const struct plan *plan)
{
    const comm_options options = {.ranks = plan->ranks, .deadline = plan->deadline};
    aios_device *devices[RANKS_MOST];
    comm_group *host, *group;
    for (int i = 0; i < plan->ranks; i++) devices[i] = ranks[i].device;
    if (plan->specs) {
        OK(comm_group_choose(plan->context, &options, devices, COLLECTIVES_VENDOR, &group));
    } else {
        OK(comm_group_create(plan->context, &options, &host));
        OK(comm_vendor_create(plan->context, host, plan->deadline, plan->demanded, &group));
    }
    return group;
}

static void run_ranks(const struct plan *plan)
{
    pthread_t threads[RANKS_MOST];
    open_devices(plan);
    comm_group *group = make_group(plan);
    for (int i = 0; i < plan->ranks; i++) ranks[i].group = group;
    for (int i = 0; i < plan->ranks; i++)
        if (i != plan->absent) CHECK(pthread_create(&threads[i], NULL, run_rank, &ranks[i]) == 0);
    for (int i = 0; i < plan->ranks; i++)
        if (i != plan->absent) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < plan->ranks; i++) aios_device_close(ranks[i].device);
    comm_group_destroy(group);
    aios_context_release(plan->context);
}

#define CHECK_RANK(r, condition)                                                                                                           \
    do {                                                                                                                                   \
        if (!(condition)) (void)fprintf(stderr, "rank %d: status %d, %s\n", (r)->number, (int)(r)->status, (r)->error);                    \
        CHECK(condition);                                                                                                                  \
    } while (0)

static void expect_all_well(const struct plan *plan)
{
    for (int i = 0; i < plan->ranks; i++) CHECK_RANK(&ranks[i], ranks[i].status == AIOS_OK);
}

/* Every rank says the same first failure, which has these words. */
static void expect_all_say(const struct plan *plan, aios_status status, const char *words, const char *more)
{
    for (int i = 0; i < plan->ranks; i++) {
        if (i == plan->absent) continue;
        CHECK_RANK(&ranks[i], ranks[i].status == status);
        CHECK_RANK(&ranks[i], strstr(ranks[i].error, words) != NULL && strstr(ranks[i].error, more) != NULL);
    }
}

static void each_collective_is_right(void)
{
    for (int n = 1; n <= 3; n++) {
        struct plan plan = {.context = make_context(), .ranks = n, .demanded = DEMANDED, .deadline = 60, .absent = -1};
        body = all_collectives;
        run_ranks(&plan);
        expect_all_well(&plan);
    }
    CHECK(!logged[0]);
}

static void expect_host_takes_over(int on_one_device, const char *words)
{
    struct plan plan = {.context = make_context(), .ranks = 2, .deadline = 60, .absent = -1, .times = 3, .on_one_device = on_one_device};
    body = many_reductions;
    run_ranks(&plan);
    expect_all_well(&plan);
    const char *said = strstr(logged, "collectives go through host memory: ");
    CHECK(said && strstr(said, words) && !strstr(said + 1, "collectives go through"));
}

static void a_rank_that_cannot_be_made_leaves_it_to_the_host(void)
{
    expect_host_takes_over(0, "ncclCommInitRankConfig");
}

static void making_that_fails_later_leaves_it_to_the_host(void)
{
    expect_host_takes_over(0, "ncclCommGetAsyncError");
}

static void two_ranks_on_one_device_are_left_to_the_host(void)
{
    expect_host_takes_over(1, "Duplicate GPU");
}

static void expect_failure(int demanded, aios_status status, const char *words, const char *more)
{
    aios_context *context = status == AIOS_DEVICE_LOST ? make_hasty_context() : make_context();
    struct plan plan = {.context = context, .ranks = 3, .demanded = demanded, .deadline = 20, .absent = -1, .times = 12};
    body = many_reductions;
    run_ranks(&plan);
    expect_all_say(&plan, status, words, more);
}

static void a_demanded_rank_that_cannot_be_made_is_named(void)
{
    expect_failure(DEMANDED, AIOS_UNAVAILABLE, ":1: becoming rank 1", "ncclCommInitRankConfig");
}

static void a_collective_that_fails_ends_all(void)
{
    expect_failure(BY_HOST_IF_NEED_BE, AIOS_UNAVAILABLE, "rank 1 (", "ncclAllReduce");
}

static void a_failure_heard_of_later_ends_all(void)
{
    expect_failure(BY_HOST_IF_NEED_BE, AIOS_UNAVAILABLE, "rank 1 (", "ncclCommGetAsyncError");
}

static void a_call_that_hangs_ends_all(void)
{
    expect_failure(BY_HOST_IF_NEED_BE, AIOS_DEVICE_LOST, "rank 1 (", "has not returned");
}

static void a_device_lost_in_a_collective_ends_all(void)
{
    expect_failure(BY_HOST_IF_NEED_BE, AIOS_DEVICE_LOST, "rank 1 (", "");
}

static void a_rank_that_never_comes_is_told(void)
{
    struct plan plan = {.context = make_context(), .ranks = 3, .demanded = DEMANDED, .deadline = 0.3, .absent = 1, .times = 1};
    body = many_reductions;
    run_ranks(&plan);
    expect_all_say(&plan, AIOS_TIMEOUT, "2 of 3 ranks came", "");
}

static void ranks_that_want_different_things_are_told(void)
{
    struct plan plan = {.context = make_context(), .ranks = 2, .demanded = DEMANDED, .deadline = 20, .absent = -1};
    body = different_counts;
    run_ranks(&plan);
    expect_all_say(&plan, AIOS_WRONG_STATE, "not all other ranks do", "");
}

/* ---- several vendors ---------------------------------------------------------------------------------------------- */

static const char *const mixed[] = {"cuda:0", "cuda:1", "hip:0", "cpu:0"};

static void vendors_and_the_cpu_add_up_together(void)
{
    static const char *const one_and_cpu[] = {"cuda:0", "cpu:0"};
    struct plan plan = {.context = make_context(), .ranks = 4, .deadline = 60, .absent = -1, .specs = mixed};
    body = all_collectives;
    run_ranks(&plan);
    expect_all_well(&plan);
    plan = (struct plan){.context = make_context(), .ranks = 2, .deadline = 60, .absent = -1, .specs = one_and_cpu};
    run_ranks(&plan);
    expect_all_well(&plan);
    CHECK(!logged[0]);
}

static void expect_mixed_failure(aios_context *context, double deadline, int absent, aios_status status, const char *words)
{
    struct plan plan = {.context = context, .ranks = 4, .deadline = deadline, .absent = absent, .times = 8, .specs = mixed};
    body = many_reductions;
    run_ranks(&plan);
    expect_all_say(&plan, status, words, "");
}

static void a_failure_at_one_vendor_ends_all(void)
{
    expect_mixed_failure(make_context(), 20, -1, AIOS_UNAVAILABLE, "(cuda:1): ncclAllReduce");
}

static void a_hanging_device_of_one_vendor_ends_all(void)
{
    expect_mixed_failure(make_hasty_context(), 20, -1, AIOS_DEVICE_LOST, "(cuda:1)");
}

static void a_rank_that_never_comes_is_told_to_all_vendors(void)
{
    expect_mixed_failure(make_context(), 0.3, 1, AIOS_TIMEOUT, "3 of 4 ranks came");
}

static void what_is_demanded_and_missing_is_named(void)
{
    const comm_options options = {.ranks = 2, .deadline = 20};
    aios_context *context = make_context();
    aios_device *devices[2] = {open_device(context, 0), NULL};
    comm_group *group;
    (void)setenv("AIOS_NCCL", "/nonexistent", 1);
    OK(aios_device_open(context, "cuda:1", &devices[1]));
    FAILS(comm_group_choose(context, &options, devices, COLLECTIVES_VENDOR, &group), AIOS_UNAVAILABLE);
    SAID("option collectives is vendor");
    SAID("/nonexistent, which AIOS_NCCL names");
    OK(comm_group_choose(context, &options, devices, COLLECTIVES_AUTO, &group));
    comm_group_destroy(group);
    CHECK(strstr(logged, "go through host memory: no NCCL"));
    for (int i = 0; i < 2; i++) aios_device_close(devices[i]);
    aios_context_release(context);
}

static void two_replicas_on_one_gpu_are_told_apart_from_two_gpus(void)
{
    static const char *const twice[] = {"cuda:0", "cuda:0"};
    const comm_options options = {.ranks = 2, .deadline = 20};
    struct plan plan = {.context = make_context(), .ranks = 2, .specs = twice};
    comm_group *group;
    open_devices(&plan);
    aios_device *devices[2] = {ranks[0].device, ranks[1].device};
    FAILS(comm_group_choose(plan.context, &options, devices, COLLECTIVES_VENDOR, &group), AIOS_UNSUPPORTED);
    SAID("two replicas are on cuda:0");
    OK(comm_group_choose(plan.context, &options, devices, COLLECTIVES_AUTO, &group));
    comm_group_destroy(group);
    for (int i = 0; i < 2; i++) aios_device_close(devices[i]);
    aios_context_release(plan.context);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* A thread that meets the others as processes do: over the network. */
static aios_status run_as_process(struct rank *r, aios_context *context, aios_stream *stream)
{
    comm_world_options options = {.rank = r->number,
                                  .ranks = r->ranks,
                                  .name = aios_device_spec(r->device),
                                  .port = 20000 + (int)getpid() % 20000,
                                  .deadline = 20,
                                  .host_store = r->number == 0};
    comm_world *world = NULL;
    comm_group *group = NULL;
    communicator *c = NULL;
    aios_status status = AIOS_OK;
    ATTEMPT_QUIET(comm_world_open(context, &options, &world));
    ATTEMPT_QUIET(comm_world_choose(world, context, &(comm_options){.deadline = 20}, r->device, 1, r->times, &group));
    ATTEMPT_QUIET(comm_join(group, r->number, aios_device_spec(r->device), stream, &c));
    ATTEMPT_QUIET(all_collectives(r, c, stream));
done:
    (void)snprintf(r->error, sizeof r->error, "%s", aios_error_message());
    comm_leave(c);
    comm_group_destroy(group);
    comm_world_close(world);
    return status;
}

static void *run_process(void *user)
{
    struct rank *r = user;
    aios_context *context = make_context();
    aios_stream *stream;
    OK(aios_device_open(context, mixed[r->number], &r->device));
    OK(aios_stream_create(r->device, &stream));
    OK(aios_device_alloc(r->device, COUNT * sizeof(float), (void **)&r->buffer));
    r->status = run_as_process(r, context, stream);
    aios_device_free(r->device, r->buffer);
    aios_stream_destroy(stream);
    aios_device_close(r->device);
    aios_context_release(context);
    return NULL;
}

static void run_processes(int count, int collectives)
{
    pthread_t threads[RANKS_MOST];
    for (int i = 0; i < count; i++) {
        ranks[i] = (struct rank){.number = i, .ranks = count, .times = collectives};
        CHECK(pthread_create(&threads[i], NULL, run_process, &ranks[i]) == 0);
    }
    for (int i = 0; i < count; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void processes_of_one_vendor_use_its_library(void)
{
    run_processes(2, COLLECTIVES_VENDOR);
    for (int i = 0; i < 2; i++) CHECK_RANK(&ranks[i], ranks[i].status == AIOS_OK);
    CHECK(!logged[0]);
}

static void processes_of_several_vendors_meet_on_the_host(void)
{
    run_processes(3, COLLECTIVES_AUTO);
    for (int i = 0; i < 3; i++) CHECK_RANK(&ranks[i], ranks[i].status == AIOS_OK);
    run_processes(3, COLLECTIVES_VENDOR);
    for (int i = 0; i < 3; i++)
        CHECK_RANK(&ranks[i],
                   ranks[i].status == AIOS_UNSUPPORTED && strstr(ranks[i].error, "rank 0 (cuda) has NCCL 2.28.9 and rank 2 (hip) RCCL"));
}

static int test_mixed(void)
{
    int good = 1;
    backend_name = "cuda";
#define TEST(simulated, test) good &= run_test(#test, simulated, test)
    TEST("2,hip:1", vendors_and_the_cpu_add_up_together);
    TEST("2,hip:1;fault=ncclAllReduce@1:3", a_failure_at_one_vendor_ends_all);
    TEST("2,hip:1;fault=ncclAllReduce@1:3:hang", a_hanging_device_of_one_vendor_ends_all);
    TEST("2,hip:1;fault=work@1:9:lost", a_hanging_device_of_one_vendor_ends_all);
    TEST("2,hip:1", a_rank_that_never_comes_is_told_to_all_vendors);
    TEST("2", what_is_demanded_and_missing_is_named);
    TEST("1", two_replicas_on_one_gpu_are_told_apart_from_two_gpus);
    if (strcmp(getenv("AIOS_TEST_PROCESSES"), "1") == 0) { /* the engine between processes was built */
        TEST("2", processes_of_one_vendor_use_its_library);
        TEST("2,hip:1", processes_of_several_vendors_meet_on_the_host);
    }
    return good ? 0 : 1;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        (void)fprintf(stderr, "collectives_test VENDOR: cuda, hip or mixed\n");
        return 2;
    }
    if (strcmp(arguments[1], "mixed") == 0) return test_mixed();
    backend_name = arguments[1];
    int good = 1;
    TEST("3", each_collective_is_right);
    TEST("2;fault=ncclCommInitRankConfig@1", a_rank_that_cannot_be_made_leaves_it_to_the_host);
    TEST("2;fault=ncclCommGetAsyncError@1", making_that_fails_later_leaves_it_to_the_host);
    TEST("1", two_ranks_on_one_device_are_left_to_the_host);
    TEST("3;fault=ncclCommInitRankConfig@1", a_demanded_rank_that_cannot_be_made_is_named);
    TEST("3;fault=ncclAllReduce@1:5", a_collective_that_fails_ends_all);
    TEST("3;fault=ncclCommGetAsyncError@1:20", a_failure_heard_of_later_ends_all);
    TEST("3;fault=ncclAllReduce@1:5:hang", a_call_that_hangs_ends_all);
    TEST("3;fault=ncclAllReduce@1:5:lost", a_device_lost_in_a_collective_ends_all);
    TEST("3;fault=work@1:11:lost", a_device_lost_in_a_collective_ends_all);
    TEST("3;fault=work@1:11:hang", a_call_that_hangs_ends_all);
    TEST("3", a_rank_that_never_comes_is_told);
    TEST("2", ranks_that_want_different_things_are_told);
    return good ? 0 : 1;
}
