#include "model.h"

#include "base/float_scope.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_MOST ((uint64_t)16 << 20)

static const struct architecture *const architectures[] = {&gpt2_architecture, &hrm_actv1_architecture};

static aios_status find_architecture(const json_t *config, const struct architecture **found)
{
    const char *type;
    TRY_QUIET(json_get_string(config, "model_type", &type));
    for (size_t i = 0; i < COUNT_OF(architectures); i++)
        if (strcmp(architectures[i]->name, type) == 0) {
            *found = architectures[i];
            return AIOS_OK;
        }
    return FAIL(AIOS_UNSUPPORTED, "model_type is '%s': libaios knows gpt2 and hrm_actv1", type);
}

static aios_status make(aios_context *context, const aios_model_functions *functions, aios_model **model)
{
    *model = NULL;
    aios_model *made = aios_new(context, aios_model);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->references = 1;
    made->functions = *functions;
    (void)snprintf(made->name, sizeof made->name, "%s", functions->name);
    made->config = aios_memory_strdup(context, functions->config_json ? functions->config_json : "{}\n");
    if (!made->config) {
        made->functions.destroy = NULL; /* the caller still owns user */
        aios_model_destroy(made);
        return AIOS_OUT_OF_MEMORY;
    }
    made->functions.name = made->name;
    made->functions.config_json = made->config;
    *model = made;
    return AIOS_OK;
}

static aios_status create_named(aios_context *context, const char *config, const char *where, const char *folder, aios_model **model)
{
    aios_status status = AIOS_OK;
    const struct architecture *architecture = NULL;
    aios_model_functions functions = {.struct_size = sizeof functions};
    json_t *root = NULL;
    aios_model *made = NULL;
    ATTEMPT_QUIET(json_parse(config, strlen(config), where, NULL, &root));
    ATTEMPT(find_architecture(root, &architecture), "reading %s", where);
    functions.name = architecture->name;
    ATTEMPT(architecture->create(context, root, &functions), "reading %s", where);
    functions.config_json = config;
    status = make(context, &functions, &made);
    if (status != AIOS_OK) {
        functions.destroy(functions.user);
        goto done;
    }
    made->architecture = architecture;
    if (folder) ATTEMPT(layout_read(made, folder), "opening model %s", folder);
    *model = made;
    made = NULL;
done:
    aios_model_destroy(made);
    json_decref(root);
    return status;
}

aios_status aios_model_create(aios_context *context, const char *config_json, aios_model **model)
{
    FLOAT_SCOPE;
    if (!context || !config_json || !model)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_create: context, config_json and model must not be NULL");
    *model = NULL;
    return create_named(context, config_json, "the model's configuration", NULL, model);
}

/* A run's folder has its models one level down. */
static aios_status explain_absence(const char *folder, aios_status status)
{
    char path[OS_PATH_MAX];
    if (status == AIOS_NOT_FOUND && os_path_join(path, folder, "checkpoints") == AIOS_OK && os_path_kind(path) == OS_FOLDER)
        return FAIL(AIOS_NOT_FOUND, "%s is the folder of a run: name one of its models, %s/step-…", folder, path);
    return aios_error_add_frame(status, "opening model %s", folder);
}

aios_status aios_model_open(aios_context *context, const char *folder, aios_model **model)
{
    FLOAT_SCOPE;
    char path[OS_PATH_MAX], *text = NULL;
    size_t size;
    if (!context || !folder || !model) return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_open: context, folder and model must not be NULL");
    *model = NULL;
    TRY_QUIET(os_path_join(path, folder, "config.json"));
    aios_status status = os_file_read_all(context, path, CONFIG_MOST, &text, &size);
    if (status != AIOS_OK) return explain_absence(folder, status);
    if (strlen(text) != size)
        status = FAIL(AIOS_CORRUPT, "%s holds a zero byte at %zu: it must be text", path, strlen(text));
    else
        status = create_named(context, text, path, folder, model);
    aios_memory_free(context, text);
    return status;
}

aios_status aios_model_create_custom(aios_context *context, const aios_model_functions *given, aios_model **model)
{
    if (!context || !given || !model)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_create_custom: context, functions and model must not be NULL");
    *model = NULL;
    aios_model_functions functions = {.struct_size = sizeof functions};
    TRY_QUIET(aios_struct_read("aios_model_functions", &functions, sizeof functions, given));
    if (!functions.record || !functions.name || functions.vocabulary_size < 1 || functions.context_length < 1)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_model_functions: record and name must be given, vocabulary_size (%d) and context_length (%d) be at least 1",
                    functions.vocabulary_size, functions.context_length);
    return make(context, &functions, model);
}

aios_model *aios_model_retain(aios_model *model)
{
    if (model) atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void aios_model_destroy(aios_model *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) return;
    if (model->functions.destroy) model->functions.destroy(model->functions.user);
    aios_context *context = model->context;
    layout_free(context, &model->layout);
    aios_memory_free(context, model->config);
    aios_memory_free(context, model);
    aios_context_release(context);
}

const char *aios_model_name(const aios_model *model)
{
    return model ? model->name : "";
}

const char *aios_model_config(const aios_model *model)
{
    return model ? model->config : "";
}

int32_t aios_model_vocabulary_size(const aios_model *model)
{
    return model ? model->functions.vocabulary_size : 0;
}

int32_t aios_model_context_length(const aios_model *model)
{
    return model ? model->functions.context_length : 0;
}

aios_status aios_model_record(const aios_model *model, aios_graph *graph, int32_t mode, int32_t batch, int32_t sequence)
{
    if (!model || !graph) return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_record: model and graph must not be NULL");
    if (mode < AIOS_MODEL_TRAIN || mode > AIOS_MODEL_DECODE)
        return FAIL(AIOS_INVALID_ARGUMENT, "mode is %d: 0 to %d are allowed", mode, AIOS_MODEL_DECODE);
    if (batch < 1 || sequence < 1 || sequence > model->functions.context_length)
        return FAIL(AIOS_OUT_OF_RANGE, "%s: batch is %d and sequence %d: batch must be at least 1, sequence 1 to %d", model->name, batch,
                    sequence, model->functions.context_length);
    TRY(model->functions.record(model->functions.user, graph, mode, batch, sequence), "recording %s", model->name);
    TRY(aios_graph_finish(graph), "recording %s", model->name);
    return AIOS_OK;
}
