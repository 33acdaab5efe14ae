/* aios merge: checkpoints on disk become one model. */
#include "output.h"
#include "tool.h"

#include <aios/trainer.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_OUTPUT, OWN_WEIGHTS }; /* the order of merge_flags */

/* "3,1,2.5": as many numbers as there are checkpoints. */
static int read_weights(const struct tool *tool, double *weights)
{
    const char *text = tool->values[OWN_WEIGHTS];
    int count = 0;
    for (const char *at = text; count < tool->argument_count; count++) {
        char *end;
        weights[count] = strtod(at, &end);
        if (end == at || (*end && *end != ',')) break;
        if (!*end && ++count == tool->argument_count) return TOOL_DONE;
        if (!*end) break;
        at = end + 1;
    }
    return tool_fail(TOOL_USAGE, "--weights is \"%s\": %d numbers with commas between them are wanted, one for each checkpoint", text,
                     tool->argument_count);
}

int run_merge(struct tool *tool)
{
    aios_merge_options options = AIOS_MERGE_OPTIONS_INIT;
    double weights[TOOL_ARGUMENTS_MOST];
    if (tool->argument_count == 0) return tool_fail(TOOL_USAGE, "merge needs the folders of the checkpoints to merge");
    if (!tool->values[OWN_OUTPUT]) return tool_fail(TOOL_USAGE, "merge needs -o FOLDER: where the merged model is to be");
    if (tool->values[OWN_WEIGHTS]) {
        int failed = read_weights(tool, weights);
        if (failed) return failed;
        options.weights = weights;
    }
    options.folders = tool->arguments;
    options.count = (uint32_t)tool->argument_count;
    options.output = tool->values[OWN_OUTPUT];
    aios_status status = aios_merge_checkpoints(tool->context, &options);
    if (status != AIOS_OK) return tool_fail_open(tool, status);
    if (tool_json(tool))
        print_json(need_memory(json_pack("{so sI}", "output", json_from_text(options.output), "merged", (json_int_t)options.count)),
                   stdout);
    else if (!tool_quiet(tool))
        (void)printf("%s: merged from %u checkpoints\n", options.output, options.count);
    return TOOL_DONE;
}
