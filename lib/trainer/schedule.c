#include "schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

double schedule_rate(const struct schedule *schedule, int64_t s)
{
    int64_t falling = schedule->steps - 1 - schedule->warmup;
    double m = schedule->min_ratio, p;
    if (s < schedule->warmup) return schedule->lr * (double)(s + 1) / (double)schedule->warmup;
    if (schedule->kind == SCHEDULE_CONSTANT || falling < 1) return schedule->lr;
    p = (double)(s - schedule->warmup) / (double)falling;
    if (schedule->kind == SCHEDULE_REFERENCE) p = (double)(s + 1 - schedule->warmup) / (double)(falling + 1);
    if (p > 1.0) p = 1.0;
    if (schedule->kind == SCHEDULE_LINEAR) return schedule->lr * (1.0 - (1.0 - m) * p);
    return schedule->lr * (m + (1.0 - m) * 0.5 * (1.0 + cos(PI * p)));
}
