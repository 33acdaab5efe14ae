/* custom_model.c: a model of your own.  The task: eight digits go in, the same digits come out sorted.  Every position has to know all
 * others, so the model is a transformer without a mask: in each block positions look at each other (attention), then think (SwiGLU).
 *
 *     cc custom_model.c $(pkg-config --cflags --libs libaios) -o custom_model && ./custom_model */
#include <aios/aios.h>

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64, LENGTH = 8, DIGITS = 10, WIDTH = 48, HEADS = 4, BLOCKS = 2, STEPS = 500 };

static void check(aios_status status)
{
    if (status != AIOS_OK) fprintf(stderr, "custom_model: %s\n", aios_error_message());
    if (status != AIOS_OK) exit(1);
}

static aios_tensor linear(aios_graph *g, aios_tensor x, const char *name, int block, int in, int out)
{
    char full[32];
    snprintf(full, sizeof full, "block%d.%s", block, name);
    aios_tensor w = aios_graph_parameter(g, full, (int32_t[]){out, in}, 2, AIOS_INIT_TRUNCATED_NORMAL, 0.14f, AIOS_GROUP_DECAY);
    return aios_graph_linear(g, x, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
}

/* Recording computes nothing: it says what is to be computed, and the library finds the gradients, the memory and the order.  A
 * mistake (say, shapes that don't fit) makes every later call do nothing, and aios_graph_finish tells the first one. */
static aios_graph *record(aios_context *context)
{
    aios_graph *g;
    check(aios_graph_create(context, &g));
    int32_t shape[] = {BATCH, LENGTH};
    aios_tensor table = aios_graph_parameter(g, "digits.table", (int32_t[]){DIGITS, WIDTH}, 2, AIOS_INIT_NORMAL, 1.0f, AIOS_GROUP_NO_DECAY);
    aios_tensor x = aios_graph_embedding(g, table, aios_graph_input(g, "digits", AIOS_I32, shape, 2)); /* (BATCH, LENGTH, WIDTH) */
    x = aios_graph_add(g, x, aios_graph_parameter(g, "places", (int32_t[]){LENGTH, WIDTH}, 2, AIOS_INIT_NORMAL, 1.0f, AIOS_GROUP_NO_DECAY));
    aios_attention_options attention = {.struct_size = sizeof attention, .heads = HEADS}; /* not causal: everybody sees everybody */
    for (int i = 0; i < BLOCKS; i++) {
        aios_tensor h = linear(g, aios_graph_rmsnorm(g, x, 0, 1e-5f), "qkv", i, WIDTH, 3 * WIDTH);
        x = aios_graph_add(g, x, linear(g, aios_graph_attention(g, h, &attention), "mix", i, WIDTH, WIDTH));
        h = linear(g, aios_graph_rmsnorm(g, x, 0, 1e-5f), "up", i, WIDTH, 4 * WIDTH);
        x = aios_graph_add(g, x, linear(g, aios_graph_swiglu(g, h), "down", i, 2 * WIDTH, WIDTH));
    }
    aios_tensor logits = linear(g, aios_graph_rmsnorm(g, x, 0, 1e-5f), "head", BLOCKS, WIDTH, DIGITS);
    aios_graph_cross_entropy(g, logits, aios_graph_input(g, "sorted", AIOS_I32, shape, 2), AIOS_SOFTMAX, 1.0f);
    check(aios_graph_finish(g));
    return g;
}

static void run_batch(aios_plan *plan) /* of new numbers */
{
    int32_t digits[BATCH][LENGTH], sorted[BATCH][LENGTH];
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < LENGTH; i++) digits[b][i] = rand() % DIGITS;
        for (int digit = 0, n = 0; digit < DIGITS; digit++)
            for (int i = 0; i < LENGTH; i++)
                if (digits[b][i] == digit) sorted[b][n++] = digit;
    }
    check(aios_plan_write(plan, "digits", digits, sizeof digits));
    check(aios_plan_write(plan, "sorted", sorted, sizeof sorted));
    check(aios_plan_run(plan));
}

int main(void)
{
    aios_context *context;
    aios_device *device;
    aios_parameters *parameters;
    aios_plan *training, *testing;
    aios_optimizer *optimizer;
    aios_loss_sums sums = AIOS_LOSS_SUMS_INIT;
    check(aios_context_create(NULL, &context));
    check(aios_device_open(context, "cpu", &device)); /* "cuda:0", "hip:0" and "xpu:0" are as good */
    aios_graph *graph = record(context);
    check(aios_parameters_create(device, graph, NULL, &parameters)); /* weights, gradients and moments live on the device */
    check(aios_parameters_initialize(parameters, 42));
    aios_plan_options backward = {.struct_size = sizeof backward, .training = 1, .capture = 1};
    check(aios_plan_create(graph, parameters, &backward, &training));
    check(aios_plan_create(graph, parameters, NULL, &testing)); /* forward only */
    check(aios_optimizer_create(parameters, NULL, &optimizer)); /* AdamW as it comes */
    for (int step = 1; step <= STEPS; step++) {
        check(aios_optimizer_begin(optimizer, 3e-3 * (STEPS - step + 1) / STEPS, BATCH * LENGTH)); /* the rate falls; the loss is a mean */
        run_batch(training);
        check(aios_optimizer_step(optimizer));
        if (step % 50) continue; /* reading waits for the device, so not in every step */
        check(aios_plan_losses(training, &sums, 1));
        printf("step %3d  loss %.4f  digits in place %.2f %%\n", step, sums.loss / sums.rows, 100.0 * sums.hits / sums.rows);
    }
    for (int i = 0; i < 50; i++) run_batch(testing); /* numbers that it was not trained on */
    check(aios_plan_losses(testing, &sums, 1));
    printf("accuracy on new numbers: %.2f %%\n", 100.0 * sums.hits / sums.rows);
    aios_optimizer_destroy(optimizer);
    aios_plan_destroy(training);
    aios_plan_destroy(testing);
    aios_parameters_destroy(parameters);
    aios_graph_destroy(graph);
    aios_device_close(device);
    aios_context_destroy(context);
    return sums.hits / sums.rows > 0.99 ? 0 : 1;
}
