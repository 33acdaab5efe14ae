/* step.h: layouts of the small device buffers that a training step reads and writes, as indices of f32.  Shared by the
 * kernels (every dialect) and the host: plain numbers only. */
#ifndef AIOS_KERNELS_STEP_H
#define AIOS_KERNELS_STEP_H

#define STEP_MAX_GROUPS 8

/* control: written by the host before a step */
#define CONTROL_LR 0
#define CONTROL_MAX_NORM 1        /* 0: no clipping */
#define CONTROL_GROWTH_INTERVAL 2 /* 0: the loss scale stays as it is */
#define CONTROL_GROWTH 3          /* 2 */
#define CONTROL_BACKOFF 4         /* 0.5 */
#define CONTROL_INVERSE_TOKENS 5  /* 1 / weight of the whole step, over all micro-batches */
#define CONTROL_GROUPS 8          /* a row of CONTROL_ROW per group: */
#define CONTROL_ROW 8
#define GROUP_LR_FACTOR 0
#define GROUP_BETA1 1
#define GROUP_BETA2 2
#define GROUP_EPS 3
#define GROUP_WEIGHT_DECAY 4
#define GROUP_ONE_MINUS_BETA1 5 /* rounded from double: 1 - beta in f32 would lose digits */
#define GROUP_ONE_MINUS_BETA2 6
#define CONTROL_SIZE (CONTROL_GROUPS + CONTROL_ROW * STEP_MAX_GROUPS)

/* state: read and written by step_prepare, saved in checkpoints */
#define STATE_LOSS_SCALE 0   /* 1 without a scaler */
#define STATE_GOOD_STEPS 1   /* since the scale changed last */
#define STATE_SKIPPED 2      /* in all */
#define STATE_SKIPPED_ROW 3  /* in a row */
#define STATE_NORM 4         /* of the unscaled gradient, before clipping */
#define STATE_FINITE 5       /* 1: the last step was applied */
#define STATE_CORRECTIONS 8  /* per group: 1 - beta1^t, 1 - beta2^t, as q <- q*beta + (1 - beta) */
#define STATE_SIZE (STATE_CORRECTIONS + 2 * STEP_MAX_GROUPS)

/* hyper: written by step_prepare, a row per group, read by the optimizers */
#define HYPER_ROW 16
#define HYPER_LR 0
#define HYPER_BETA1 1
#define HYPER_BETA2 2
#define HYPER_EPS 3
#define HYPER_KEEP 4             /* 1 - lr * weight decay */
#define HYPER_CORRECTION1 5      /* 1 / (1 - beta1^t) */
#define HYPER_CORRECTION2 6      /* 1 / (1 - beta2^t) */
#define HYPER_GRADIENT_SCALE 7   /* clip factor / loss scale */
#define HYPER_SKIP 8             /* 1: leave everything as it is */
#define HYPER_ONE_MINUS_BETA1 9
#define HYPER_ONE_MINUS_BETA2 10

#endif
