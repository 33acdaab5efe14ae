/* The file for Prometheus: steps need not be in it at once, what is rare is. */
#include "trainer/gauges.h"

#include "../folder.h"

static void add(struct gauges *gauges, const char *name, const char *json)
{
    json_t *fields = json_loads(json, 0, NULL);
    assert_non_null(fields);
    assert_ok(gauges_add(gauges, name, fields));
    json_decref(fields);
}

/* Is a line of this series there, with this value? */
static int holds(const char *folder, const char *series, double value)
{
    FILE *file = fopen(test_path(folder, "run.prom"), "r");
    char text[512];
    int found = 0;
    assert_non_null(file);
    while (fgets(text, sizeof text, file))
        found |= strncmp(text, series, strlen(series)) == 0 && strtod(text + strlen(series), NULL) == value;
    (void)fclose(file);
    return found;
}

static void what_is_rare_is_written_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *name, *json, *series;
        double value;
    } rare[] = {{"device_dropped", "{\"device\": \"hip:0\"}", "aios_device_up{run=\"r\",device=\"hip:0\"}", 0},
                {"warning", "{\"message\": \"x\"}", "aios_warnings_total{run=\"r\"}", 1},
                {"eval", "{\"step\": 3, \"loss\": 2.5}", "aios_eval_loss{run=\"r\"}", 2.5},
                {"checkpoint_save", "{\"step\": 3}", "aios_checkpoint_step{run=\"r\"}", 3},
                {"reform", "{}", "aios_step{run=\"r\"}", 5},
                {"training_complete", "{\"step\": 9}", "aios_run_active{run=\"r\"}", 0}};
    char *folder = test_folder_make(), step[64];
    aios_context *context = test_context();
    struct gauges *gauges;
    assert_ok(gauges_open(context, test_path(folder, "run.prom"), "r", &gauges));
    add(gauges, "run_start", "{\"device\": \"cuda:0,hip:0\"}");
    assert_true(holds(folder, "aios_device_up{run=\"r\",device=\"hip:0\"}", 1));
    for (int i = 0; i < (int)COUNT_OF(rare); i++) {
        (void)snprintf(step, sizeof step, "{\"step\": %d}", i + 1);
        add(gauges, "step", step);
        assert_false(holds(folder, "aios_step{run=\"r\"}", i + 1)); /* two seconds have not passed */
        add(gauges, rare[i].name, rare[i].json);
        assert_true(holds(folder, rare[i].series, rare[i].value));
        assert_true(holds(folder, "aios_step{run=\"r\"}", i + 1));
    }
    gauges_close(gauges);
    aios_context_destroy(context);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_rare_is_written_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
