/* Attention by the portable kernels, for devices whose backend has none. */
#include "device.h"

#include "kernels/kernels.h"

/* The kernels count in 32 bits. */
static aios_status check_strides(const aios_attention *a)
{
    if (a->q_stride > INT32_MAX || a->kv_stride > INT32_MAX || a->out_stride > INT32_MAX)
        return FAIL(AIOS_OUT_OF_RANGE, "attention: strides %lld, %lld, %lld: the portable kernels take at most %d", (long long)a->q_stride,
                    (long long)a->kv_stride, (long long)a->out_stride, INT32_MAX);
    return AIOS_OK;
}

/* Backward keeps delta (batch, heads, q_len) f32. */
uint64_t fallback_attention_workspace(const aios_attention *s, int32_t backward)
{
    return backward ? (uint64_t)s->batch * (uint64_t)s->heads * (uint64_t)s->q_len * sizeof(float) : 0;
}

aios_status fallback_attention_forward(aios_stream *stream, const aios_attention *a)
{
    TRY_QUIET(check_strides(a));
    return launch_attention_forward(stream, a->type, 0, a->out, a->lse, a->q, a->k, a->v, a->start, a->batch, a->heads, a->kv_heads,
                                    a->head_size, a->q_len, a->kv_len, a->kv_capacity, (int32_t)a->q_stride, (int32_t)a->kv_stride,
                                    (int32_t)a->out_stride, a->causal, a->start != NULL, a->scale);
}

aios_status fallback_attention_backward(aios_stream *stream, const aios_attention *a)
{
    float *delta = a->workspace;
    TRY_QUIET(check_strides(a));
    TRY_QUIET(launch_attention_delta(stream, a->type, 0, delta, a->d_out, a->out, a->batch, a->heads, a->head_size, a->q_len,
                                     (int32_t)a->out_stride));
    TRY_QUIET(launch_attention_backward_q(stream, a->type, 0, a->d_q, a->d_out, a->q, a->k, a->v, a->lse, delta, a->batch, a->heads,
                                          a->kv_heads, a->head_size, a->q_len, a->kv_len, a->kv_capacity, (int32_t)a->q_stride,
                                          (int32_t)a->kv_stride, (int32_t)a->out_stride, a->causal, a->scale));
    return launch_attention_backward_kv(stream, a->type, 0, a->d_k, a->d_v, a->d_out, a->q, a->k, a->v, a->lse, delta, a->batch, a->heads,
                                        a->kv_heads, a->head_size, a->q_len, a->kv_len, a->kv_capacity, (int32_t)a->q_stride,
                                        (int32_t)a->kv_stride, (int32_t)a->out_stride, a->causal, a->scale);
}
