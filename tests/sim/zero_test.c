/* Devices of all simulated vendors and the CPU train one model, at every stage of ZeRO: the curve is the CPU's alone.
 * zero_test DEVICES COUNT; the environment has the devices (aios-sim). */
#include "test.h"

#include "train/run.h"

#include "trainer/trainer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* a lane's switch takes a hundred times longer */
#define STEPS 2
#define SIZE  "8"
#else
#define STEPS 4
#define SIZE  "16"
#endif
#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

static const char *devices;
static int device_count;

static void prepare(struct run *r, const char *on, int batch)
{
    char number[16];
    run_open(r);
    write_random(r, "text.txt", 10, 4000);
    (void)snprintf(number, sizeof number, "%d", batch);
    run_set(r, "devices", on);
    run_set(r, "keep-cpu", "on");
    run_set(r, "strategy", "ddp");
    run_set(r, "batch-size", number);
    run_set(r, "n-layer", "1");
    run_set(r, "max-seq-len", SIZE);
    run_set(r, "steps", TEXT(STEPS));
    run_set(r, "lr", "3e-3");
    run_set(r, "bucket-mb", "0.03");
    run_set(r, "eval-fraction", "0.05");
    run_set(r, "eval-batches", "1");
}

/* Devices add in other orders, with an exponential that is right to 1e-6 (measured in train_test.c). */
static void every_stage_learns_what_the_cpu_does(void **state)
{
    (void)state;
    static const char *const stages[] = {"none", "zero1", "zero2", "zero3"};
    struct run cpu, all;
    prepare(&cpu, "cpu:0", device_count);
    assert_ok(run_train(&cpu));
    for (size_t stage = 0; stage < COUNT_OF(stages); stage++) {
        prepare(&all, devices, 1);
        run_set(&all, "zero-stage", stages[stage]);
        run_set(&all, "verify-interval", "1");
        aios_status status = run_train(&all);
        if (status != AIOS_OK) fail_msg("%s: %s", stages[stage], aios_error_message());
        assert_int_equal(all.trainer->replicas.count, device_count);
        for (int i = 1; i <= STEPS; i++)
            if (!(fabs(all.losses[i] - cpu.losses[i]) <= 5e-6))
                fail_msg("%s, step %d: %.9g, the CPU alone %.9g", stages[stage], i, all.losses[i], cpu.losses[i]);
        run_close(&all);
    }
    run_close(&cpu);
}

int main(int count, char **words)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_stage_learns_what_the_cpu_does)};
    if (count != 3) return 2;
    devices = words[1];
    device_count = atoi(words[2]);
    use_one_thread();
    return cmocka_run_group_tests_name("ZeRO on simulated vendors", tests, NULL, NULL);
}
