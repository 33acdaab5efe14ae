#include "balance.h"

#include "base/text.h"

#include <stdlib.h>

double balance_time(const double *weights, const int64_t *shares, int count)
{
    double longest = 0;
    for (int i = 0; i < count; i++) {
        double time = (double)shares[i] / weights[i];
        if (time > longest) longest = time;
    }
    return longest;
}

void balance_deal(const double *weights, int count, int64_t total, int64_t *shares)
{
    double sum = 0;
    int64_t left = total;
    for (int i = 0; i < count; i++) sum += weights[i];
    for (int i = 0; i < count; i++) {
        shares[i] = (int64_t)((double)total * weights[i] / sum); /* never more than the best deal gives */
        if (shares[i] == 0 && total >= count) shares[i] = 1;
        left -= shares[i];
    }
    for (; left != 0; left += left < 0 ? 1 : -1) { /* one more to whom it delays least, one less from whom is latest */
        int chosen = -1;
        for (int i = 0; i < count; i++) {
            if (left < 0 && shares[i] <= 1) continue;
            double time = ((double)shares[i] + (left > 0)) / weights[i],
                   best = chosen < 0 ? 0 : ((double)shares[chosen] + (left > 0)) / weights[chosen];
            if (chosen < 0 || (left > 0 ? time < best : time > best)) chosen = i;
        }
        shares[chosen] += left > 0 ? 1 : -1;
    }
}

aios_status balance_parse(const char *text, int count, double *weights)
{
    const char *at = text;
    for (int i = 0; i < count; i++) {
        const char *end = text_take_double(at, &weights[i]);
        if (!end || !(weights[i] > 0) || weights[i] > 1e9 || *end != (i + 1 < count ? ',' : 0))
            return FAIL(AIOS_INVALID_ARGUMENT,
                        "device-weights is \"%s\": %d numbers above 0 with commas between them are wanted, one for each device", text,
                        count);
        at = end + 1;
    }
    return AIOS_OK;
}
