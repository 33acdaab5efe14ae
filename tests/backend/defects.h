/* defects.h: the ways in which a backend can be wrong. */
#ifndef DEFECTS_H
#define DEFECTS_H

#include <aios/backend.h>

/* What the defect does instead of the backend; NULL: what the backend does. */
extern aios_gpu_device defective;

/* 0: there is no such defect.  Some also put a group into the table. */
int defect_choose(const char *name, const aios_gpu_device *within, aios_gpu_device *table);

#endif
