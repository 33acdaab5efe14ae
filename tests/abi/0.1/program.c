/* A program of libaios 0.1.  It is compiled with the headers of 0.1 beside it and runs with today's library: what it did then it does now.
 * Argument: a folder that it may fill. */
#include <aios/aios.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(x)                                                                                                                          \
    do {                                                                                                                                   \
        if (!(x)) {                                                                                                                        \
            (void)fprintf(stderr, "line %d: not so: %s: %s\n", __LINE__, #x, aios_error_message());                                        \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)
#define OK(x) EXPECT((x) == AIOS_OK)

static char folder[512];
static int steps, logged;

static const char *in_folder(const char *name)
{
    static char path[2][1024];
    static int which;
    which = !which;
    (void)snprintf(path[which], sizeof path[which], "%s/%s", folder, name);
    return path[which];
}

static void *take(void *user, size_t size)
{
    ++*(int *)user;
    return malloc(size);
}

static void *change(void *user, void *pointer, size_t size)
{
    (void)user;
    return realloc(pointer, size);
}

static void give(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static void on_log(void *user, int32_t level, const char *message)
{
    (void)user, (void)message;
    logged += level <= AIOS_LOG_INFO;
}

static void on_event(void *user, const char *name, const char *json)
{
    (void)user;
    steps += strcmp(name, "step") == 0 && strstr(json, "\"loss\": ") != NULL;
}

static aios_status record(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t length)
{
    aios_attention_options attention = AIOS_ATTENTION_OPTIONS_INIT;
    int32_t shape[] = {batch, length};
    (void)user, (void)mode;
    attention.heads = 2;
    attention.causal = 1;
    aios_tensor table = aios_graph_parameter(g, "table", (int32_t[]){257, 16}, 2, AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    aios_tensor qkv = aios_graph_parameter(g, "qkv", (int32_t[]){48, 16}, 2, AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    aios_tensor x = aios_graph_embedding(g, table, aios_graph_input(g, "tokens", AIOS_I32, shape, 2));
    x = aios_graph_attention(g, aios_graph_linear(g, x, qkv, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE), &attention);
    aios_tensor logits = aios_graph_linear(g, x, table, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
    aios_graph_cross_entropy(g, logits, aios_graph_input(g, "labels", AIOS_I32, shape, 2), AIOS_SOFTMAX, 1.0f);
    return AIOS_OK;
}

static void devices_are_listed(aios_context *context)
{
    aios_device_list *list;
    aios_hardware *hardware;
    OK(aios_device_list_create(context, &list));
    EXPECT(aios_device_list_count(list) >= 1 && aios_device_list_get(list, 0)->info.memory_total > 0);
    EXPECT(aios_device_list_backend_count(list) >= 1 && aios_device_list_get_backend(list, 0)->name[0]);
    OK(aios_hardware_resolve(context, list, "cpu", NULL, &hardware));
    EXPECT(strcmp(aios_hardware_accelerator(hardware), "cpu") == 0 && aios_hardware_device_count(hardware) == 1);
    aios_hardware_destroy(hardware);
    aios_device_list_destroy(list);
}

static void a_model_trains_evaluates_and_writes(aios_context *context)
{
    static const char json[] = "{\"tokenizer\": \"bytes\", \"max-seq-len\": 16, \"steps\": 4, \"log-interval\": 1, \"n-layer\": 1, "
                               "\"n-head\": 1, \"n-embd\": 16}";
    aios_options *options, *other;
    aios_trainer *trainer;
    aios_model *model;
    aios_trainer_metrics metrics = AIOS_TRAINER_METRICS_INIT;
    aios_evaluation evaluation = AIOS_EVALUATION_INIT;
    FILE *file = fopen(in_folder("notes.txt"), "w");
    EXPECT(file);
    for (int i = 0; i < 300; i++) (void)fprintf(file, "A line of text that is number %d.\n", i);
    EXPECT(fclose(file) == 0);
    OK(aios_options_create(context, AIOS_SCOPE_TRAIN, &options));
    OK(aios_options_read_json(options, json));
    OK(aios_options_set(options, "dataset-file", in_folder("notes.txt")));
    OK(aios_options_set(options, "cache-dir", in_folder("cache")));
    OK(aios_options_set(options, "save-dir", in_folder("run")));
    OK(aios_trainer_create(context, options, NULL, &trainer));
    OK(aios_trainer_run(trainer));
    OK(aios_trainer_get_metrics(trainer, &metrics));
    EXPECT(metrics.step == 4 && steps == 4 && isfinite(metrics.loss));
    aios_trainer_destroy(trainer);

    OK(aios_options_create(context, AIOS_SCOPE_EVAL, &other));
    OK(aios_options_set(other, "model", in_folder("run/checkpoints/step-00000004")));
    OK(aios_options_set(other, "dataset-file", in_folder("notes.txt")));
    OK(aios_options_set(other, "cache-dir", in_folder("cache")));
    OK(aios_options_set_int(other, "max-seq-len", 16));
    OK(aios_evaluate(context, other, &evaluation));
    EXPECT(evaluation.tokens > 0 && evaluation.loss < 6 && fabs(evaluation.perplexity - exp(evaluation.loss)) < 1e-6);
    aios_options_destroy(other);

    aios_model_functions functions = AIOS_MODEL_FUNCTIONS_INIT;
    functions.vocabulary_size = 257;
    functions.context_length = 16;
    functions.name = "old";
    functions.record = record;
    OK(aios_model_create_custom(context, &functions, &model));
    OK(aios_options_set(options, "save-dir", in_folder("run_of_old")));
    OK(aios_trainer_create(context, options, model, &trainer));
    OK(aios_trainer_run(trainer));
    EXPECT(steps == 8);
    aios_trainer_destroy(trainer);
    aios_model_destroy(model);
    aios_options_destroy(options);
}

static void chunks_are_claimed(aios_context *context)
{
    aios_chunk_tracker_options options = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_claim_options how = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    aios_chunk_tracker *tracker;
    uint64_t checkpoint;
    options.folder = in_folder("chunks");
    options.total_samples = 100;
    options.chunk_samples = 60;
    OK(aios_chunk_tracker_open(context, &options, &tracker));
    OK(aios_chunk_tracker_resume(tracker, 0));
    OK(aios_chunk_tracker_claim(tracker, &how, &claim));
    EXPECT(claim.outcome == AIOS_CHUNK_CLAIMED && claim.first == 0 && claim.end == 60);
    OK(aios_chunk_tracker_complete(tracker, claim.token, 1, 1));
    OK(aios_chunk_tracker_seal(tracker, &checkpoint));
    OK(aios_chunk_tracker_commit(tracker, checkpoint));
    OK(aios_chunk_tracker_get_info(tracker, &info));
    EXPECT(info.committed == checkpoint && info.total_samples == 100);
    aios_chunk_tracker_close(tracker);
}

int main(int argc, char **argv)
{
    int taken = 0;
    char command[700];
    aios_allocator allocator = {sizeof allocator, 0, &taken, take, change, give};
    aios_context_options options;
    aios_context *context;
    aios_option_info info = AIOS_OPTION_INFO_INIT;
    if (argc != 2) return 2;
    (void)snprintf(folder, sizeof folder, "%s", argv[1]);
    (void)snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s'", folder, folder);
    EXPECT(system(command) == 0);
    aios_context_options_init(&options);
    options.allocator = &allocator;
    options.log = on_log;
    options.event = on_event;
    OK(aios_context_create(&options, &context));
    OK(aios_option_get_info(0, &info));
    EXPECT(info.name && info.help && aios_option_count() > 20);
    EXPECT(aios_device_open(context, "abacus:1", &(aios_device *){NULL}) != AIOS_OK && aios_error_message()[0]);
    devices_are_listed(context);
    a_model_trains_evaluates_and_writes(context);
    chunks_are_claimed(context);
    aios_context_destroy(context);
    EXPECT(taken > 0);
    (void)printf("a program of libaios %s runs with %s\n", AIOS_VERSION_STRING, aios_version());
    return 0;
}
