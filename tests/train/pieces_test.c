/* A plan that runs in pieces computes what it computes in one, wherever gradients and weights live, and stops in the same order whatever
 * the shapes of the micro-batch. */
#include "graph/plan.h"
#include "test.h"

#include <aios/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, SEQUENCE = 16, LAYERS = 4, POINTS_MOST = 256 };

/* One rank of `ranks`, alone: the test plays what the others would do. */
struct rank {
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_optimizer *optimizer;
    aios_plan *plan;
    struct plan_point points[POINTS_MOST]; /* of the last run */
    int point_count;
    int alive, alive_most; /* buckets whose weights are there */
};

static void rank_open(struct rank *r, int stage, int precision, int checkpointing, int batch, uint64_t bucket_bytes)
{
    static const char config[] = "{\"model_type\":\"gpt2\",\"vocab_size\":70,\"n_positions\":16,\"n_embd\":32,\"n_layer\":4,\"n_head\":2}";
    aios_model *model;
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer = AIOS_OPTIMIZER_OPTIONS_INIT;
    struct sharding sharding = {.stage = stage, .ranks = 1, .bucket_bytes = bucket_bytes};
    memset(r, 0, sizeof *r);
    assert_ok(aios_context_create(NULL, &r->context));
    assert_ok(aios_device_open(r->context, "cpu:0", &r->device));
    assert_ok(aios_model_create(r->context, config, &model));
    assert_ok(aios_graph_create(r->context, &r->graph));
    assert_ok(aios_model_record(model, r->graph, AIOS_MODEL_TRAIN, batch, SEQUENCE));
    aios_model_destroy(model);
    parameters.precision = precision;
    assert_ok(parameters_create(r->device, r->graph, &parameters, bucket_bytes ? &sharding : NULL, &r->parameters));
    assert_ok(parameters_stage(r->parameters));
    assert_ok(aios_parameters_initialize(r->parameters, 5));
    assert_ok(aios_optimizer_create(r->parameters, &optimizer, &r->optimizer));
    plan.training = 1;
    plan.gradient_checkpointing = checkpointing;
    assert_ok(aios_plan_create(r->graph, r->parameters, &plan, &r->plan));
    assert_ok(aios_optimizer_begin(r->optimizer, 1e-3, BATCH * SEQUENCE));
}

static void rank_close(struct rank *r)
{
    aios_plan_destroy(r->plan);
    aios_optimizer_destroy(r->optimizer);
    aios_parameters_destroy(r->parameters);
    aios_graph_destroy(r->graph);
    aios_device_close(r->device);
    aios_context_destroy(r->context);
}

/* What gathering and summing over one rank come to.  A CPU device's memory is the host's. */
static aios_status reach(void *user, const struct plan_point *point, void *memory)
{
    struct rank *r = user;
    aios_parameters *p = r->parameters;
    const struct bucket *bucket = &p->buckets[point->bucket];
    assert_true(r->point_count < POINTS_MOST);
    r->points[r->point_count++] = *point;
    assert_ok(aios_stream_synchronize(p->stream));
    switch (point->kind) {
    case POINT_WEIGHTS_BEGIN: memset(memory, 0x5a, bucket->count * storage_size(p->storage)); break; /* on its way */
    case POINT_WEIGHTS_END: memcpy(memory, parameters_own_weight(p, bucket), bucket->count * storage_size(p->storage)); break;
    case POINT_GRADIENT_BEGIN: assert_int_equal(memory != NULL, parameters_is_sharded(p, AIOS_GRADIENT)); break;
    default:
        for (uint64_t i = 0; i < bucket->count; i++) parameters_own(p, AIOS_GRADIENT, bucket)[i] += ((float *)memory)[i];
    }
    return AIOS_OK;
}

/* The master's numbers into what forward reads: at stage 3 the staged ones first. */
static void spread(struct rank *r)
{
    aios_parameters *p = r->parameters;
    for (size_t i = 0; i < p->bucket_count && p->staged[AIOS_VALUE]; i++)
        memcpy(parameters_own(p, AIOS_VALUE, &p->buckets[i]), p->staged[AIOS_VALUE] + p->buckets[i].own_first,
               p->buckets[i].own_count * sizeof(float));
    parameters_unstage(p);
    assert_ok(parameters_refresh(p, 0, p->padded));
}

static void write_batch(struct rank *r, int batch)
{
    int32_t tokens[4 * BATCH * SEQUENCE], labels[4 * BATCH * SEQUENCE];
    for (int i = 0; i < batch * SEQUENCE; i++) {
        tokens[i] = i * 7 % 70;
        labels[i] = (i * 7 + 7) % 70;
    }
    assert_ok(aios_plan_write(r->plan, "tokens", tokens, (uint64_t)(batch * SEQUENCE) * 4));
    assert_ok(aios_plan_write(r->plan, "labels", labels, (uint64_t)(batch * SEQUENCE) * 4));
}

static double run(struct rank *r, int pieces, int idle)
{
    aios_loss_sums sums = {.struct_size = sizeof sums};
    write_batch(r, BATCH);
    r->point_count = 0;
    assert_ok(pieces ? plan_run_pieces(r->plan, idle, reach, r) : aios_plan_run(r->plan));
    assert_ok(aios_plan_losses(r->plan, &sums, 1));
    assert_ok(aios_stream_synchronize(r->parameters->stream));
    return sums.loss;
}

