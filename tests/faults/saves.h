/* saves.h: the save that the fault tests break: a checkpoint of two shards, a small file and a manifest.
 * Two generations differ in every file. */
#ifndef AIOS_FAULTS_SAVES_H
#define AIOS_FAULTS_SAVES_H

#include "base/context.h"
#include "model/weights_file.h"
#include "trainer/checkpoint_folder.h"

#include <string.h>

static inline aios_status save_generation(aios_context *context, const char *parent, uint64_t step, int generation)
{
    static float values[2][3000];
    const char *config = generation ? "{\"generation\": 1, \"more\": true}\n" : "{\"generation\": 0}\n";
    safetensors_tensor list[3] = {{.name = "a", .dtype = ELEMENT_F32, .rank = 1, .shape = {3000}},
                                  {.name = "b", .dtype = ELEMENT_F32, .rank = 2, .shape = {10, 100}},
                                  {.name = "c", .dtype = ELEMENT_BF16, .rank = 1, .shape = {7}}};
    char name[CHECKPOINT_NAME_MAX];
    checkpoint_writer *writer;
    for (int i = 0; i < 3000; i++) values[generation][i] = (float)(i + generation);
    for (int i = 0; i < 3; i++) {
        TRY_QUIET(safetensors_tensor_bytes(&list[i], &list[i].bytes));
        list[i].data = values[generation];
    }
    checkpoint_step_name(step, name);
    TRY_QUIET(checkpoint_begin(context, parent, name, step, &writer));
    aios_status status = weights_write(context, checkpoint_writer_path(writer), list, 3, NULL, 0, 12000);
    if (status == AIOS_OK) status = checkpoint_writer_put(writer, "config.json", config, strlen(config));
    if (status == AIOS_OK) return checkpoint_commit(writer);
    checkpoint_abort(writer);
    return status;
}

#endif
