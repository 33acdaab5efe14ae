/* A tiny GPT-2, ten steps, on the CPU and on a device of each simulated vendor: the same curve, in every precision, with and without
 * gradient checkpointing.  train_test VENDOR…; the environment has the devices (aios-sim). */
#include "base/os.h"
#include "test.h"

#include "train/run.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* a lane's switch takes a hundred times longer */
#define STEPS 2
#define FIRST 2 /* the precision in which there is the most to do wrong */
#define SIZE  "8"
#else
#define STEPS 10
#define FIRST 0
#define SIZE  "32"
#endif
#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

static const char *const precisions[] = {"32", "16-mixed", "bf16-mixed"};

/* How far a loss of about 5 nats may be from the CPU's in the same precision.  In f32 the devices add in other orders, with an
 * exponential that is right to 1e-6; AdamW's ten steps keep such differences small (measured: 5e-7).  In 16 bits an activation that lies
 * between two numbers falls to either side, by 2^-11 (f16) or 2^-8 (bf16) of it, at random over 128 tokens and 2 blocks (measured: 4e-5,
 * 8e-4). */
static const double tolerances[] = {5e-6, 4e-4, 6e-3};

static const char *const *vendors;
static int vendor_count;

struct curve {
    double losses[STEPS + 1];
};

/* The run's text: ten letters at random, so that the first thing to learn is which there are. */
static void train(struct run *r, const char *device, const char *precision, int checkpointing, struct curve *curve)
{
    static int number;
    char folder[32];
    (void)snprintf(folder, sizeof folder, "run-%d", number++);
    memset(r->losses, 0, sizeof r->losses);
    run_options(r, AIOS_SCOPE_TRAIN);
    run_set_path(r, "save-dir", folder);
    run_set(r, "device", device);
    run_set(r, "precision", precision);
    run_set(r, "gradient-checkpointing", checkpointing ? "true" : "false");
    run_set(r, "batch-size", "4");
    run_set(r, "steps", TEXT(STEPS));
    run_set(r, "max-seq-len", SIZE);
    run_set(r, "lr", "3e-3");
    if (strcmp(precision, "16-mixed") == 0) run_set(r, "loss-scale", "1024"); /* nothing overflows: every step counts */
    aios_status status = run_train(r);
    if (status != AIOS_OK) fail_msg("%s, %s: %s", device, precision, aios_error_message());
    run_end_trainer(r);
    memcpy(curve->losses, r->losses, sizeof curve->losses);
}

static double farthest(const struct curve *a, const struct curve *b)
{
    double most = 0;
    for (int i = 1; i <= STEPS; i++) most = fmax(most, fabs(a->losses[i] - b->losses[i]));
    return most;
}

static void curves_agree(void **state)
{
    struct run *r = *state;
    for (size_t p = FIRST; p < COUNT_OF(precisions); p++) {
        struct curve cpu, plain, checkpointed;
        train(r, "cpu:0", precisions[p], 0, &cpu);
        assert_true(cpu.losses[STEPS] < cpu.losses[1] - (STEPS < 10 ? 0.0 : 0.3)); /* it learns */
        for (int v = 0; v < vendor_count; v++) {
            char device[16];
            (void)snprintf(device, sizeof device, "%s:0", vendors[v]);
            train(r, device, precisions[p], 0, &plain);
            train(r, device, precisions[p], 1, &checkpointed);
            double distance = farthest(&cpu, &plain), again = farthest(&plain, &checkpointed);
            print_message("%-6s %-10s loss %.4f -> %.4f, at most %.2e from the CPU's\n", device, precisions[p], plain.losses[1],
                          plain.losses[STEPS], distance);
            if (!(distance <= tolerances[p])) fail_msg("%s, %s: %g from the CPU's losses", device, precisions[p], distance);
            if (!(again == 0)) fail_msg("%s, %s: gradient checkpointing changes a loss by %g", device, precisions[p], again);
        }
    }
}

static int open_run(void **state)
{
    static struct run run;
    run_open(&run);
    write_random(&run, "text.txt", 10, 20000);
    *state = &run;
    return 0;
}

static int close_run(void **state)
{
    run_close(*state);
    return 0;
}

int main(int count, char **words)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(curves_agree, open_run, close_run)};
    vendors = (const char *const *)words + 1;
    vendor_count = count - 1;
    if (vendor_count < 1) return 2;
    use_one_thread();
    return cmocka_run_group_tests_name("training on simulated vendors", tests, NULL, NULL);
}
