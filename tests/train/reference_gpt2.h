/* reference_gpt2.h: GPT-2 in float64, from the formulas alone: forward, loss, gradients by hand, AdamW.
 *
 * Independent of the library and of tape.h.  As Hugging Face's GPT2LMHeadModel: Conv1D weights (in, out), tied embeddings,
 * pre-norm blocks, tanh-form GELU.  Tensor names are those of the library.  Memory that runs out ends the program. */
#ifndef AIOS_TEST_REFERENCE_GPT2_H
#define AIOS_TEST_REFERENCE_GPT2_H

#include <stddef.h>
#include <stdint.h>

struct reference_sizes {
    int layers, heads, width, inner, vocabulary, positions;
    double eps;
};

struct reference_tensor {
    char name[64];
    int rank, shape[2];
    size_t count, offset; /* elements, into the flat arrays below */
};

struct reference_gpt2 {
    struct reference_sizes sizes;
    struct reference_tensor *tensors;
    size_t tensor_count, total;
    double *value, *gradient, *moment1, *moment2;
    int steps; /* of AdamW */
};

struct reference_result {
    double loss; /* sum over the labels that are not negative */
    int rows, hits;
};

void reference_create(struct reference_gpt2 *m, const struct reference_sizes *sizes);
void reference_destroy(struct reference_gpt2 *m);

/* tokens, labels (B, T).  logits (B, T, V) and row_losses (B, T) may be NULL.  factor not 0: adds the gradient of
 * factor * loss to m->gradient. */
struct reference_result reference_run(struct reference_gpt2 *m, const int32_t *tokens, const int32_t *labels, int batch, int length,
                                      double factor, double *logits, double *row_losses);

struct reference_adamw {
    double lr, beta1, beta2, eps, weight_decay, max_norm;
};
/* One step from m->gradient, which is clipped and then set to zero; returns its norm before.  Decay on matrices alone. */
double reference_adamw_step(struct reference_gpt2 *m, const struct reference_adamw *o);

#endif
