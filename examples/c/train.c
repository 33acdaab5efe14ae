/* Trains a small GPT-2 on a text file and prints the loss; then continues a prompt with what it has learned.
 *
 *     cc train.c $(pkg-config --cflags --libs libaios) -o train && ./train notes.txt runs/notes 500
 *
 * Everything libaios has to say comes back as a status; the sentence that goes with it is aios_error_message(). */
#include <aios/aios.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of a field of an event: {"step": 12, "loss": 3.25, …}. */
static double field(const char *json, const char *name)
{
    const char *at = strstr(json, name);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

static void on_event(void *user, const char *name, const char *json)
{
    (void)user;
    if (strcmp(name, "step") == 0)
        (void)printf("step %4.0f  loss %.4f  %6.0f tokens/s\n", field(json, "\"step\": "), field(json, "\"loss\": "),
                     field(json, "\"tokens_per_second\": "));
    if (strcmp(name, "eval") == 0) (void)printf("evaluation: loss %.4f\n", field(json, "\"loss\": "));
}

static int32_t print_text(void *user, const char *text, size_t size)
{
    (void)user;
    return fwrite(text, 1, size, stdout) != size; /* not zero: stop */
}

/* Options are set by name, all of them listed by `aios options`. */
static aios_status train(aios_context *context, char **argv)
{
    aios_options *options = NULL;
    aios_trainer *trainer = NULL;
    aios_status status = aios_options_create(context, AIOS_SCOPE_TRAIN, &options);
    if (status == AIOS_OK) status = aios_options_set(options, "dataset-file", argv[1]);
    if (status == AIOS_OK) status = aios_options_set(options, "save-dir", argv[2]);
    if (status == AIOS_OK) status = aios_options_set(options, "steps", argv[3]);
    if (status == AIOS_OK) status = aios_options_set(options, "resume", "on"); /* run it again with more steps, and it goes on */
    if (status == AIOS_OK) status = aios_options_set_int(options, "n-layer", 2);
    if (status == AIOS_OK) status = aios_options_set_int(options, "n-head", 2);
    if (status == AIOS_OK) status = aios_options_set_int(options, "n-embd", 64);
    if (status == AIOS_OK) status = aios_options_set_int(options, "max-seq-len", 64);
    if (status == AIOS_OK) status = aios_options_set_int(options, "log-interval", 10);
    if (status == AIOS_OK) status = aios_options_set_float(options, "lr", 3e-3);
    if (status == AIOS_OK) status = aios_trainer_create(context, options, NULL, &trainer);
    if (status == AIOS_OK) status = aios_trainer_run(trainer);
    aios_trainer_destroy(trainer);
    aios_options_destroy(options);
    return status;
}

static aios_status generate(aios_context *context, const char *folder, const char *steps, const char *prompt)
{
    char model[1024];
    aios_options *options = NULL;
    aios_generator *generator = NULL;
    (void)snprintf(model, sizeof model, "%s/checkpoints/step-%08ld", folder, strtol(steps, NULL, 10));
    aios_status status = aios_options_create(context, AIOS_SCOPE_GENERATE, &options);
    if (status == AIOS_OK) status = aios_options_set(options, "model", model);
    if (status == AIOS_OK) status = aios_options_set_int(options, "max-tokens", 100);
    if (status == AIOS_OK) status = aios_generator_create(context, options, &generator);
    (void)printf("%s", prompt);
    if (status == AIOS_OK) status = aios_generator_run(generator, prompt, strlen(prompt), 1, print_text, NULL);
    (void)printf("\n");
    aios_generator_destroy(generator);
    aios_options_destroy(options);
    return status;
}

int main(int argc, char **argv)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context = NULL;
    if (argc != 4) {
        (void)fprintf(stderr, "usage: %s TEXT-FILE RUN-FOLDER STEPS\n", argv[0]);
        return 2;
    }
    options.event = on_event;
    aios_status status = aios_context_create(&options, &context);
    if (status == AIOS_OK) status = train(context, argv);
    if (status == AIOS_OK) status = generate(context, argv[2], argv[3], "The ");
    if (status != AIOS_OK) (void)fprintf(stderr, "%s: %s\n", aios_status_name(status), aios_error_message());
    aios_context_destroy(context);
    return status != AIOS_OK;
}
