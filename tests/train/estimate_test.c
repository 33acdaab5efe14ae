/* What an estimate says before a run is what the run then takes of each device: within 5 %, and here to the byte.
 * estimate_test [DEVICES…], CPU devices where there is none. */
#include "run.h"

#include <aios/estimate.h>

#include "gpu/device.h"
#include "graph/parameters.h"
#include "trainer/hrm.h"
#include "trainer/trainer.h"

static const char *layouts[4] = {"cpu:0", "cpu:0,cpu:1,cpu:2"};
static int layout_count = 2;

static void prepare(struct run *r, const char *devices)
{
    run_open(r);
    write_random(r, "text.txt", 7, 4000);
    run_set(r, "devices", devices);
    run_set(r, "strategy", "ddp");
    run_set(r, "keep-cpu", "on");
    run_set(r, "n-embd", "64");
    run_set(r, "batch-size", "3");
    run_set(r, "steps", "1");
    run_set(r, "bucket-mb", "0.1");
    run_set(r, "eval-fraction", "0.1");
    run_set(r, "eval-batches", "1");
}

static void compare(struct run *r, const char *what)
{
    aios_estimate *e;
    assert_ok(aios_estimate_create(r->context, r->options, NULL, 0, &e));
    assert_ok(run_train(r));
    const struct replicas *all = &r->trainer->replicas;
    assert_int_equal(aios_estimate_device_count(e), all->count);
    assert_int_equal(aios_estimate_parameters(e), aios_parameters_total(all->list[0].parameters));
    for (int i = 0; i < all->count; i++) {
        aios_device_estimate d = {.struct_size = sizeof d};
        uint64_t peak;
        assert_ok(aios_estimate_device(e, (uint32_t)i, &d));
        aios_device_memory_used(all->list[i].device, NULL, &peak);
        assert_string_equal(d.spec, aios_device_spec(all->list[i].device));
        assert_true(d.parameters + d.gradients + d.optimizer + d.activations + d.workspace + d.exchange + d.evaluation == d.total);
        if (d.total != peak)
            fail_msg("%s: %s took %llu bytes, %llu were told", what, d.spec, (unsigned long long)peak, (unsigned long long)d.total);
    }
    aios_estimate_destroy(e);
}

static void a_run_takes_what_was_told(void **state)
{
    (void)state;
    static const char *const stages[] = {"none", "zero1", "zero2", "zero3"}, *const precisions[] = {"32", "16-mixed", "bf16-mixed"};
    for (int l = 0; l < layout_count; l++)
        for (size_t stage = 0; stage < (strchr(layouts[l], ',') ? 4 : 1); stage++)
            for (size_t p = 0; p < 3; p++) {
                struct run r;
                char what[128];
                prepare(&r, layouts[l]);
                run_set(&r, "zero-stage", stages[stage]);
                run_set(&r, "precision", precisions[p]);
                run_set(&r, "gradient-checkpointing", (stage + p) % 2 ? "on" : "off");
                run_set(&r, "optimizer", stage == 1 && p == 1 ? "sign-sgd" : "adamw");
                (void)snprintf(what, sizeof what, "%s, %s, %s", layouts[l], stages[stage], precisions[p]);
                compare(&r, what);
                run_close(&r);
            }
}

/* The largest batch is the last that fits. */
static void the_largest_batch_fits_and_the_next_does_not(void **state)
{
    (void)state;
    struct run r;
    aios_estimate *e;
    aios_device_estimate d = {.struct_size = sizeof d};
    char text[32];
    prepare(&r, layouts[0]);
    assert_ok(aios_estimate_create(r.context, r.options, NULL, 0, &e));
    assert_ok(aios_estimate_device(e, 0, &d));
    aios_estimate_destroy(e);
    uint64_t memory = d.total + (d.activations + d.evaluation) * 2;
    assert_ok(aios_estimate_create(r.context, r.options, NULL, memory, &e));
    int64_t most = aios_estimate_largest_batch(e);
    aios_estimate_destroy(e);
    assert_true(most > 3 && most < 20);
    for (int more = 0; more < 2; more++) {
        (void)snprintf(text, sizeof text, "%lld", (long long)most + more);
        run_set(&r, "batch-size", text);
        assert_ok(aios_estimate_create(r.context, r.options, NULL, memory, &e));
        assert_ok(aios_estimate_device(e, 0, &d));
        assert_int_equal(d.total <= memory, !more);
        aios_estimate_destroy(e);
    }
    assert_ok(aios_estimate_create(r.context, r.options, NULL, 1000, &e));
    assert_int_equal(aios_estimate_largest_batch(e), 0);
    aios_estimate_destroy(e);
    run_close(&r);
}

