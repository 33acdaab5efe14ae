/* Models: what config.json may say, what GPT-2 records, weights in and out byte for byte. */
#include "folder.h"

#include "base/json.h"
#include "model/elements.h"
#include "model/weights_file.h"
#include <aios/model.h>

#include <math.h>
#include <stdio.h>

static const char tiny[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, \"n_embd\": 8, \"n_positions\": 6, \"vocab_size\": 11}";

struct world {
    aios_context *context;
    aios_device *device;
    char *folder;
};

static int open_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->context = test_context();
    assert_ok(aios_device_open(w->context, "cpu", &w->device));
    w->folder = test_folder_make();
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;
    test_folder_remove(w->folder);
    aios_device_close(w->device);
    aios_context_destroy(w->context);
    free(w);
    return 0;
}

static aios_parameters *parameters_of(struct world *w, const aios_model *model)
{
    aios_graph *graph;
    aios_parameters *parameters;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    options.training = 0;
    assert_ok(aios_graph_create(w->context, &graph));
    assert_ok(aios_model_record(model, graph, AIOS_MODEL_TRAIN, 1, 4));
    assert_ok(aios_parameters_create(w->device, graph, &options, &parameters));
    aios_graph_destroy(graph);
    return parameters;
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

static void a_configuration_is_read_by_its_hugging_face_names(void **state)
{
    struct world *w = *state;
    aios_model *m;
    assert_ok(aios_model_create(w->context, tiny, &m));
    assert_string_equal(aios_model_name(m), "gpt2");
    assert_string_equal(aios_model_config(m), tiny);
    assert_int_equal(aios_model_vocabulary_size(m), 11);
    assert_int_equal(aios_model_context_length(m), 6);
    aios_model_destroy(m);
    /* what every published GPT-2 has besides */
    assert_ok(aios_model_create(
        w->context,
        "{\"activation_function\": \"gelu_new\", \"architectures\": [\"GPT2LMHeadModel\"], \"attn_pdrop\": 0.1, \"bos_token_id\": 50256, "
        "\"embd_pdrop\": 0.1, \"eos_token_id\": 50256, \"initializer_range\": 0.02, \"layer_norm_epsilon\": 1e-05, \"model_type\": "
        "\"gpt2\", \"n_ctx\": 1024, \"n_embd\": 768, \"n_head\": 12, \"n_inner\": null, \"n_layer\": 12, \"n_positions\": 1024, "
        "\"resid_pdrop\": 0.1, \"summary_type\": \"cls_index\", \"task_specific_params\": {}, \"vocab_size\": 50257}",
        &m));
    aios_graph *g;
    assert_ok(aios_graph_create(w->context, &g));
    assert_ok(aios_model_record(m, g, AIOS_MODEL_TRAIN, 2, 1024));
    assert_int_equal(aios_graph_parameter_count(g), 148);
    aios_graph_destroy(g);
    aios_model_destroy(m);
}

static void what_would_change_the_mathematics_is_refused_by_name(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *entry;
        aios_status status;
        const char *text;
    } cases[] = {
        {"\"activation_function\": \"relu\"", AIOS_UNSUPPORTED, "activation_function is 'relu'"},
        {"\"tie_word_embeddings\": false", AIOS_UNSUPPORTED, "tie_word_embeddings is false"},
        {"\"scale_attn_weights\": false", AIOS_UNSUPPORTED, "scale_attn_weights is false"},
        {"\"scale_attn_by_inverse_layer_idx\": true", AIOS_UNSUPPORTED, "scale_attn_by_inverse_layer_idx is true"},
        {"\"add_cross_attention\": true", AIOS_UNSUPPORTED, "add_cross_attention is true"},
        {"\"pruned_heads\": {\"1\": [0]}", AIOS_UNSUPPORTED, "pruned_heads"},
        {"\"quantization_config\": {\"bits\": 4}", AIOS_UNSUPPORTED, "quantization_config"},
        {"\"n_layer\": 0", AIOS_OUT_OF_RANGE, "n_layer"},
        {"\"n_head\": 5", AIOS_INVALID_ARGUMENT, "n_head 5"},
        {"\"n_embd\": \"big\"", AIOS_CORRUPT, "n_embd"},
        {"\"layer_norm_epsilon\": -1", AIOS_OUT_OF_RANGE, "layer_norm_epsilon"},
        {"\"model_type\": \"llama\"", AIOS_UNSUPPORTED, "model_type is 'llama'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[256];
        aios_model *m;
        int named = strstr(cases[i].entry, "model_type") != NULL;
        (void)snprintf(config, sizeof config, "{%s%s}", named ? "" : "\"model_type\": \"gpt2\", ", cases[i].entry);
        assert_fails(aios_model_create(w->context, config, &m), cases[i].status, cases[i].text);
        assert_null(m);
    }
    aios_model *m;
    assert_fails(aios_model_create(w->context, "{\"n_layer\": 2}", &m), AIOS_CORRUPT, "model_type");
    assert_fails(aios_model_create(w->context, "{\"model_type\": ", &m), AIOS_CORRUPT, "1:");
    assert_fails(aios_model_open(w->context, w->folder, &m), AIOS_NOT_FOUND, "config.json");
    char run[4200];
    (void)snprintf(run, sizeof run, "%s/checkpoints", w->folder);
    assert_ok(os_folder_create(run));
    assert_fails(aios_model_open(w->context, w->folder, &m), AIOS_NOT_FOUND, "is the folder of a run: name one of its models");
}

static void a_graph_has_the_models_limits(void **state)
{
    struct world *w = *state;
    aios_model *m;
    aios_graph *g;
    assert_ok(aios_model_create(w->context, tiny, &m));
    assert_ok(aios_graph_create(w->context, &g));
    assert_fails(aios_model_record(m, g, AIOS_MODEL_TRAIN, 1, 7), AIOS_OUT_OF_RANGE, "sequence 7");
    assert_fails(aios_model_record(m, g, 3, 1, 4), AIOS_INVALID_ARGUMENT, "mode is 3");
    aios_graph_destroy(g);
    aios_model_destroy(m);
}

/* ---- initial weights --------------------------------------------------------------------------------------------- */

static void check_deviation(aios_parameters *p, const char *name, uint64_t count, double deviation)
{
    double sum = 0, squares = 0;
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    assert_ok(aios_parameters_read(p, name, AIOS_VALUE, values, count));
    for (uint64_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    /* five standard errors of mean and deviation */
    assert_true(fabs(sum / (double)count) <= 5 * deviation / sqrt((double)count));
    assert_true(fabs(sqrt(squares / (double)count) - deviation) <= 5 * deviation / sqrt(2.0 * (double)count));
    free(values);
}

static void initial_weights_have_gpt2s_deviations(void **state)
{
    struct world *w = *state;
    aios_model *m;
    assert_ok(aios_model_create(
        w->context, "{\"model_type\": \"gpt2\", \"n_layer\": 8, \"n_head\": 2, \"n_embd\": 64, \"n_positions\": 64, \"vocab_size\": 500}",
        &m));
    aios_parameters *p = parameters_of(w, m);
    assert_ok(aios_parameters_initialize(p, 42));
    check_deviation(p, "wte.weight", 500 * 64, 0.02);
    check_deviation(p, "wpe.weight", 64 * 64, 0.02);
    check_deviation(p, "h.0.attn.c_attn.weight", 64 * 192, 0.02);
    check_deviation(p, "h.7.mlp.c_fc.weight", 64 * 256, 0.02);
    check_deviation(p, "h.3.attn.c_proj.weight", 64 * 64, 0.02 / 4); /* sqrt(2 * 8) */
    check_deviation(p, "h.3.mlp.c_proj.weight", 64 * 256, 0.02 / 4);
    float values[64];
    assert_ok(aios_parameters_read(p, "h.5.ln_2.weight", AIOS_VALUE, values, 64));
    for (int i = 0; i < 64; i++) assert_true(values[i] == 1.0f);
    assert_ok(aios_parameters_read(p, "ln_f.bias", AIOS_VALUE, values, 64));
    for (int i = 0; i < 64; i++) assert_true(values[i] == 0.0f);
    for (uint32_t i = 0; i < aios_parameters_count(p); i++) { /* matrices decay, vectors don't */
        aios_parameter_info info = {.struct_size = sizeof info};
        assert_ok(aios_parameters_info(p, i, &info));
        assert_int_equal(info.group, info.rank == 2 ? AIOS_GROUP_DECAY : AIOS_GROUP_NO_DECAY);
    }
    aios_parameters_destroy(p);
    aios_model_destroy(m);
}

/* ---- weights in folders ------------------------------------------------------------------------------------------ */

#define TENSORS_MOST 64

/* A folder as other programs write it. */
struct dump {
    safetensors_tensor tensors[TENSORS_MOST];
    char names[TENSORS_MOST][64];
    size_t count;
};

static void add_tensor(struct dump *d, const char *prefix, const char *name, int dtype, int rank, const int64_t *shape)
{
    static uint32_t x = 1;
    safetensors_tensor *t = &d->tensors[d->count];
    (void)snprintf(d->names[d->count], 64, "%s%s", prefix, name);
    *t = (safetensors_tensor){.name = d->names[d->count++], .dtype = dtype, .rank = rank};
    uint64_t count = 1;
    for (int i = 0; i < rank; i++) count *= (uint64_t)(t->shape[i] = shape[i]);
    t->bytes = count * element_size(dtype);
    unsigned char *bytes = calloc(t->bytes + 1, 1);
    assert_non_null(bytes);
    for (uint64_t i = 0; i < count; i++) {
        x = x * 1664525u + 1013904223u;
        float value = (float)(int32_t)x * 0x1p-31f;
        if (element_is_float(dtype))
            assert_true(elements_from_f32(dtype, &value, bytes + i * element_size(dtype), 1));
        else
            bytes[i] = i / (uint64_t)shape[rank - 1] >= i % (uint64_t)shape[rank - 1]; /* a causal mask */
    }
    t->data = bytes;
}

static void free_dump(struct dump *d)
{
    for (size_t i = 0; i < d->count; i++) free((void *)(uintptr_t)d->tensors[i].data);
}

static void add_block(struct dump *d, const char *prefix, int layer, int dtype, int masks)
{
    static const struct {
        const char *name;
        int rank;
        int64_t shape[2];
    } parts[] = {{"ln_1.weight", 1, {8}},
                 {"ln_1.bias", 1, {8}},
                 {"attn.c_attn.weight", 2, {8, 24}},
                 {"attn.c_attn.bias", 1, {24}},
                 {"attn.c_proj.weight", 2, {8, 8}},
                 {"attn.c_proj.bias", 1, {8}},
                 {"ln_2.weight", 1, {8}},
                 {"ln_2.bias", 1, {8}},
                 {"mlp.c_fc.weight", 2, {8, 32}},
                 {"mlp.c_fc.bias", 1, {32}},
                 {"mlp.c_proj.weight", 2, {32, 8}},
                 {"mlp.c_proj.bias", 1, {8}}};
    char name[64];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (masks && i == 2) {
            (void)snprintf(name, sizeof name, "h.%d.attn.bias", layer);
            add_tensor(d, prefix, name, masks == 2 ? dtype : ELEMENT_BOOL, 4, (int64_t[]){1, 1, 6, 6});
            if (masks == 2) { /* a mask of floats is ones and zeros too */
                unsigned char *bytes = (unsigned char *)(uintptr_t)d->tensors[d->count - 1].data;
                for (size_t k = 0; k < 36; k++) {
                    float value = k / 6 >= k % 6 ? 1.0f : 0.0f;
                    assert_true(elements_from_f32(dtype, &value, bytes + k * element_size(dtype), 1));
                }
            }
            (void)snprintf(name, sizeof name, "h.%d.attn.masked_bias", layer);
            add_tensor(d, prefix, name, dtype, 0, NULL);
        }
        (void)snprintf(name, sizeof name, "h.%d.%s", layer, parts[i].name);
        add_tensor(d, prefix, name, dtype, parts[i].rank, parts[i].shape);
    }
}

static void make_dump(struct dump *d, const char *prefix, int dtype, int masks, int head)
{
    memset(d, 0, sizeof *d);
    add_tensor(d, prefix, "wte.weight", dtype, 2, (int64_t[]){11, 8});
    add_tensor(d, prefix, "wpe.weight", dtype, 2, (int64_t[]){6, 8});
    for (int i = 0; i < 2; i++) add_block(d, prefix, i, dtype, masks);
    add_tensor(d, prefix, "ln_f.weight", dtype, 1, (int64_t[]){8});
    add_tensor(d, prefix, "ln_f.bias", dtype, 1, (int64_t[]){8});
    if (!head) return;
    add_tensor(d, "", "lm_head.weight", dtype, 2, (int64_t[]){11, 8});
    memcpy((void *)(uintptr_t)d->tensors[d->count - 1].data, d->tensors[0].data, d->tensors[0].bytes);
}

static const char *make_folder(struct world *w, const char *name)
{
    const char *path = test_path(w->folder, name);
    assert_ok(os_remove_tree(path));
    assert_ok(os_folder_create(path));
    return path;
}

static void write_dump(struct world *w, const struct dump *d, const char *folder, const safetensors_entry *metadata, size_t metadata_count,
                       uint64_t shard)
{
    test_file_write(test_path(folder, "config.json"), tiny, sizeof tiny - 1);
    assert_ok(weights_write(w->context, folder, d->tensors, d->count, metadata, metadata_count, shard));
}

static void compare_name(struct world *w, const char *a, const char *b, const char *name)
{
    char x[TEST_PATH_MAX], y[TEST_PATH_MAX];
    (void)snprintf(x, sizeof x, "%s/%s", a, name);
    (void)snprintf(y, sizeof y, "%s/%s", b, name);
    if (!test_files_equal(w->context, x, y)) fail_msg("%s is not the same after loading and saving", name);
}

struct comparison {
    struct world *w;
    const char *a, *b;
};

static aios_status compare_file(void *user, const char *name)
{
    struct comparison *c = user;
    compare_name(c->w, c->a, c->b, name);
    return AIOS_OK;
}

static void check_round_trip(struct world *w, const struct dump *d, int32_t type, const safetensors_entry *metadata, size_t metadata_count,
                             uint64_t shard)
{
    aios_model *m;
    char from[TEST_PATH_MAX], to[TEST_PATH_MAX];
    (void)snprintf(from, sizeof from, "%s", make_folder(w, "from"));
    (void)snprintf(to, sizeof to, "%s", make_folder(w, "to"));
    write_dump(w, d, from, metadata, metadata_count, shard);
    assert_ok(aios_model_open(w->context, from, &m));
    aios_parameters *p = parameters_of(w, m);
    assert_ok(aios_model_load_weights(m, p, from));
    assert_ok(aios_model_save_weights(m, p, to, type, shard));
    assert_int_equal(test_folder_count(w->context, from), test_folder_count(w->context, to));
    assert_ok(os_folder_list(w->context, from, compare_file, &(struct comparison){w, from, to}));
    aios_parameters_destroy(p);
    aios_model_destroy(m);
}

static void loading_and_saving_gives_the_same_bytes(void **state)
{
    struct world *w = *state;
    static const int32_t types[] = {AIOS_F32, AIOS_BF16, AIOS_F16};
    static const int elements[] = {ELEMENT_F32, ELEMENT_BF16, ELEMENT_F16};
    static const safetensors_entry metadata[] = {{"format", "pt"}, {"author", "somebody"}};
    for (size_t t = 0; t < 3; t++)
        for (int variant = 0; variant < 8; variant++) {
            struct dump d;
            make_dump(&d, variant & 1 ? "transformer." : "", elements[t], variant & 2 ? 1 + (variant & 1) : 0, variant & 4);
            check_round_trip(w, &d, types[t], NULL, 0, 0);
            check_round_trip(w, &d, types[t], metadata, 2, 0);
            check_round_trip(w, &d, types[t], NULL, 0, 1500); /* several shards, some with one tensor */
            free_dump(&d);
        }
}

static void weights_arrive_where_they_belong(void **state)
{
    struct world *w = *state;
    struct dump d;
    aios_model *m;
    float values[8 * 24];
    make_dump(&d, "transformer.", ELEMENT_F32, 1, 1);
    const char *folder = make_folder(w, "from");
    write_dump(w, &d, folder, NULL, 0, 0);
    assert_ok(aios_model_create(w->context, tiny, &m)); /* not opened from the folder: names are known all the same */
    aios_parameters *p = parameters_of(w, m);
    assert_ok(aios_model_load_weights(m, p, folder));
    for (size_t i = 0; i < d.count; i++)
        if (strcmp(d.names[i], "transformer.h.1.attn.c_attn.weight") == 0) {
            assert_ok(aios_parameters_read(p, "h.1.attn.c_attn.weight", AIOS_VALUE, values, 8 * 24));
            assert_memory_equal(values, d.tensors[i].data, sizeof values);
        }
    aios_parameters_destroy(p);
    aios_model_destroy(m);
    free_dump(&d);
}

static void check_refused(struct world *w, const struct dump *d, aios_status wanted, const char *text)
{
    aios_model *m = NULL;
    const char *folder = make_folder(w, "from");
    write_dump(w, d, folder, NULL, 0, 0);
    assert_ok(aios_model_create(w->context, tiny, &m));
    aios_parameters *p = parameters_of(w, m);
    assert_fails(aios_model_load_weights(m, p, folder), wanted, text);
    aios_parameters_destroy(p);
    aios_model_destroy(m);
}

static void weights_of_another_model_are_refused_by_name(void **state)
{
    struct world *w = *state;
    struct dump d;
    make_dump(&d, "", ELEMENT_F32, 0, 1);
    ((float *)(uintptr_t)d.tensors[d.count - 1].data)[3] += 1; /* a head of its own */
    check_refused(w, &d, AIOS_UNSUPPORTED, "'lm_head.weight' differs from 'wte.weight'");
    free_dump(&d);

    make_dump(&d, "", ELEMENT_F32, 0, 0);
    add_tensor(&d, "", "h.2.ln_1.weight", ELEMENT_F32, 1, (int64_t[]){8});
    check_refused(w, &d, AIOS_CORRUPT, "'h.2.ln_1.weight' is none of the gpt2 model's");
    free_dump(&d);

    make_dump(&d, "", ELEMENT_F32, 0, 0);
    free((void *)(uintptr_t)d.tensors[--d.count].data); /* ln_f.bias */
    check_refused(w, &d, AIOS_NOT_FOUND, "ln_f.bias");
    free_dump(&d);

    make_dump(&d, "", ELEMENT_F32, 0, 0);
    d.tensors[0].shape[0] = 8;
    d.tensors[0].shape[1] = 11;
    check_refused(w, &d, AIOS_CORRUPT, "wte.weight");
    free_dump(&d);

    make_dump(&d, "", ELEMENT_F32, 0, 0);
    d.tensors[0].dtype = ELEMENT_I32;
    check_refused(w, &d, AIOS_CORRUPT, "I32");
    free_dump(&d);
}

static void weights_are_converted_to_the_type_that_is_asked_for(void **state)
{
    struct world *w = *state;
    struct dump d;
    aios_model *m;
    float before[88], after[88];
    make_dump(&d, "", ELEMENT_F32, 0, 0);
    char from[TEST_PATH_MAX], to[TEST_PATH_MAX];
    (void)snprintf(from, sizeof from, "%s", make_folder(w, "from"));
    (void)snprintf(to, sizeof to, "%s", make_folder(w, "to"));
    write_dump(w, &d, from, NULL, 0, 0);
    assert_ok(aios_model_open(w->context, from, &m));
    aios_parameters *p = parameters_of(w, m);
    assert_ok(aios_model_load_weights(m, p, from));
    assert_ok(aios_parameters_read(p, "wte.weight", AIOS_VALUE, before, 88));
    float *there;
    uint64_t count;
    assert_ok(aios_parameters_data(p, "wte.weight", AIOS_VALUE, &there, &count));
    assert_true(count == 88 && memcmp(there, before, sizeof before) == 0); /* the CPU's memory is the host's */
    assert_fails(aios_parameters_data(p, "wte", AIOS_VALUE, &there, &count), AIOS_NOT_FOUND, "'wte'");
    assert_true(there == NULL && count == 0);
    assert_ok(aios_model_save_weights(m, p, to, AIOS_BF16, 0));
    assert_ok(aios_model_load_weights(m, p, to));
    assert_ok(aios_parameters_read(p, "wte.weight", AIOS_VALUE, after, 88));
    for (int i = 0; i < 88; i++) assert_true(fabsf(after[i] - before[i]) <= 0x1p-8f * fabsf(before[i])); /* 8 bits */
    assert_fails(aios_model_save_weights(m, p, to, AIOS_I32, 0), AIOS_INVALID_ARGUMENT, "type 3");
    aios_parameters_destroy(p);
    aios_model_destroy(m);
    free_dump(&d);
}

/* ---- custom models ----------------------------------------------------------------------------------------------- */

static int destroyed;

static aios_status record_custom(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t sequence)
{
    (void)mode;
    aios_tensor tokens = aios_graph_input(g, "tokens", AIOS_I32, (int32_t[]){batch, sequence}, 2);
    aios_tensor table =
        aios_graph_parameter(g, "transformer.table", (int32_t[]){*(int32_t *)user, 4}, 2, AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    aios_tensor logits = aios_graph_linear(g, aios_graph_embedding(g, table, tokens), table, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
    (void)aios_graph_cross_entropy(g, logits, aios_graph_input(g, "labels", AIOS_I32, (int32_t[]){batch, sequence}, 2), AIOS_SOFTMAX, 1.0f);
    return AIOS_OK;
}

static void destroy_custom(void *user)
{
    (void)user;
    destroyed++;
}

static void a_custom_model_is_a_model(void **state)
{
    struct world *w = *state;
    int32_t vocabulary = 9;
    aios_model_functions f = {.struct_size = sizeof f,
                              .vocabulary_size = 9,
                              .context_length = 4,
                              .name = "mine",
                              .user = &vocabulary,
                              .record = record_custom,
                              .destroy = destroy_custom};
    aios_model *m;
    float before[36], after[36] = {0};
    destroyed = 0;
    assert_ok(aios_model_create_custom(w->context, &f, &m));
    assert_string_equal(aios_model_name(m), "mine");
    aios_parameters *p = parameters_of(w, m);
    assert_ok(aios_parameters_initialize(p, 3));
    assert_ok(aios_parameters_read(p, "transformer.table", AIOS_VALUE, before, 36));
    const char *folder = make_folder(w, "mine");
    assert_ok(aios_model_save_weights(m, p, folder, AIOS_F32, 0));
    assert_ok(aios_parameters_write(p, "transformer.table", AIOS_VALUE, after, 36));
    assert_ok(aios_model_load_weights(m, p, folder)); /* the prefix is part of its own name */
    assert_ok(aios_parameters_read(p, "transformer.table", AIOS_VALUE, after, 36));
    assert_memory_equal(before, after, sizeof before);
    aios_parameters_destroy(p);
    assert_ptr_equal(aios_model_retain(m), m);
    aios_model_destroy(m);
    assert_int_equal(destroyed, 0);
    aios_model_destroy(m);
    assert_int_equal(destroyed, 1);
    f.record = NULL;
    assert_fails(aios_model_create_custom(w->context, &f, &m), AIOS_INVALID_ARGUMENT, "record");
    assert_null(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_configuration_is_read_by_its_hugging_face_names),
        TEST(what_would_change_the_mathematics_is_refused_by_name),
        TEST(a_graph_has_the_models_limits),
        TEST(initial_weights_have_gpt2s_deviations),
        TEST(loading_and_saving_gives_the_same_bytes),
        TEST(weights_arrive_where_they_belong),
        TEST(weights_of_another_model_are_refused_by_name),
        TEST(weights_are_converted_to_the_type_that_is_asked_for),
        TEST(a_custom_model_is_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
