/* aios.h: all of libaios. */
#ifndef AIOS_AIOS_H
#define AIOS_AIOS_H

#include <aios/api.h>
#include <aios/backend.h>
#include <aios/chunk_tracker.h>
#include <aios/context.h>
#include <aios/dataset.h>
#include <aios/device.h>
#include <aios/estimate.h>
#include <aios/graph.h>
#include <aios/hardware.h>
#include <aios/hrm.h>
#include <aios/model.h>
#include <aios/options.h>
#include <aios/plan.h>
#include <aios/puzzles.h>
#include <aios/status.h>
#include <aios/tokenizer.h>
#include <aios/trainer.h>

#endif
