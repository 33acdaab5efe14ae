#include "hardware.h"

#include <string.h>

static const struct {
    const char *token, *sentence;
} warnings[] = {
#define WARNING_DEF(token, sentence) {#token, sentence},
#include "warnings.def"
#undef WARNING_DEF
};

uint32_t aios_warning_count(void)
{
    return WARNING_COUNT;
}

const char *aios_warning_token(uint32_t index)
{
    return index < WARNING_COUNT ? warnings[index].token : NULL;
}

const char *aios_warning_message(const char *token)
{
    for (size_t i = 0; token && i < WARNING_COUNT; i++)
        if (strcmp(warnings[i].token, token) == 0) return warnings[i].sentence;
    return NULL;
}

const char *warning_token(int warning)
{
    return warnings[warning].token;
}

void hardware_warn(aios_hardware *hardware, int warning)
{
    if (hardware->warned >> warning & 1) return;
    hardware->warned |= 1u << warning;
    aios_log(hardware->context, AIOS_LOG_WARNING, "%s (%s)", warnings[warning].sentence, warnings[warning].token);
}
