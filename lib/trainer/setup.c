#include "setup.h"

#include <string.h>

const char *setup_precision_name(int64_t precision)
{
    static const char *const names[] = {
        [AIOS_PRECISION_32] = "32", [AIOS_PRECISION_16_MIXED] = "16-mixed", [AIOS_PRECISION_BF16_MIXED] = "bf16-mixed"};
    return names[precision];
}

aios_status setup_hardware(aios_context *context, const char *selection, int64_t precision, int64_t strategy, int keep_cpu,
                           aios_hardware **hardware)
{
    static const char *const names[] = {[STRATEGY_AUTO] = NULL, [STRATEGY_DDP] = "ddp", [STRATEGY_INDEPENDENT] = "parallel_independent"};
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.precision = setup_precision_name(precision);
    options.strategy = names[strategy];
    options.keep_cpu = keep_cpu;
    return aios_hardware_resolve(context, NULL, selection, &options, hardware);
}

aios_status setup_device(aios_context *context, const char *spec, int64_t precision, aios_device **device)
{
    aios_hardware *hardware;
    if (strcmp(spec, "auto") != 0) {
        TRY(aios_device_open(context, spec, device), "opening device %s", spec);
        return AIOS_OK;
    }
    TRY(setup_hardware(context, spec, precision, STRATEGY_AUTO, 0, &hardware), "choosing a device");
    const char *chosen = aios_hardware_inference_device(hardware, 0)->spec;
    aios_status status = aios_device_open(context, chosen, device);
    if (status != AIOS_OK) status = aios_error_add_frame(status, "opening %s, which device auto chose", chosen);
    aios_hardware_destroy(hardware);
    return status;
}

aios_status setup_tokenizer(aios_context *context, const char *option, const char *folder, aios_tokenizer **tokenizer)
{
    if (*option) {
        TRY(aios_tokenizer_open(context, option, tokenizer), "option tokenizer");
        return AIOS_OK;
    }
    if (!folder) return aios_tokenizer_open(context, "bytes", tokenizer);
    aios_status status = aios_tokenizer_open(context, folder, tokenizer);
    if (status == AIOS_NOT_FOUND)
        return FAIL(AIOS_NOT_FOUND, "model %s has no tokenizer files: name a tokenizer (a folder, or bytes) with option tokenizer", folder);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "the tokenizer of model %s", folder);
}

aios_status setup_check_vocabulary(const aios_model *model, const aios_tokenizer *tokenizer)
{
    int32_t ids = aios_tokenizer_vocabulary_size(tokenizer), rows = aios_model_vocabulary_size(model);
    if (ids <= rows) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "tokenizer %s has %d ids and the model a vocabulary of %d: it must have at least as many",
                aios_tokenizer_name(tokenizer), ids, rows);
}

aios_status setup_graph(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence, aios_graph **graph)
{
    TRY_QUIET(aios_graph_create(context, graph));
    aios_status status = aios_model_record(model, *graph, mode, (int32_t)batch, (int32_t)sequence);
    if (status == AIOS_OK) return status;
    aios_graph_destroy(*graph);
    *graph = NULL;
    return status;
}

aios_status setup_plan(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence,
                       const aios_plan_options *options, aios_parameters *parameters, aios_plan **plan)
{
    aios_graph *graph;
    TRY_QUIET(setup_graph(context, model, mode, batch, sequence, &graph));
    aios_status status = aios_plan_create(graph, parameters, options, plan);
    aios_graph_destroy(graph);
    return status == AIOS_OK ? status
                             : aios_error_add_frame(status, "planning %s for batches of %lld x %lld", aios_model_name(model),
                                                    (long long)batch, (long long)sequence);
}
