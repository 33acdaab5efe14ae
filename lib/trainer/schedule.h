/* schedule.h (internal): the learning rate of a step, a pure function.
 *
 * Warm-up: step s of w (from 0) has lr * (s + 1) / w, so that none is 0 and step w - 1 has all of lr.  Then, with
 * p = (s - w) / (steps - 1 - w) from 0 at step w to 1 at the last one:
 *   cosine    lr * (m + (1 - m) * (1 + cos(pi p)) / 2)      Loshchilov and Hutter, "SGDR", without restarts
 *   linear    lr * (1 - (1 - m) p)
 *   constant  lr
 *   reference  cosine with p = (s + 1 - w) / (steps - w), as the public HRM reference counts
 * m is min_ratio.  A step past the last has the last one's rate. */
#ifndef AIOS_TRAINER_SCHEDULE_H
#define AIOS_TRAINER_SCHEDULE_H

#include <stdint.h>

enum { SCHEDULE_COSINE = 0, SCHEDULE_LINEAR = 1, SCHEDULE_CONSTANT = 2, SCHEDULE_REFERENCE = 3 };

struct schedule {
    double lr, min_ratio;
    int64_t warmup, steps;
    int kind; /* SCHEDULE_… */
};

/* The rate of step s, from 0. */
double schedule_rate(const struct schedule *schedule, int64_t s);

#endif
