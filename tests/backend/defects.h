/* defects.h: the ways in which a backend can be wrong. */
#ifndef DEFECTS_H
#define DEFECTS_H

#include <aios/backend.h>

/* What the defect does instead of the backend; NULL: what the backend does. */
extern aios_gpu_device defective;

/* 0: there is no such defect.  Some also put a group into the table. */
int defect_choose(const char *name, const aios_gpu_device *within, aios_gpu_device *table);

/* For defects in other files. */
extern const aios_gpu_device *real;                   /* the backend within */
uint32_t find_kernel(const char *name);               /* its index */
const aios_gemm_group *defect_gemm(const char *name); /* NULL: there is no such one */

#endif
