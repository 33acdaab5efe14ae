#include "device.h"

static aios_status check_shape(const aios_attention *s)
{
    if (s->type < AIOS_F32 || s->type > AIOS_F16)
        return FAIL(AIOS_INVALID_ARGUMENT, "attention: type is %d: it must be AIOS_F32, AIOS_BF16 or AIOS_F16", (int)s->type);
    if (s->batch < 1 || s->heads < 1 || s->kv_heads < 1 || s->head_size < 1 || s->q_len < 1 || s->kv_len < 1)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "attention: batch %d, heads %d, kv_heads %d, head_size %d, q_len %d, kv_len %d: each must be at least 1", (int)s->batch,
                    (int)s->heads, (int)s->kv_heads, (int)s->head_size, (int)s->q_len, (int)s->kv_len);
    if (s->heads % s->kv_heads)
        return FAIL(AIOS_INVALID_ARGUMENT, "attention: %d heads share %d kv_heads: it must divide them", (int)s->heads, (int)s->kv_heads);
    if (s->kv_capacity < s->kv_len)
        return FAIL(AIOS_INVALID_ARGUMENT, "attention: kv_capacity is %d: it must be at least kv_len %d", (int)s->kv_capacity,
                    (int)s->kv_len);
    if (s->causal & ~1) return FAIL(AIOS_INVALID_ARGUMENT, "attention: causal is %d: it must be 0 or 1", (int)s->causal);
    return AIOS_OK;
}

static aios_status check_strides(const aios_attention *s)
{
    int64_t q = (int64_t)s->heads * s->head_size, kv = (int64_t)s->kv_heads * s->head_size;
    if (s->q_stride < q || s->out_stride < q || s->kv_stride < kv)
        return FAIL(AIOS_INVALID_ARGUMENT, "attention: q_stride %lld, kv_stride %lld, out_stride %lld: at least %lld, %lld and %lld",
                    (long long)s->q_stride, (long long)s->kv_stride, (long long)s->out_stride, (long long)q, (long long)kv, (long long)q);
    return AIOS_OK;
}

static aios_status read_attention(aios_stream *stream, const aios_attention *given, int32_t backward, aios_attention *a)
{
    const char *function = backward ? "aios_stream_attention_backward" : "aios_stream_attention_forward";
    *a = (aios_attention){.struct_size = sizeof *a};
    if (!stream) return handle_missing(function, "stream");
    if (!given) return handle_missing(function, "attention");
    TRY_QUIET(aios_struct_read("aios_attention", a, sizeof *a, given));
    TRY_QUIET(check_shape(a));
    TRY_QUIET(check_strides(a));
    const char *missing = !a->q ? "q" : !a->k ? "k" : !a->v ? "v" : !a->out ? "out" : !a->lse ? "lse" : NULL;
    if (!missing && backward) missing = !a->d_out ? "d_out" : !a->d_q ? "d_q" : !a->d_k ? "d_k" : !a->d_v ? "d_v" : NULL;
    if (!missing && !a->workspace && aios_device_attention_workspace(stream->device, a, backward)) missing = "workspace";
    if (missing) return handle_missing(function, missing);
    if (backward && a->start) return FAIL(AIOS_UNSUPPORTED, "attention: start is given to backward: it is for decoding alone, give NULL");
    return AIOS_OK;
}

/* The larger of the two: which of them runs is known only when the backend was asked. */
uint64_t aios_device_attention_workspace(aios_device *device, const aios_attention *given, int32_t backward)
{
    aios_attention shape = {.struct_size = sizeof shape};
    if (!device || !given || aios_struct_read("aios_attention", &shape, sizeof shape, given) != AIOS_OK || check_shape(&shape) != AIOS_OK)
        return 0;
    uint64_t portable = fallback_attention_workspace(&shape, backward);
    if (!device->table->attention) return portable;
    driver_call call = {.kind = CALL_attention_workspace_size, .in = &shape, .in_size = sizeof shape, .number = backward};
    aios_status status = device_call(device, &call, "asking for attention's workspace"); /* whose failure the attention itself will tell */
    return status == AIOS_OK && call.counts[0] > portable ? call.counts[0] : portable;
}

aios_status aios_stream_attention_forward(aios_stream *stream, const aios_attention *given)
{
    aios_attention attention;
    TRY_QUIET(read_attention(stream, given, 0, &attention));
    aios_device *device = stream->device;
    TRY_QUIET(device_check(device, "attention"));
    if (!device->table->attention) return fallback_attention_forward(stream, &attention);
    driver_call call = {.kind = CALL_attention_forward, CALL_ON(stream), .in = &attention, .in_size = sizeof attention};
    aios_status status = device_call(device, &call, "attention forward");
    return status == AIOS_UNSUPPORTED ? fallback_attention_forward(stream, &attention) : status;
}

aios_status aios_stream_attention_backward(aios_stream *stream, const aios_attention *given)
{
    aios_attention attention;
    TRY_QUIET(read_attention(stream, given, 1, &attention));
    aios_device *device = stream->device;
    TRY_QUIET(device_check(device, "attention"));
    if (!device->table->attention) return fallback_attention_backward(stream, &attention);
    driver_call call = {.kind = CALL_attention_backward, CALL_ON(stream), .in = &attention, .in_size = sizeof attention};
    aios_status status = device_call(device, &call, "attention backward");
    return status == AIOS_UNSUPPORTED ? fallback_attention_backward(stream, &attention) : status;
}