static void pieces_compute_what_one_run_does(void **state)
{
    (void)state;
    for (int precision = AIOS_PRECISION_32; precision <= AIOS_PRECISION_BF16_MIXED; precision++)
        for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
            struct rank whole;
            rank_open(&whole, 0, precision, checkpointing, BATCH, 0);
            double loss = run(&whole, 0, 0);
            uint64_t count = whole.parameters->padded, bytes = count * sizeof(float);
            float *once = malloc(bytes);
            assert_non_null(once);
            memcpy(once, whole.parameters->gradient, bytes);
            (void)run(&whole, 0, 0);
            for (int stage = 0; stage <= 3; stage++) {
                struct rank part;
                rank_open(&part, stage, precision, checkpointing, BATCH, 1 << 14);
                assert_true(part.parameters->bucket_count > LAYERS);
                spread(&part);
                assert_true(run(&part, 1, 0) == loss);
                assert_true(part.point_count > 0);
                assert_int_equal(part.parameters->owned, count);
                assert_memory_equal(once, part.parameters->gradient, bytes);
                (void)run(&part, 1, 0); /* gradients add up: each run's sum where they are sharded, else each share */
                if (stage < 2) assert_memory_equal(whole.parameters->gradient, part.parameters->gradient, bytes);
                for (uint64_t i = 0; i < count; i++)
                    assert_true(fabsf(whole.parameters->gradient[i] - part.parameters->gradient[i]) <= 1e-5f);
                rank_close(&part);
            }
            free(once);
            rank_close(&whole);
        }
}

static void stops_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    for (int stage = 0; stage <= 3; stage++) {
        struct rank one, other;
        rank_open(&one, stage, AIOS_PRECISION_32, 1, BATCH, 1 << 14);
        rank_open(&other, stage, AIOS_PRECISION_32, 1, 3 * BATCH, 1 << 14);
        assert_int_equal(one.plan->point_count, other.plan->point_count);
        for (size_t i = 0; i < one.plan->point_count; i++) {
            assert_int_equal(one.plan->points[i].kind, other.plan->points[i].kind);
            assert_int_equal(one.plan->points[i].bucket, other.plan->points[i].bucket);
        }
        rank_close(&one);
        rank_close(&other);
    }
}

/* Backward is not over when most gradients are final, and the flat order is that of the ends: the table of tokens, which the logits
 * share, comes last. */
static void buckets_end_in_order_while_backward_goes_on(void **state)
{
    (void)state;
    struct rank r;
    rank_open(&r, 0, AIOS_PRECISION_32, 0, BATCH, 1 << 14);
    size_t buckets = r.parameters->bucket_count;
    assert_int_equal(r.plan->point_count, buckets);
    for (size_t i = 0; i < buckets; i++) assert_int_equal(r.plan->points[i].bucket, i);
    for (size_t i = 0; i + 2 < buckets; i++) assert_true(r.plan->points[i].instruction < r.plan->points[i + 1].instruction);
    const struct bucket *last = &r.parameters->buckets[buckets - 1];
    assert_true(last->first + last->count == r.parameters->padded);
    rank_close(&r);
}

/* What a rank with nothing to compute adds. */
static void an_idle_run_adds_nothing(void **state)
{
    (void)state;
    for (int stage = 2; stage <= 3; stage++) {
        struct rank r;
        rank_open(&r, stage, AIOS_PRECISION_32, 0, BATCH, 1 << 14);
        spread(&r);
        (void)run(&r, 1, 0);
        int stops = r.point_count;
        float before = r.parameters->gradient[100];
        assert_true(run(&r, 1, 1) == 0);
        assert_int_equal(r.point_count, stops);
        assert_true(r.parameters->gradient[100] == before);
        assert_int_equal(aios_plan_run(r.plan), AIOS_WRONG_STATE);
        rank_close(&r);
    }
}

/* Weights at stage 3 take the room of few buckets at a time, gradients from stage 2 on likewise. */
static void the_arena_holds_few_buckets(void **state)
{
    (void)state;
    uint64_t arena[4], largest = 0, all = 0;
    for (int stage = 0; stage <= 3; stage++) {
        struct rank r;
        rank_open(&r, stage, AIOS_PRECISION_32, 1, BATCH, 1 << 14);
        arena[stage] = r.plan->arena_size;
        for (size_t i = 0; i < r.parameters->bucket_count; i++)
            if (r.parameters->buckets[i].count * 4 > largest) largest = r.parameters->buckets[i].count * 4;
        all = r.parameters->padded * 4;
        rank_close(&r);
    }
    assert_true(arena[0] == arena[1]);
    assert_true(arena[2] <= arena[1] + 3 * largest + (70 * 32 + 1024) * 4);
    assert_true(arena[3] <= arena[2] + 4 * largest);
    assert_true(arena[3] - arena[0] < all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_compute_what_one_run_does),
        cmocka_unit_test(stops_do_not_depend_on_the_batch),
        cmocka_unit_test(buckets_end_in_order_while_backward_goes_on),
        cmocka_unit_test(an_idle_run_adds_nothing),
        cmocka_unit_test(the_arena_holds_few_buckets),
    };
    return cmocka_run_group_tests_name("pieces", tests, NULL, NULL);
}
