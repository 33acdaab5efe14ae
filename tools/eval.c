/* aios eval. */
#include "output.h"
#include "progress.h"
#include "tool.h"

#include <aios/trainer.h>

#include <math.h>
#include <string.h>

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_text(const aios_evaluation *e)
{
    char tokens[NUMBER_SIZE], loss[NUMBER_SIZE];
    (void)printf("tokens         %s\n", show_count(e->tokens, tokens));
    (void)printf("loss           %s nats per token\n", show_loss(e->loss, loss));
    (void)printf("perplexity     %.4g\n", e->perplexity);
    (void)printf("accuracy       %.2f %% of the next tokens\n", 100 * e->accuracy);
    if (isfinite(e->nats_per_byte) && e->nats_per_byte > 0)
        (void)printf("nats per byte  %.4f (%.4f bits)\n", e->nats_per_byte, e->nats_per_byte / 0.69314718055994531);
}

int run_eval(struct tool *tool)
{
    struct progress progress;
    aios_evaluation e = {.struct_size = sizeof e};
    progress_follow_data(&progress, tool);
    aios_status status = aios_evaluate(tool->context, tool->options, &e);
    progress_hide(&progress);
    if (status != AIOS_OK) {
        return tool_fail_open(tool, status);
    }
    if (!tool_json(tool))
        print_text(&e);
    else
        print_json(json_pack("{sI so so so so}", "tokens", (json_int_t)e.tokens, "loss", number_or_null(e.loss), "perplexity",
                             number_or_null(e.perplexity), "accuracy", number_or_null(e.accuracy), "nats_per_byte",
                             number_or_null(e.nats_per_byte)),
                   stdout);
    return TOOL_DONE;
}