/* HRM's training makes these, one beside the other, as that of texts does. */
static void hrm_takes_what_was_told(void **state)
{
    (void)state;
    static const char config[] = "{\"model_type\": \"hrm_actv1\", \"hidden_size\": 64, \"num_heads\": 2, \"H_layers\": 1, \"L_layers\": 1,"
                                 " \"vocab_size\": 11, \"seq_len\": 36, \"num_puzzle_identifiers\": 50, \"puzzle_emb_ndim\": 64}";
    struct run r;
    aios_estimate *e;
    aios_model *model;
    aios_optimizer *optimizer;
    struct hrm_engine learner;
    aios_graph *graph;
    aios_plan *plan;
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    aios_device_estimate d = {.struct_size = sizeof d};
    aios_device *device;
    uint64_t peak, carried = 0;
    void *carry;
    prepare(&r, "cpu:0");
    run_set(&r, "batch-size", "24");
    assert_ok(aios_model_create(r.context, config, &model));
    assert_ok(aios_estimate_create(r.context, r.options, model, 0, &e));
    assert_ok(aios_estimate_device(e, 0, &d));
    assert_true(aios_estimate_largest_batch(e) >= 24);
    assert_ok(aios_device_open(r.context, "cpu:0", &device));
    options.kind = AIOS_ADAM_ATAN2;
    assert_ok(hrm_engine_open(r.context, model, device, AIOS_PRECISION_32, AIOS_MODEL_TRAIN, 24, &learner));
    assert_ok(aios_optimizer_create(learner.parameters, &options, &optimizer));
    assert_ok(aios_graph_create(r.context, &graph));
    assert_ok(aios_model_record(model, graph, AIOS_MODEL_EVAL, 24, 36));
    assert_ok(aios_plan_create(graph, learner.parameters, &plan_options, &plan));
    aios_graph_destroy(graph);
    assert_ok(parameters_room_for_rows(learner.parameters, 24));
    for (size_t i = 0; i < learner.parameters->state_count; i++) carried += 2 * learner.parameters->states[i].size;
    assert_ok(aios_device_alloc(device, carried, &carry));
    aios_device_memory_used(device, NULL, &peak);
    assert_int_equal(d.total, peak);
    assert_true(d.parameters + d.gradients + d.optimizer + d.activations + d.workspace + d.evaluation == d.total);
    aios_device_free(device, carry);
    aios_plan_destroy(plan);
    aios_optimizer_destroy(optimizer);
    hrm_engine_close(&learner);
    aios_device_close(device);
    aios_estimate_destroy(e);
    aios_model_destroy(model);
    run_close(&r);
}

/* Devices that are not here, and no memory of them known. */
static void devices_need_not_be_here(void **state)
{
    (void)state;
    struct run r;
    aios_estimate *e;
    aios_device_estimate d = {.struct_size = sizeof d};
    prepare(&r, "cuda:6,hip:7,xpu:5");
    assert_ok(aios_estimate_create(r.context, r.options, NULL, 0, &e));
    assert_int_equal(aios_estimate_device_count(e), 3);
    assert_ok(aios_estimate_device(e, 1, &d));
    assert_true(d.assumed && d.memory == 0 && d.total > 0 && strcmp(d.spec, "hip:7") == 0);
    assert_int_equal(aios_estimate_largest_batch(e), -1);
    assert_int_equal(aios_estimate_device(e, 3, &d), AIOS_OUT_OF_RANGE);
    aios_estimate_destroy(e);
    run_set(&r, "devices", "tpu:0");
    assert_int_equal(aios_estimate_create(r.context, r.options, NULL, 0, &e), AIOS_NOT_FOUND);
    run_close(&r);
}

/* A model whose weights alone are far more than any machine has. */
static void nothing_is_taken(void **state)
{
    (void)state;
    struct run r;
    aios_estimate *e;
    aios_device_estimate d = {.struct_size = sizeof d};
    prepare(&r, layouts[0]);
    run_set(&r, "n-layer", "96");
    run_set(&r, "n-embd", "12288");
    run_set(&r, "n-head", "96");
    run_set(&r, "batch-size", "1");
    assert_ok(aios_estimate_create(r.context, r.options, NULL, 0, &e));
    assert_ok(aios_estimate_device(e, 0, &d));
    assert_true(aios_estimate_parameters(e) > 170000000000u);
    assert_true(d.optimizer > (uint64_t)1280 << 30);
    assert_int_equal(aios_estimate_largest_batch(e), 0);
    aios_estimate_destroy(e);
    run_close(&r);
}

int main(int count, char **words)
{
    for (int i = 1; i < count && i <= 4; i++) {
        layouts[i - 1] = words[i];
        layout_count = i;
    }
    (void)setenv("AIOS_CPU_DEVICES", "3", 1);
    (void)setenv("AIOS_CPU_THREADS", "3", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_takes_what_was_told), cmocka_unit_test(the_largest_batch_fits_and_the_next_does_not),
        cmocka_unit_test(hrm_takes_what_was_told),   cmocka_unit_test(devices_need_not_be_here),
        cmocka_unit_test(nothing_is_taken),
    };
    return cmocka_run_group_tests_name("estimate", tests, NULL, NULL);
}
