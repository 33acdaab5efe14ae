/* model.h (internal): an architecture behind the handle, and what a folder of weights holds besides its parameters. */
#ifndef AIOS_MODEL_MODEL_H
#define AIOS_MODEL_MODEL_H

#include <aios/model.h>

#include "base/context.h"
#include "base/json.h"
#include "model/safetensors.h"

#include <stdatomic.h>

/* A tensor of the folder that is no parameter, and how saving makes it again. */
enum extra_kind {
    EXTRA_MASK,  /* (1, 1, n, n): ones on and below the diagonal */
    EXTRA_TIED,  /* the values of the parameter `source` */
    EXTRA_VALUE, /* eight bytes at the most, kept */
};

struct extra_tensor {
    char name[128], source[128];
    enum extra_kind kind;
    int dtype, rank;
    int64_t shape[SAFETENSORS_RANK_MAX];
    unsigned char value[8];
};

/* How a folder spelt its tensors, so that an unchanged model is saved byte for byte. */
struct weights_layout {
    char prefix[32];             /* "" or "transformer." */
    safetensors_entry *metadata; /* of the file, its strings owned; NULL: as transformers writes it */
    size_t metadata_count;
    struct extra_tensor *extras;
    size_t extra_count, extra_capacity;
};

struct architecture;

struct aios_model {
    aios_context *context;
    atomic_uint references;
    aios_model_functions functions;
    char name[64];
    char *config;
    const struct architecture *architecture; /* NULL: a custom one */
    struct weights_layout layout;
};

/* An architecture that libaios knows by the "model_type" of config.json. */
struct architecture {
    const char *name;
    /* Fills in functions: user, record, destroy, sizes. */
    aios_status (*create)(aios_context *context, const json_t *config, aios_model_functions *functions);
    /* 1: a tensor of a folder that is none of the parameters but belongs to the format; fills in kind and source. */
    int (*extra)(const char *name, struct extra_tensor *extra);
};
extern const struct architecture gpt2_architecture, hrm_actv1_architecture;

/* What the folder spells differently; AIOS_OK where it has no weights. */
aios_status layout_read(aios_model *model, const char *folder);
void layout_free(aios_context *context, struct weights_layout *layout);

#endif
