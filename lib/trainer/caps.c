#include "caps.h"

#include "base/context.h"
#include "base/os.h"
#include "gpu/device.h"

#define LOOK_SECONDS 0.5

aios_status caps_check(aios_device *device, const struct settings *settings)
{
    aios_telemetry now;
    if (settings->max_temperature <= 0 && settings->max_power <= 0) return AIOS_OK;
    TRY(device_read_telemetry(device, &now), "option max-temperature or max-power");
    if (settings->max_temperature > 0 && now.temperature < 0)
        return FAIL(AIOS_UNSUPPORTED, "max-temperature is %g: %s can't tell its temperature, so it could not be kept",
                    settings->max_temperature, aios_device_spec(device));
    if (settings->max_power > 0 && now.power < 0)
        return FAIL(AIOS_UNSUPPORTED, "max-power is %g: %s can't tell what power it draws, so it could not be kept", settings->max_power,
                    aios_device_spec(device));
    return AIOS_OK;
}

aios_status caps_check_memory(aios_device *device, const struct settings *settings)
{
    uint64_t now = 0, peak = 0;
    double cap = settings->max_memory * 1073741824.0;
    if (cap <= 0) return AIOS_OK;
    aios_device_memory_used(device, &now, &peak);
    if ((double)now <= cap) return AIOS_OK;
    return FAIL(AIOS_DEVICE_OUT_OF_MEMORY, "max-memory is %g GiB, and the run needs %.3g GiB of %s", settings->max_memory,
                (double)now / 1073741824.0, aios_device_spec(device));
}

void caps_begin_pause(struct pause *pause, const struct settings *settings, double seconds)
{
    double share = settings->max_utilisation / 100;
    pause->until = share > 0 && share < 1 ? os_now() + seconds * (1 / share - 1) : 0;
}

int caps_must_wait(struct pause *pause, aios_context *context, aios_device *device, const struct settings *settings)
{
    double now = os_now();
    aios_telemetry is;
    if (now < pause->until) return 1;
    if ((settings->max_temperature <= 0 && settings->max_power <= 0) || (now - pause->looked < LOOK_SECONDS && !pause->told)) return 0;
    if (now - pause->looked < LOOK_SECONDS) return 1;
    pause->looked = now;
    if (device_read_telemetry(device, &is) != AIOS_OK) return 0;
    int hot = settings->max_temperature > 0 && (double)is.temperature > settings->max_temperature;
    int hungry = settings->max_power > 0 && (double)is.power > settings->max_power;
    if ((hot || hungry) && !pause->told)
        aios_log(context, AIOS_LOG_INFO, "%s waits: it is at %g degrees Celsius and draws %g W", aios_device_spec(device),
                 (double)is.temperature, (double)is.power);
    pause->told = hot || hungry;
    return pause->told;
}
