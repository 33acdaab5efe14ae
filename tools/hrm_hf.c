/* aios hrm-hf: the Hierarchical Reasoning Model on texts, under the names of an earlier program. */
#include "output.h"
#include "tool.h"

#include <string.h>

enum { SPAWN = 0, STUDENT_INIT = 1 }; /* bits of tool->own; the first is train's too */

static int set(struct tool *tool, const char *name, const char *value)
{
    return aios_options_set(tool->options, name, value) == AIOS_OK ? TOOL_DONE : tool_fail_library(TOOL_USAGE);
}

/* Does the folder hold a model of this kind? */
static int is_hrm(const char *folder)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.json", folder) >= (int)sizeof path) return 0;
    json_t *config = json_load_file(path, 0, NULL);
    const char *type = json_string_value(json_object_get(config, "model_type"));
    int found = type && strcmp(type, "hrm_actv1") == 0;
    json_decref(config);
    return found;
}

/* --model may be a folder of another model, whose tokenizer alone is wanted; --student-init is one whose weights are. */
static int choose_weights(struct tool *tool)
{
    const char *model = "", *student = tool->values[STUDENT_INIT];
    int failed = TOOL_DONE;
    if (aios_options_get_string(tool->options, "model", &model) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (student && !is_hrm(student))
        return tool_fail(TOOL_USAGE, "--student-init %s: no model of type hrm_actv1 is there (config.json)", student);
    if (*model && !is_hrm(model)) {
        if (!aios_options_is_set(tool->options, "tokenizer")) failed = set(tool, "tokenizer", model);
        if (!failed) failed = set(tool, "model", "");
    } else if (*model && student) {
        return tool_fail(TOOL_USAGE, "--model %s and --student-init %s both have weights: leave one out", model, student);
    }
    return failed || !student ? failed : set(tool, "model", student);
}

static int train_actv1(struct tool *tool)
{
    const char *type = "";
    if (aios_options_get_string(tool->options, "model-type", &type) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (aios_options_is_set(tool->options, "model-type") && strcmp(type, "hrm_actv1") != 0)
        return tool_fail(TOOL_USAGE, "--model-type is %s: train-actv1 trains hrm_actv1 (aios train trains others)", type);
    int failed = set(tool, "model-type", "hrm_actv1");
    if (!failed && !aios_options_is_set(tool->options, "gradient-checkpointing")) failed = set(tool, "gradient-checkpointing", "on");
    if (!failed) failed = choose_weights(tool);
    return failed ? failed : run_train(tool);
}

int run_hrm_hf(struct tool *tool)
{
    const char *verb = tool->argument_count ? tool->arguments[0] : "";
    if (strcmp(verb, "train-actv1") == 0) return train_actv1(tool);
    if (strcmp(verb, "list-gpus") == 0) return run_list_gpus(tool);
    return tool_fail(TOOL_USAGE, "hrm-hf knows train-actv1 and list-gpus: \"%s\" is none of them", verb);
}
