/* One puzzle at a time, segment by segment. */
#include "hrm.h"

#include "base/float_scope.h"
#include "setup.h"

#include <math.h>
#include <string.h>

struct aios_hrm_solver {
    aios_context *context;
    aios_model *model;
    struct hrm_engine engine;
    int32_t vocabulary, identifiers;
    float *logits;
    int32_t *answers, *labels;
};

aios_status aios_hrm_solver_create(aios_context *context, const aios_options *options, aios_hrm_solver **solver)
{
    FLOAT_SCOPE;
    aios_status status = AIOS_OK;
    struct settings s;
    aios_device *device = NULL;
    int64_t identifiers;
    if (!context || !options || !solver) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_solver_create: no argument may be NULL");
    *solver = NULL;
    TRY_QUIET(settings_read(options, AIOS_SCOPE_HRM, &s));
    if (!*s.model)
        return FAIL(AIOS_INVALID_ARGUMENT, "option model is empty: it must name a folder with config.json and model.safetensors");
    aios_hrm_solver *made = aios_new(context, aios_hrm_solver);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    ATTEMPT_QUIET(aios_model_open(context, s.model, &made->model));
    ATTEMPT_QUIET(hrm_config_int(made->model, "num_puzzle_identifiers", 1, &identifiers));
    ATTEMPT_QUIET(setup_device(context, s.device, s.precision, &device));
    ATTEMPT_QUIET(hrm_engine_open(context, made->model, device, s.precision, AIOS_MODEL_EVAL, 1, &made->engine));
    ATTEMPT_QUIET(aios_model_load_weights(made->model, made->engine.parameters, s.model));
    made->vocabulary = aios_model_vocabulary_size(made->model);
    made->identifiers = (int32_t)identifiers;
    size_t length = (size_t)made->engine.length;
    made->logits = aios_memory_array(context, length * (size_t)made->vocabulary, sizeof *made->logits);
    made->answers = aios_memory_array(context, length, sizeof *made->answers);
    made->labels = aios_memory_array(context, length, sizeof *made->labels);
    if (!made->logits || !made->answers || !made->labels) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    for (size_t i = 0; i < length; i++) made->labels[i] = -100; /* nobody knows */
    *solver = made;
    made = NULL;
done:
    aios_device_close(device);
    aios_hrm_solver_destroy(made);
    return status;
}

void aios_hrm_solver_destroy(aios_hrm_solver *solver)
{
    if (!solver) return;
    aios_context *context = solver->context;
    hrm_engine_close(&solver->engine);
    aios_model_destroy(solver->model);
    aios_memory_free(context, solver->logits);
    aios_memory_free(context, solver->answers);
    aios_memory_free(context, solver->labels);
    aios_memory_free(context, solver);
    aios_context_release(context);
}

const aios_model *aios_hrm_solver_model(const aios_hrm_solver *solver)
{
    return solver ? solver->model : NULL;
}

static aios_status run_segment(aios_hrm_solver *s, const int32_t *inputs, int32_t identifier)
{
    uint64_t bytes = (uint64_t)s->engine.length * sizeof *inputs;
    TRY_QUIET(aios_plan_write(s->engine.plan, "tokens", inputs, bytes));
    TRY_QUIET(aios_plan_write(s->engine.plan, "labels", s->labels, bytes));
    TRY_QUIET(aios_plan_write(s->engine.plan, "puzzles", &identifier, sizeof identifier));
    return aios_plan_run(s->engine.plan);
}

static aios_status read_answers(aios_hrm_solver *s)
{
    uint64_t cells = (uint64_t)s->engine.length * (uint64_t)s->vocabulary;
    TRY_QUIET(aios_plan_read(s->engine.plan, "logits", s->logits, cells * sizeof *s->logits));
    for (int32_t i = 0; i < s->engine.length; i++) {
        const float *row = s->logits + (int64_t)i * s->vocabulary;
        int32_t best = 0;
        for (int32_t k = 1; k < s->vocabulary; k++) best = row[k] > row[best] ? k : best;
        s->answers[i] = best;
    }
    return AIOS_OK;
}

static double sigmoid(float x)
{
    return 1 / (1 + exp(-(double)x));
}

aios_status aios_hrm_solver_run(aios_hrm_solver *s, const int32_t *inputs, uint64_t length, int32_t identifier,
                                aios_hrm_segment_fn on_segment, void *user, int32_t *answers, int32_t *steps, double *halt)
{
    FLOAT_SCOPE;
    float q[2] = {0, 0};
    if (!s || !inputs || !answers) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_solver_run: solver, inputs and answers must not be NULL");
    if (length != (uint64_t)s->engine.length || identifier < 0 || identifier >= s->identifiers)
        return FAIL(AIOS_OUT_OF_RANGE, "a puzzle of %llu cells with identifier %d: the model takes %d, identifiers below %d",
                    (unsigned long long)length, identifier, s->engine.length, s->identifiers);
    for (uint64_t i = 0; i < length; i++)
        if (inputs[i] < 0 || inputs[i] >= s->vocabulary)
            return FAIL(AIOS_OUT_OF_RANGE, "cell %llu is %d: tokens from 0 to %d are allowed", (unsigned long long)i, inputs[i],
                        s->vocabulary - 1);
    TRY_QUIET(aios_parameters_reset_states(s->engine.parameters));
    int32_t step = 0;
    for (int more = 1; more && step < s->engine.max_steps;) {
        TRY_QUIET(run_segment(s, inputs, identifier));
        TRY_QUIET(aios_plan_read(s->engine.plan, "q", q, sizeof q));
        TRY_QUIET(read_answers(s));
        step++;
        more = !(q[0] > q[1]);
        aios_hrm_segment segment = {sizeof segment, step, sigmoid(q[0]), sigmoid(q[1]), s->answers};
        if (on_segment && on_segment(user, &segment)) more = 0;
    }
    memcpy(answers, s->answers, (size_t)length * sizeof *answers);
    if (steps) *steps = step;
    if (halt) *halt = sigmoid(q[0]);
    return AIOS_OK;
}
