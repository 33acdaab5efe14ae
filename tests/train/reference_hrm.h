/* reference_hrm.h: HRM ACT v1 in float64, from the formulas of the paper and of the public reference alone: segments with carry, halting,
 * losses, gradients by hand, Adam-atan2 and the sign step of the puzzle rows.  Independent of the library.  Tensor names are the
 * reference's.  Memory that runs out ends the program. */
#ifndef AIOS_TEST_REFERENCE_HRM_H
#define AIOS_TEST_REFERENCE_HRM_H

#include <stddef.h>
#include <stdint.h>

struct hrm_sizes {
    int hidden, heads, inner, h_layers, l_layers, h_cycles, l_cycles, halt_max_steps;
    int vocabulary, length, identifiers, puzzle_positions, rope, stablemax;
    double theta, eps;
};

struct hrm_tensor {
    char name[96];
    int rows, columns;
    size_t offset, count;
};

struct reference_hrm {
    struct hrm_sizes sizes;
    struct hrm_tensor *tensors;
    size_t tensor_count, total;
    double *value, *gradient, *moment1, *moment2;
    double *puzzles, *puzzle_gradient; /* (identifiers, puzzle_positions * hidden) */
    int *puzzle_used;
    double *h_init, *l_init;
    int steps, batch; /* steps of the optimizer */
    /* the carry */
    double *z_h, *z_l; /* (batch, T, hidden) */
    int32_t *tokens, *labels, *ids, *count, *running;
    /* of the last segment, per sequence */
    double *lm_loss, *q_halt_loss, *q_continue_loss, *q, *correct;
};

void hrm_create(struct reference_hrm *m, const struct hrm_sizes *sizes, int batch);
void hrm_destroy(struct reference_hrm *m);
const struct hrm_tensor *hrm_find(const struct reference_hrm *m, const char *name);

/* One training segment: gradients are those of the whole loss / batch, overwritten. */
void hrm_segment(struct reference_hrm *m, const int32_t *tokens, const int32_t *labels, const int32_t *ids, const int32_t *min_steps);
void hrm_step(struct reference_hrm *m, double lr, double beta1, double beta2, double decay, double puzzle_lr, double puzzle_decay);

#endif
